//! Lines that are summed up apart for each of those they are about, so that a flood of one hides nobody else.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::seldom::{Line, Seldom};

/// Of how many there are sums apart. What comes beyond has one sum together.
const MOST: usize = 256;
/// After so long a quiet, nothing is left to be told.
const FORGOTTEN: Duration = Duration::from_secs(7200);

/// What a line is about.
pub trait Tell {
    /// Writes the line.
    fn tell(&self, line: Line);
    /// Writes the line of all those for whom there was no room.
    fn tell_of_others(line: Line);
}

/// The sums.
pub struct Sums<T> {
    apart: HashMap<u64, Sum<T>>,
    others: Seldom,
    keys: RandomState,
}

struct Sum<T> {
    seldom: Seldom,
    last: Instant,
    /// For the lines that come later.
    what: T,
}

impl<T> Default for Sums<T> {
    fn default() -> Self {
        Self { apart: HashMap::new(), others: Seldom::default(), keys: RandomState::new() }
    }
}

impl<T: Tell> Sums<T> {
    /// It has happened once more. `what` is asked where a line is written.
    pub fn note(&mut self, key: impl Hash, what: impl Fn() -> T) {
        let now = Instant::now();
        let key = self.keys.hash_one(key);
        if self.apart.len() >= MOST && !self.apart.contains_key(&key) {
            self.forget(now);
            if self.apart.len() >= MOST {
                if let Some(line) = self.others.note(1) {
                    what().tell(line);
                }
                return;
            }
        }
        let sum = self.apart.entry(key).or_insert_with(|| Sum { seldom: Seldom::default(), last: now, what: what() });
        sum.last = now;
        if let Some(line) = sum.seldom.note(1) {
            sum.what = what();
            sum.what.tell(line);
        }
    }

    /// Tells what time alone has made due.
    pub fn look(&mut self) {
        for sum in self.apart.values_mut() {
            if let Some(line) = sum.seldom.look() {
                sum.what.tell(line);
            }
        }
        self.forget(Instant::now());
        if let Some(line) = self.others.look() {
            T::tell_of_others(line);
        }
    }

    fn forget(&mut self, now: Instant) {
        self.apart.retain(|_, sum| now - sum.last < FORGOTTEN);
    }
}
