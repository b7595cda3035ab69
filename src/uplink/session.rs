//! One connection to the broker, from the connect to the error that ends it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::client::{Cause, Connected, Connection, ConnectionError, Extras, Happening, Incoming, Sender};
use super::inflight::{Sent, Window};
use super::packet::publish_size;
use super::received::Received;
use super::{Counters, Uplink, UplinkState, count};
use crate::downlink::Ask;
use crate::message::Message;
use crate::queue::{LossReason, Queue, Record, Seq};
use crate::seldom::Seldom;

/// How many records are taken from the queue at once, and how many bytes.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: usize = 256 * 1024;
/// How long a broker may hold all acknowledgements back before the connection is given up.
const STALLED: Duration = Duration::from_secs(30);
/// How long a stopping gateway goes on publishing what waits.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long the broker has to take note of our farewell, and then of the end of the connection.
const FAREWELL: Duration = Duration::from_millis(300);

/// What lasts from one connection of an uplink to the next.
pub(super) struct Session<'u> {
    uplink: &'u Uplink,
    state: &'u watch::Sender<UplinkState>,
    counters: &'u Arc<Counters>,
    /// When the broker was last heard.
    last_heard: Option<Instant>,
    /// Whether the session that the broker keeps for us holds our subscription. It may begin
    /// without: the connection broke before the subscription arrived, or the broker refused it.
    subscribed: bool,
    received: Received,
    drops: Seldom,
}

/// What has to be known of a record under way.
#[derive(Clone, Copy)]
struct UnderWay {
    seq: Seq,
    captured_at: SystemTime,
}

/// What a connection has in hand.
struct Flow {
    sender: Sender,
    window: Window<UnderWay>,
    /// Read from the queue, not yet handed over.
    ready: VecDeque<Record>,
    /// Where to read on.
    next: Seq,
    largest_packet: usize,
    /// When the last acknowledgement came, or the window was last empty.
    progress: Instant,
    farewell: Farewell,
}

/// How far the farewell of a connection has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Farewell {
    NotYet,
    Said,
    Heard,
}

impl<'u> Session<'u> {
    pub(super) fn new(uplink: &'u Uplink, state: &'u watch::Sender<UplinkState>, counters: &'u Arc<Counters>) -> Self {
        Self {
            uplink,
            state,
            counters,
            last_heard: None,
            subscribed: false,
            received: Received::new(uplink.command_age),
            drops: Seldom::default(),
        }
    }

