//! One connection to the broker, from the connect to the error that ends it.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::client::{Connected, Connection, ConnectionError, Happening, Incoming, Sender};
use super::inflight::{Sent, Window};
use super::{Counters, Uplink, UplinkState, count};
use crate::downlink::Ask;
use crate::message::{Message, Qos};
use crate::queue::{LossReason, Queue, Record, Seq};

/// How many records are taken from the queue at once, and how many bytes.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: usize = 256 * 1024;
/// How long a broker may hold all acknowledgements back before the connection is given up.
const STALLED: Duration = Duration::from_secs(30);
/// How long a stopping gateway goes on publishing what waits.
const LAST_WORDS: Duration = Duration::from_millis(1500);
/// How many received commands are remembered to know a second delivery by.
const REMEMBERED: usize = 256;

/// What lasts from one connection of an uplink to the next.
pub(super) struct Session<'u> {
    uplink: &'u Uplink,
    state: &'u watch::Sender<UplinkState>,
    counters: &'u Arc<Counters>,
    last_connected: Option<Instant>,
    /// Whether the session that the broker keeps for us holds our subscription. It may begin
    /// without: the connection broke before the subscription arrived, or the broker refused it.
    subscribed: bool,
    received: Received,
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
}

impl<'u> Session<'u> {
    pub(super) fn new(uplink: &'u Uplink, state: &'u watch::Sender<UplinkState>, counters: &'u Arc<Counters>) -> Self {
        Self { uplink, state, counters, last_connected: None, subscribed: false, received: Received::default() }
    }

