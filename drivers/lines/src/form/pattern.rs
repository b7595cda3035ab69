//! A pattern: a line with named holes in it, `ST,{mode},{weight:number} kg`.
//!
//! | In a pattern | In a line |
//! |---|---|
//! | text | itself |
//! | a blank | one or more blanks or tabs |
//! | `{name}` | everything up to what follows in the pattern, as little as possible |
//! | `{name:number}` | a number: sign, digits, fraction with point or comma, exponent |
//! | `{name:word}` | at least one sign that is no blank |
//! | `{name:hex}` | at least one hexadecimal digit |
//! | `{name:5}` | exactly five signs |
//! | `{}`, `{:number}`, `{:5}` | the same, and forgotten |
//! | `{{`, `}}` | a brace |
//!
//! A line has to fit from its first sign to its last; blanks around it do not count. Nothing is tried
//! twice, so the time is linear in the length of the line.

use std::fmt;

/// The longest pattern, in bytes.
const LONGEST: usize = 512;

/// The most fields in a pattern.
const MOST_FIELDS: usize = 64;

/// A line with named holes in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    /// The text itself.
    Text(String),
    /// One or more blanks.
    Blank,
    /// A field; without a name it is forgotten.
    Field(Option<String>, Width),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Width {
    /// Up to what follows.
    Free,
    Number,
    Word,
    Hex,
    Signs(usize),
}

impl Pattern {
    /// A pattern, or what is wrong with the text.
    ///
    /// # Errors
    /// In words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("a pattern has {LONGEST} bytes at most"));
        }
        let mut parts = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (part, after) = next_part(rest)?;
            match (parts.last_mut(), part) {
                (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
                (Some(Part::Blank), Part::Blank) => {}
                (_, part) => parts.push(part),
            }
            rest = after;
        }
        let pattern = Self { text: text.to_owned(), parts };
        pattern.check()?;
        Ok(pattern)
    }

    fn check(&self) -> Result<(), String> {
        if self.parts.is_empty() {
            return Err("a pattern cannot be empty".into());
        }
        if self.parts.iter().filter(|part| matches!(part, Part::Field(..))).count() > MOST_FIELDS {
            return Err(format!("a pattern has {MOST_FIELDS} fields at most"));
        }
        let names: Vec<&str> = self.names().collect();
        if let Some(twice) = names.iter().enumerate().find(|(at, name)| names.iter().take(*at).any(|n| n == *name)) {
            return Err(format!("{{{}}} is here twice", twice.1));
        }
        for pair in self.parts.windows(2) {
            if let [Part::Field(first, Width::Free), Part::Field(second, _)] = pair {
                let shown = |name: &Option<String>| format!("{{{}}}", name.as_deref().unwrap_or_default());
                return Err(format!(
                    "between {} and {} there has to be something that ends the first: text, a blank, or a width such \
                     as {{name:5}}",
                    shown(first),
                    shown(second)
                ));
            }
        }
        Ok(())
    }

    /// The names of its fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(name, _) => name.as_deref(),
            Part::Text(_) | Part::Blank => None,
        })
    }

    /// The fields of a line that fits.
    pub fn fit<'t>(&'t self, line: &'t str) -> Option<Vec<(&'t str, &'t str)>> {
        let mut rest = line.trim();
        let mut fields = Vec::new();
        for (at, part) in self.parts.iter().enumerate() {
            rest = match part {
                Part::Text(text) => rest.strip_prefix(text.as_str())?,
                Part::Blank => {
                    let after = rest.trim_start_matches(is_blank);
                    if after.len() == rest.len() {
                        return None;
                    }
                    after
                }
                Part::Field(name, width) => {
                    let next = self.parts.get(at + 1);
                    let length = match width {
                        Width::Free => free(rest, next, at + 2 == self.parts.len())?,
                        Width::Number => number(rest)?,
                        Width::Word => leading(rest, |c| !is_blank(c))?,
                        Width::Hex => leading(rest, |c| c.is_ascii_hexdigit())?,
                        Width::Signs(count) => signs(rest, *count)?,
                    };
                    let (found, after) = rest.split_at_checked(length)?;
                    fields.extend(name.as_deref().map(|name| (name, found.trim())));
                    after
                }
            };
        }
        rest.is_empty().then_some(fields)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The part a text begins with, and what is behind it.
