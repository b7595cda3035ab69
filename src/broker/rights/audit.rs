//! The audit log: who was refused, and who sent which command. Lines of the target `audit`, which for people
//! begin with that word.
//!
//! A refused login is told at once, and those that follow from the same address with the same user are summed up; each line says how many it
//! stands for. Commands are told one by one, up to a bound per second that only a flood meets; what is beyond it is counted and
//! told as a number.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};
use wharf_contract::settings::clip;

use super::super::publication::Origin;
use crate::seldom::{Line, Place, Seldom};

/// Addresses and users whose refusals are summed up apart. What comes beyond has one sum together.
const MOST: usize = 256;
/// Commands that are told one by one in a second.
const COMMANDS: u32 = 50;
/// After so long a quiet, nothing is left to be told of an address.
const FORGOTTEN: Duration = Duration::from_secs(7200);

/// Who writes the audit log.
#[derive(Default)]
pub struct Audit {
    state: Mutex<State>,
    keys: RandomState,
}

#[derive(Default)]
struct State {
    refused: HashMap<u64, Refusals>,
    /// Of whom there is no room to keep apart.
    others: Seldom,
    second: Option<Instant>,
    commands: u32,
    untold: u64,
}

struct Refusals {
    seldom: Seldom,
    last: Instant,
    /// For the lines that come later: who it was.
    what: Refusal,
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

impl Audit {
    /// A login was refused.
    pub fn refused(&self, refusal: Refusal) {
        let now = Instant::now();
        let address = refusal.address.map(|address| address.ip().to_canonical());
        let key = self.keys.hash_one((address, &refusal.user));
        let mut state = self.state();
        if state.refused.len() >= MOST && !state.refused.contains_key(&key) {
            state.refused.retain(|_, refusals| now - refusals.last < FORGOTTEN);
        }
        if state.refused.len() >= MOST && !state.refused.contains_key(&key) {
            if let Some(line) = state.others.note(1) {
                refusal.tell(line);
            }
            return;
        }
        let fresh = || Refusals { seldom: Seldom::default(), last: now, what: refusal.clone() };
        let refusals = state.refused.entry(key).or_insert_with(fresh);
        refusals.last = now;
        if let Some(line) = refusals.seldom.note(1) {
            refusal.tell(line);
        }
        refusals.what = refusal;
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
        for refusals in state.refused.values_mut() {
            if let Some(line) = refusals.seldom.look() {
                refusals.what.tell(line);
            }
        }
        state.refused.retain(|_, refusals| now - refusals.last < FORGOTTEN);
        if let Some(line) = state.others.look() {
            warn!(target: "audit", count = line.count, total = line.total, "audit: logins of many others were refused");
        }
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

impl Refusal {
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
}
