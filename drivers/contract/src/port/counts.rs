//! What a driver counts that is no request, by names of its own. Counted since the gateway started.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Numbers with names, shared by a driver and the gateway. There are as many names as the driver's code
/// spells out: none comes from outside.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<Mutex<Vec<(&'static str, u64)>>>);

impl Counts {
    /// So many more of these. None makes it known that they are counted.
    pub fn add(&self, what: &'static str, more: u64) {
        add(&mut self.lock(), what, more);
    }

    /// All of them, in the order in which they were first spoken of.
    pub fn read(&self) -> Vec<(&'static str, u64)> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(&'static str, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same in a list that nobody shares.
pub(super) fn add(counts: &mut Vec<(&'static str, u64)>, what: &'static str, more: u64) {
    match counts.iter_mut().find(|(name, _)| *name == what) {
        Some((_, count)) => *count = count.saturating_add(more),
        None => counts.push((what, more)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_a_count_of_its_own_and_none_is_a_count_too() {
        let counts = Counts::default();
        for (what, more) in [("heard", 3), ("dropped", 0), ("heard", 4)] {
            counts.clone().add(what, more);
        }
        assert_eq!(counts.read(), [("heard", 7), ("dropped", 0)]);
    }
}
