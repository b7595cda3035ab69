//! What time it is at the site: how far the clock on the wall is from UTC.
//!
//! Nodes have no zones: they take the seconds a controller sends for what a clock on the wall shows.
//! The zone of the machine is read from its zone file (RFC 8536), as `/etc/localtime` names it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use wharf_contract::settings::{Context, Node, Schema, Setting, Typed};

/// The largest zone file that is read. They have some 4 KB.
const LARGEST: u64 = 1 << 20;
/// The farthest that any zone is from UTC, in seconds.
const FARTHEST: i64 = 26 * 3600;
const DAY: i64 = 86_400;

/// The time that nodes are told, as the site file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSetting {
    /// As a clock on the wall shows it, by the zone of the machine.
    Local,
    /// UTC.
    Utc,
    /// So many seconds ahead of UTC.
    Offset(i32),
}

impl Setting for TimeSetting {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^(local|utc|[+-]([01]?[0-9]|2[0-3]):[0-5][0-9])$" })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let decoded = match node.typed() {
            Some(Typed::Text("local")) => Some(Self::Local),
            Some(Typed::Text("utc")) => Some(Self::Utc),
            Some(Typed::Text(text)) => offset(text).map(Self::Offset),
            _ => None,
        };
        decoded.or_else(|| cx.unexpected(node, "local, utc, or an offset such as \"+01:00\""))
    }
}

/// `+05:30` in seconds.
fn offset(text: &str) -> Option<i32> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let is_number = |text: &str| matches!(text.len(), 1..=2) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(hours) || !is_number(minutes) || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// A zone, ready to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Zone {
    /// Always as far from UTC, in seconds.
    Fixed(i32),
    /// By a zone file.
    File(ZoneFile),
}

impl Zone {
    /// The zone that is set. Reads a file for `local`, so it waits for the disk. A machine without a
    /// zone file has UTC.
    pub fn load(setting: TimeSetting) -> Self {
        match setting {
            TimeSetting::Utc => Self::Fixed(0),
            TimeSetting::Offset(seconds) => Self::Fixed(seconds),
            TimeSetting::Local => read(&local_file()).map_or(Self::Fixed(0), Self::File),
        }
    }

    /// What a clock on the wall shows at that moment, as seconds since 1970 on that clock.
    pub fn wall_clock(&self, at: SystemTime) -> i64 {
        let utc = at.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        utc.saturating_add(match self {
            Self::Fixed(seconds) => i64::from(*seconds),
            Self::File(file) => file.offset(utc),
        })
    }
}

/// Where the machine has its zone: `TZ` if it names a file, else `/etc/localtime`.
fn local_file() -> PathBuf {
    let name = std::env::var("TZ").unwrap_or_default();
    let name = name.trim_start_matches(':');
    if name.is_empty() || name.split('/').any(|part| part == "..") {
        return "/etc/localtime".into();
    }
    Path::new("/usr/share/zoneinfo").join(name)
}

fn read(path: &Path) -> Option<ZoneFile> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
    ZoneFile::parse(&bytes)
}

/// A zone file: when the offset changed, and the rule it follows from the last change on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneFile {
    /// From when on, in seconds of UTC, which offset holds; rising.
    changes: Vec<(i64, i64)>,
    /// What held before the first.
    first: i64,
    rule: Option<Rule>,
}

