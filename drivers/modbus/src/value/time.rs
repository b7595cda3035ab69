//! Clocks as devices keep them.
//!
//! Two kinds are told apart. What is *counted* (seconds since 1970 or 2000) is a moment, and
//! published with its zone: `2026-11-21T08:39:00Z`, RFC 3339. What stands in *fields* is what a clock
//! on the wall shows; the device does not say in which zone, so none is made up:
//! `2026-11-21T08:39:00`.
//!
//! Sources of the formats: four words after IEC 60870-5-4, Schneider Electric iEM3100/3200/3300 user
//! manual DOCA0005EN, "DATETIME format". Seconds since 1970 in two registers: Electrex X3M, holding
//! registers 161–162. One register per field: Discover Energy AES 885-0126, "Time information". Six
//! bytes, or six pairs of BCD digits, in three registers: many inverters and meters, year first.

use super::layout::Order;

/// How a clock stands in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeForm {
    /// Seconds since 1970, two registers, unsigned.
    Unix32,
    /// Seconds since 1970, four registers.
    Unix64,
    /// Milliseconds since 1970, four registers.
    UnixMs,
    /// Seconds since 2000, two registers, unsigned.
    Since2000,
    /// IEC 60870-5-4 in four registers.
    Iec870,
    /// Year, month, day, hour, minute, second: two BCD digits each, three registers.
    Bcd,
    /// The same as six bytes, three registers.
    Bytes,
    /// The same as six registers; the year with or without its century.
    Words,
}

impl TimeForm {
    /// How many registers it takes up.
    pub(crate) fn width(self) -> u16 {
        match self {
            Self::Unix32 | Self::Since2000 => 2,
            Self::Bcd | Self::Bytes => 3,
            Self::Unix64 | Self::UnixMs | Self::Iec870 => 4,
            Self::Words => 6,
        }
    }

    /// Whether it is a moment; else what a clock on the wall shows.
    pub(crate) fn is_counted(self) -> bool {
        matches!(self, Self::Unix32 | Self::Unix64 | Self::UnixMs | Self::Since2000)
    }

    /// Whether it knows milliseconds.
    fn has_millis(self) -> bool {
        matches!(self, Self::UnixMs | Self::Iec870)
    }
}

/// A date and a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clock {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    millis: u32,
}

/// Seconds from 1970 to 2000.
const YEAR_2000: i64 = 946_684_800;

/// One second past the year 9999, the last that RFC 3339 can write.
const YEAR_10000_MS: i64 = 253_402_300_800_000;

/// The time as text, or why there is none.
pub(crate) fn decode(registers: &[u16], form: TimeForm, order: Order) -> Result<String, String> {
    let clock = match form {
        TimeForm::Unix32 => from_millis(count(registers, order).checked_mul(1000)),
        TimeForm::Unix64 => from_millis(count(registers, order).checked_mul(1000)),
        TimeForm::UnixMs => from_millis(Some(count(registers, order))),
        TimeForm::Since2000 => from_millis((count(registers, order) + YEAR_2000).checked_mul(1000)),
        TimeForm::Iec870 => from_iec870(&words(registers, order)),
        TimeForm::Bcd => bytes(registers, order)
            .into_iter()
            .map(from_bcd)
            .collect::<Result<Vec<_>, _>>()
            .and_then(|fields| from_fields(&fields)),
        TimeForm::Bytes => from_fields(&bytes(registers, order)),
        TimeForm::Words => from_fields(&words(registers, order)),
    }?;
    Ok(clock.text(form))
}

