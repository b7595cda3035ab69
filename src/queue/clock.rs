//! Times as the log stores them: milliseconds since 1970.

use std::time::{Duration, SystemTime};

/// 2020-01-01. A record captured before it was captured by a clock that had not been set.
const CLOCK_WAS_SET: u64 = 1_577_836_800_000;

/// Milliseconds since 1970; 0 for anything earlier.
pub fn millis(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The time that many milliseconds after 1970. What no clock can show is shown as 1970.
pub fn time(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Whether something captured then is older than `max_age`. A box without a battery wakes up in
/// 1970: how old its first readings are cannot be known, so age never takes them.
pub fn expired(captured_at: u64, now: u64, max_age: Duration) -> bool {
    let max_age = u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX);
    captured_at >= CLOCK_WAS_SET && now.saturating_sub(captured_at) > max_age
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_unset_clock_captured_never_expires() {
        let (now, day) = (1_795_000_000_000, Duration::from_secs(86_400));
        assert!(expired(now - 90_000_000, now, day));
        assert!(!expired(now - 80_000_000, now, day));
        assert!(!expired(5_000, now, day));
        assert!(!expired(now + 1, now, day));
    }

    #[test]
    fn times_survive_the_way_to_disk_and_back() {
        assert_eq!(millis(time(1_795_219_869_123)), 1_795_219_869_123);
        assert_eq!(millis(SystemTime::UNIX_EPOCH - Duration::from_secs(5)), 0);
        let _ = time(u64::MAX);
    }
}
