//! What the writing does to a card: bytes a day, and how long a card lasts that way.
//!
//! Flash stands a certain number of overwrites. A card spreads them over its whole size, so what
//! counts is how often what is written a day goes into that. The reckoning takes the pages the queue
//! writes. It leaves out what the file system adds, and what a card writes of its own accord: a poor
//! card wears several times faster, and other programs wear it too.

use std::time::Duration;

use serde_json::{Value as Json, json};

/// How many overwrites a card stands: few for the cheapest, more for a good one.
pub const OVERWRITES: [u64; 2] = [1_000, 3_000];

const DAY: f64 = 86_400.0;
const YEAR: f64 = 365.25;

/// What was written in some time, and to how large a disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wear {
    /// Bytes written in that time.
    pub written: u64,
    /// That time.
    pub over: Duration,
    /// The size of the disk in bytes, if it is known.
    pub disk: Option<u64>,
}

impl Wear {
    /// Bytes a day, if it goes on like this.
    pub fn per_day(&self) -> f64 {
        self.written as f64 / self.over.as_secs_f64().max(1.0) * DAY
    }

    /// How many days it takes to write the whole disk over once. `None` if nothing is written.
    pub fn days_per_overwrite(&self) -> Option<f64> {
        let disk = self.disk.filter(|disk| *disk > 0)? as f64;
        (self.written > 0).then(|| disk / self.per_day())
    }

    /// For how many years a card lasts that stands so many overwrites.
    pub fn years(&self, overwrites: u64) -> Option<f64> {
        Some(self.days_per_overwrite()? * overwrites as f64 / YEAR)
    }

    /// As it stands in a status.
    pub fn to_json(self) -> Json {
        json!({
            "written_bytes": self.written,
            "over_s": self.over.as_secs(),
            "bytes_per_day": self.per_day().round() as u64,
            "disk_bytes": self.disk,
            "days_per_overwrite": self.days_per_overwrite(),
            "overwrites": OVERWRITES,
            "years": OVERWRITES.map(|overwrites| self.years(overwrites)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_written_over_once_in_so_many_days() {
        let wear = Wear { written: 2_900_000_000 / 24, over: Duration::from_secs(3600), disk: Some(29_800_000_000) };
        assert_eq!((wear.per_day() / 1e8).round(), 29.0);
        assert_eq!(wear.days_per_overwrite().unwrap().round(), 10.0);
        assert_eq!(OVERWRITES.map(|n| wear.years(n).unwrap().round()), [28.0, 84.0]);
    }

    #[test]
    fn what_is_not_written_to_does_not_wear() {
        let idle = Wear { written: 0, over: Duration::from_secs(60), disk: Some(1 << 30) };
        assert_eq!((idle.per_day(), idle.years(1_000)), (0.0, None));
        let unknown = Wear { written: 7, over: Duration::ZERO, disk: None };
        assert_eq!(unknown.days_per_overwrite(), None);
    }
}
