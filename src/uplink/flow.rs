//! What one connection has in hand: the window, and what is read from the queue to fill it.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Delivery;
use super::client::{Cause, Connected, ConnectionError, Extras, Sender};
use super::inflight::{Sent, Window};
use super::lanes::{Lane, Rate, Turns};
use super::packet::publish_size;
use crate::message::{Message, Qos};
use crate::queue::{Loss, Queue, Record, Seq};

/// How many records are taken from the queue at once, and how many bytes.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: usize = 256 * 1024;
/// With both lanes at work each reads on before it has run dry: while it waited for the disk, the
/// other would take its turns.
const READ_AHEAD: usize = 64;
/// How often to look whether the live lane has fallen behind.
const CHECK: Duration = Duration::from_secs(1);
/// A broker that has acknowledged nothing for this long is not slow; it is frozen, or gone.
const MOVING: Duration = Duration::from_secs(3);

/// What has to be known of a record under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// Its place.
    pub seq: Seq,
    /// When it was captured.
    pub captured_at: SystemTime,
    /// The hash of its topic; 0 while nobody needs it.
    pub topic: u64,
}

/// A read that is not done yet, and a loss that has not come yet. They are kept until they are
/// done: begun anew at every turn, they would never come to their end while the broker talks
/// without a pause.
pub type Reading = Pin<Box<dyn Future<Output = Read> + Send>>;
pub type LossComing = Pin<Box<dyn Future<Output = Option<Loss>> + Send>>;

/// What was read.
pub struct Read {
    /// The records; `None` when the queue is closed.
    pub records: Option<Vec<Record>>,
    /// Up to where was read, if there was nothing.
    pub until: Seq,
}

/// A range of the queue on its way into the window.
#[derive(Default)]
pub struct Supply {
    /// Read, not yet handed over.
    pub ready: VecDeque<Record>,
    /// Where to read on.
    pub next: Seq,
    /// Where to stop.
    pub until: Seq,
    /// The read under way.
    pub reading: Option<Reading>,
}

/// How far the farewell of a connection has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// Not said.
    NotYet,
    /// Said.
    Said,
    /// The broker has taken note.
    Heard,
}

/// What a connection has in hand.
pub struct Flow {
    /// Where publications go.
    pub sender: Sender,
    /// What is under way.
    pub window: Window<UnderWay>,
    /// What has just been captured.
    pub live: Supply,
    /// What waited.
    pub backlog: Supply,
    /// What was set aside and is to be tried again, one at a time.
    pub again: Supply,
    /// The one that is to be tried alone, as soon as the window is empty.
    pub trying: Option<Seq>,
    /// What is below was captured before: it is replayed.
    pub live_from: Seq,
    /// Holds the backlog to its rate.
    pub rate: Rate,
    /// The loss that is being reported, and whether the report is under way.
    pub loss: Option<(Loss, bool)>,
    /// The loss that may come.
    pub loss_coming: Option<LossComing>,
    /// When to look at the lanes again.
    pub check_at: Instant,
    /// How many publications were acknowledged on this connection.
    pub acknowledged: u64,
    /// How far the farewell has come.
    pub farewell: Farewell,
    /// Whether the broker keeps retained messages.
    pub retain_available: bool,
    room: usize,
    /// How many records may be under way or unsaved.
    most: usize,
    unsaved: usize,
    turns: Turns,
    first_live: Seq,
    largest_packet: usize,
    maximum_qos: u8,
    /// When the last acknowledgement came, or the window was last empty.
    progress: Instant,
    stall: Duration,
}

impl Supply {
    /// From `next` to `until`.
    pub fn new(next: Seq, until: Seq) -> Self {
        Self { next, until, ..Self::default() }
    }

    /// Whether there is nothing left, and nothing to be read.
    pub fn is_exhausted(&self) -> bool {
        self.ready.is_empty() && self.reading.is_none() && self.next >= self.until
    }

