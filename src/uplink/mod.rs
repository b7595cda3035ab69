//! An uplink: one MQTT session northbound, fed from one queue on disk.
//!
//! A record leaves the queue when its PUBACK has come, and for no other reason. Whatever happens
//! to a connection, the next one begins again at the oldest record that is not acknowledged; the
//! client library's memory is never trusted with it.
//!
//! `session` is one connection, from the connect to the error that ends it, and `flow` what it has
//! in hand; `records` is what is known of the queue's records from one connection to the next.
//! `lanes` decides who goes next, `replay` marks what waited, `retained` keeps the past from
//! overwriting the present; `refusals` and `poison` say what becomes of a message the broker does
//! not take; `inflight` knows which publication a packet id belongs to. `client` hides the client
//! crates, which are known there alone. `route` decides which URL is tried next and when, `dial`
//! makes the TCP connection, `keyring` and `tls` read passwords and certificates, and read them
//! again when they change.

mod client;
mod dial;
mod down;
mod flow;
mod inflight;
mod keyring;
mod lanes;
mod news;
mod outage;
mod packet;
mod poison;
mod received;
mod records;
mod refusals;
mod replay;
mod retained;
mod route;
mod session;
mod tls;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

pub use client::{Cause, Extras, Incoming, Options, Protocol};
pub use down::Down;
pub use keyring::{Keyring, Sources};
pub use news::News;
pub use received::Received;
pub use tls::TlsSettings;

use crate::backoff::STEADY;
use crate::clock::Clock;
use crate::config::url::BrokerUrl;
use crate::downlink::{Ask, Source};
use crate::message::Message;
use crate::queue::Queue;
use crate::topics::Topics;
use client::{Aim, Connection, ConnectionError};
use dial::dial;
use lanes::Recent;
use outage::{Fight, Outage};
use route::{Route, between};

/// How long the broker is left to the other one who uses our client id.
const PEACE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(60));

/// What an uplink is made of.
pub struct Uplink {
    /// Its name in the site file.
    pub name: Arc<str>,
    /// Where the broker is: at least one URL, of which the first is preferred.
    pub urls: Vec<BrokerUrl>,
    /// How long another URL than the first is used before those before it are looked for.
    pub return_after: Duration,
    /// How to connect.
    pub options: Options,
    /// How long an absence may be for the session to be taken up again.
    pub command_age: Duration,
    /// Where its messages wait.
    pub queue: Queue,
    /// How they are delivered.
    pub delivery: Delivery,
    /// The gateway's topics.
    pub topics: Topics,
    /// Where commands go.
    pub asks: mpsc::Sender<Ask>,
    /// What else comes down, and where that goes.
    pub down: Option<Down>,
}

/// How messages are delivered.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Percent of the window that what waited gets at least, 1–99.
    pub share: u8,
    /// How much of it is sent at most, in messages a second.
    pub rate: Option<u32>,
    /// How long a message is worth delivering.
    pub max_age: Option<Duration>,
    /// How long a broker may hold all acknowledgements back before the connection is given up.
    pub stall: Duration,
    /// The first wait before the next try at a broker that answers and does not keep us.
    pub first_wait: Duration,
    /// How long a broker that closes the connection at our state, or at the report of a loss, gets
    /// none.
    pub rest: Duration,
    /// What knows the time.
    pub clock: Clock,
}

impl Default for Delivery {
    /// 30 % for the backlog and no limit, no age, a broker that may be silent for 30 s, and an hour
    /// without what it does not want.
    fn default() -> Self {
        let (stall, first_wait) = (Duration::from_secs(30), route::FIRST_WAIT);
        let rest = Duration::from_secs(3600);
        Self { share: 30, rate: None, max_age: None, stall, first_wait, rest, clock: Clock::system() }
    }
}

/// How an uplink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UplinkState {
    /// Not connected.
    Down,
    /// Connected, and the broker has our birth.
    Up,
}

/// What an uplink has counted since the start. What became of its messages is counted by its queue.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that were accepted.
    pub connects: AtomicU64,
    /// What the broker delivered a second time.
    pub duplicates: AtomicU64,
    /// Messages that came down for local clients.
    pub bridged: AtomicU64,
    /// Messages that came down and found no room on the way to local clients.
    pub bridged_dropped: AtomicU64,
    /// Messages that came down and lost the topic they wanted an answer on: no rule takes an answer up to it.
    pub bridged_unanswerable: AtomicU64,
    /// Messages that were published as replayed.
    pub replayed: AtomicU64,
    /// Publications the broker refused, each try counted.
    pub refusals: AtomicU64,
    /// Messages that wait aside now for another try.
    pub aside: AtomicU64,
    /// The latest about its connections.
    pub news: News,
}

