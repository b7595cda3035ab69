//! The audit log: who was refused what, and who sent which command. Lines of the target `audit`, which for people
//! begin with that word.
//!
//! A refusal is told at once, and those of the same kind that follow from the same client are summed up; each line says how
//! many it stands for. That matters most where the client itself hears nothing: MQTT 3.1.1 has no word for a publication that is not
//! allowed, and a handshake that fails says little. Commands are told one by one, up to a bound per second that only a
//! flood meets; what is beyond it is counted and told as a number.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};
use wharf_contract::settings::clip;
use wharf_contract::topic::is_system;

use super::super::publication::Origin;
use super::sums::{Sums, Tell};
use crate::seldom::{Line, Place};

/// Commands that are told one by one in a second.
const COMMANDS: u32 = 50;
/// So often within so long a client id changes hands before it is told: a client that comes back after a break does so
/// once or twice.
const FIGHT: (u32, Duration) = (3, Duration::from_secs(60));
/// Client ids whose changes of hands are remembered.
const IDS: usize = 1_024;

/// Who writes the audit log.
#[derive(Default)]
pub struct Audit {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    logins: Sums<Refusal>,
    strangers: Sums<Stranger>,
    deeds: Sums<Deed>,
    fights: Sums<Fight>,
    broken: Sums<Broken>,
    not_kept: Sums<NotKept>,
    /// How often each client id has changed hands of late, and when it did last.
    hands: HashMap<Box<str>, (u32, Instant)>,
    second: Option<Instant>,
    commands: u32,
    untold: u64,
}

/// A login that was refused. Of each only the beginning is kept, so what clients call themselves has been
/// [clipped](clip).
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The client id.
    pub client: String,
    /// The user, as the client gave it.
    pub user: Option<String>,
    /// Where it came from.
    pub address: Option<SocketAddr>,
    /// The listener it came over.
    pub listener: String,
    /// Why it was refused.
    pub reason: &'static str,
}

/// Somebody who did not come as far as a login.
struct Stranger {
    address: Option<SocketAddr>,
    listener: String,
    reason: &'static str,
}

/// What a client may do or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Publish.
    Publish,
    /// Subscribe.
    Subscribe,
    /// Have a will.
    Will,
}

/// What a client did, and may not.
struct Deed {
    act: Act,
    client: String,
    user: Option<String>,
    topic: String,
}

/// Two clients of one id.
struct Fight {
    client: String,
    user: Option<String>,
}

/// A client that was closed because of what it sent.
struct Broken {
    client: String,
    user: Option<String>,
    reason: &'static str,
}

/// A message that could not be retained.
struct NotKept {
    topic: String,
    bytes: usize,
}

impl Audit {
    /// A client was closed because of what it sent.
    pub fn broke_rules(&self, client: &str, user: Option<&str>, reason: &'static str) {
        let what = || Broken { client: clip(client), user: user.map(clip), reason };
        self.state().broken.note((client, user, reason), what);
    }

    /// A message could not be retained: it is too large, or there are too many. Who was there has got it.
    pub fn not_kept(&self, topic: &str, bytes: usize) {
        self.state().not_kept.note((), || NotKept { topic: clip(topic), bytes });
    }

    /// A login was refused.
    pub fn refused(&self, refusal: &Refusal) {
        let address = refusal.address.map(|address| address.ip().to_canonical());
        // Who comes from inside the gateway has no address, but a link that speaks for it.
        let link = address.is_none().then_some(&refusal.listener);
        self.state().logins.note((address, link, &refusal.user, refusal.reason), || refusal.clone());
    }

    /// Somebody did not come as far as a login: the handshake failed, or it does not speak MQTT.
    pub fn turned_away(&self, address: Option<SocketAddr>, listener: &str, reason: &'static str) {
        let key = (address.map(|address| address.ip().to_canonical()), listener, reason);
        self.state().strangers.note(key, || Stranger { address, listener: listener.to_owned(), reason });
    }

    /// A client wanted to do what it may not: to publish on that topic, to subscribe to it, to have it for its will.
    pub fn not_allowed(&self, act: Act, client: &str, user: Option<&str>, topic: &str) {
        let what = || Deed { act, client: clip(client), user: user.map(clip), topic: clip(topic) };
        self.state().deeds.note((act, client, user), what);
    }

    /// A connection was closed because another came with its client id.
    pub fn changed_hands(&self, client: &str, user: Option<&str>) {
        let now = Instant::now();
        let mut state = self.state();
        let (most, within) = FIGHT;
        if state.hands.len() >= IDS && !state.hands.contains_key(client) {
            state.hands.retain(|_, (_, last)| now - *last < within);
            if state.hands.len() >= IDS {
                return;
            }
        }
        let (times, last) = state.hands.entry(client.into()).or_insert((0, now));
        *times = if now - *last < within { times.saturating_add(1) } else { 1 };
        *last = now;
        if *times >= most {
            state.fights.note(client, || Fight { client: clip(client), user: user.map(clip) });
        }
    }

    /// A command for the gateway has come from a client.
    pub fn command(&self, from: &Origin, topic: &str) {
        {
            let now = Instant::now();
            let mut state = self.state();
            if state.second.is_none_or(|second| now - second >= Duration::from_secs(1)) {
                state.end_second();
                (state.second, state.commands) = (Some(now), 0);
            }
            if state.commands >= COMMANDS {
                state.untold += 1;
                return;
            }
            state.commands += 1;
        }
        let client = from.client().map(|client| clip(client));
        let user = from.user().map(|user| clip(user));
        info!(target: "audit", client = client.as_deref(), user = user.as_deref(), topic = clip(topic), "audit: command");
    }