/// The registers of a time that is written like [`example`], or why it does not fit.
pub(crate) fn encode(text: &str, form: TimeForm, order: Order) -> Result<Vec<u16>, String> {
    let unclear = || format!("{text:?} is no time: write {}", example(form));
    let (clock, zone) = parse(text).ok_or_else(unclear)?;
    clock.check()?;
    let misfit = || format!("{text} is outside what the device's clock can show");
    if form.is_counted() {
        let minutes = zone.ok_or_else(|| format!("{text} has no zone: write {}", example(form)))?;
        let millis = clock.millis_since_1970() - i64::from(minutes) * 60_000;
        let seconds = millis.div_euclid(1000);
        let bits = match form {
            TimeForm::Unix32 => u32::try_from(seconds).map(u64::from).ok(),
            TimeForm::Since2000 => u32::try_from(seconds - YEAR_2000).map(u64::from).ok(),
            TimeForm::UnixMs => u64::try_from(millis).ok(),
            _ => u64::try_from(seconds).ok(),
        };
        return Ok(counted(bits.ok_or_else(misfit)?, form.width(), order));
    }
    if zone.is_some() {
        return Err(format!("the device's clock has no zone, so leave it out: write {}", example(form)));
    }
    let field = |number: u32| u16::try_from(number).map_err(|_| misfit());
    let Clock { month, day, hour, minute, second, millis, .. } = clock;
    let year = clock.year.checked_sub(2000).ok_or_else(misfit)?;
    let registers = match form {
        TimeForm::Iec870 if year < 128 => {
            [year, month << 8 | day, hour << 8 | minute, second * 1000 + millis].map(field).to_vec()
        }
        TimeForm::Bcd if year < 100 => {
            let bcd = |number: u32| number / 10 * 16 + number % 10;
            [(year, month), (day, hour), (minute, second)].map(|(a, b)| field(bcd(a) << 8 | bcd(b))).to_vec()
        }
        TimeForm::Bytes if year < 100 => {
            [(year, month), (day, hour), (minute, second)].map(|(a, b)| field(a << 8 | b)).to_vec()
        }
        TimeForm::Words => return Err("whether the device's year has its century is not known".into()),
        _ => return Err(misfit()),
    };
    registers.into_iter().map(|register| register.map(|register| order.register(register))).collect()
}

/// How such a time is written.
pub(crate) fn example(form: TimeForm) -> &'static str {
    if form.is_counted() { "2026-11-21T08:39:00Z" } else { "2026-11-21T08:39:00" }
}

/// The registers as one number, at most `i64::MAX`.
fn count(registers: &[u16], order: Order) -> i64 {
    let append = |bits: u64, register: &u16| bits << 16 | u64::from(order.register(*register));
    let bits =
        if order.low_word_first() { registers.iter().rev().fold(0, append) } else { registers.iter().fold(0, append) };
    i64::try_from(bits).unwrap_or(i64::MAX)
}

fn counted(bits: u64, width: u16, order: Order) -> Vec<u16> {
    // One register at a time.
    let low_first = (0..width).map(|n| order.register((bits >> (16 * n)) as u16));
    if order.low_word_first() { low_first.collect() } else { low_first.rev().collect() }
}

fn words(registers: &[u16], order: Order) -> Vec<u32> {
    registers.iter().map(|register| u32::from(order.register(*register))).collect()
}

fn bytes(registers: &[u16], order: Order) -> Vec<u32> {
    words(registers, order).into_iter().flat_map(|word| [word >> 8, word & 0xFF]).collect()
}

fn from_bcd(byte: u32) -> Result<u32, String> {
    let (tens, ones) = (byte >> 4, byte & 0xF);
    if tens > 9 || ones > 9 { Err(format!("{byte:#04X} is not BCD")) } else { Ok(tens * 10 + ones) }
}

/// Year, month, day, hour, minute, second.
fn from_fields(fields: &[u32]) -> Result<Clock, String> {
    let &[year, month, day, hour, minute, second] = fields else { return Err("a time has six fields".into()) };
    let year = if year < 100 { 2000 + year } else { year };
    Clock { year, month, day, hour, minute, second, millis: 0 }.checked()
}

/// Word 1: year in bits 0–6. Word 2: month in bits 8–11, day in 0–4. Word 3: hour in bits 8–12,
/// invalid in 7, minute in 0–5. Word 4: milliseconds of the minute. Weekday and summer time are left
/// aside.
fn from_iec870(words: &[u32]) -> Result<Clock, String> {
    let &[year, date, time, millis] = words else { return Err("a time has four words".into()) };
    if words.iter().all(|word| *word == 0xFFFF) || time & 0x80 != 0 {
        return Err("the device says that its clock is not set".into());
    }
    Clock {
        year: 2000 + (year & 0x7F),
        month: date >> 8 & 0xF,
        day: date & 0x1F,
        hour: time >> 8 & 0x1F,
        minute: time & 0x3F,
        second: millis / 1000,
        millis: millis % 1000,
    }
    .checked()
}

fn from_millis(millis: Option<i64>) -> Result<Clock, String> {
    let millis = millis.filter(|millis| (0..YEAR_10000_MS).contains(millis));
    let millis = millis.ok_or("the device's clock shows a time past the year 9999")?;
    let (days, rest) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    // A day has 86.4 million of them.
    let rest = u32::try_from(rest).unwrap_or_default();
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    Ok(Clock { year, month, day, hour, minute, second, millis: rest % 1000 })
}

/// Year, month and day of a day counted from 1970-01-01, 0 to 2,932,896. Counted in years that begin
/// in March, so that the day that is there only sometimes is the last.
fn civil(days: i64) -> (u32, u32, u32) {
    let days = u32::try_from(days).unwrap_or_default() + 719_468; // from 0000-03-01 on
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u32::from(month <= 2), month, day)
}

