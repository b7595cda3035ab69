//! What becomes of the records of the queue: published, acknowledged, set aside or given up. It
//! lasts from one connection to the next.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::client::{ConnectionError, Extras, Protocol, Refusal};
use super::flow::{Flow, Read, Supply, UnderWay};
use super::inflight::Sent;
use super::lanes::Recent;
use super::poison::{Poison, Ruling, Seen, View};
use super::refusals::{Aside, GivenUp};
use super::replay::{self, ClockWord};
use super::retained::Retained;
use super::{Counters, Uplink, count, flow};
use crate::clock::Correction;
use crate::message::Message;
use crate::queue::{LossReason, Record, Seq};
use crate::seldom::Seldom;

/// What was captured in this time before the connection was made is not called replayed: after a
/// short blink, or at the start, it is as good as fresh.
const FRESH: Duration = Duration::from_secs(5);
/// When the next record of the live lane is older than this, live has fallen behind.
const BEHIND: Duration = Duration::from_secs(10);

/// What is known about the records of an uplink.
pub struct Records<'u> {
    uplink: &'u Uplink,
    counters: &'u Counters,
    recent: &'u Mutex<Recent>,
    aside: Aside,
    poison: Poison,
    retained: Retained,
    topics: RandomState,
    drops: Seldom,
    overtaken: Seldom,
    /// The oldest that a lane has passed over, because its topic is in question and there is no room
    /// to remember it by; it is read again from there on.
    passed_over: Option<Seq>,
    /// A topic is in question no more, so it is worth looking.
    look_again: bool,
}

impl<'u> Records<'u> {
    /// Nothing is known yet.
    pub fn new(uplink: &'u Uplink, counters: &'u Counters, recent: &'u Mutex<Recent>) -> Self {
        Self {
            uplink,
            counters,
            recent,
            aside: Aside::default(),
            poison: Poison::default(),
            retained: Retained::new(uplink.queue.finished_end_at_open()),
            topics: RandomState::new(),
            drops: Seldom::default(),
            overtaken: Seldom::default(),
            passed_over: None,
            look_again: false,
        }
    }

    /// Where the lanes of a new connection begin: the backlog, and live.
    pub fn lanes(&self) -> (Seq, Seq) {
        (self.uplink.queue.oldest_unacknowledged(), self.older_than(FRESH))
    }

    /// Gives the window the room it may have now. `careful`: one at a time, whatever else is known.
    pub fn make_room(&mut self, flow: &mut Flow, careful: bool) {
        if self.poison.careful() {
            self.poison.finished_below(self.uplink.queue.oldest_unacknowledged());
        }
        flow.one_at_a_time(careful || self.poison.careful());
        flow.note_unsaved(self.uplink.queue.unsaved());
    }

    /// Hands over as much of what is ready as the window has room for.
    pub fn fill(&mut self, flow: &mut Flow) -> Result<(), ConnectionError> {
        let now = Instant::now();
        if flow.keep_up(now, || self.older_than(BEHIND), || self.uplink.queue.end()) {
            // A broker that takes nothing at all is another matter, and told elsewhere.
            if flow.is_moving(now) && self.overtaken.note(1).is_some() {
                let waiting = self.uplink.queue.counters().queued;
                info!(uplink = %self.uplink.name, waiting, "messages come faster than the broker takes them; the newest go first");
            }
        }
        if std::mem::take(&mut self.look_again)
            && let Some(from) = self.passed_over.take()
        {
            flow.go_back(from);
        }
        if !self.aside.is_empty() || !self.poison.is_quiet() {
            self.try_again(flow, now)?;
        }
        self.counters.aside.store(self.aside.len() as u64, Ordering::Relaxed);
        if flow.trying.is_some() || self.poison.in_session() || self.aside.all_are_refused(flow.window.len()) {
            return Ok(());
        }
        while flow.room() > 0
            && let Some(record) = flow.next_record(now)
        {
            self.publish(flow, record, now)?;
        }
        Ok(())
    }