    /// Connects and carries messages until the connection fails. `Ok` only after a requested stop.
    pub(super) async fn run(
        &mut self,
        connection: &mut Connection,
        stop: &CancellationToken,
    ) -> Result<(), ConnectionError> {
        // What a broker kept for us while we were away longer than this are stale commands.
        let stale = self.last_heard.is_none_or(|at| at.elapsed() > self.uplink.command_age);
        let connected = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            connected = tokio::time::timeout(self.uplink.options.connect_timeout * 2, connect(connection, stale)) => {
                connected.map_err(|_| ConnectionError::timeout())??
            }
        };
        count(&self.counters.connects);
        let mut flow = self.begin(connection, connected)?;
        info!(
            uplink = %self.uplink.name, url = %connection.url(),
            waiting = self.uplink.queue.counters().queued,
            "uplink connected"
        );
        self.last_heard = Some(Instant::now());
        self.carry(connection, &mut flow, stop).await
    }

    fn begin(&mut self, connection: &Connection, connected: Connected) -> Result<Flow, ConnectionError> {
        if !connected.session_present {
            self.received = Received::new(self.uplink.command_age);
            self.subscribed = false;
        }
        let room = connected.receive_maximum.map_or(usize::MAX, usize::from);
        let mut flow = Flow {
            sender: connection.sender(),
            window: Window::new(room.min(usize::from(self.uplink.options.window))),
            ready: VecDeque::new(),
            next: self.uplink.queue.oldest_unacknowledged(),
            largest_packet: connected.largest_packet.map_or(usize::MAX, |bytes| bytes as usize),
            progress: Instant::now(),
            farewell: Farewell::NotYet,
        };
        if !self.subscribed {
            flow.sender.subscribe(&self.uplink.topics.commands()).map_err(|_| closing())?;
        }
        flow.publish(&self.uplink.birth(), Sent::State)?;
        Ok(flow)
    }

    async fn carry(
        &mut self,
        connection: &mut Connection,
        flow: &mut Flow,
        stop: &CancellationToken,
    ) -> Result<(), ConnectionError> {
        let mut leaving: Option<Instant> = None;
        // Kept until it is done as well: begun anew at every turn, it would never come to its end
        // while the broker talks without a pause.
        let mut reading = None;
        loop {
            let happened = {
                // The library must not be interrupted while it writes, so one call of `next` is
                // kept until it is done, whatever else happens meanwhile.
                let next = connection.next();
                tokio::pin!(next);
                loop {
                    self.fill(flow)?;
                    self.counters.news.carries(flow.window.len());
                    if reading.is_none() && flow.ready.is_empty() && flow.window.room() > 0 {
                        reading = Some(Box::pin(read(self.uplink.queue.clone(), flow.next)));
                    }
                    let deadline = leaving.unwrap_or_else(|| flow.stalls_at());
                    tokio::select! {
                        happening = &mut next => break Some(happening?),
                        () = stop.cancelled(), if leaving.is_none() => {
                            let patience = if self.is_done(flow) { Duration::ZERO } else { LAST_WORDS };
                            leaving = Some(Instant::now() + patience);
                        }
                        records = some(&mut reading) => {
                            reading = None;
                            match records {
                                Some(records) => flow.take(records),
                                // The queue is closed: nothing more will come.
                                None => leaving = Some(Instant::now()),
                            }
                        }
                        () = tokio::time::sleep_until(deadline) => match leaving {
                            Some(_) => break None,
                            None => return Err(ConnectionError::new(Cause::Timeout, "the broker stopped acknowledging")),
                        },
                    }
                }
            };
            let Some(happening) = happened else {
                return self.leave(connection, flow).await;
            };
            self.act(flow, happening).await;
            if leaving.is_some() && self.is_done(flow) {
                return self.leave(connection, flow).await;
            }
        }
    }

    /// Whether everything captured so far has been delivered.
    fn is_done(&self, flow: &Flow) -> bool {
        flow.window.is_empty() && self.uplink.queue.counters().queued == 0
    }

    /// Hands over as much of what is ready as the window has room for.
    fn fill(&mut self, flow: &mut Flow) -> Result<(), ConnectionError> {
        while flow.window.room() > 0
            && let Some(record) = flow.ready.pop_front()
        {
            let under_way = UnderWay { seq: record.seq, captured_at: record.captured_at };
            match Message::decode(record.body) {
                Ok(message) if flow.fits(&message) => flow.publish(&message, Sent::Record(under_way))?,
                Ok(message) => {
                    let (topic, size, most) =
                        (&message.topic, publish_size(&message, &Extras::default()), flow.largest_packet);
                    let why = format!("larger than the broker takes ({topic}: {size} of at most {most} bytes)");
                    self.drop_record(under_way, LossReason::TooLarge, &why);
                }
                Err(error) => self.drop_record(under_way, LossReason::Damaged, &format!("unreadable ({error})")),
            }
        }
        Ok(())
    }

    async fn act(&mut self, flow: &mut Flow, happening: Happening) {
        if !matches!(happening, Happening::Sent(_)) {
            self.last_heard = Some(Instant::now());
        }
        match happening {
            Happening::Sent(id) => {
                let done = flow.window.sent_as(id);
                self.done(flow, done, None);
            }
            Happening::Acknowledged { id, refusal } => {
                let done = flow.window.acknowledged(id);
                self.done(flow, done, refusal);
            }
            Happening::Subscribed { refused: true } => {
                warn!(uplink = %self.uplink.name, "the broker refused our subscription: commands will not arrive");
            }
            Happening::Subscribed { refused: false } => self.subscribed = true,
            Happening::Incoming(incoming) => self.receive(incoming).await,
            Happening::Connected(_) | Happening::Other => {}
        }
    }

    /// A publication needs no more attention: it was acknowledged, or it needs no acknowledgement.
    fn done(&mut self, flow: &mut Flow, done: Option<Sent<UnderWay>>, refusal: Option<String>) {
        match (done, refusal) {
            (Some(Sent::Record(record)), None) => self.uplink.queue.acknowledge(record.seq),
            (Some(Sent::Record(record)), Some(reason)) => {
                self.drop_record(record, LossReason::Refused, &format!("refused by the broker ({reason})"));
            }
            (Some(Sent::State), refusal) => {
                if let Some(reason) = refusal {
                    warn!(uplink = %self.uplink.name, reason, topic = self.uplink.topics.state(), "the broker refuses our state");
                }
                match flow.farewell {
                    Farewell::NotYet => {
                        self.state.send_replace(UplinkState::Up);
                    }
                    Farewell::Said | Farewell::Heard => flow.farewell = Farewell::Heard,
                }
            }
            (None, _) => return,
        }
        flow.progress = Instant::now();
    }

    /// Gives up a record that cannot be delivered because it is what `why` says. It is counted and reported as a loss.
    fn drop_record(&mut self, record: UnderWay, reason: LossReason, why: &str) {
        if let Some(held_back) = self.drops.due() {
            error!(uplink = %self.uplink.name, seq = %record.seq, held_back, "message {why}; dropped");
        }
        self.uplink.queue.discard(record.seq, record.captured_at, reason);
    }

    async fn receive(&mut self, incoming: Incoming) {
        if self.received.again(&incoming, Instant::now()) {
            count(&self.counters.duplicates);
            debug!(uplink = %self.uplink.name, topic = incoming.topic, "command delivered twice; obeyed once");
            return;
        }
        let ask = Ask { source: self.uplink.source(), incoming };
        // The downlink decides quickly and waits for nothing but the disk.
        if self.uplink.asks.send(ask).await.is_err() {
            debug!(uplink = %self.uplink.name, "command ignored: the gateway is stopping");
        }
    }

    /// Says that we are gone, and closes the connection. A broker that does not take our word for
    /// it in time gets no DISCONNECT either, and then says it by itself: that is what a will is for.
    async fn leave(&mut self, connection: &mut Connection, flow: &mut Flow) -> Result<(), ConnectionError> {
        flow.publish(&self.uplink.options.will, Sent::State)?;
        flow.farewell = Farewell::Said;
        let said = async {
            while flow.farewell != Farewell::Heard {
                let happening = connection.next().await?;
                self.act(flow, happening).await;
            }
            Ok::<_, ConnectionError>(())
        };
        if let Ok(Ok(())) = tokio::time::timeout(FAREWELL, said).await {
            flow.sender.disconnect();
            let goodbye = async { while connection.next().await.is_ok() {} };
            // The broker has our word already; what is left is politeness.
            let _ = tokio::time::timeout(FAREWELL, goodbye).await;
        }
        Ok(())
    }
}

