//! How a line is taken apart: into fields, by one of five forms.
//!
//! Pure functions over text, each linear in the length of the line. What a field means is for
//! [`crate::value`] to say.

pub mod csv;
pub mod json;
pub mod nmea;
pub mod pairs;
pub mod pattern;

use std::borrow::Cow;

use csv::Csv;
use nmea::{Checksum, Sentence};
use pairs::Pairs;
use pattern::Pattern;

/// How the lines of a device are taken apart.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// By patterns with named fields; the first that fits counts.
    Pattern(Vec<Pattern>),
    /// As columns.
    Csv(Csv),
    /// As one JSON object or array; fields are paths.
    Json,
    /// As an NMEA 0183 sentence; fields begin with its type.
    Nmea(Checksum),
    /// As names with values: `T=21.5,H=60`.
    Pairs(Pairs),
}

/// A line that was taken apart.
#[derive(Clone, Debug)]
pub enum Fields<'t> {
    /// What a pattern found.
    Named(Vec<(&'t str, &'t str)>),
    /// Columns, and their names as far as they have some.
    Columns(Vec<Cow<'t, str>>, &'t [String]),
    /// A JSON value.
    Json(serde_json::Value),
    /// A sentence.
    Sentence(Sentence<'t>),
}

/// What a field was found to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<'f> {
    /// Text, perhaps empty.
    Text(Cow<'f, str>),
    /// The device says that there is no value, and here is why.
    Nothing(&'static str),
}

/// Why a line is not of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// It is another kind of line.
    Other,
    /// It is of this kind, and was damaged on its way: its checksum does not fit.
    Damaged,
    /// It is the heading of the columns, and carries nothing.
    Heading,
}

impl Form {
    /// The fields of a line.
    ///
    /// # Errors
    /// The line is not of this form.
    pub fn take_apart<'t>(&'t self, line: &'t str) -> Result<Fields<'t>, Misfit> {
        match self {
            Self::Pattern(patterns) => {
                patterns.iter().find_map(|pattern| pattern.fit(line)).map(Fields::Named).ok_or(Misfit::Other)
            }
            Self::Csv(csv) => csv.split(line).map(|columns| Fields::Columns(columns, &csv.columns)),
            Self::Json => json::parse(line).map(Fields::Json).ok_or(Misfit::Other),
            Self::Nmea(checksum) => Sentence::parse(line, *checksum).map(Fields::Sentence),
            Self::Pairs(pairs) => pairs.split(line).map(Fields::Named).ok_or(Misfit::Other),
        }
    }

    /// What is wrong with the name of a field, if anything is: in words.
    pub fn check_field(&self, name: &str) -> Result<(), String> {
        match self {
            Self::Pattern(patterns) => {
                let known: Vec<&str> = patterns.iter().flat_map(Pattern::names).collect();
                if known.contains(&name) {
                    return Ok(());
                }
                Err(format!("the pattern has no field {{{name}}}"))
            }
            Self::Csv(csv) => csv.place(name).map(|_| ()),
            Self::Nmea(_) => nmea::check_field(name),
            Self::Json | Self::Pairs(_) => Ok(()),
        }
    }
}

impl Fields<'_> {
    /// The field of that name. `None` if this line has none, which need not mean anything.
    pub fn get(&self, name: &str) -> Option<Found<'_>> {
        match self {
            Self::Named(fields) => {
                let (_, text) = fields.iter().find(|(field, _)| *field == name)?;
                Some(Found::Text(Cow::Borrowed(text)))
            }
            Self::Columns(columns, names) => {
                let text = columns.get(csv::place(names, name)?)?;
                Some(Found::Text(Cow::Borrowed(text)))
            }
            Self::Json(json) => json::get(json, name),
            Self::Sentence(sentence) => sentence.get(name),
        }
    }

    /// Whether a line that carries none of the fields one asks for belongs to its device all the same:
    /// a receiver of positions says many things that nobody asks it for.
    pub fn is_complete_without(&self) -> bool {
        matches!(self, Self::Sentence(_))
    }
}

/// A line as text, without the marks around it: UTF-8, or else Latin-1, in which devices write their
/// degree signs. `None` if control characters stand in it.
pub fn text(frame: &[u8]) -> Option<String> {
    let text = match std::str::from_utf8(frame) {
        Ok(text) => text.to_owned(),
        Err(_) => frame.iter().map(|byte| char::from(*byte)).collect(),
    };
    let bare = text.trim_matches(|c: char| c.is_control() || c == ' ');
    let is_text = !bare.chars().any(|c| c.is_control() && c != '\t');
    is_text.then(|| bare.to_owned())
}
