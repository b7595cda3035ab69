//! Whether polls keep their rhythm while something goes on beside them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::meter::Asked;

/// How much later than before a poll may be, at the 99th percentile. On an idle machine both are
/// within a few milliseconds, and noise of other tests on the same machine is some tens. A poll
/// that had to wait for the queue would be late by what a driver waits for each of its twenty
/// values, or by the rest of the outage.
const ALLOWANCE: Duration = Duration::from_millis(250);

/// Holds the polls of one stretch of time against those of another: of so many units, each asked that often.
pub fn no_later(asked: &[Asked], before: (Instant, Instant), during: (Instant, Instant), plan: (u8, Duration)) {
    let (before, during) = (Rhythm::of(asked, before, plan), Rhythm::of(asked, during, plan));
    println!("before: {before:?}\nduring: {during:?}");
    let (_, every) = plan;
    for rhythm in [&before, &during] {
        assert!(rhythm.share_of_ideal > 0.9, "{rhythm:?}");
        assert!(rhythm.median_gap > every * 8 / 10 && rhythm.median_gap < every * 12 / 10, "{rhythm:?}");
    }
    assert!(during.late_p99 <= before.late_p99 + ALLOWANCE, "before {before:?}, during {during:?}");
}

/// Holds polls against those of another gateway at the same time, on a machine that is kept so busy that even that one
/// may be late.
pub fn as_good_as(twin: &[Asked], asked: &[Asked], during: (Instant, Instant), plan: (u8, Duration)) {
    let (twin, own) = (Rhythm::of(twin, during, plan), Rhythm::of(asked, during, plan));
    println!("twin: {twin:?}\nown:  {own:?}");
    assert!(own.polls * 10 >= twin.polls * 8, "twin {twin:?}, own {own:?}");
    assert!(own.late_p99 <= twin.late_p99 * 2 + ALLOWANCE, "twin {twin:?}, own {own:?}");
}

/// How polls followed each other, each unit by itself.
#[derive(Debug)]
#[expect(dead_code, reason = "read in the words of a failure")]
struct Rhythm {
    polls: usize,
    share_of_ideal: f64,
    median_gap: Duration,
    /// How much longer than it should be a gap was.
    late_p99: Duration,
    late_most: Duration,
}

impl Rhythm {
    fn of(asked: &[Asked], (from, to): (Instant, Instant), (count, every): (u8, Duration)) -> Self {
        let mut units: HashMap<u8, Vec<Instant>> = HashMap::new();
        for asked in asked.iter().filter(|asked| from <= asked.at && asked.at < to) {
            units.entry(asked.unit).or_default().push(asked.at);
        }
        assert_eq!(units.len(), usize::from(count));
        let polls = units.values().map(Vec::len).sum();
        let mut gaps: Vec<Duration> =
            units.values().flat_map(|polls| polls.windows(2).map(|pair| pair[1] - pair[0])).collect();
        gaps.sort_unstable();
        let late = |place: usize| gaps[place].saturating_sub(every);
        Self {
            polls,
            share_of_ideal: polls as f64 / f64::from(count) / ((to - from).as_secs_f64() / every.as_secs_f64()),
            median_gap: gaps[gaps.len() / 2],
            late_p99: late(gaps.len() * 99 / 100),
            late_most: late(gaps.len() - 1),
        }
    }
}
