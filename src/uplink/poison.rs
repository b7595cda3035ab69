//! Messages that a broker answers by closing the connection. Pure: time comes in as an argument.
//!
//! Some brokers say no that way: AWS to a topic its policy denies, many 3.1.1 brokers to a message
//! they find too large. Such a message must not hold the queue for ever. But networks close
//! connections as well, and that must never cost a message. So nothing is given up on suspicion:
//!
//! 1. What is under way when a connection breaks is **suspect** until it is acknowledged; after the
//!    next break, only what was under way again. But connections do not all begin with the same
//!    messages, so if nothing was, what is under way now joins the others. From the third break on
//!    messages go one at a time, until the suspects are acknowledged or a connection breaks with
//!    just one message under way. That one is **accused**.
//! 2. An accused message is set aside, and so is what follows on its topic; what there is no room
//!    for is passed over, and read from the queue again when the topic is settled. The rest goes on.
//! 3. When twenty others were acknowledged without a break, that is a **strike**: the connection
//!    holds, it was the message. It gets a **trial**, alone. Acknowledged, it is acquitted. Does
//!    the connection break again, it waits for the next strike, and every time for more of the
//!    others: a broker that breaks after each so many messages must not look like a bad message.
//!    Any other break makes its strikes void.
//! 4. The third strike **convicts**: the message is given up. The next one of its topic is accused
//!    at once, with one strike to go; is it convicted too, the topic is banned for an hour.
//!
//! With nothing else to send there is nothing to compare with. Then the accused is tried again
//! and again, with growing waits; it holds nobody up.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::refusals::GivenUp;
use crate::queue::Seq;

/// Breaks, with some suspect unacknowledged from each to the next, after which messages go one at a
/// time; once somebody is accused, one is enough.
const BREAKS: u32 = 3;
/// Messages that have to be acknowledged in a row to show that the connection holds: at first, and
/// how many more after each trial.
const CONTROLS: u32 = 20;
const MORE_CONTROLS: u32 = 13;
/// Strikes that convict. A line that breaks at random would have to break three times at this
/// message and never in between: about one in a million, at the rate of breaking that suits it best.
const STRIKES: u8 = 3;
/// The most that are accused at a time: as many topics may be poisonous before one of them holds the
/// others up. And the most topics that are remembered.
const ACCUSED: usize = 1024;
const TOPICS: usize = 1024;
/// How long a topic is banned, and the first and longest wait between trials without controls.
const BAN: Duration = Duration::from_secs(3600);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A message as it is seen here; the topic by its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub message: GivenUp,
    /// The hash of its topic.
    pub topic: u64,
}

/// What is to be done with a message whose turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Publish it.
    Free,
    /// Hold it: its topic is in question.
    Hold,
    /// Accuse it: its topic has a record.
    Accuse,
    /// Give it up: its topic is banned.
    Drop,
}

/// What an acknowledgement has settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Nothing.
    None,
    /// This topic is not at fault: what is held for it may go.
    Release(u64),
    /// This message is to be given up. Banned: and whatever is held for its topic.
    Convicted {
        /// Which.
        seen: Seen,
        /// Whether its topic is banned now.
        banned: bool,
    },
}

/// Who is suspected of breaking connections.
#[derive(Debug, Default)]
pub struct Poison {
    suspects: BTreeSet<Seq>,
    breaks: u32,
    accused: Vec<Accused>,
    topics: Vec<Topic>,
}

#[derive(Debug)]
struct Accused {
    message: GivenUp,
    /// What is held with it; `None` once the topic has turned out to be fine.
    topic: Option<u64>,
    strikes: u8,
    /// The connection broke at its last trial, and no strike was made of that yet.
    broke: bool,
    /// Others acknowledged since, and how many it takes.
    controls: u32,
    needed: u32,
    on_trial: bool,
    due: Instant,
    wait: Duration,
}

#[derive(Debug)]
struct Topic {
    topic: u64,
    convictions: u8,
    banned_until: Instant,
}

impl Poison {
    /// Whether nobody is under suspicion, so that topics need not be looked at.
    pub fn is_quiet(&self) -> bool {
        self.suspects.is_empty() && self.accused.is_empty() && self.topics.is_empty()
    }

    /// Whether messages have to go one at a time.
    pub fn careful(&self) -> bool {
        self.breaks >= if self.accused.is_empty() { BREAKS } else { 1 }
    }

    /// Whether this one waits here, and is not for the lanes to publish.
    pub fn holds(&self, seq: Seq) -> bool {
        self.accused.iter().any(|accused| accused.message.seq == seq)
    }

    /// What is to be done with a message of that topic.
    pub fn view(&mut self, topic: u64, now: Instant) -> View {
        if self.accused.iter().any(|accused| accused.topic == Some(topic)) {
            return View::Hold;
        }
        let Some(known) = self.topics.iter_mut().find(|known| known.topic == topic) else { return View::Free };
        if known.convictions > 1 && now < known.banned_until {
            return View::Drop;
        }
        known.convictions = 1;
        if self.accused.len() < ACCUSED { View::Accuse } else { View::Free }
    }

    /// Accuses a message because its topic has a record: one strike will do.
    pub fn accuse(&mut self, seen: Seen, now: Instant) {
        self.add(seen, STRIKES - 1, false, now);
    }

    /// Who is to be tried now, if anybody. `idle`: there is nothing else to send.
    pub fn trial(&self, now: Instant, idle: bool) -> Option<Seq> {
        let ready = |accused: &&Accused| {
            let proven = !accused.broke && accused.controls >= accused.needed;
            !accused.on_trial && (proven || (idle && accused.due <= now))
        };
        self.accused.iter().find(ready).map(|accused| accused.message.seq)
    }

