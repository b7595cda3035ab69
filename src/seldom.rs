//! Log lines that would come in floods: the first at once, then a summary now and then, and a last
//! word when it is over.
//!
//! The summaries become rarer the longer it goes on, so that a night of one trouble is a page of
//! log and not a book. Nothing is left out of the count: each line says how many it stands for.

use std::time::Duration;

use tokio::time::Instant;

/// How long lines of one kind are held back after the first, the second, and so on; the last of
/// these is for all that follow.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(600), Duration::from_secs(3600)];

/// It is over when it has been quiet for this many times its longest pause so far, and within these
/// bounds: what happens every ten minutes is not over after eleven.
const OVER_AFTER: u32 = 3;
const OVER_AT_LEAST: Duration = Duration::from_secs(60);
const OVER_AT_MOST: Duration = Duration::from_secs(3600);

/// After so long a quiet, what comes is a matter of its own, and told at once again.
const FORGOTTEN: Duration = OVER_AT_MOST;

/// Decides when a line of one kind is due, and what it stands for.
#[derive(Debug, Default)]
pub struct Seldom {
    /// When it began, if it is going on.
    began: Option<Instant>,
    /// When it happened last, and the longest pause before that.
    last: Option<Instant>,
    longest_pause: Duration,
    /// How often it has happened since it began, and since the last line.
    total: u64,
    untold: u64,
    /// Lines since it began, and lines since it was last forgotten.
    lines: usize,
    lines_lately: usize,
    /// No line is due before this.
    due: Option<Instant>,
}

/// What a line has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The first, one in between, or the last.
    pub place: Place,
    /// How many it stands for: those since the line before it.
    pub count: u64,
    /// How many there were since it began.
    pub total: u64,
    /// For how long it has been going on, or did.
    pub lasting: Duration,
}

/// Which line of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It has just begun.
    First,
    /// It goes on.
    Still,
    /// It is over.
    Over,
}

impl Seldom {
    /// It has happened, so many times. The line to be logged now, if one is due.
    pub fn note(&mut self, count: u64) -> Option<Line> {
        let now = Instant::now();
        match self.last.map(|last| now - last) {
            Some(pause) if pause < FORGOTTEN => self.longest_pause = self.longest_pause.max(pause),
            // What nobody was told of before counts with what comes now.
            _ => *self = Self { untold: self.untold, total: self.untold, ..Self::default() },
        }
        self.last = Some(now);
        self.began.get_or_insert(now);
        self.total = self.total.saturating_add(count);
        self.untold = self.untold.saturating_add(count);
        self.summary(now)
    }

    /// The line that time alone has made due: a summary of what was held back, or that it is over.
    /// For those who look every few seconds; without this there are no last words.
    pub fn look(&mut self) -> Option<Line> {
        let now = Instant::now();
        let (_, last) = (self.began?, self.last?);
        if now - last < (self.longest_pause * OVER_AFTER).clamp(OVER_AT_LEAST, OVER_AT_MOST) {
            return self.summary(now);
        }
        // Of what was told in full by a single line there is nothing more to say.
        let line = (self.untold > 0 || self.lines > 1).then(|| self.line(Place::Over, now));
        (self.began, self.total, self.lines) = (None, 0, 0);
        line
    }

    /// What was held back until now, for somebody who will not come again.
    pub fn rest(&mut self) -> Option<Line> {
        (self.untold > 0).then(|| self.line(Place::Over, Instant::now()))
    }

    fn summary(&mut self, now: Instant) -> Option<Line> {
        if self.untold == 0 || self.due.is_some_and(|due| now < due) {
            return None;
        }
        let place = if self.lines == 0 { Place::First } else { Place::Still };
        Some(self.line(place, now))
    }

    fn line(&mut self, place: Place, now: Instant) -> Line {
        let until = if place == Place::Over { self.last.unwrap_or(now) } else { now };
        let line = Line {
            place,
            count: std::mem::take(&mut self.untold),
            total: self.total,
            lasting: self.began.map(|began| until - began).unwrap_or_default(),
        };
        self.due = Some(now + PAUSES[self.lines_lately.min(PAUSES.len() - 1)]);
        self.lines += 1;
        self.lines_lately += 1;
        line
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    /// Lets it happen with this rhythm for so long, and looks every second, until long after.
    async fn lines(rhythm: Duration, lasting: Duration) -> Vec<Line> {
        let (mut seldom, mut lines) = (Seldom::default(), Vec::new());
        let began = Instant::now();
        let mut next = began;
        while began.elapsed() < lasting + 2 * HOUR {
            let now = Instant::now();
            lines.extend(if now >= next && now < began + lasting {
                next += rhythm;
                seldom.note(1)
            } else {
                seldom.look()
            });
            advance(SECOND).await;
        }
        lines
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_at_once_and_a_flood_is_summed_up() {
        let mut seldom = Seldom::default();
        let first = Line { place: Place::First, count: 3, total: 3, lasting: Duration::ZERO };
        assert_eq!(seldom.note(3), Some(first));
        for _ in 0..500 {
            assert_eq!(seldom.note(1), None);
        }
        assert_eq!(seldom.look(), None);
        sleep(PAUSES[0]).await;
        let still = Line { place: Place::Still, count: 500, total: 503, lasting: PAUSES[0] };
        assert_eq!(seldom.look(), Some(still));
        assert_eq!((seldom.look(), seldom.note(1)), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn thirteen_hours_of_one_trouble_are_seventeen_lines_that_count_everything() {
        for rhythm in [SECOND, 10 * SECOND, 660 * SECOND] {
            let lines = lines(rhythm, 13 * HOUR).await;
            let times = (13 * HOUR).as_secs().div_ceil(rhythm.as_secs());
            assert!((12..=17).contains(&lines.len()), "every {rhythm:?}: {lines:#?}");
            assert_eq!(lines.iter().map(|line| line.count).sum::<u64>(), times, "every {rhythm:?}");
            let over: Vec<_> = lines.iter().filter(|line| line.place == Place::Over).collect();
            assert_eq!(over.len(), 1, "every {rhythm:?}: {lines:#?}");
            // Of a slow rhythm nothing is known at its first time, so that may be a matter of its own.
            assert!(lines.last() == over.last().copied() && over[0].total + 1 >= times, "{over:?}");
            assert!(over[0].lasting + 3 * rhythm > 13 * HOUR, "{over:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_time_is_a_single_line() {
        assert_eq!(lines(HOUR, SECOND).await.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_soon_is_held_back_as_before_and_what_comes_back_late_is_told_at_once() {
        let mut seldom = Seldom::default();
        for _ in 0..3 {
            assert!(seldom.note(1).is_some());
            sleep(PAUSES[1]).await;
        }
        sleep(OVER_AT_LEAST * OVER_AFTER).await;
        assert_eq!(seldom.look().map(|line| (line.place, line.total)), Some((Place::Over, 3)));
        assert_eq!(seldom.note(1), None, "four lines were enough for a while");
        sleep(FORGOTTEN).await;
        // Nobody has looked meanwhile.
        let line = seldom.note(1).unwrap();
        assert_eq!((line.place, line.count, line.total), (Place::First, 2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_nothing_is_left_untold() {
        let mut seldom = Seldom::default();
        assert_eq!(seldom.rest(), None);
        seldom.note(1);
        assert_eq!(seldom.rest(), None);
        seldom.note(7);
        assert_eq!(seldom.rest().map(|line| (line.count, line.total)), Some((7, 8)));
        assert_eq!(seldom.rest(), None);
    }
}