    /// Takes what was read for the live lane. Like the next two, `false` when the queue is closed.
    pub fn take_live(&self, flow: &mut Flow, read: Read) -> bool {
        flow.live.take(read, |record| !self.holds(record.seq))
    }

    /// Takes what was read for the backlog.
    pub fn take_backlog(&self, flow: &mut Flow, read: Read) -> bool {
        flow.take_backlog(read, |seq| !self.holds(seq))
    }

    /// Takes a record that was set aside and read again.
    pub fn take_again(&mut self, flow: &mut Flow, read: Read) -> bool {
        let seq = flow.again.next;
        if !flow.again.take(read, |_| true) {
            return false;
        }
        if flow.again.ready.is_empty() {
            // The queue has dropped it meanwhile.
            self.gone(seq, Instant::now());
            flow.trying = flow.trying.filter(|trying| *trying != seq);
        }
        true
    }

    /// The broker acknowledged a record, or it left and needs no acknowledgement.
    pub fn acknowledged(&mut self, record: UnderWay) {
        self.uplink.queue.acknowledge(record.seq);
        self.aside.accepted(record.seq, Instant::now());
        self.settled(record);
    }

    /// The broker refused a record.
    pub fn refused(&mut self, record: UnderWay, refusal: &Refusal) {
        count(&self.counters.refusals);
        self.settled(record);
        if let Some(given_up) = self.aside.refused(known(record), refusal.code, Instant::now()) {
            self.drop_record(given_up, LossReason::Refused, &format!("refused by the broker ({refusal})"));
        }
    }

    /// Whether our state is to be published to see whether the broker takes anything at all.
    pub fn wants_control(&mut self) -> bool {
        self.aside.wants_control()
    }

    /// The broker has answered our state.
    pub fn control_answered(&mut self, refusal: Option<&Refusal>) {
        if self.aside.control_answered(refusal.is_some())
            && let Some(reason) = refusal
        {
            let words = format!("the broker refuses everything ({reason}): check its rules for this user");
            error!(uplink = %self.uplink.name, "{words}; messages wait");
            self.counters.news.noted(&words);
        }
    }

    /// The connection ended with whatever was under way.
    pub fn broke(&mut self, flow: &Flow, why: &ConnectionError) {
        let now = Instant::now();
        let under_way: Vec<Seen> = flow.window.under_way().filter_map(flow::record).map(seen).collect();
        if why.is_blameless() {
            self.poison.interrupted();
        } else {
            self.poison.broke(&under_way, flow.window.len() == 1, now);
        }
        for record in under_way.iter().filter(|seen| self.poison.holds(seen.message.seq)) {
            self.aside.gone(record.message.seq);
        }
        self.aside.broke(now);
        self.passed_over = None;
    }

    /// The connection was left in good order, perhaps with something still under way.
    pub fn left(&mut self) {
        self.poison.interrupted();
        self.aside.broke(Instant::now());
        self.passed_over = None;
    }

    /// When there is something to do that nothing else will bring about.
    pub fn wake_at(&self, flow: &Flow) -> Instant {
        let now = Instant::now();
        let aside = self.aside.next_due().filter(|_| flow.again.reading.is_none());
        let trial = if flow.window.is_empty() { self.poison.next_due() } else { None };
        let others = [aside, trial, flow.backlog_due(now), flow.stalls_at()];
        // What is due already waits for something else, which wakes by itself.
        others.into_iter().flatten().filter(|at| *at > now).fold(flow.check_at, Instant::min)
    }