    /// When somebody may be tried for want of anything else to do.
    pub fn next_due(&self) -> Option<Instant> {
        self.accused.iter().filter(|accused| !accused.on_trial).map(|accused| accused.due).min()
    }

    /// This one is under way now, alone.
    pub fn on_trial(&mut self, seq: Seq) {
        if let Some(accused) = self.accused.iter_mut().find(|accused| accused.message.seq == seq) {
            accused.on_trial = true;
        }
    }

    /// Whether somebody is under way alone, so that nothing else may go.
    pub fn in_session(&self) -> bool {
        self.accused.iter().any(|accused| accused.on_trial)
    }

    /// A message is gone for another reason; whatever was held with it may go.
    pub fn gone(&mut self, seq: Seq) -> Option<u64> {
        if self.suspects.remove(&seq) {
            self.relax();
        }
        let index = self.accused.iter().position(|accused| accused.message.seq == seq)?;
        self.accused.swap_remove(index).topic
    }

    /// A message was acknowledged, whatever the broker said to it: the connection held.
    pub fn acknowledged(&mut self, seq: Seq, topic: u64, now: Instant) -> Ruling {
        if let Some(held) = self.gone(seq) {
            self.topics.retain(|known| known.topic != topic);
            return Ruling::Release(held);
        }
        let mut released = None;
        for accused in &mut self.accused {
            if accused.on_trial {
                continue;
            }
            if accused.topic == Some(topic) {
                released = accused.topic.take();
            }
            accused.controls += 1;
            if accused.broke && accused.controls >= accused.needed {
                accused.broke = false;
                accused.strikes += 1;
            }
        }
        if let Some(topic) = released {
            self.topics.retain(|known| known.topic != topic);
            return Ruling::Release(topic);
        }
        self.convict(now)
    }

    /// The connection broke with these messages under way. `alone`: and nothing else.
    pub fn broke(&mut self, under_way: &[Seen], alone: bool, now: Instant) {
        if let Some(tried) = self.accused.iter_mut().find(|accused| accused.on_trial) {
            tried.on_trial = false;
            tried.broke = true;
            tried.controls = 0;
            tried.needed = if tried.strikes == 0 { CONTROLS } else { tried.needed + MORE_CONTROLS };
            tried.due = now + tried.wait;
            tried.wait = (tried.wait * 2).min(LONGEST_WAIT);
            return;
        }
        for accused in &mut self.accused {
            accused.strikes = 0;
            accused.controls = 0;
        }
        if let ([only], true, true) = (under_way, alone, self.careful())
            && self.accused.len() < ACCUSED
        {
            self.suspects.clear();
            self.breaks = 0;
            return self.add(*only, 0, true, now);
        }
        if under_way.is_empty() {
            return;
        }
        let under_way: BTreeSet<Seq> = under_way.iter().map(|seen| seen.message.seq).collect();
        let still: BTreeSet<Seq> = self.suspects.intersection(&under_way).copied().collect();
        if !still.is_empty() {
            self.suspects = still;
            self.breaks += 1;
        } else if self.careful() {
            self.suspects = under_way;
            self.breaks = 1;
        } else {
            // They are the first; or the lanes were read in another order this time, and the others
            // did not get their turn. They come to three windows at most: then we are careful.
            self.suspects.extend(under_way);
            self.breaks += 1;
        }
    }

    /// The connection ended, and no message can be blamed.
    pub fn interrupted(&mut self) {
        self.accused.iter_mut().for_each(|accused| accused.on_trial = false);
    }

    /// The queue is done with all that is below, whatever became of it: nobody waits for an
    /// acknowledgement of that any more.
    pub fn finished_below(&mut self, oldest: Seq) {
        if self.suspects.first().is_some_and(|first| *first < oldest) {
            self.suspects = self.suspects.split_off(&oldest);
            self.relax();
        }
    }

    /// Without suspects there is no need to be careful.
    fn relax(&mut self) {
        if self.suspects.is_empty() {
            self.breaks = 0;
        }
    }

    fn add(&mut self, seen: Seen, strikes: u8, broke: bool, now: Instant) {
        let Seen { message, topic } = seen;
        let (topic, due) = (Some(topic), now + FIRST_WAIT);
        let wait = 2 * FIRST_WAIT;
        let needed = CONTROLS;
        self.accused.push(Accused { message, topic, strikes, broke, controls: 0, needed, on_trial: false, due, wait });
    }

    fn convict(&mut self, now: Instant) -> Ruling {
        let Some(index) = self.accused.iter().position(|accused| accused.strikes >= STRIKES) else {
            return Ruling::None;
        };
        let Accused { message, topic, .. } = self.accused.swap_remove(index);
        self.gone(message.seq);
        // Without the topic's help the message alone was at fault, and there is nothing to learn.
        let Some(topic) = topic else {
            return Ruling::Convicted { seen: Seen { message, topic: 0 }, banned: false };
        };
        let before = self.topics.iter().position(|known| known.topic == topic);
        let convictions = before.map_or(0, |index| self.topics.swap_remove(index).convictions).saturating_add(1);
        if self.topics.len() >= TOPICS {
            self.topics.remove(0);
        }
        self.topics.push(Topic { topic, convictions, banned_until: now + BAN });
        Ruling::Convicted { seen: Seen { message, topic }, banned: convictions > 1 }
    }
}

#[cfg(test)]
mod tests;
