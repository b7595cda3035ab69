//! Numbers, times and tables as people read them. Pure.

use std::fmt::Write;
use std::time::Duration;

/// `1,234,567`
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 message`, `2,000 messages`
pub fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// `512 B`, `8.4 MB`, `29.8 GB`
pub fn bytes(number: f64) -> String {
    let mut number = number;
    for unit in ["B", "kB", "MB", "GB"] {
        if number < 999.5 {
            return format!("{} {unit}", short(number, unit == "B"));
        }
        number /= 1000.0;
    }
    format!("{} TB", short(number, false))
}

/// `12 s`, `3 min`, `5 h 12 min`, `10 days`
pub fn lasting(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{minutes} min"),
        7_200..172_800 => format!("{hours} h {} min", minutes % 60),
        _ => counted(days, "day"),
    }
}

/// `28`, `1.7`: as exact as a guess deserves.
pub fn about(number: f64) -> String {
    if number < 9.95 { format!("{number:.1}") } else { count(number.round() as u64) }
}

/// `2026-11-21 05:22:57.123Z`, from milliseconds since 1970.
pub fn time(ms: u64) -> String {
    let (days, of_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = date(days);
    let (hours, minutes) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (seconds, millis) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

/// A text that cannot do anything to a terminal: control characters are shown, not sent.
pub fn harmless(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        // Also those that turn the direction of what follows.
        if c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
        out
    })
}

/// Rows in columns, with a header. The first columns are left-aligned; from `numbers` on they are
/// right-aligned, and from `words` on left-aligned again.
pub fn table(header: &[&str], numbers: usize, words: usize, rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(header.get(column).map(|cell| cell.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let head: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let mut lines = Vec::new();
    for row in std::iter::once(&head).chain(rows) {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if (numbers..words).contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        lines.push(cells.collect::<Vec<_>>().join("  ").trim_end().to_owned());
    }
    lines.join("\n")
}

fn short(number: f64, whole: bool) -> String {
    if whole || number >= 99.95 { format!("{number:.0}") } else { format!("{number:.1}") }
}

/// Year, month and day of a day since 1970, by the Gregorian calendar. Years begin in March here, so
/// that the odd day comes last; an era is the 400 years after which everything repeats.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    if month < 10 { (era * 400 + year, month + 3, day) } else { (era * 400 + year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([1, 2_000].map(|n| counted(n, "message")), ["1 message", "2,000 messages"]);
        assert_eq!(
            [0.0, 512.0, 999.6, 8_388_608.0, 29_800_000_000.0, 1e15].map(bytes),
            ["0 B", "512 B", "1.0 kB", "8.4 MB", "29.8 GB", "1000 TB"]
        );
        assert_eq!(
            [5, 119, 150, 18_720, 864_000].map(|s| lasting(Duration::from_secs(s))),
            ["5 s", "119 s", "2 min", "5 h 12 min", "10 days"]
        );
        assert_eq!([0.25, 9.94, 27.7, 84_321.0].map(about), ["0.2", "9.9", "28", "84,321"]);
    }

    #[test]
    fn times_follow_the_calendar() {
        let day = 86_400_000;
        assert_eq!(time(0), "1970-01-01 00:00:00.000Z");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00.000Z");
        assert_eq!(time(1_795_219_869_123), "2026-11-21 00:11:09.123Z");
        assert_eq!(time(365 * day - 1), "1970-12-31 23:59:59.999Z");
        assert_eq!(time(4_107_542_400_000), "2100-03-01 00:00:00.000Z");
        // Whatever a damaged file says.
        assert!(time(u64::MAX).ends_with('Z'));
    }

    #[test]
    fn what_a_device_said_cannot_steer_a_terminal() {
        assert_eq!(harmless("21.5 °C\x1b[2J\n\u{202e}"), "21.5 °C\\u{1b}[2J\\n\\u{202e}");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["garden".into(), "5".into(), "ok".into()], vec!["b".into(), "1,200".into(), String::new()]];
        assert_eq!(table(&["LINK", "N", "WHY"], 1, 2, &rows), "LINK        N  WHY\ngarden      5  ok\nb       1,200");
    }
}