fn days_in(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Clock {
    fn checked(self) -> Result<Self, String> {
        self.check().map(|()| self)
    }

    fn check(&self) -> Result<(), String> {
        let Self { year, month, day, hour, minute, second, .. } = *self;
        let date =
            (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
        if date && hour < 24 && minute < 60 && second < 60 {
            return Ok(());
        }
        Err(format!("{year}-{month}-{day} {hour}:{minute}:{second} is no date and time"))
    }

    fn text(&self, form: TimeForm) -> String {
        let Self { year, month, day, hour, minute, second, millis } = self;
        let fraction = if form.has_millis() { format!(".{millis:03}") } else { String::new() };
        let zone = if form.is_counted() { "Z" } else { "" };
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}")
    }

    /// As if it were UTC. For a clock that was checked.
    fn millis_since_1970(&self) -> i64 {
        let Self { year, month, day, hour, minute, second, millis } = *self;
        let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
        // In years that begin in March, see `civil`.
        let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
        let seconds = (hour * 60 + minute) * 60 + second;
        (i64::from(days) - 719_468) * 86_400_000 + i64::from(seconds) * 1000 + i64::from(millis)
    }
}

/// Reads `2026-11-21T08:39:00.250+01:00`: fraction and zone may be absent, a blank may stand for the
/// T. Gives the clock, unchecked, and the zone in minutes east of Greenwich.
fn parse(text: &str) -> Option<(Clock, Option<i32>)> {
    let (date, time) = text.trim().split_once(['T', 't', ' '])?;
    let (time, zone) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => (&time[..at], Some(parse_zone(&time[at..])?)),
        None => (time, None),
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let millis = if fraction.len() <= 3 {
        digits(fraction)? * 10_u32.pow(3 - u32::try_from(fraction.len()).ok()?)
    } else {
        return None;
    };
    let [year, month, day] = fields(date, '-')?;
    let [hour, minute, second] = fields(time, ':')?;
    Some((Clock { year, month, day, hour, minute, second, millis }, zone))
}

fn parse_zone(text: &str) -> Option<i32> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return (text.len() == 1).then_some(0),
    };
    let [hours, minutes] = fields(&text[1..], ':')?;
    let zone = i32::try_from(hours * 60 + minutes).ok()?;
    (hours < 24 && minutes < 60).then_some(sign * zone)
}

fn fields<const N: usize>(text: &str, separator: char) -> Option<[u32; N]> {
    let fields: Option<Vec<u32>> = text.split(separator).map(digits).collect();
    fields?.try_into().ok()
}