impl ZoneFile {
    /// Reads a file of version 2 or later, the only ones there are today.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, _) = Header::parse(bytes)?.body(bytes, 4)?;
        let bytes = bytes.get(body..)?;
        let header = Header::parse(bytes)?;
        let (end, places) = header.body(bytes, 8)?;
        let types = bytes.get(places.types..)?;
        let offset = |index: u8| {
            let row = types.get(usize::from(index) * 6..)?.get(..4)?;
            Some(i64::from(i32::from_be_bytes(row.try_into().ok()?))).filter(|offset| offset.abs() <= FARTHEST)
        };
        let times = bytes.get(HEADER..places.indices)?.chunks_exact(8);
        let times = times.map(|chunk| chunk.try_into().map(i64::from_be_bytes).ok());
        let indices = bytes.get(places.indices..places.types)?;
        let changes = times.zip(indices).map(|(at, index)| Some((at?, offset(*index)?))).collect::<Option<_>>()?;
        let footer = std::str::from_utf8(bytes.get(end..)?).ok()?;
        Some(Self { changes, first: offset(0)?, rule: Rule::parse(footer.trim_matches('\n')) })
    }

    fn offset(&self, utc: i64) -> i64 {
        let passed = self.changes.partition_point(|(at, _)| *at <= utc);
        match (&self.rule, passed.checked_sub(1).and_then(|last| self.changes.get(last))) {
            (Some(rule), _) if passed == self.changes.len() => rule.offset(utc),
            (_, Some((_, offset))) => *offset,
            (_, None) => self.first,
        }
    }
}

/// The length of a header.
const HEADER: usize = 44;

/// The six counts of a header.
struct Header([usize; 6]);

/// Where the parts of a body begin.
struct Places {
    indices: usize,
    types: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..HEADER)?;
        if !header.starts_with(b"TZif") || *header.get(4)? < b'2' {
            return None;
        }
        let mut counts = [0; 6];
        for (count, chunk) in counts.iter_mut().zip(header.get(20..)?.chunks_exact(4)) {
            *count = usize::try_from(u32::from_be_bytes(chunk.try_into().ok()?)).ok()?;
            // More than fits into the file. With it no product below overflows.
            if *count > bytes.len() {
                return None;
            }
        }
        Some(Self(counts))
    }

    /// Where the body ends whose times have so many bytes, and where its parts are.
    fn body(&self, bytes: &[u8], time: usize) -> Option<(usize, Places)> {
        let [utc_flags, wall_flags, leaps, times, types, letters] = self.0;
        let indices = HEADER + times * time;
        let places = Places { indices, types: indices + times };
        let end = places.types + types * 6 + letters + leaps * (time + 4) + wall_flags + utc_flags;
        (end <= bytes.len()).then_some((end, places))
    }
}

/// How a zone goes on for ever: `CET-1CEST,M3.5.0,M10.5.0/3`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    winter: i64,
    summer: Option<Summer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Summer {
    offset: i64,
    begins: Moment,
    ends: Moment,
}

/// A moment of every year.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Moment {
    day: Day,
    /// In seconds after midnight on the clock that holds until then.
    second: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Day {
    /// `M3.5.0`: month, week (5 is the last), weekday from Sunday.
    Weekday(i64, i64, i64),
    /// `J60`: a day from 1, never counting 29 February.
    WithoutLeap(i64),
    /// `59`: a day from 0.
    OfYear(i64),
}

impl Rule {
    fn parse(text: &str) -> Option<Self> {
        let rest = skip_name(text)?;
        let (winter, rest) = signed_time(rest)?;
        if rest.is_empty() {
            return Some(Self { winter: -winter, summer: None });
        }
        let rest = skip_name(rest)?;
        let (offset, rest) = if rest.starts_with(',') { (winter - 3600, rest) } else { signed_time(rest)? };
        let (begins, ends) = rest.strip_prefix(',')?.split_once(',')?;
        let summer = Summer { offset: -offset, begins: Moment::parse(begins)?, ends: Moment::parse(ends)? };
        Some(Self { winter: -winter, summer: Some(summer) })
    }

    fn offset(&self, utc: i64) -> i64 {
        let Some(summer) = &self.summer else { return self.winter };
        let year = year_of(utc.saturating_add(self.winter).div_euclid(DAY));
        let (begins, ends) = (summer.begins.in_year(year) - self.winter, summer.ends.in_year(year) - summer.offset);
        // South of the equator summer goes over the turn of the year.
        let is_summer = if begins < ends { (begins..ends).contains(&utc) } else { !(ends..begins).contains(&utc) };
        if is_summer { summer.offset } else { self.winter }
    }
}

