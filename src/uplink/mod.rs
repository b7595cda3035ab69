//! An uplink: one MQTT session northbound, fed from one queue on disk.
//!
//! A record leaves the queue when its PUBACK has come, and for no other reason. Whatever happens
//! to a connection, the next one begins again at the oldest record that is not acknowledged; the
//! client library's memory is never trusted with it.
//!
//! `session` is one connection, from the connect to the error that ends it; `inflight` knows which
//! publication a packet id belongs to; `client` hides the client crates, which are known there
//! alone; `tls` reads certificates.

mod client;
mod inflight;
mod packet;
mod received;
mod session;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use client::{Incoming, Options, Protocol};
pub use tls::{TlsFiles, client_config};

use crate::backoff::{Backoff, Jitter};
use crate::downlink::{Ask, Source};
use crate::message::Message;
use crate::queue::Queue;
use crate::topics::Topics;
use client::Connection;

/// The first and the longest wait between connection attempts.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What an uplink is made of.
pub struct Uplink {
    /// Its name in the site file.
    pub name: Arc<str>,
    /// The broker, as people write it: for log lines, never with credentials.
    pub url: String,
    /// How to connect.
    pub options: Options,
    /// How long an absence may be for the session to be taken up again.
    pub command_age: Duration,
    /// Where its messages wait.
    pub queue: Queue,
    /// The gateway's topics.
    pub topics: Topics,
    /// Where commands go.
    pub asks: mpsc::Sender<Ask>,
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
    /// Commands the broker delivered a second time.
    pub duplicates: AtomicU64,
}

/// A running uplink, as others see it.
#[derive(Clone)]
pub struct UplinkEnd {
    /// Its name in the site file.
    pub name: Arc<str>,
    /// How it is.
    pub state: watch::Receiver<UplinkState>,
    /// What it has counted.
    pub counters: Arc<Counters>,
}

impl Uplink {
    /// Runs until `stop`, then publishes what is left for a moment, says goodbye and ends.
    pub fn start(self, stop: CancellationToken) -> (UplinkEnd, impl Future<Output = ()> + Send) {
        let (state, state_seen) = watch::channel(UplinkState::Down);
        let counters = Arc::new(Counters::default());
        let end = UplinkEnd { name: self.name.clone(), state: state_seen, counters: counters.clone() };
        (end, self.run(stop, state, counters))
    }

    async fn run(self, stop: CancellationToken, state: watch::Sender<UplinkState>, counters: Arc<Counters>) {
        let mut connection = Connection::new(self.options.clone());
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT, Jitter::Full);
        let mut session = session::Session::new(&self, &state, &counters);
        loop {
            let started = Instant::now();
            let ended = session.run(&mut connection, &stop).await;
            state.send_replace(UplinkState::Down);
            let error = match ended {
                Ok(()) => break,
                Err(error) => error,
            };
            let wait = backoff.next(started.elapsed());
            warn!(
                uplink = %self.name, url = self.url, %error,
                waiting = self.queue.counters().queued,
                retry_secs = format!("{:.1}", wait.as_secs_f64()),
                "uplink down; messages wait on disk"
            );
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        info!(uplink = %self.name, waiting = self.queue.counters().queued, "uplink closed");
    }

    fn birth(&self) -> Message {
        Message::new(self.topics.state(), "online").retained()
    }

    fn source(&self) -> Source {
        Source::Uplink(self.name.clone())
    }
}

/// The message a broker publishes for a gateway that is gone.
pub fn will(topics: &Topics) -> Message {
    Message::new(topics.state(), "offline").retained()
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