    /// Tells what time alone has made due. For those who look every few seconds.
    pub fn look(&self) {
        let now = Instant::now();
        let mut state = self.state();
        state.logins.look();
        state.strangers.look();
        state.deeds.look();
        state.fights.look();
        state.broken.look();
        state.not_kept.look();
        state.hands.retain(|_, (_, last)| now - *last < FIGHT.1);
        if state.second.is_some_and(|second| now - second >= Duration::from_secs(1)) {
            state.end_second();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end_second(&mut self) {
        if self.untold > 0 {
            let count = std::mem::take(&mut self.untold);
            warn!(target: "audit", count, "audit: more commands came than are listed one by one");
        }
    }
}

impl Tell for Refusal {
    fn tell(&self, line: Line) {
        let (client, user) = (&self.client, self.user.as_deref());
        let (address, listener) = (self.address.map(tracing::field::display), &self.listener);
        let (reason, count, total) = (self.reason, line.count, line.total);
        let words = match line.place {
            Place::First => "audit: login refused",
            Place::Still => "audit: logins are still refused",
            Place::Over => "audit: no more logins were refused",
        };
        warn!(target: "audit", client, user, address, listener, reason, count, total, "{words}");
    }

    fn tell_of_others(line: Line) {
        warn!(target: "audit", count = line.count, total = line.total, "audit: logins of many others were refused");
    }
}

impl Tell for Stranger {
    fn tell(&self, line: Line) {
        let (address, listener) = (self.address.map(tracing::field::display), &self.listener);
        let (reason, count, total) = (self.reason, line.count, line.total);
        let words = match line.place {
            Place::First => "audit: a client did not get in",
            Place::Still => "audit: a client still does not get in",
            Place::Over => "audit: a client has stopped trying to get in",
        };
        warn!(target: "audit", address, listener, reason, count, total, "{words}");
    }

    fn tell_of_others(line: Line) {
        warn!(target: "audit", count = line.count, total = line.total, "audit: many others did not get in");
    }
}

impl Tell for Deed {
    fn tell(&self, line: Line) {
        let (client, user, topic) = (&self.client, self.user.as_deref(), &self.topic);
        let (count, total) = (line.count, line.total);
        let (what, rule) = match self.act {
            Act::Publish => ("publication", "publish"),
            Act::Subscribe => ("subscription", "subscribe"),
            Act::Will => ("will", "publish"),
        };
        let whose = if user.is_some() { "of this user" } else { "under `anonymous_may`" };
        let reason = match self.act {
            Act::Publish | Act::Will if is_system(topic) => {
                "topics that begin with `$` are the broker's own".to_owned()
            }
            Act::Subscribe if is_system(topic) => {
                format!("no `{rule}` rule {whose} has this topic; `#` does not stand for those that begin with `$`")
            }
            _ => format!("no `{rule}` rule {whose} has this topic"),
        };
        let words = match line.place {
            Place::First => format!("audit: {what} refused"),
            Place::Still => format!("audit: {what}s are still refused"),
            Place::Over => format!("audit: no more {what}s were refused"),
        };
        warn!(target: "audit", client, user, topic, reason, count, total, "{words}");
    }

    fn tell_of_others(line: Line) {
        warn!(target: "audit", count = line.count, total = line.total, "audit: many others did what they may not");
    }
}

impl Tell for Fight {
    fn tell(&self, line: Line) {
        let (client, user, count, total) = (&self.client, self.user.as_deref(), line.count, line.total);
        let words = match line.place {
            Place::Over => "audit: the client id does not change hands any more",
            _ => "audit: connections with the same client id throw each other out; give each client an id of its own",
        };
        warn!(target: "audit", client, user, count, total, "{words}");
    }

    fn tell_of_others(line: Line) {
        warn!(target: "audit", count = line.count, total = line.total, "audit: many other client ids are used twice");
    }
}

impl Tell for Broken {
    fn tell(&self, line: Line) {
        let (client, user, reason) = (&self.client, self.user.as_deref(), self.reason);
        let (count, total) = (line.count, line.total);
        let words = match line.place {
            Place::Over => "audit: the client is not closed any more for what it sends",
            _ => "audit: a client was closed for what it sent; `limits:` under `broker:` has the bounds",
        };
        warn!(target: "audit", client, user, reason, count, total, "{words}");
    }

    fn tell_of_others(line: Line) {
        warn!(target: "audit", count = line.count, total = line.total, "audit: many others were closed for what they sent");
    }
}

impl Tell for NotKept {
    fn tell(&self, line: Line) {
        let (topic, bytes, count, total) = (&self.topic, self.bytes, line.count, line.total);
        let words = match line.place {
            Place::Over => "messages are retained again",
            _ => {
                "a message was not retained: it is larger than `retained_message` under `limits:`, or there is no room for more; clients that come later miss it"
            }
        };
        warn!(topic, bytes, count, total, "{words}");
    }

    fn tell_of_others(_: Line) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_client_id_that_changes_hands_again_and_again_is_told_and_one_that_comes_back_is_not() {
        let audit = Audit::default();
        let times = |audit: &Audit| audit.state().hands.get("panel").map(|(times, _)| *times);
        audit.changed_hands("panel", None);
        audit.changed_hands("panel", None);
        assert_eq!(times(&audit), Some(2));
        advance(FIGHT.1).await;
        audit.changed_hands("panel", None);
        assert_eq!(times(&audit), Some(1), "that was long ago");
        advance(FIGHT.1).await;
        audit.look();
        assert_eq!(times(&audit), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_of_client_ids_has_a_bound() {
        let audit = Audit::default();
        for id in 0..2 * IDS {
            audit.changed_hands(&id.to_string(), None);
        }
        assert_eq!(audit.state().hands.len(), IDS);
    }
}
