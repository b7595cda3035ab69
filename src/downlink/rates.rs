//! How often each point was written, for those the site file sets a rate for. Pure: time comes in
//! as an argument. After a restart the count begins anew.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use wharf_contract::{DeviceId, PointId, WriteRate};

/// The writes of the last while, by point. Each list is as long as its rate's count at most, and
/// there are as many as the site file has points with a rate.
#[derive(Debug, Default)]
pub struct Rates {
    written: HashMap<(DeviceId, PointId), VecDeque<Instant>>,
}

impl Rates {
    /// Whether the point may be written now; if not, how long it has to wait.
    ///
    /// # Errors
    /// The time until one more write is within the rate.
    pub fn check(&self, point: &(DeviceId, PointId), rate: WriteRate, now: Instant) -> Result<(), Duration> {
        let Some(written) = self.written.get(point) else { return Ok(()) };
        // The write that has to be out of the stretch before another fits.
        let last = written.len().checked_sub(usize::from(rate.count)).and_then(|index| written.get(index));
        let left = last.map_or(Duration::ZERO, |at| (*at + rate.per).saturating_duration_since(now));
        if left.is_zero() { Ok(()) } else { Err(left) }
    }

    /// Counts a write.
    pub fn count(&mut self, point: (DeviceId, PointId), rate: WriteRate, now: Instant) {
        let written = self.written.entry(point).or_default();
        while written.len() >= usize::from(rate.count).max(1) {
            written.pop_front();
        }
        written.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn in_no_stretch_of_the_time_there_are_more_writes_than_the_rate_says() {
        let rate = WriteRate { count: 3, per: SECOND * 60 };
        let point = (DeviceId::from("tank"), PointId::from("valve"));
        let start = Instant::now();
        let mut rates = Rates::default();
        let mut taken = Vec::new();
        for second in 0..200 {
            let now = start + SECOND * second;
            if rates.check(&point, rate, now).is_ok() {
                rates.count(point.clone(), rate, now);
                taken.push(second);
            }
        }
        assert_eq!(taken, [0, 1, 2, 60, 61, 62, 120, 121, 122, 180, 181, 182]);
        assert_eq!(rates.check(&point, rate, start + SECOND * 190), Err(SECOND * 50));
        let other = (DeviceId::from("tank"), PointId::from("pump"));
        assert_eq!(rates.check(&other, rate, start), Ok(()));
    }
}