    /// Publishes one record, or says what else becomes of it.
    fn publish(&mut self, flow: &mut Flow, record: Record, now: Instant) -> Result<(), ConnectionError> {
        let Record { seq, captured_at, correction, body } = record;
        let mut under_way = UnderWay { seq, captured_at, topic: 0 };
        let mut message = match Message::decode(body) {
            Ok(message) => message,
            Err(error) => {
                flow.trying = flow.trying.filter(|trying| *trying != seq);
                self.gone(seq, now);
                self.drop_record(known(under_way), LossReason::Damaged, &format!("unreadable ({error})"));
                return Ok(());
            }
        };
        let age = self.age(captured_at, correction);
        let worth = message.properties.as_ref().and_then(|said| said.expires_in).map(|time| time.saturating_sub(age));
        if worth == Some(Duration::ZERO) {
            flow.trying = flow.trying.filter(|trying| *trying != seq);
            self.gone(seq, now);
            debug!(uplink = %self.uplink.name, %seq, topic = message.topic, "message has expired; dropped");
            self.uplink.queue.discard(seq, captured_at, LossReason::Expired);
            return Ok(());
        }
        if !self.poison.is_quiet() {
            under_way.topic = self.topics.hash_one(&message.topic);
            if flow.trying == Some(seq) {
                info!(uplink = %self.uplink.name, %seq, topic = message.topic, "message goes alone: connections broke at it");
                flow.trying = None;
                self.poison.on_trial(seq);
            } else if !self.is_free(under_way, &message.topic, now) {
                return Ok(());
            }
        }
        // What waited aside comes after what was captured later, too.
        let replayed = seq < flow.live_from || self.holds(seq);
        let clock = match replayed || correction != Correction::None {
            true => replay::mark(&mut message, replayed, correction),
            false => None,
        };
        flow.adapt(&mut message);
        let taken = (replayed && !message.json).then(|| epoch_ms(captured_at).to_string());
        let (properties, said) = self.properties(replayed, clock, taken.as_deref());
        let expires_in = self.expires_in(age).into_iter().chain(worth).min();
        let extras = Extras { expires_in, user_properties: &properties[..said] };
        if let Some((size, most)) = flow.too_large(&message, &extras) {
            let why = format!("larger than the broker takes ({}: {size} of at most {most} bytes)", message.topic);
            self.gone(seq, now);
            self.drop_record(known(under_way), LossReason::TooLarge, &why);
            return Ok(());
        }
        if message.retain {
            let queue = &self.uplink.queue;
            message.retain = self.retained.may_keep(&message.topic, seq, replayed, || queue.oldest_unacknowledged());
        }
        if replayed {
            count(&self.counters.replayed);
        }
        flow.publish(&message, &extras, Sent::Record(under_way))
    }

    /// Gives what was set aside its next try.
    fn try_again(&mut self, flow: &mut Flow, now: Instant) -> Result<(), ConnectionError> {
        // A trial waits until it is alone, anything else for room.
        let may_go = flow.room() > 0 && (flow.trying.is_none() || flow.window.is_empty());
        if let Some(record) = may_go.then(|| flow.again.ready.pop_front()).flatten() {
            self.publish(flow, record, now)?;
        }
        // Only now, so that one that is not published after all makes room for the next at once: it
        // leaves nothing under way that would wake us.
        let is_free = flow.again.ready.is_empty() && flow.again.reading.is_none();
        if is_free && flow.trying.is_none() && !self.poison.in_session() {
            let due = match self.poison.trial(now, self.is_idle(flow)) {
                Some(accused) => {
                    flow.trying = Some(accused);
                    Some(accused)
                }
                None => self.aside.take_due(now),
            };
            if let Some(seq) = due {
                flow.again = Supply::new(seq, seq.next());
                flow.again.read_on(&self.uplink.queue);
            }
        }
        Ok(())
    }

    /// Whether a message may go, given who is suspected. If not, it is taken care of.
    fn is_free(&mut self, record: UnderWay, topic: &str, now: Instant) -> bool {
        match self.poison.view(record.topic, now) {
            View::Free => return true,
            View::Hold if self.aside.hold(known(record), record.topic) => {}
            // It must not go out: breaks at its topic, one after the other, would prove nothing.
            View::Hold => self.passed_over = Some(self.passed_over.unwrap_or(record.seq).min(record.seq)),
            View::Accuse => {
                self.aside.gone(record.seq);
                self.poison.accuse(seen(record), now);
            }
            View::Drop => {
                self.aside.gone(record.seq);
                let why = format!("refused by the broker (it closes the connection at {topic})");
                self.drop_record(known(record), LossReason::Refused, &why);
            }
        }
        false
    }

