//! Texts of the site file that mean more than themselves: bytes for a device, templates, patterns.

use serde_json::json;
use wharf_contract::Value;
use wharf_contract::settings::{Context, Name, Node, NodeKind, Schema, Setting, Typed};

use crate::form::pattern::Pattern;
use crate::value::Spelling;

/// The longest text that is sent or looked for, in bytes.
const LONGEST: usize = 256;

/// Bytes for a device, written as text with `\r`, `\n`, `\t`, `\0`, `\\` and `\x1b` for those that
/// cannot be seen: 1–256 of them. It makes no difference whether YAML undoes them already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// The bytes a text stands for.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes = unescape(text)?;
        match bytes.len() {
            0 => Err("this cannot be empty".into()),
            1..=LONGEST => Ok(Self(bytes)),
            _ => Err(format!("this has {LONGEST} bytes at most")),
        }
    }

    /// As it is written.
    pub fn shown(&self) -> String {
        self.0.escape_ascii().to_string()
    }
}

/// A text without its escapes.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let mut signs = escape.chars();
        let byte = match signs.next() {
            Some('r') => b'\r',
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('x') => {
                let digits = escape.get(1..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                signs = escape.get(3..).unwrap_or_default().chars();
                byte.ok_or("behind \\x stand two hexadecimal digits")?
            }
            _ => return Err("after a backslash comes r, n, t, 0, x and two digits, or another backslash".into()),
        };
        bytes.push(byte);
        rest = signs.as_str();
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// What is sent to write a value: bytes with `{value}` in them.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    text: String,
    parts: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Bytes(Vec<u8>),
    Value(Spelling),
}

impl Template {
    /// A template, or what is wrong with the text.
    ///
    /// # Errors
    /// In words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > LONGEST {
            return Err(format!("what is sent has 1 to {LONGEST} bytes"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            parts.push(Piece::Bytes(unescape(before)?));
            if let Some(after) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
                parts.push(Piece::Bytes(brace.as_bytes()[..1].to_vec()));
                rest = after;
                continue;
            }
            let inside = brace.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let (word, after) = inside.ok_or("a brace is not closed; a brace itself is `{{` or `}}`")?;
            parts.push(Piece::Value(spelling(word)?));
            rest = after;
        }
        parts.push(Piece::Bytes(unescape(rest)?));
        parts.retain(|part| !matches!(part, Piece::Bytes(bytes) if bytes.is_empty()));
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Whether the value is a part of it.
    pub fn has_value(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Piece::Value(_)))
    }

    /// How the value is spelt in it.
    pub fn spelling(&self) -> Spelling {
        let spelling = self.parts.iter().find_map(|part| match part {
            Piece::Value(spelling) => Some(*spelling),
            Piece::Bytes(_) => None,
        });
        spelling.unwrap_or_default()
    }

    /// The bytes, with the value filled in.
    ///
    /// # Errors
    /// They are too many, in words.
    pub fn render(&self, value: &str) -> Result<Vec<u8>, String> {
        let parts = self.parts.iter().map(|part| match part {
            Piece::Bytes(bytes) => bytes.as_slice(),
            Piece::Value(_) => value.as_bytes(),
        });
        let bytes: Vec<u8> = parts.flatten().copied().collect();
        if bytes.len() > LONGEST {
            return Err(format!("with this value {} bytes would be sent, and {LONGEST} is the most", bytes.len()));
        }
        Ok(bytes)
    }
}

/// `value`, `value:.1`, `value:05`, `value:07.2`
fn spelling(word: &str) -> Result<Spelling, String> {
    let wrong =
        || format!("`{{{word}}}` is not known here; {{value}}, {{value:.1}}, {{value:05}} and {{value:07.2}} are");
    let Some(format) = word.strip_prefix("value") else { return Err(wrong()) };
    if format.is_empty() {
        return Ok(Spelling::default());
    }
    let (width, decimals) = match format.strip_prefix(':').ok_or_else(wrong)?.split_once('.') {
        Some((width, decimals)) => (width, Some(decimals)),
        None => (format.trim_start_matches(':'), None),
    };
    let number = |digits: &str| digits.parse::<usize>().ok().filter(|number| *number <= 32).ok_or_else(wrong);
    let width = match width.strip_prefix('0') {
        Some(width) => number(width)?,
        None if width.is_empty() && decimals.is_some() => 0,
        None => return Err(wrong()),
    };
    Ok(Spelling { width, decimals: decimals.map(number).transpose()? })
}

/// The name of a device that is in its lines: `ws-{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTemplate {
    text: String,
    /// Fixed texts and, behind each but the last, a field.
    parts: Vec<(String, Option<String>)>,
}

