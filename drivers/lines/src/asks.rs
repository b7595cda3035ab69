//! Who is asked when. The clock is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// How many times its usual rhythm one that is gone is left alone, and how long at most.
const LEFT_ALONE: u32 = 4;
const LONGEST_ALONE: Duration = Duration::from_secs(60);

/// The questions of a link, by the places of their devices in the site file.
#[derive(Debug)]
pub struct Asks {
    next: Vec<Option<Next>>,
}

#[derive(Debug)]
struct Next {
    at: Instant,
    every: Duration,
}

impl Asks {
    /// All are asked at first, one after the other.
    pub fn new(every: impl IntoIterator<Item = Option<Duration>>, now: Instant) -> Self {
        Self { next: every.into_iter().map(|every| every.map(|every| Next { at: now, every })).collect() }
    }

    /// When the next one is due.
    pub fn until(&self) -> Option<Instant> {
        self.next.iter().flatten().map(|next| next.at).min()
    }

    /// The one that has been due for the longest, which is asked now.
    pub fn take(&mut self, now: Instant) -> Option<usize> {
        let due = self.next.iter().enumerate().filter_map(|(index, next)| Some((index, next.as_ref()?.at)));
        let (index, at) = due.filter(|(_, at)| *at <= now).min_by_key(|(_, at)| *at)?;
        if let Some(Some(next)) = self.next.get_mut(index) {
            // What was missed is not asked for afterwards.
            let on_time = at + next.every;
            next.at = if on_time > now { on_time } else { now + next.every };
        }
        Some(index)
    }

    /// It is gone, and each question costs the link a timeout: it is asked less often until it speaks.
    pub fn put_off(&mut self, index: usize, now: Instant) {
        if let Some(Some(next)) = self.next.get_mut(index) {
            next.at = now + (next.every * LEFT_ALONE).min(LONGEST_ALONE.max(next.every));
        }
    }

    /// Somebody wants to know now. Says whether that device is asked at all.
    pub fn hurry(&mut self, index: usize, now: Instant) -> bool {
        match self.next.get_mut(index) {
            Some(Some(next)) => {
                next.at = next.at.min(now);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_take_turns_and_keep_their_rhythm() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let secs = |secs| Some(Duration::from_secs(secs));
        let mut asks = Asks::new([secs(10), None, secs(3)], start);
        assert_eq!((asks.take(at(0)), asks.take(at(0)), asks.take(at(0))), (Some(0), Some(2), None));
        assert_eq!(asks.until(), Some(at(3)));
        assert_eq!((asks.take(at(4)), asks.take(at(5)), asks.take(at(6))), (Some(2), None, Some(2)));
        assert_eq!((asks.take(at(60)), asks.take(at(60)), asks.take(at(60))), (Some(2), Some(0), None), "no backlog");
        assert!(asks.hurry(0, at(61)) && !asks.hurry(1, at(61)) && !asks.hurry(9, at(61)));
        assert_eq!(asks.take(at(61)), Some(0));
    }

    #[test]
    fn one_that_is_gone_is_asked_less_often() {
        let start = Instant::now();
        let after = |every: u64| {
            let mut asks = Asks::new([Some(Duration::from_secs(every))], start);
            asks.take(start);
            asks.put_off(0, start);
            asks.until().unwrap().duration_since(start).as_secs()
        };
        assert_eq!([5, 20, 300].map(after), [20, 60, 300]);
    }
}