fn next_part(text: &str) -> Result<(Part, &str), String> {
    for brace in ["{{", "}}"] {
        if let Some(after) = text.strip_prefix(brace) {
            return Ok((Part::Text(brace[..1].to_owned()), after));
        }
    }
    if let Some(after) = text.strip_prefix('{') {
        let (inside, after) = after.split_once('}').ok_or("the brace `{` is not closed; a brace itself is `{{`")?;
        return Ok((field(inside)?, after));
    }
    if text.starts_with('}') {
        return Err("there is no `{` before this `}`; a brace itself is `}}`".into());
    }
    if text.starts_with(is_blank) {
        return Ok((Part::Blank, text.trim_start_matches(is_blank)));
    }
    let end = text.find(|c| is_blank(c) || matches!(c, '{' | '}')).unwrap_or(text.len());
    let (text, after) = text.split_at(end);
    Ok((Part::Text(text.to_owned()), after))
}

fn field(inside: &str) -> Result<Part, String> {
    let (name, width) = inside.split_once(':').unwrap_or((inside, ""));
    if !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')) {
        return Err(format!("`{name}` is not a name for a field: letters, digits, `_`, `-` and `.` are"));
    }
    let width = match width {
        "" if inside.ends_with(':') => return Err(format!("behind the colon of {{{inside}}} something is missing")),
        "" => Width::Free,
        "number" => Width::Number,
        "word" => Width::Word,
        "hex" => Width::Hex,
        count => match count.parse() {
            Ok(count @ 1..=255) => Width::Signs(count),
            _ => return Err(format!("`{count}` is neither number, word nor hex, nor a width from 1 to 255")),
        },
    };
    Ok(Part::Field((!name.is_empty()).then(|| name.to_owned()), width))
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// How long a field is that ends where the next part begins. Where that is the last, it ends the line.
fn free(text: &str, next: Option<&Part>, next_is_last: bool) -> Option<usize> {
    match next {
        None => Some(text.len()),
        Some(Part::Text(next)) if next_is_last => text.strip_suffix(next.as_str()).map(str::len),
        Some(Part::Text(next)) => text.find(next.as_str()),
        // Blanks before a value belong to what stands before it.
        Some(Part::Blank) => {
            let begin = text.len() - text.trim_start_matches(is_blank).len();
            text.get(begin..)?.find(is_blank).map(|length| begin + length)
        }
        Some(Part::Field(..)) => None,
    }
}

/// How long the number is that a text begins with, blanks before it and behind its sign included.
pub fn number(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let skip = |mut at: usize, wanted: &dyn Fn(u8) -> bool| {
        while bytes.get(at).is_some_and(|byte| wanted(*byte)) {
            at += 1;
        }
        at
    };
    let blank = |byte| matches!(byte, b' ' | b'\t');
    let digit = |byte: u8| byte.is_ascii_digit();
    let mut at = skip(0, &blank);
    if matches!(bytes.get(at), Some(b'+' | b'-')) {
        at = skip(at + 1, &blank);
    }
    let whole = skip(at, &digit);
    let mut end = whole;
    if matches!(bytes.get(whole), Some(b'.' | b',')) {
        let fraction = skip(whole + 1, &digit);
        // A comma behind a number may belong to the line, a point hardly.
        if fraction > whole + 1 || (bytes.get(whole) == Some(&b'.') && whole > at) {
            end = fraction;
        }
    }
    if end == at {
        return None;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = skip(end + 1 + sign, &digit);
        if exponent > end + 1 + sign {
            end = exponent;
        }
    }
    Some(end)
}

fn leading(text: &str, wanted: impl Fn(char) -> bool) -> Option<usize> {
    let length = text.find(|c| !wanted(c)).unwrap_or(text.len());
    (length > 0).then_some(length)
}