impl NameTemplate {
    /// A template, or what is wrong with the text.
    ///
    /// # Errors
    /// In words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (field, after) = after.split_once('}').ok_or("the brace `{` is not closed")?;
            if field.is_empty() {
                return Err("between the braces the name of a field is missing".into());
            }
            parts.push((before.to_owned(), Some(field.to_owned())));
            rest = after;
        }
        if parts.is_empty() {
            return Err("without a field such as {id} all of them would have the same name".into());
        }
        parts.push((rest.to_owned(), None));
        let template = Self { text: text.to_owned(), parts };
        template.render(|_| Some("x".to_owned()))?;
        Ok(template)
    }

    /// The fields it is made of.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|(_, field)| field.as_deref())
    }

    /// The name, with what the fields hold.
    ///
    /// # Errors
    /// A field is missing, or this cannot be a name: in words.
    pub fn render(&self, field: impl Fn(&str) -> Option<String>) -> Result<Name, String> {
        let mut name = String::new();
        for (text, hole) in &self.parts {
            name.push_str(text);
            if let Some(hole) = hole {
                let held = field(hole).filter(|held| !held.is_empty());
                name.push_str(&held.ok_or_else(|| format!("the line has no {hole}"))?);
            }
        }
        Name::new(&name)
    }

    /// The names it can make, with `*` for each field.
    pub fn glob(&self) -> String {
        self.parts.iter().map(|(text, field)| format!("{text}{}", if field.is_some() { "*" } else { "" })).collect()
    }
}

/// What texts of a device mean: `{ST: stable, US: moving}`, `{A: true, V: false}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Words(pub Vec<(String, Value)>);

impl Setting for Words {
    fn schema() -> Schema {
        json!({ "type": "object", "minProperties": 1, "additionalProperties": Value::schema() })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if !matches!(node.kind, NodeKind::Mapping(_)) || node.entries().is_empty() {
            cx.unexpected::<()>(node, "texts and what they mean");
            cx.help_last("write {ST: stable, US: moving}");
            return None;
        }
        let words: Vec<_> = node
            .entries()
            .iter()
            .map(|entry| {
                cx.within_entry(entry, |cx, node| Some((entry.key.trim().to_owned(), Value::decode(node, cx)?)))
            })
            .collect();
        words.into_iter().collect::<Option<_>>().map(Self)
    }
}

/// Reads a text and says what is wrong with it.
macro_rules! text_setting {
    ($type:ty, $schema:expr, $expected:literal) => {
        impl Setting for $type {
            fn schema() -> Schema {
                $schema
            }

            fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
                let text = match (node.typed(), node.text()) {
                    (Some(Typed::Text(_) | Typed::Int(_) | Typed::Float(_)), Some(text)) => text,
                    _ => return cx.unexpected(node, $expected),
                };
                if text.contains("${") {
                    cx.problem(node.span, "`${…}` is read in passwords and keys only")
                        .help("write the value itself here");
                    return None;
                }
                Self::parse(text).map_err(|why| cx.problem(node.span, why).help = None).ok()
            }
        }
    };
}

fn text_schema() -> Schema {
    json!({ "type": ["string", "number"], "not": { "type": "string", "pattern": "\\$\\{" } })
}

text_setting!(Bytes, text_schema(), "text such as \"READ?\\r\\n\"");
text_setting!(Template, text_schema(), "text such as \"SET {value}\\r\\n\"");
text_setting!(Pattern, text_schema(), "a pattern such as \"T={t}C\"");
text_setting!(
    NameTemplate,
    json!({ "type": "string", "pattern": "\\{[^{}]+\\}" }),
    "a name with a field in it, such as ws-{id}"
);

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.text.escape_debug())
    }
}

impl std::fmt::Display for NameTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_cannot_be_seen_are_written_with_a_backslash() {
        let bytes = |text: &str| Bytes::parse(text).map(|bytes| bytes.0);
        assert_eq!(bytes(r"READ?\r\n"), Ok(b"READ?\r\n".to_vec()));
        assert_eq!(bytes("READ?\r\n"), Ok(b"READ?\r\n".to_vec()));
        assert_eq!(bytes(r"\x02\0\\x\t"), Ok(b"\x02\0\\x\t".to_vec()));
        for wrong in ["", r"a\", r"\q", r"\x0", r"\x+1", &"x".repeat(257), r"\xé"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_template_is_filled_with_the_value() {
        let check = |template: &str, expected: &[u8], spelling: (usize, Option<usize>)| {
            let template = Template::parse(template).unwrap();
            assert_eq!(template.render("21.5").as_deref(), Ok(expected));
            assert_eq!((template.spelling().width, template.spelling().decimals), spelling);
        };
        check(r"SET {value}\r\n", b"SET 21.5\r\n", (0, None));
        check("{{{value:07.2}}}", b"{21.5}", (7, Some(2)));
        check("V{value:.1}", b"V21.5", (0, Some(1)));
        check("V{value:05}", b"V21.5", (5, None));
        check("TARE\r", b"TARE\r", (0, None));
        for wrong in ["", "{valu}", "{value", "{value:5}", "{value:.x}", "{value:099}", r"{value}\q"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Template::parse("SET {value}").unwrap().render(&"9".repeat(300)).is_err());
    }

    #[test]
    fn a_device_is_named_by_its_lines() {
        let template = NameTemplate::parse("ws-{id}").unwrap();
        let named = |id: &'static str| template.render(move |_| Some(id.to_owned())).map(|name| name.to_string());
        assert_eq!(named("23"), Ok("ws-23".into()));
        for wrong in ["", "a/b", "#", "a b", "\u{7}"] {
            assert!(named(wrong).is_err(), "{wrong}");
        }
        assert_eq!(template.glob(), "ws-*");
        for wrong in ["ws", "ws-{id", "ws-{}", "ws/{id}"] {
            assert!(NameTemplate::parse(wrong).is_err(), "{wrong}");
        }
    }
}