/// A running uplink, as others see it.
#[derive(Clone)]
pub struct UplinkEnd {
    /// Its name in the site file.
    pub name: Arc<str>,
    /// How it is.
    pub state: watch::Receiver<UplinkState>,
    /// The URL in use, or the one tried last.
    pub url: watch::Receiver<BrokerUrl>,
    /// What it has counted.
    pub counters: Arc<Counters>,
}

impl Uplink {
    /// Runs until `stop`, then publishes what is left for a moment, says goodbye and ends.
    pub fn start(self, keyring: Keyring, stop: CancellationToken) -> (UplinkEnd, impl Future<Output = ()> + Send) {
        let (state, state_seen) = watch::channel(UplinkState::Down);
        let (url, url_seen) = watch::channel(self.urls[0].clone());
        let counters = Arc::new(Counters::default());
        let end = UplinkEnd { name: self.name.clone(), state: state_seen, url: url_seen, counters: counters.clone() };
        // Noted here and not when the task gets its first turn: what is captured from now on is new.
        let recent = Mutex::new(Recent::new(Instant::now(), self.queue.end()));
        (end, self.run(keyring, stop, state, url, counters, recent))
    }

    async fn run(
        self,
        keyring: Keyring,
        stop: CancellationToken,
        state: watch::Sender<UplinkState>,
        url: watch::Sender<BrokerUrl>,
        counters: Arc<Counters>,
        recent: Mutex<Recent>,
    ) {
        tokio::select! {
            () = self.deliver(keyring, stop, state, url, counters, &recent) => {}
            () = watch_end(&self.queue, &recent) => {}
        }
    }

    async fn deliver(
        &self,
        mut keyring: Keyring,
        stop: CancellationToken,
        state: watch::Sender<UplinkState>,
        url: watch::Sender<BrokerUrl>,
        counters: Arc<Counters>,
        recent: &Mutex<Recent>,
    ) {
        let mut route = Route::new(self.urls.len(), Instant::now()).first_wait(self.delivery.first_wait);
        let mut outage = Outage::none(self.urls.len());
        let mut session = session::Session::new(self, &state, &counters, recent);
        let mut connection = None;
        loop {
            let (index, wait) = route.next(Instant::now());
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
                // Perhaps we are let in with the new ones.
                () = keyring.changed() => {}
            }
            let keys = tokio::select! {
                () = stop.cancelled() => break,
                keys = keyring.keys() => keys,
            };
            let aim = Aim { url: self.urls[index].clone(), keys };
            let connection = connection.get_or_insert_with(|| Connection::new(self.options.clone(), aim.clone()));
            connection.aim(aim);
            url.send_replace(connection.url().clone());

            let leave = stop.child_token();
            let reason = self.reason_to_leave(index, &mut keyring, route.stay(self.return_after), state.subscribe());
            let (ended, reason) = carry(session.run(connection, &leave), reason, &leave).await;
            state.send_replace(UplinkState::Down);

            let now = Instant::now();
            if connection.connected_for().is_some() {
                route.connected();
                outage.over();
            }
            match (ended, reason) {
                (_, Some(Reason::NewKeys)) => route.again(index),
                (_, Some(Reason::EarlierUrl(earlier))) => {
                    info!(uplink = %self.name, url = %self.urls[earlier], "a preferred broker is back; returning to it");
                    route.go_back(earlier);
                }
                (Ok(()), None) => break,
                (Err(error), None) => {
                    counters.news.failed(&error);
                    let connected_for = connection.connected_for();
                    // A connection that has brought messages through was a good one, however short.
                    let worked_for =
                        connected_for.map(|time| if session.was_useful() { time.max(STEADY) } else { time });
                    route.failed(index, error.cause, worked_for, now);
                    self.tell(index, &error, outage.is_news(index, &error, now));
                    let fight = outage.fight(&error, connected_for, now);
                    if fight == Some(Fight::Certain) {
                        route.rest(index, between(PEACE.0, PEACE.1), now);
                    }
                    self.tell_fight(index, fight);
                }
            }
        }
        info!(uplink = %self.name, waiting = self.queue.counters().queued, "uplink closed");
    }

    fn tell(&self, index: usize, error: &ConnectionError, news: bool) {
        let (uplink, url, waiting) = (&self.name, &self.urls[index], self.queue.counters().queued);
        if news {
            warn!(%uplink, %url, %error, waiting, "uplink down; messages wait on disk");
        } else {
            debug!(%uplink, %url, %error, waiting, "uplink still down");
        }
    }

    fn tell_fight(&self, index: usize, fight: Option<Fight>) {
        let (uplink, url, client_id) = (&self.name, &self.urls[index], &self.options.client_id);
        match fight {
            None => {}
            Some(Fight::Certain) => error!(
                %uplink, %url, client_id,
                "somebody else uses this client id: the broker ends one session for the sake of the other, over and over"
            ),
            Some(Fight::Likely) => warn!(
                %uplink, %url, client_id,
                "the broker closes each connection soon after it came about; perhaps somebody else uses this client id"
            ),
        }
    }

    /// Waits until there is a better connection to be had than the one there is.
    async fn reason_to_leave(
        &self,
        index: usize,
        keyring: &mut Keyring,
        stay: Duration,
        state: watch::Receiver<UplinkState>,
    ) -> Reason {
        tokio::select! {
            () = keyring.changed() => Reason::NewKeys,
            earlier = self.earlier_is_back(index, stay, state) => Reason::EarlierUrl(earlier),
        }
    }

    /// Waits until a URL that stands before this one takes connections again.
    async fn earlier_is_back(&self, index: usize, stay: Duration, mut state: watch::Receiver<UplinkState>) -> usize {
        if index == 0 || state.wait_for(|state| *state == UplinkState::Up).await.is_err() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(stay).await;
            for (earlier, url) in self.urls[..index].iter().enumerate() {
                match dial(&url.address()).await {
                    Ok(_) => return earlier,
                    Err(error) => debug!(uplink = %self.name, %url, %error, "a preferred broker is not back yet"),
                }
            }
        }
    }

    fn birth(&self) -> Message {
        Message::new(self.topics.state(), "online").retained()
    }

    fn source(&self) -> Source {
        Source::Uplink(self.name.clone())
    }
}