impl Moment {
    fn parse(text: &str) -> Option<Self> {
        let (day, time) = text.split_once('/').map_or((text, None), |(day, time)| (day, Some(time)));
        let number = |text: &str| text.parse::<i64>().ok();
        let day = if let Some(date) = day.strip_prefix('M') {
            let mut parts = date.splitn(3, '.').map(|part| part.parse::<i64>().ok());
            let (month, week, weekday) = (parts.next()??, parts.next()??, parts.next()??);
            let fits = (1..=12).contains(&month) && (1..=5).contains(&week) && (0..=6).contains(&weekday);
            fits.then_some(Day::Weekday(month, week, weekday))?
        } else if let Some(day) = day.strip_prefix('J') {
            Day::WithoutLeap(number(day).filter(|day| (1..=365).contains(day))?)
        } else {
            Day::OfYear(number(day).filter(|day| (0..=365).contains(day))?)
        };
        let second = match time {
            None => 2 * 3600,
            Some(time) => signed_time(time).filter(|(_, rest)| rest.is_empty())?.0,
        };
        Some(Self { day, second })
    }

    /// In seconds since 1970 on the clock that holds until then.
    fn in_year(&self, year: i64) -> i64 {
        let day = match self.day {
            Day::Weekday(month, week, weekday) => {
                let first = day_of(year, month, 1);
                // 1 January 1970 was a Thursday.
                let on_first = (first + 4).rem_euclid(7);
                let day = first + (weekday - on_first).rem_euclid(7) + (week - 1) * 7;
                let next = if month == 12 { day_of(year + 1, 1, 1) } else { day_of(year, month + 1, 1) };
                if day >= next { day - 7 } else { day }
            }
            Day::WithoutLeap(day) => {
                let is_leap = day_of(year, 3, 1) - day_of(year, 2, 1) == 29;
                day_of(year, 1, 1) + day - 1 + i64::from(is_leap && day >= 60)
            }
            Day::OfYear(day) => day_of(year, 1, 1) + day,
        };
        day * DAY + self.second
    }
}

/// A zone's name: letters, or anything in angle brackets.
fn skip_name(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('<') {
        return quoted.split_once('>').map(|(_, rest)| rest);
    }
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    (text.len() - rest.len() >= 3).then_some(rest)
}

/// `-5:30` at the front of a text, in seconds, and what follows.
fn signed_time(text: &str) -> Option<(i64, &str)> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
    let mut seconds = 0;
    for (part, unit) in text[..text.len() - rest.len()].splitn(3, ':').zip([3600, 60, 1]) {
        seconds += part.parse::<i64>().ok().filter(|part| *part <= 167)? * unit;
    }
    Some((sign * seconds, rest))
}

/// Days from 1 January 1970 to a date of the Gregorian calendar; March is taken for the first month,
/// so that the leap day comes last.
fn day_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + in_year - 719_468
}

