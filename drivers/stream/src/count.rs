//! How often something may be complained of.

use std::time::Duration;

use tokio::time::Instant;

/// How long further complaints are only counted.
const MINUTE: Duration = Duration::from_secs(60);

/// Lets the first of many complaints through, and then one a minute with how many there were.
#[derive(Debug, Default)]
pub struct Complaints {
    last: Option<Instant>,
    since: u64,
}

impl Complaints {
    /// There is something to complain about. Says how many times there was since the last
    /// complaint, if it is time for one.
    pub fn one_more(&mut self, now: Instant) -> Option<u64> {
        self.since += 1;
        if self.last.is_some_and(|last| now < last + MINUTE) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_complaint_is_made_at_once_and_the_others_once_a_minute() {
        let start = Instant::now();
        let mut complaints = Complaints::default();
        let made: Vec<_> = (0..=120)
            .filter_map(|second| complaints.one_more(start + Duration::from_secs(second)).map(|count| (second, count)))
            .collect();
        assert_eq!(made, [(0, 1), (60, 60), (120, 60)]);
    }
}
