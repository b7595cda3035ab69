//! The radio: what the sensors around say, as BlueZ hears it.
//!
//! A [`Radio`] owns one adapter. It scans, hands over what is heard through a bounded channel, and
//! gets itself going again when something fails: the daemon restarts, the adapter is switched off or
//! pulled out and comes back under another name, the bus dies, or it simply hears nothing. How it is
//! stands in its [`RadioState`].
//!
//! - `session`: one connection to the bus after the other, each until something breaks
//! - `adapter`: which adapter is meant
//! - `reach`: the way to single devices
//! - `pair`: a bond with one, and what the daemon asks meanwhile
//! - `listen`: from the adapter's events to advertisements
//! - `scan`: starting the scan, and what to make of a refusal
//! - `bus`: our own connection: who is there, power, discovery
//! - `monitor`: an advertisement monitor beside the scan
//! - `gather`: from the pieces that events come in to one report (pure)
//! - `backlog`: what waits to be looked at, and when that is too much
//! - `fresh`: from what BlueZ has gathered to what was on the air (pure)
//! - `watchdog`: what to do about silence (pure)
//!
//! Every connection lives in a runtime of its own, on the radio's own thread: btleplug starts tasks
//! that hold the connection and can be ended in no other way, opens it with calls that block, and
//! may panic in a task of its own when a stream is dropped. When a connection is given up, all of
//! that ends with its runtime.

mod adapter;
mod backlog;
mod bus;
mod counters;
mod fresh;
mod gather;
mod listen;
mod look;
mod monitor;
mod pair;
mod reach;
mod scan;
mod session;
mod state;
mod watchdog;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use btleplug::platform::{Adapter, PeripheralId};
use dbus::nonblock::SyncConnection;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::advert::{Address, Advert};

use bus::Fault;
pub use counters::Counters;
pub(crate) use counters::Tally;
pub use look::{AdapterSeen, Look, look};
pub use pair::NotPaired;
pub use reach::{Finder, Reach, Unreachable};
pub use state::RadioState;

/// How many advertisements may wait for whoever reads them. What does not fit is counted.
pub const WAITING: usize = 1024;

/// How long stopping may take. A radio whose thread is then still held up by a call is left to itself.
const STOPPING: Duration = Duration::from_secs(5);

/// What a radio has to know.
#[derive(Clone, Debug, Default)]
pub struct RadioSettings {
    /// The adapter's name (`hci0`) or address; the first one if there is none.
    pub adapter: Option<String>,
    /// How it listens.
    pub mode: ScanMode,
    /// The devices we connect to: links to these that an earlier process has left behind are cut at
    /// the start, because a connected sensor does not advertise.
    pub connectable: Vec<Address>,
    /// How long things may take.
    pub timeouts: Timeouts,
}

/// How a radio listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScanMode {
    /// It asks for scan responses: some sensors put their name or values there.
    #[default]
    Active,
    /// It sends nothing, which spares the sensors' batteries. Needs a daemon that offers
    /// advertisement monitors.
    Passive,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// One call to the daemon.
    pub call: Duration,
    /// Hearing nothing before something is done about it.
    pub silence: Duration,
    /// The pause before the first new try of something that failed; it doubles from try to try.
    pub retry: Duration,
    /// The longest pause.
    pub retry_most: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            retry: Duration::from_secs(1),
            retry_most: Duration::from_secs(60),
        }
    }
}

/// An advertisement, and when it was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What was heard.
    pub advert: Advert,
    /// When the daemon's word of it came.
    pub at: SystemTime,
}

/// How often the link to each device was cut.
pub type Cuts = HashMap<Address, u64>;