/// A number of one to four digits.
fn digits(text: &str) -> Option<u32> {
    let well_formed = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    well_formed.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [TimeForm; 8] = [
        TimeForm::Unix32,
        TimeForm::Unix64,
        TimeForm::UnixMs,
        TimeForm::Since2000,
        TimeForm::Iec870,
        TimeForm::Bcd,
        TimeForm::Bytes,
        TimeForm::Words,
    ];

    fn check(form: TimeForm, registers: &[u16], expected: &str) {
        assert_eq!(decode(registers, form, Order::Abcd).as_deref(), Ok(expected), "{form:?}");
        if form != TimeForm::Words {
            assert_eq!(encode(expected, form, Order::Abcd).as_deref(), Ok(registers), "{form:?}");
        }
    }

    #[test]
    fn counted_times_are_moments_with_their_zone() {
        check(TimeForm::Unix32, &[0, 0], "1970-01-01T00:00:00Z");
        check(TimeForm::Unix32, &[0xFFFF, 0xFFFF], "2106-02-07T06:28:15Z");
        check(TimeForm::Unix32, &[0x386D, 0x4380], "2000-01-01T00:00:00Z");
        check(TimeForm::Since2000, &[0, 0], "2000-01-01T00:00:00Z");
        check(TimeForm::Unix64, &[0, 0, 0x65E0, 0x71C0], "2024-02-29T12:00:00Z");
        check(TimeForm::UnixMs, &[0, 0x018D, 0xF4BC, 0x56FA], "2024-02-29T12:00:00.250Z");
    }

    #[test]
    fn clocks_on_the_wall_are_given_no_zone() {
        check(TimeForm::Iec870, &[24, 0x021D, 0x0C1E, 15_500], "2024-02-29T12:30:15.500");
        check(TimeForm::Bcd, &[0x2402, 0x2912, 0x3015], "2024-02-29T12:30:15");
        check(TimeForm::Bytes, &[0x1802, 0x1D0C, 0x1E0F], "2024-02-29T12:30:15");
        check(TimeForm::Words, &[2024, 2, 29, 12, 30, 15], "2024-02-29T12:30:15");
        check(TimeForm::Words, &[24, 2, 29, 12, 30, 15], "2024-02-29T12:30:15");
    }

    #[test]
    fn the_order_of_the_device_holds_for_its_clock() {
        assert_eq!(decode(&[0x4380, 0x386D], TimeForm::Unix32, Order::Cdab).as_deref(), Ok("2000-01-01T00:00:00Z"));
        assert_eq!(decode(&[0x0224, 0x1229, 0x1530], TimeForm::Bcd, Order::Badc).as_deref(), Ok("2024-02-29T12:30:15"));
    }

    #[test]
    fn weekday_and_summer_time_of_iec_870_are_left_aside() {
        let read = decode(&[24, 0x029D, 0x8C1E, 0], TimeForm::Iec870, Order::Abcd);
        assert_eq!(read.as_deref(), Ok("2024-02-29T12:30:00.000"));
    }

    #[test]
    fn what_is_no_time_is_an_error() {
        let refused = |registers: &[u16], form| decode(registers, form, Order::Abcd).unwrap_err();
        assert!(refused(&[0xFFFF; 4], TimeForm::Iec870).contains("not set"));
        assert!(refused(&[24, 0x021D, 0x0C9E, 0], TimeForm::Iec870).contains("not set"));
        assert!(refused(&[24, 0x021D, 0x0C1E, 60_000], TimeForm::Iec870).contains("12:30:60"));
        assert!(refused(&[0x2402, 0x3012, 0x3015], TimeForm::Bcd).contains("2024-2-30"));
        assert!(refused(&[0x240A, 0x2912, 0x3015], TimeForm::Bcd).contains("0x0A is not BCD"));
        assert!(refused(&[0, 0, 0], TimeForm::Bytes).contains("2000-0-0"));
        assert!(refused(&[2023, 2, 29, 0, 0, 0], TimeForm::Words).contains("2023-2-29"));
        assert!(refused(&[0xFFFF; 4], TimeForm::Unix64).contains("past the year 9999"));
        assert!(refused(&[0xFFFF; 4], TimeForm::UnixMs).contains("past the year 9999"));
    }

    #[test]
    fn a_time_is_written_only_when_it_is_clear_and_fits() {
        let refused = |text: &str, form| encode(text, form, Order::Abcd).unwrap_err();
        assert_eq!(encode("2024-02-29T13:00:00+01:00", TimeForm::Unix64, Order::Abcd), Ok(vec![0, 0, 0x65E0, 0x71C0]));
        assert!(refused("2024-02-29T12:00:00", TimeForm::Unix32).contains("has no zone"));
        assert!(refused("2024-02-29T12:00:00Z", TimeForm::Bcd).contains("leave it out"));
        assert!(refused("2107-01-01T00:00:00Z", TimeForm::Unix32).contains("outside"));
        assert!(refused("1999-12-31T23:59:59Z", TimeForm::Since2000).contains("outside"));
        assert!(refused("2100-01-01T00:00:00", TimeForm::Bcd).contains("outside"));
        assert!(refused("2024-02-30T12:00:00", TimeForm::Iec870).contains("is no date"));
        assert!(refused("2024-02-29T12:00:00", TimeForm::Words).contains("century"));
        for text in [
            "",
            "now",
            "2024-02-29",
            "2024-02-29T12:00",
            "2024-02-29T12:00:00.1234",
            "2024-02-29T12:00:00+1",
            "-1-1-1T0:0:0",
            "2024-02-29T12:00:00Zz",
            "2024-02-29T€:00:00",
        ] {
            assert!(refused(text, TimeForm::Unix32).contains("is no time"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_moment_that_was_read_can_be_written_back(seconds: u32, swapped: bool) {
            let order = if swapped { Order::Dcba } else { Order::Abcd };
            let registers = counted(u64::from(seconds), 2, order);
            for form in [TimeForm::Unix32, TimeForm::Since2000] {
                let text = decode(&registers, form, order).unwrap();
                prop_assert_eq!(encode(&text, form, order), Ok(registers.clone()));
            }
        }

        #[test]
        fn no_registers_and_no_text_are_too_much(words: [u16; 6], text in ".{0,40}", zone in "2024-02-29[T ].{0,20}") {
            for form in ALL {
                let _ = decode(&words[..usize::from(form.width())], form, Order::Badc);
                let _ = encode(&text, form, Order::Abcd);
                let _ = encode(&zone, form, Order::Abcd);
            }
        }
    }
}