impl Flow {
    fn take(&mut self, records: Vec<Record>) {
        if let Some(last) = records.last() {
            self.next = last.seq.next();
        }
        if self.window.is_empty() {
            self.progress = Instant::now();
        }
        self.ready.extend(records);
    }

    fn publish(&mut self, message: &Message, sent: Sent<UnderWay>) -> Result<(), ConnectionError> {
        self.sender.publish(message, &Extras::default()).map_err(|_| closing())?;
        self.window.hand_over(sent);
        Ok(())
    }

    fn fits(&self, message: &Message) -> bool {
        publish_size(message, &Extras::default()) <= self.largest_packet
    }

    /// When the connection counts as stalled. With nothing under way there is nothing to wait for.
    fn stalls_at(&self) -> Instant {
        if self.window.is_empty() { Instant::now() + STALLED } else { self.progress + STALLED }
    }
}

async fn connect(connection: &mut Connection, clean: bool) -> Result<Connected, ConnectionError> {
    connection.start_over(clean).await?;
    loop {
        if let Happening::Connected(connected) = connection.next().await? {
            return Ok(connected);
        }
    }
}

async fn read(queue: Queue, from: Seq) -> Option<Vec<Record>> {
    queue.read(from, Seq::END, BATCH_RECORDS, BATCH_BYTES).await.ok()
}

/// The future, if there is one; without one, nothing, for ever.
async fn some<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

fn closing() -> ConnectionError {
    ConnectionError::new(Cause::Closed(None), "the connection is being closed")
}
