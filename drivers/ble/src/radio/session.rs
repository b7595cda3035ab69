//! One connection to the bus after the other, each until something breaks.
//!
//! Whatever breaks, the answer is the same: everything of the connection is thrown away with its
//! runtime, and a new one is made. So there is one way to begin, and it is used every day.

use std::time::{Duration, Instant};

use btleplug::platform::Manager;
use tokio::runtime::Builder;

use super::bus::{Bus, Fault, within};
use super::fresh::{DEVICES, Fresh};
use super::listen::Listener;
use super::watchdog::Watchdog;
use super::{RadioState, Shared, adapter};

/// How long the tasks of a connection may take to end with it.
const ENDING: Duration = Duration::from_secs(1);

/// A daemon that ends so soon after a monitor was registered, and so many times in a row, may do so
/// because of it.
const SOON: Duration = Duration::from_secs(60);
const DEATHS: u32 = 3;

/// Why a connection was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was asked to.
    Stopped,
    /// The adapter, the daemon or the bus is not there any more: begin again at once.
    Lost,
    /// It was of no use: begin again after a pause that grows.
    Useless,
}

/// What is remembered from one connection to the next.
pub(super) struct Memory {
    /// What was heard of each device.
    pub fresh: Fresh,
    /// How long nothing was heard.
    pub watchdog: Watchdog,
    /// The address of the adapter that was used last.
    pub adapter: Option<[u8; 6]>,
    /// When a device may be asked for its name again.
    pub next_question: Instant,
    /// Whether to do without advertisement monitors.
    pub no_monitors: bool,
    /// When one was registered last.
    pub monitor_since: Option<Instant>,
    /// How often the daemon has ended soon after that.
    pub deaths: u32,
    /// When it was logged last that too much is on the air.
    pub overrun_told: Option<Instant>,
}

/// The radio's thread.
pub(super) fn run(shared: &Shared) {
    let _last_words = LastWords(shared);
    let timeouts = shared.settings.timeouts;
    let now = Instant::now();
    let mut memory = Memory {
        fresh: Fresh::new(DEVICES),
        watchdog: Watchdog::new(timeouts.silence, now),
        adapter: None,
        next_question: now,
        no_monitors: false,
        monitor_since: None,
        deaths: 0,
        overrun_told: None,
    };
    let mut pause = Duration::ZERO;
    while !shared.stop.is_cancelled() {
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                shared.say(RadioState::NoBus { reason: error.to_string() });
                std::thread::sleep(timeouts.retry.min(ENDING));
                continue;
            }
        };
        let before = shared.tally.read().heard;
        let ended = runtime.block_on(async {
            tokio::select! {
                biased;
                () = shared.stop.cancelled() => Ended::Stopped,
                ended = live(shared, &mut memory, pause) => ended,
            }
        });
        shared.part();
        runtime.shutdown_timeout(ENDING);
        memory.fresh.begin_anew();
        let was_useful = shared.tally.read().heard > before;
        pause = match ended {
            Ended::Lost => timeouts.retry,
            Ended::Useless if !was_useful => (pause * 2).clamp(timeouts.retry, timeouts.retry_most),
            _ => timeouts.retry,
        };
    }
}

/// However the thread ends, nobody is left believing that it listens.
struct LastWords<'a>(&'a Shared);

impl Drop for LastWords<'_> {
    fn drop(&mut self) {
        self.0.part();
        self.0.say(RadioState::Stopped);
    }
}

/// The life of one connection.
async fn live(shared: &Shared, memory: &mut Memory, pause: Duration) -> Ended {
    tokio::time::sleep(pause).await;
    let call = shared.settings.timeouts.call;
    let no_bus = |fault: Fault| {
        let reason = match fault {
            Fault::Timeout => "it takes the connection and answers nothing".to_owned(),
            fault => fault.to_string(),
        };
        shared.say(RadioState::NoBus { reason });
        Ended::Useless
    };
    let (bus, mut lifeline) = match Bus::open(call).await {
        Ok(opened) => opened,
        Err(fault) => return no_bus(fault),
    };
    let manager = match within(call, Manager::new()).await {
        Ok(manager) => manager,
        Err(fault) => return no_bus(fault),
    };
    shared.tally.connections.add(1);
    tokio::select! {
        biased;
        reason = lifeline.cut() => no_bus(Fault::Other(reason)),
        ended = serve(shared, memory, &bus, &manager) => ended,
    }
}

/// What is done while the bus is there.
async fn serve(shared: &Shared, memory: &mut Memory, bus: &Bus, manager: &Manager) -> Ended {
    if !bus.has_daemon() {
        shared.say(RadioState::NoDaemon);
        bus.daemon().await;
        shared.say(RadioState::Starting);
    }
    let ended = tokio::select! {
        biased;
        () = bus.daemon_gone() => None,
        ended = listen(shared, memory, bus, manager) => Some(ended),
    };
    ended.unwrap_or_else(|| {
        shared.say(RadioState::NoDaemon);
        memory.suspect_monitors(Instant::now());
        Ended::Lost
    })
}

impl Memory {
    /// The daemon has ended. Some of its versions crash over monitors; where it looks like that, we do
    /// without.
    fn suspect_monitors(&mut self, now: Instant) {
        let Some(since) = self.monitor_since.take() else { return };
        let soon = now.saturating_duration_since(since) < SOON;
        self.deaths = if soon { self.deaths + 1 } else { 0 };
        if self.deaths >= DEATHS && !self.no_monitors {
            self.no_monitors = true;
            tracing::warn!("bluetoothd ends again and again: from now on it is used without advertisement monitors");
        }
    }
}

/// What is done while the daemon is there.
async fn listen(shared: &Shared, memory: &mut Memory, bus: &Bus, manager: &Manager) -> Ended {
    let settings = &shared.settings;
    let adapter = adapter::wait_for(shared, manager, memory.adapter).await;
    memory.adapter = adapter.address;
    // What was wrong before is not any more; whether it listens is said in a moment.
    if !shared.state.borrow().is_listening() {
        shared.say(RadioState::Starting);
    }
    adapter::cut_links(&adapter.adapter, &settings.connectable, settings.timeouts.call).await;
    let name = adapter.name.clone();
    tokio::select! {
        biased;
        () = bus.adapter_gone(&name) => {
            shared.say(RadioState::Gone { adapter: Some(name) });
            Ended::Lost
        }
        ended = Listener::new(shared, memory, bus, adapter).run() => ended,
    }
}