    /// Begins to read on, unless that is under way.
    pub fn read_on(&mut self, queue: &Queue) {
        if self.reading.is_none() && self.next < self.until {
            let (queue, from, until) = (queue.clone(), self.next, self.until);
            self.reading = Some(Box::pin(async move {
                let records = queue.read(from, until, BATCH_RECORDS, BATCH_BYTES).await.ok();
                Read { records, until }
            }));
        }
    }

    /// Takes what was read. Returns `false` when the queue is closed.
    pub fn take(&mut self, read: Read, wanted: impl Fn(&Record) -> bool) -> bool {
        self.reading = None;
        let Some(records) = read.records else { return false };
        self.next = records.last().map_or(read.until, |last| last.seq.next());
        self.ready.extend(records.into_iter().filter(wanted));
        true
    }
}

impl Flow {
    /// A connection that has just been made. `oldest`: the oldest record that waits; `live_from`:
    /// where the live lane begins.
    pub fn new(
        sender: Sender,
        connected: Connected,
        window: u16,
        delivery: &Delivery,
        (oldest, live_from): (Seq, Seq),
    ) -> Self {
        let announced = connected.receive_maximum.map_or(usize::MAX, usize::from);
        let (room, now) = (announced.min(usize::from(window)), Instant::now());
        Self {
            sender,
            window: Window::new(room),
            live: Supply::new(live_from, Seq::END),
            backlog: Supply::new(oldest, live_from),
            again: Supply::default(),
            trying: None,
            live_from,
            rate: Rate::new(delivery.rate, now),
            loss: None,
            loss_coming: None,
            check_at: now + CHECK,
            acknowledged: 0,
            farewell: Farewell::NotYet,
            retain_available: connected.retain_available,
            room,
            most: usize::from(window),
            unsaved: 0,
            turns: Turns::new(delivery.share),
            first_live: live_from,
            largest_packet: connected.largest_packet.map_or(usize::MAX, |bytes| bytes as usize),
            maximum_qos: connected.maximum_qos,
            progress: now,
            stall: delivery.stall,
        }
    }

    /// Has publications go one at a time, or as many as there is room for.
    pub fn one_at_a_time(&mut self, yes: bool) {
        self.window.resize(if yes { 1 } else { self.room });
    }

    /// Takes note of how many acknowledgements a kill would make forgotten.
    pub fn note_unsaved(&mut self, unsaved: usize) {
        self.unsaved = unsaved;
    }

    /// For how many more records there is room. One that was acknowledged keeps its place until that
    /// is written down: so a kill never has more sent again than the window holds.
    pub fn room(&self) -> usize {
        self.window.room().min(self.most.saturating_sub(self.window.len() + self.unsaved))
    }

    /// Whether records wait for nothing but that acknowledgements are written down. That is asked for at
    /// once: holding still until a part of the window has gathered makes fewer marks, but at a window
    /// of 100 it took a broker on the same machine to a thirtieth of its rate.
    pub fn is_held(&self) -> bool {
        self.window.room() > 0 && self.room() == 0
    }

    /// What a message becomes for this broker.
    pub fn adapt(&self, message: &mut Message) {
        message.retain &= self.retain_available;
        if self.maximum_qos == 0 {
            message.qos = Qos::AtMostOnce;
        }
    }

    /// The size of the packet, if it is more than the broker takes.
    pub fn too_large(&self, message: &Message, extras: &Extras) -> Option<(usize, usize)> {
        // Nearly every broker takes everything, and then there is nothing to be counted.
        if self.largest_packet == usize::MAX {
            return None;
        }
        let size = publish_size(message, extras);
        (size > self.largest_packet).then_some((size, self.largest_packet))
    }

    /// Hands a publication to the client.
    pub fn publish(&mut self, message: &Message, extras: &Extras, sent: Sent<UnderWay>) -> Result<(), ConnectionError> {
        if self.window.is_empty() {
            self.progress = Instant::now();
        }
        self.sender.publish(message, extras).map_err(|_| closing())?;
        self.window.hand_over(sent);
        Ok(())
    }

