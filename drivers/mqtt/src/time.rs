//! When a payload says that its values were taken. Pure: the gateway's clock is an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value as Json;

/// How far a device's clock may be ahead of ours and be believed.
const AHEAD: Duration = Duration::from_secs(300);

/// 2020-01-01, in seconds since 1970: a clock that shows less was never set.
const NEVER_SET: u64 = 1_577_836_800;

/// From here on a number counts milliseconds: as seconds it would be the year 5138.
const MILLISECONDS: f64 = 1e11;

/// The time in a payload: seconds or milliseconds since 1970, or as ISO 8601 writes it. `zone` is the
/// offset from UTC, in minutes, of a text that has none itself; without it such a text says nothing.
///
/// `None` if that cannot be the time, by a clock that shows `now`.
pub fn read(json: &Json, zone: Option<i16>, now: SystemTime) -> Option<SystemTime> {
    let since = match json {
        Json::Number(number) => number_of(number.as_f64()?)?,
        Json::String(text) => match text.trim().parse::<f64>() {
            Ok(number) => number_of(number)?,
            Err(_) => iso(text.trim(), zone)?,
        },
        _ => return None,
    };
    let time = UNIX_EPOCH.checked_add(since)?;
    (since.as_secs() >= NEVER_SET && time <= now + AHEAD).then_some(time)
}

fn number_of(number: f64) -> Option<Duration> {
    // To the millisecond: beyond that a float of today's size is noise.
    let millis = if number >= MILLISECONDS { number.round() } else { (number * 1000.0).round() };
    Duration::try_from_secs_f64(millis / 1000.0).ok().map(|since| {
        let whole = since + Duration::from_micros(500);
        Duration::new(whole.as_secs(), whole.subsec_millis() * 1_000_000)
    })
}

/// `2026-11-21T18:45:00.5+01:00`, also with a blank in place of the T.
fn iso(text: &str, zone: Option<i16>) -> Option<Duration> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, offset) = rest.split_at_checked(at)?;
    let minutes = match offset {
        "" => zone?,
        "Z" | "z" => 0,
        offset => self::offset(offset)?,
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let [year, month, day] = parts(date, '-')?;
    let [hour, minute, second] = parts(clock, ':')?;
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - i64::from(minutes) * 60;
    let nanos: u32 = format!("{fraction:0<9}").parse().ok()?;
    Some(Duration::new(u64::try_from(seconds).ok()?, nanos))
}

/// An offset from UTC, in minutes: `+01:00`, `-0530`, `+02`.
pub fn offset(text: &str) -> Option<i16> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits = digits.replacen(':', "", 1);
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let hours: i16 = digits.get(..2)?.parse().ok()?;
    let minutes: i16 = digits.get(2..).filter(|rest| !rest.is_empty()).map_or(Ok(0), str::parse).ok()?;
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn parts(text: &str, between: char) -> Option<[i64; 3]> {
    let mut numbers = text.split(between).map(|part| {
        let is_number = (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse::<i64>().ok()).flatten()
    });
    let three = [numbers.next()??, numbers.next()??, numbers.next()??];
    numbers.next().is_none().then_some(three)
}

/// Days since 1970-01-01 in the Gregorian calendar: Howard Hinnant's `days_from_civil`, for years from
/// 1970 on.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// 2026-11-21 18:45:00 UTC
    const NOW: u64 = 1_795_286_700;

    fn check(json: &Json, zone: Option<i16>, expected_ms: Option<u64>) {
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        let read = read(json, zone, now).map(|time| time.duration_since(UNIX_EPOCH).unwrap().as_millis());
        assert_eq!(read, expected_ms.map(u128::from), "{json} {zone:?}");
    }

    #[test]
    fn times_are_read_as_devices_write_them() {
        check(&json!(NOW), None, Some(NOW * 1000));
        check(&json!(1_795_286_700.25), None, Some(NOW * 1000 + 250));
        check(&json!(NOW * 1000 + 7), None, Some(NOW * 1000 + 7));
        check(&json!("1795286700"), None, Some(NOW * 1000));
        check(&json!("2026-11-21T18:45:00Z"), None, Some(NOW * 1000));
        check(&json!("2026-11-21T19:45:00.500+01:00"), None, Some(NOW * 1000 + 500));
        check(&json!("2026-11-21 13:15:00-0530"), None, Some(NOW * 1000));
        check(&json!("2026-11-21T19:45:00"), Some(60), Some(NOW * 1000));
        check(&json!("2024-02-29T00:00:00"), Some(0), Some(1_709_164_800_000));
    }

    #[test]
    fn a_time_without_a_zone_says_nothing_unless_the_site_file_says_which() {
        check(&json!("2026-11-21T18:45:00"), None, None);
    }

    #[test]
    fn a_clock_that_was_never_set_or_runs_ahead_is_not_believed() {
        check(&json!("1970-01-01T00:00:10Z"), None, None);
        check(&json!(12), None, None);
        check(&json!(NOW + 300), None, Some((NOW + 300) * 1000));
        check(&json!(NOW + 301), None, None);
    }

    #[test]
    fn what_is_no_time_is_none() {
        for wrong in [
            json!("noon"),
            json!("2026-13-01T00:00:00Z"),
            json!("2026-11-21T24:00:00Z"),
            json!("2026-11-21"),
            json!("2026-11-21T18:45:00+25:00"),
            json!("2026-11-21T18:45:00.Z0Z"),
            json!(true),
            json!(null),
            json!(-1),
            json!("nan"),
        ] {
            check(&wrong, Some(0), None);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-+0-9TZ:. é]{0,40}") {
            read(&json!(text), Some(0), UNIX_EPOCH);
            offset(&text);
        }
    }
}