fn signs(text: &str, count: usize) -> Option<usize> {
    let (last, sign) = text.char_indices().nth(count.checked_sub(1)?)?;
    Some(last + sign.len_utf8())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, line: &str, expected: Option<&[(&str, &str)]>) {
        let pattern = Pattern::parse(pattern).unwrap();
        assert_eq!(pattern.fit(line).as_deref(), expected, "{pattern} on {line:?}");
    }

    #[test]
    fn a_scale_is_read() {
        let pattern = "{state},{mode},{weight:number} {unit}";
        let fields = |weight| [("state", "ST"), ("mode", "GS"), ("weight", weight), ("unit", "kg")];
        check(pattern, "ST,GS,+  12.345 kg", Some(&fields("+  12.345")));
        check(pattern, "ST,GS,   12.345   kg\r", Some(&fields("12.345")));
        check(pattern, "ST,GS,-0.5 kg ", Some(&fields("-0.5")));
        check(pattern, "ST,GS,------ kg", None);
        check(pattern, "ST,GS,12.345kg", None);
    }

    #[test]
    fn a_field_ends_where_the_next_text_begins_and_the_last_one_with_the_line() {
        check("{a},{b}", "1,2,3", Some(&[("a", "1"), ("b", "2,3")]));
        check("{a}kg", "1kg2kg", Some(&[("a", "1kg2")]));
        check("T={t}C H={h}%", "T=21.5C   H= 60 %", Some(&[("t", "21.5"), ("h", "60")]));
        check("T={t}C H={h}%", "T=21.5C H=60", None);
        check("{a} {b}", "  one   two three", Some(&[("a", "one"), ("b", "two three")]));
        check("{a}", "", Some(&[("a", "")]));
        check("OK", "OK", Some(&[]));
        check("OK", "OK!", None);
    }

    #[test]
    fn widths_words_and_hexadecimal_digits_need_nothing_behind_them() {
        check("{id:2}{t:5}{h:3}", "0721.50060", Some(&[("id", "07"), ("t", "21.50"), ("h", "060")]));
        check("{id:2}{t:5}", "0721.5", None);
        check("{w:word} {n:number}{}", "temp 21,5°C", Some(&[("w", "temp"), ("n", "21,5")]));
        check("#{:hex}:{v}", "#1aF:on", Some(&[("v", "on")]));
        check("{a:2}{b:1}", "°C!", Some(&[("a", "°C"), ("b", "!")]));
        check("{{{a}}}", "{x}", Some(&[("a", "x")]));
    }

    #[test]
    fn a_number_ends_with_its_last_digit() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(number(text).map(|end| &text[..end]), expected);
        check("21.5C", Some("21.5"));
        check("1,2", Some("1,2"));
        check("1,b", Some("1"));
        check("1.b", Some("1."));
        check(".5", Some(".5"));
        check("- 3e5x", Some("- 3e5"));
        check("3ex", Some("3"));
        check("3e+", Some("3"));
        check("+", None);
        check(".", None);
        check("", None);
    }

    #[test]
    fn a_pattern_that_makes_no_sense_is_refused_in_words() {
        let check = |text: &str, words: &str| {
            let error = Pattern::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        };
        check("", "empty");
        check("{a}{b}", "between {a} and {b}");
        check("{a} {a}", "twice");
        check("{a", "not closed");
        check("a}", "no `{`");
        check("{a b}", "not a name");
        check("{a:wrd}", "neither number, word nor hex");
        check("{a:0}", "width");
        check("{a:}", "missing");
        check(&"x".repeat(600), "512");
    }

    proptest! {
        #[test]
        fn what_fits_is_the_line_itself_with_its_fields_filled_in(
            fields in proptest::collection::vec("[a-z0-9.]{1,6}", 1..6),
        ) {
            let pattern: Vec<String> = (0..fields.len()).map(|at| format!("{{f{at}}}")).collect();
            let pattern = Pattern::parse(&pattern.join(";")).unwrap();
            let line = fields.join(";");
            let found: Vec<String> = pattern.fit(&line).unwrap().iter().map(|(_, text)| (*text).to_owned()).collect();
            prop_assert_eq!(found, fields);
        }

        #[test]
        fn no_line_and_no_pattern_makes_it_panic(pattern in "[{}:a-c ,0-9°]{0,20}", line in "[a-c ,0-9.°+e-]{0,40}") {
            if let Ok(pattern) = Pattern::parse(&pattern) {
                let _ = pattern.fit(&line);
            }
        }
    }
}