    /// The next record of the lanes.
    pub fn next_record(&mut self, now: Instant) -> Option<Record> {
        let backlog = !self.backlog.ready.is_empty() && self.rate.allows(now);
        match self.turns.next(!self.live.ready.is_empty(), backlog)? {
            Lane::Live => self.live.ready.pop_front(),
            Lane::Backlog => {
                self.rate.took();
                self.backlog.ready.pop_front()
            }
        }
    }

    /// Begins the reads that are due.
    pub fn read_on(&mut self, queue: &Queue) {
        let low = if self.backlog.is_exhausted() { 0 } else { READ_AHEAD };
        if self.room() > 0 || low > 0 {
            for lane in [&mut self.live, &mut self.backlog] {
                if lane.ready.len() <= low {
                    lane.read_on(queue);
                }
            }
        }
        if self.loss.is_none() && self.loss_coming.is_none() {
            let queue = queue.clone();
            self.loss_coming = Some(Box::pin(async move { queue.next_loss().await }));
        }
    }

    /// Takes what the backlog has read, without what the live lane has under way: both have been
    /// there since the live lane began anew.
    pub fn take_backlog(&mut self, read: Read, wanted: impl Fn(Seq) -> bool) -> bool {
        let last = read.records.as_ref().and_then(|records| records.last());
        let under_way: HashSet<Seq> = match last.is_some_and(|last| last.seq >= self.first_live) {
            true => self.window.under_way().filter_map(record).map(|record| record.seq).collect(),
            false => HashSet::new(),
        };
        self.backlog.take(read, |record| wanted(record.seq) && !under_way.contains(&record.seq))
    }

    /// Looks whether the live lane has fallen behind, once in a while: `old` is below what was
    /// captured in the last seconds. If so, all that waits becomes backlog, and live begins anew
    /// at the end.
    pub fn keep_up(&mut self, now: Instant, old: impl FnOnce() -> Seq, end: impl FnOnce() -> Seq) -> bool {
        if now < self.check_at {
            return false;
        }
        self.check_at = now + CHECK;
        // Numbers alone prove nothing: some are given to what is never stored.
        let Some(next) = self.live.ready.front().map(|record| record.seq) else { return false };
        if next >= old() {
            return false;
        }
        let end = end();
        self.backlog.next = if self.backlog.is_exhausted() { next } else { self.backlog.next };
        self.backlog.until = end;
        self.live = Supply::new(end, Seq::END);
        self.live_from = end;
        true
    }

    /// Has read again, as backlog, what lies above `from` and below what the live lane reads next, as
    /// far as it is neither finished nor under way: it was passed over.
    pub fn go_back(&mut self, from: Seq) {
        let first = |lane: &Supply| lane.ready.front().map_or(lane.next, |record| record.seq);
        let live = first(&self.live);
        self.backlog = Supply::new(from.min(first(&self.backlog)).min(live), live);
        self.live_from = live;
        self.first_live = self.first_live.min(from);
    }

    /// Something was acknowledged, or left and needs no acknowledgement.
    pub fn made_progress(&mut self) {
        self.acknowledged += 1;
        self.progress = Instant::now();
    }

    /// Whether the broker has acknowledged something on this connection, and does.
    pub fn is_moving(&self, now: Instant) -> bool {
        self.acknowledged > 0 && now.saturating_duration_since(self.progress) < MOVING
    }

    /// When the connection counts as stalled. With nothing under way there is nothing to wait for.
    pub fn stalls_at(&self) -> Option<Instant> {
        (!self.window.is_empty()).then(|| self.progress + self.stall)
    }

    /// When the backlog may go on that its rate holds.
    pub fn backlog_due(&self, now: Instant) -> Option<Instant> {
        let wants = !self.backlog.ready.is_empty() && self.room() > 0;
        self.rate.ready_at().filter(|at| wants && *at > now)
    }
}

/// The record, if it is one.
pub fn record(sent: &Sent<UnderWay>) -> Option<UnderWay> {
    match sent {
        Sent::Record(record) => Some(*record),
        Sent::State | Sent::Loss(_) => None,
    }
}

/// The client takes nothing more: the connection is at its end.
pub fn closing() -> ConnectionError {
    ConnectionError::new(Cause::Closed(None), "the connection is being closed")
}
