//! When which point is read. Pure: the clock comes in as an argument.

use std::time::Duration;

use tokio::time::Instant;

/// When the points of one device are due.
#[derive(Debug)]
pub(crate) struct Timetable {
    points: Vec<(Option<Duration>, Instant)>,
}

impl Timetable {
    /// Points by how often they are read, if they are. All are due at once.
    pub(crate) fn new(every: impl IntoIterator<Item = Option<Duration>>, now: Instant) -> Self {
        Self { points: every.into_iter().map(|every| (every, now)).collect() }
    }

    /// When the next is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.points.iter().filter_map(|(every, due)| every.map(|_| *due)).min()
    }

    /// Which are due. With a connection that will end soon, those that would be soon are taken along:
    /// within a tenth of their time.
    pub(crate) fn due(&self, now: Instant, along: bool) -> Option<usize> {
        self.points.iter().position(|(every, due)| {
            every.is_some_and(|every| *due <= now + if along { every / 10 } else { Duration::ZERO })
        })
    }

    /// One was read, or it was tried. It keeps its rhythm unless it is late by more than a period.
    pub(crate) fn done(&mut self, index: usize, now: Instant) {
        if let Some((Some(every), due)) = self.points.get_mut(index) {
            let next = *due + *every;
            *due = if next > now && *due <= now { next } else { now + *every };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn points_keep_their_rhythm_and_do_not_catch_up() {
        let now = Instant::now();
        let mut times = Timetable::new([Some(10 * S), None], now);
        assert_eq!((times.due(now, false), times.next()), (Some(0), Some(now)));
        times.done(0, now + S);
        assert_eq!((times.due(now + S, false), times.next()), (None, Some(now + 10 * S)));
        times.done(0, now + 35 * S);
        assert_eq!(times.next(), Some(now + 45 * S), "once, however many were missed");
    }

    #[test]
    fn what_is_due_soon_is_taken_along() {
        let now = Instant::now();
        let mut times = Timetable::new([Some(100 * S)], now);
        times.done(0, now);
        assert_eq!(times.due(now + 89 * S, true), None);
        assert_eq!(times.due(now + 90 * S, true), Some(0));
        assert_eq!(times.due(now + 90 * S, false), None);
        times.done(0, now + 90 * S);
        assert_eq!(times.next(), Some(now + 190 * S));
    }

    #[test]
    fn what_is_never_read_is_never_due() {
        let now = Instant::now();
        let times = Timetable::new([None, None], now);
        assert_eq!((times.due(now + 1000 * S, true), times.next()), (None, None));
    }
}