/// The year that a day since 1 January 1970 is in.
fn year_of(day: i64) -> i64 {
    let mut year = 1970 + day.div_euclid(366).min(day.div_euclid(365)).clamp(-100_000, 100_000);
    while day_of(year + 1, 1, 1) <= day && year < 200_000 {
        year += 1;
    }
    year
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(rule: &str, utc: i64, hours: f64) {
        let offset = Rule::parse(rule).unwrap().offset(utc);
        // It is a day at most.
        let offset = offset as f64 / 3600.0;
        assert!((offset - hours).abs() < 1e-9, "{rule} at {utc}: {offset}");
    }

    #[test]
    fn a_rule_says_when_summer_is() {
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        // 2026-03-29 and 2026-10-25, both at 01:00 UTC.
        for (utc, hours) in [(1_774_745_999, 1.0), (1_774_746_000, 2.0), (1_792_889_999, 2.0), (1_792_890_000, 1.0)] {
            check(berlin, utc, hours);
        }
        let sydney = "AEST-10AEDT,M10.1.0,M4.1.0/3";
        // 2026-01-01, 2026-07-01, 2026-12-01.
        for (utc, hours) in [(1_767_225_600, 11.0), (1_782_864_000, 10.0), (1_796_083_200, 11.0)] {
            check(sydney, utc, hours);
        }
        check("<+0545>-5:45", 0, 5.75);
        check("EST5", 0, -5.0);
        // 2028 is a leap year: J60 is 1 March in every year, 60 in leap years.
        check("AAA0BBB,J60/0,J300/0", 1_835_481_599, 0.0);
        check("AAA0BBB,J60/0,J300/0", 1_835_481_600, 1.0);
        check("AAA0BBB,60/0,300/0", 1_835_481_600, 1.0);
    }

    #[test]
    fn what_is_no_rule_is_none() {
        for text in ["", "C-1", "CET", "CET-1CEST", "CET-1CEST,M13.1.0,M1.1.0", "CET-1CEST,M3.5.0", "CET-999"] {
            assert_eq!(Rule::parse(text).filter(|_| text != "CET"), None, "{text}");
        }
    }

    #[test]
    fn days_and_years_agree_with_the_calendar() {
        assert_eq!((day_of(1970, 1, 1), day_of(2000, 3, 1), day_of(2026, 11, 21)), (0, 11_017, 20_778));
        for year in 1900..2200 {
            let (first, last) = (day_of(year, 1, 1), day_of(year, 12, 31));
            assert_eq!((year_of(first), year_of(last)), (year, year));
        }
    }

    /// The zone files of this machine, against what its own C library makes of them.
    #[test]
    fn zone_files_mean_what_date_says_they_mean() {
        for zone in ["Europe/Berlin", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "UTC"] {
            let path = Path::new("/usr/share/zoneinfo").join(zone);
            if !path.exists() {
                continue;
            }
            let zone_file = Zone::File(read(&path).unwrap());
            for utc in [0, 1_000_000_000, 1_700_000_000, 1_782_864_000, 1_795_219_869, 2_500_000_000] {
                let date = std::process::Command::new("date")
                    .args(["-d", &format!("@{utc}"), "+%Y-%m-%dT%H:%M:%S"])
                    .env("TZ", zone)
                    .output()
                    .unwrap();
                let wall = zone_file.wall_clock(UNIX_EPOCH + Duration::from_secs(utc));
                let shown = std::process::Command::new("date")
                    .args(["-u", "-d", &format!("@{wall}"), "+%Y-%m-%dT%H:%M:%S"])
                    .output()
                    .unwrap();
                let text = |output: std::process::Output| String::from_utf8(output.stdout).unwrap();
                assert_eq!(text(shown), text(date), "{zone} at {utc}");
            }
        }
    }

    #[test]
    fn no_bytes_upset_it() {
        let whole = {
            let mut bytes = b"TZif2".to_vec();
            bytes.extend([0; 15]);
            bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            let mut second = b"TZif2".to_vec();
            second.extend([0; 15]);
            second.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 4]);
            second.extend(1_000_i64.to_be_bytes());
            second.push(0);
            second.extend(3_600_i32.to_be_bytes());
            second.extend([0, 0]);
            second.extend(b"CET\0\nCET-1\n");
            bytes.extend(second);
            bytes
        };
        assert_eq!(ZoneFile::parse(&whole).map(|zone| zone.offset(2_000)), Some(3_600));
        for length in 0..whole.len() {
            let _ = ZoneFile::parse(&whole[..length]);
        }
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 0xff;
            if let Some(zone) = ZoneFile::parse(&damaged) {
                zone.offset(i64::from(i32::MAX));
            }
        }
    }

    #[test]
    fn an_offset_is_written_with_its_sign() {
        let check = |text: &str, expected: Option<i32>| assert_eq!(offset(text), expected, "{text}");
        check("+01:00", Some(3600));
        check("-3:30", Some(-12_600));
        for wrong in ["01:00", "+24:00", "+1:60", "+1", "+01:0", "+ 1:00", "local"] {
            check(wrong, None);
        }
    }
}