/// Why a connection is left although it works.
enum Reason {
    /// There is another password or certificate.
    NewKeys,
    /// The URL with this index, which stands before the one in use, takes connections again.
    EarlierUrl(usize),
}

/// Runs a connection to its end. When there is a reason to leave it, it is left in good order.
async fn carry(
    carrying: impl Future<Output = Result<(), ConnectionError>>,
    reason: impl Future<Output = Reason>,
    leave: &CancellationToken,
) -> (Result<(), ConnectionError>, Option<Reason>) {
    tokio::pin!(carrying);
    tokio::select! {
        ended = &mut carrying => (ended, None),
        reason = reason => {
            leave.cancel();
            (carrying.await, Some(reason))
        }
    }
}

/// The message a broker publishes for a gateway that is gone.
pub fn will(topics: &Topics) -> Message {
    Message::new(topics.state(), "offline").retained()
}

/// Notes where the queue ends, for as long as the uplink runs.
async fn watch_end(queue: &Queue, recent: &Mutex<Recent>) {
    loop {
        tokio::time::sleep(lanes::STEP).await;
        recent.lock().unwrap_or_else(PoisonError::into_inner).note(Instant::now(), queue.end());
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Settings;

    pub fn uplink(dir: &std::path::Path) -> Uplink {
        let topics = Topics::new("gw1");
        let second = Duration::from_secs(1);
        Uplink {
            name: "central".into(),
            urls: vec![BrokerUrl::parse("mqtt://127.0.0.1:1").unwrap()],
            return_after: second,
            options: Options {
                protocol: Protocol::V5,
                client_id: "gw1".into(),
                keep_alive: 30 * second,
                will: will(&topics),
                window: 10,
                session_expiry: second,
                connect_timeout: second,
                for_controllers: false,
            },
            command_age: second,
            queue: Queue::open(Settings::new(dir)).unwrap(),
            delivery: Delivery::default(),
            topics,
            asks: mpsc::channel(1).0,
            down: None,
        }
    }

    #[test]
    fn a_password_that_takes_long_to_be_read_does_not_hold_the_stop_up() {
        // With its only thread for slow work taken, no file is read.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
        let (release, released) = std::sync::mpsc::channel::<()>();
        runtime.spawn_blocking(move || released.recv());
        let dir = tempfile::tempdir().unwrap();
        runtime.block_on(async {
            let stop = CancellationToken::new();
            let keyring = Keyring::new("central".into(), Sources::default()).unwrap();
            let (_end, task) = uplink(dir.path()).start(keyring, stop.clone());
            let task = tokio::spawn(task);
            tokio::time::sleep(Duration::from_millis(200)).await;
            stop.cancel();
            // Less than the files get, and more than it takes.
            tokio::time::timeout(Duration::from_secs(4), task).await.expect("it stops").unwrap();
        });
        drop(release);
    }
}