/// One adapter, listening.
#[derive(Debug)]
pub struct Radio {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the radio's thread and its owner have in common.
#[derive(Debug)]
struct Shared {
    settings: RadioSettings,
    stop: CancellationToken,
    state: watch::Sender<RadioState>,
    current: watch::Sender<Option<Current>>,
    /// What the daemon calls the devices we connect to.
    reachable: Mutex<HashMap<Address, PeripheralId>>,
    tally: Arc<Tally>,
    cuts: watch::Sender<Cuts>,
    heard: mpsc::Sender<Heard>,
}

/// What the connection to the daemon is at the moment.
#[derive(Clone)]
struct Current {
    adapter: Adapter,
    runtime: Handle,
    /// Our own connection, beside the adapter's.
    connection: Arc<SyncConnection>,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").field("adapter", &self.adapter).finish_non_exhaustive()
    }
}

impl Radio {
    /// Starts listening, on a thread of its own. What is heard comes out of the receiver.
    ///
    /// # Errors
    /// If the thread cannot be started. Whatever is wrong with the adapter, the daemon or the bus is
    /// told by [`state`](Self::state), and tried again.
    pub fn start(settings: RadioSettings) -> std::io::Result<(Self, mpsc::Receiver<Heard>)> {
        let (heard, receiver) = mpsc::channel(WAITING);
        let shared = Arc::new(Shared {
            settings,
            stop: CancellationToken::new(),
            state: watch::Sender::new(RadioState::Starting),
            current: watch::Sender::new(None),
            reachable: Mutex::default(),
            tally: Arc::default(),
            cuts: watch::Sender::default(),
            heard,
        });
        let its = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("ble-radio".to_owned()).spawn(move || session::run(&its))?;
        Ok((Self { shared, thread: Some(thread) }, receiver))
    }

    /// How it is, now and whenever that changes.
    pub fn state(&self) -> watch::Receiver<RadioState> {
        self.shared.state.subscribe()
    }

    /// What it has counted since it was started.
    pub fn counters(&self) -> Counters {
        self.shared.tally.read()
    }

    /// The same, being counted, also for who outlives the radio.
    pub(crate) fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.shared.tally)
    }

    /// The way to the devices of the settings' `connectable`.
    pub fn finder(&self) -> Finder {
        Finder(Arc::clone(&self.shared))
    }

    /// Stops listening and waits until its thread has ended, five seconds at most.
    pub async fn stop(mut self) {
        self.shared.stop.cancel();
        let Some(thread) = self.thread.take() else { return };
        // Looked at rather than waited for: a join that never ends would hold up the gateway's end too.
        let deadline = tokio::time::Instant::now() + STOPPING;
        while !thread.is_finished() {
            if tokio::time::Instant::now() >= deadline {
                tracing::warn!("the Bluetooth radio is held up by a call and was left behind");
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if thread.join().is_err() {
            tracing::warn!("the Bluetooth radio's thread ended in a panic");
        }
    }
}

/// Dropped without being stopped, it ends by itself, and nobody waits for that.
impl Drop for Radio {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Shared {
    /// Says how the radio is, if that is news.
    fn say(&self, state: RadioState) {
        let told = self.state.send_if_modified(|old| {
            let news = !old.is_like(&state);
            if news {
                *old = state.clone();
            }
            news
        });
        if told {
            tracing::debug!(%state, "Bluetooth radio");
        }
    }

    /// There is no connection any more, and what the daemon calls devices may be different on the next.
    fn part(&self) {
        self.current.send_replace(None);
        self.reachable.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.settings.connectable.iter().for_each(|address| self.cut(*address));
    }

    /// The link to a device has been cut.
    fn cut(&self, address: Address) {
        if self.settings.connectable.contains(&address) {
            self.cuts.send_modify(|cuts| *cuts.entry(address).or_default() += 1);
        }
    }

    /// Counts a call that failed.
    fn failed(&self, fault: &Fault) {
        self.tally.failures.add(1);
        self.tally.timeouts.add(u64::from(*fault == Fault::Timeout));
    }

    /// Hands an advertisement over, or counts it.
    fn hand_over(&self, advert: Advert, at: SystemTime) {
        self.tally.heard.add(1);
        if self.heard.try_send(Heard { advert, at }).is_err() {
            self.tally.dropped.add(1);
        }
    }
}
