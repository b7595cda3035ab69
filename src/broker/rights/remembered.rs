//! Passwords that were found right: so that a site full of devices that come back all at once costs one hash each, and only once.
//!
//! What is kept is a number, made of user and password with keys that are drawn at every start and known to nobody. It forgets everything
//! when users are read anew.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// How many are remembered. Beyond that any of them goes.
const MOST: usize = 4096;

/// The passwords that were found right.
#[derive(Debug, Default)]
pub struct Remembered {
    known: HashSet<(u64, u64)>,
    keys: (RandomState, RandomState),
}

impl Remembered {
    /// Whether this password of this user was found right before.
    pub fn knows(&self, user: &str, password: &[u8]) -> bool {
        self.known.contains(&self.number(user, password))
    }

    /// This password of this user was found right.
    pub fn note(&mut self, user: &str, password: &[u8]) {
        if self.known.len() >= MOST
            && let Some(any) = self.known.iter().next().copied()
        {
            self.known.remove(&any);
        }
        self.known.insert(self.number(user, password));
    }

    /// Two numbers of 64 bits under two keys: nobody finds another password with the same two by trying.
    fn number(&self, user: &str, password: &[u8]) -> (u64, u64) {
        (self.keys.0.hash_one((user, password)), self.keys.1.hash_one((user, password)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_what_it_was_told_and_nothing_else() {
        let mut remembered = Remembered::default();
        remembered.note("panel", b"hunter2");
        assert!(remembered.knows("panel", b"hunter2"));
        assert!(!remembered.knows("panel", b"hunter3") && !remembered.knows("plc", b"hunter2"));
        // Where the name ends and the password begins is not lost.
        assert!(!remembered.knows("pane", b"lhunter2"));
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let mut remembered = Remembered::default();
        for index in 0..2 * MOST {
            remembered.note(&format!("user{index}"), b"hunter2");
        }
        assert_eq!(remembered.known.len(), MOST);
        assert!(remembered.knows(&format!("user{}", 2 * MOST - 1), b"hunter2"));
    }
}