    /// Connects and carries messages until the connection fails. `Ok` only after a requested stop.
    pub(super) async fn run(
        &mut self,
        connection: &mut Connection,
        stop: &CancellationToken,
    ) -> Result<(), ConnectionError> {
        // What a broker kept for us while we were away longer than this are stale commands.
        let stale = self.last_connected.is_none_or(|at| at.elapsed() > self.uplink.command_age);
        let connected = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            connected = tokio::time::timeout(self.uplink.options.connect_timeout * 2, connect(connection, stale)) => {
                connected.map_err(|_| ConnectionError("the broker did not answer in time".into()))??
            }
        };
        count(&self.counters.connects);
        let mut flow = self.begin(connection, connected)?;
        info!(
            uplink = %self.uplink.name, url = self.uplink.url,
            waiting = self.uplink.queue.counters().queued,
            "uplink connected"
        );
        let ended = self.carry(connection, &mut flow, stop).await;
        self.last_connected = Some(Instant::now());
        ended
    }

    fn begin(&mut self, connection: &Connection, connected: Connected) -> Result<Flow, ConnectionError> {
        if !connected.session_present {
            self.received = Received::default();
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
        let queue = self.uplink.queue.clone();
        loop {
            let happened = {
                // The library must not be interrupted while it writes, so one call of `next` is
                // kept until it is done, whatever else happens meanwhile.
                let next = connection.next();
                tokio::pin!(next);
                loop {
                    self.fill(flow)?;
                    let deadline = leaving.unwrap_or_else(|| flow.stalls_at());
                    tokio::select! {
                        biased;
                        happening = &mut next => break Some(happening?),
                        () = stop.cancelled(), if leaving.is_none() => leaving = Some(Instant::now() + LAST_WORDS),
                        records = read(&queue, flow.next), if flow.ready.is_empty() && flow.window.room() > 0 => {
                            match records {
                                Some(records) => flow.take(records),
                                // The queue is closed: nothing more will come.
                                None => leaving = Some(Instant::now()),
                            }
                        }
                        () = tokio::time::sleep_until(deadline) => match leaving {
                            Some(_) => break None,
                            None => return Err(ConnectionError("the broker stopped acknowledging".into())),
                        },
                    }
                }
            };
            let Some(happening) = happened else {
                return self.leave(connection, flow).await;
            };
            self.act(flow, happening).await;
            if leaving.is_some() && flow.window.is_empty() && self.uplink.queue.counters().queued == 0 {
                return self.leave(connection, flow).await;
            }
        }
    }

    /// Hands over as much of what is ready as the window has room for.
    fn fill(&self, flow: &mut Flow) -> Result<(), ConnectionError> {
        while flow.window.room() > 0
            && let Some(record) = flow.ready.pop_front()
        {
            let under_way = UnderWay { seq: record.seq, captured_at: record.captured_at };
            match Message::decode(record.body) {
                Ok(message) if flow.fits(&message) => flow.publish(&message, Sent::Record(under_way))?,
                Ok(message) => {
                    error!(
                        uplink = %self.uplink.name, topic = message.topic, bytes = message.payload.len(),
                        most = flow.largest_packet, "message dropped: larger than the broker takes"
                    );
                    self.uplink.queue.discard(record.seq, record.captured_at, LossReason::TooLarge);
                }
                Err(error) => {
                    error!(uplink = %self.uplink.name, seq = %record.seq, %error, "stored message dropped");
                    self.uplink.queue.discard(record.seq, record.captured_at, LossReason::Damaged);
                }
            }
        }
        Ok(())
    }

    async fn act(&mut self, flow: &mut Flow, happening: Happening) {
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
    fn done(&self, flow: &mut Flow, done: Option<Sent<UnderWay>>, refusal: Option<String>) {
        match (done, refusal) {
            (Some(Sent::Record(record)), None) => self.uplink.queue.acknowledge(record.seq),
            (Some(Sent::Record(record)), Some(reason)) => {
                error!(uplink = %self.uplink.name, seq = %record.seq, reason, "message refused by the broker");
                self.uplink.queue.discard(record.seq, record.captured_at, LossReason::Refused);
            }
            (Some(Sent::State), None) => {
                self.state.send_replace(UplinkState::Up);
            }
            (Some(Sent::State), Some(reason)) => {
                warn!(uplink = %self.uplink.name, reason, topic = self.uplink.topics.state(), "the broker refuses our state");
                self.state.send_replace(UplinkState::Up);
            }
            (None, _) => return,
        }
        flow.progress = Instant::now();
    }

    async fn receive(&mut self, incoming: Incoming) {
        if self.received.again(&incoming) {
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

    /// Says that we are gone, and closes the connection.
    async fn leave(&self, connection: &mut Connection, flow: &mut Flow) -> Result<(), ConnectionError> {
        flow.window = Window::new(usize::MAX);
        flow.publish(&self.uplink.options.will, Sent::State)?;
        flow.sender.disconnect();
        let goodbye = async { while connection.next().await.is_ok() {} };
        // A broker that does not answer any more publishes our will by itself.
        let _ = tokio::time::timeout(Duration::from_millis(500), goodbye).await;
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
        self.sender.publish(message).map_err(|_| closing())?;
        self.window.hand_over(sent);
        Ok(())
    }

    fn fits(&self, message: &Message) -> bool {
        packet_size(message) <= self.largest_packet
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

async fn read(queue: &Queue, from: Seq) -> Option<Vec<Record>> {
    queue.read(from, BATCH_RECORDS, BATCH_BYTES).await.ok()
}

/// The size of a PUBLISH packet of MQTT 5, the only version in which a broker tells its limit.
fn packet_size(message: &Message) -> usize {
    let id = if message.qos == Qos::AtMostOnce { 0 } else { 2 };
    let properties = message.correlation.as_ref().map_or(0, |data| 3 + data.len());
    let body = 2 + message.topic.len() + id + length_of_length(properties) + properties + message.payload.len();
    1 + length_of_length(body) + body
}

/// How many bytes MQTT needs to say a length: seven bits of it go into each.
fn length_of_length(length: usize) -> usize {
    match length {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

fn closing() -> ConnectionError {
    ConnectionError("the connection is being closed".into())
}

/// The commands received last. A broker that did not see our acknowledgement delivers a command
/// again, marked as a duplicate and with the same packet id; a second execution would be wrong.
#[derive(Default)]
struct Received(VecDeque<(u16, u64)>);

impl Received {
    /// Whether this is a second delivery of a command received before. Remembers it if not.
    fn again(&mut self, incoming: &Incoming) -> bool {
        if incoming.id == 0 {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        (&incoming.topic, &incoming.payload).hash(&mut hasher);
        let key = (incoming.id, hasher.finish());
        if incoming.duplicate && self.0.contains(&key) {
            return true;
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(key);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(id: u16, payload: &'static str, duplicate: bool) -> Incoming {
        Incoming {
            topic: "gw1-in/tank/valve".into(),
            payload: payload.into(),
            retained: false,
            duplicate,
            id,
            expires_in: None,
            response_topic: None,
            correlation: None,
        }
    }

    #[test]
    fn only_a_marked_repetition_with_the_same_id_and_content_is_a_second_delivery() {
        let mut received = Received::default();
        assert!(!received.again(&command(7, "1", false)));
        assert!(received.again(&command(7, "1", true)), "delivered again");
        assert!(!received.again(&command(7, "1", false)), "sent again by its sender");
        assert!(!received.again(&command(7, "0", true)), "the id was reused");
        assert!(!received.again(&command(8, "1", true)), "the first delivery never arrived");
        assert!(!received.again(&command(0, "1", true)), "QoS 0 has no second delivery");
    }

    #[test]
    fn the_size_of_a_packet_is_known_to_the_byte() {
        let sized = |payload: usize| Message::new("gw1-out/a/b", vec![0; payload]);
        let check = |message: &Message, expected: usize| assert_eq!(packet_size(message), expected);
        check(&sized(0), 2 + 2 + 11 + 2 + 1);
        check(&sized(111), 2 + 127);
        check(&sized(112), 3 + 128);
        check(&sized(16_384), 4 + 16_400);
        check(&Message { qos: Qos::AtMostOnce, ..sized(0) }, 2 + 2 + 11 + 1);
        check(&Message { correlation: Some(vec![0; 130].into()), ..sized(0) }, 3 + 2 + 11 + 2 + 2 + 133);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut received = Received::default();
        for id in 1..=2000 {
            received.again(&command(id, "1", false));
        }
        assert_eq!(received.0.len(), REMEMBERED);
    }
}