    /// A record was answered: what does that say about others?
    fn settled(&mut self, record: UnderWay) {
        if self.poison.is_quiet() {
            return;
        }
        let now = Instant::now();
        match self.poison.acknowledged(record.seq, record.topic, now) {
            Ruling::None => {}
            Ruling::Release(topic) => self.release(topic, now),
            Ruling::Convicted { seen, banned } => {
                const WHY: &str = "refused by the broker (it closes the connection at it)";
                self.drop_record(seen.message, LossReason::Refused, WHY);
                if banned {
                    warn!(uplink = %self.uplink.name, "the broker closes the connection at every message of one topic; its messages are dropped for an hour");
                    let held = self.aside.give_up(seen.topic);
                    held.into_iter().for_each(|message| self.drop_record(message, LossReason::Refused, WHY));
                    self.look_again = true;
                } else {
                    self.release(seen.topic, now);
                }
            }
        }
    }

    /// What waits for its topic may go.
    fn release(&mut self, topic: u64, now: Instant) {
        self.aside.release(topic, now);
        self.look_again = true;
    }

    /// A record is gone for another reason than an answer.
    fn gone(&mut self, seq: Seq, now: Instant) {
        self.aside.gone(seq);
        if let Some(topic) = self.poison.gone(seq) {
            self.release(topic, now);
        }
    }

    /// Gives up a record that cannot be delivered because it is what `why` says. It is counted
    /// and reported as a loss.
    fn drop_record(&mut self, record: GivenUp, reason: LossReason, why: &str) {
        let (uplink, seq) = (&self.uplink.name, record.seq);
        match self.drops.note(1) {
            Some(line) => error!(%uplink, %seq, held_back = line.count - 1, "message {why}; dropped"),
            None => debug!(%uplink, %seq, "message {why}; dropped"),
        }
        self.uplink.queue.discard(record.seq, record.captured_at, reason);
    }

    /// Whether there is nothing to send but what is set aside.
    fn is_idle(&self, flow: &Flow) -> bool {
        flow.window.is_empty()
            && flow.live.ready.is_empty()
            && flow.backlog.is_exhausted()
            && self.uplink.queue.end() <= flow.live.next
    }

    /// Whether a record waits here, and is not for the lanes to publish.
    fn holds(&self, seq: Seq) -> bool {
        self.aside.contains(seq) || self.poison.holds(seq)
    }

    fn older_than(&self, age: Duration) -> Seq {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).older_than(age, Instant::now())
    }

    /// What is said of a message beside its payload; only the first so many count.
    fn properties<'t>(
        &self,
        replayed: bool,
        clock: Option<ClockWord>,
        taken: Option<&'t str>,
    ) -> ([(&'static str, &'t str); 3], usize) {
        let (mut all, mut count) = ([("", ""); 3], 0);
        if self.uplink.options.protocol == Protocol::V311 {
            return (all, 0);
        }
        let words =
            [replayed.then_some(("replay", "true")), taken.map(|ts| ("ts", ts)), clock.map(|c| ("clock", c.as_str()))];
        for property in words.into_iter().flatten() {
            all[count] = property;
            count += 1;
        }
        (all, count)
    }

    /// How long ago a message was captured; of what was captured at an unknown time, nothing.
    fn age(&self, captured_at: SystemTime, correction: Correction) -> Duration {
        let clock = &self.uplink.delivery.clock;
        let is_known = correction != Correction::Unknown && clock.is_set();
        if is_known { clock.now().duration_since(captured_at).unwrap_or_default() } else { Duration::ZERO }
    }

    /// How long a message of that age is still worth delivering, as far as the queue goes.
    fn expires_in(&self, age: Duration) -> Option<Duration> {
        self.uplink.delivery.max_age.map(|max_age| max_age.saturating_sub(age).max(Duration::from_secs(1)))
    }
}

fn known(record: UnderWay) -> GivenUp {
    GivenUp { seq: record.seq, captured_at: record.captured_at }
}

fn seen(record: UnderWay) -> Seen {
    Seen { message: known(record), topic: record.topic }
}

fn epoch_ms(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

#[cfg(test)]
mod tests;
