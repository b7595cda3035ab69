//! NMEA 0183 sentences: `$GPRMC,…*hh`, from receivers of positions and everything on board a ship.
//!
//! A field is named by the type of its sentence and its number, counted from 1 behind the type:
//! `VTG.7`, `GPGGA.2`. The fields of RMC and GGA have names as well, and their positions are
//! reckoned in degrees: minutes are sixtieths, south and west are negative.

use std::borrow::Cow;

use super::{Found, Misfit};

/// The most fields in a sentence. The standard has 82 characters at most, receivers have more.
const MOST_FIELDS: usize = 64;

/// Whether a sentence without a checksum is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// It is not.
    Required,
    /// It is; a checksum that is there has to fit.
    Optional,
}

/// One sentence.
#[derive(Clone, Debug)]
pub struct Sentence<'t> {
    /// Talker and type: `GPRMC`.
    address: &'t str,
    fields: Vec<&'t str>,
}

/// The fields that have names: the type, the name, and what it is.
const NAMED: &[(&str, &str, Meaning)] = &[
    ("RMC", "time", Meaning::Field(1)),
    ("RMC", "status", Meaning::Field(2)),
    ("RMC", "latitude", Meaning::Degrees(3)),
    ("RMC", "longitude", Meaning::Degrees(5)),
    ("RMC", "position", Meaning::Position(3, None)),
    ("RMC", "speed", Meaning::Field(7)),
    ("RMC", "course", Meaning::Field(8)),
    ("RMC", "date", Meaning::Field(9)),
    ("GGA", "time", Meaning::Field(1)),
    ("GGA", "latitude", Meaning::Degrees(2)),
    ("GGA", "longitude", Meaning::Degrees(4)),
    ("GGA", "position", Meaning::Position(2, Some(9))),
    ("GGA", "fix", Meaning::Field(6)),
    ("GGA", "satellites", Meaning::Field(7)),
    ("GGA", "hdop", Meaning::Field(8)),
    ("GGA", "altitude", Meaning::Field(9)),
];

/// What a named field is made of, by the numbers of the fields.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    /// A field as it is.
    Field(usize),
    /// Degrees and minutes, and behind them the hemisphere.
    Degrees(usize),
    /// Latitude, longitude and perhaps the altitude, with commas between.
    Position(usize, Option<usize>),
}

impl<'t> Sentence<'t> {
    /// The sentence a line is.
    ///
    /// # Errors
    /// It is none, or its checksum does not fit.
    pub fn parse(line: &'t str, checksum: Checksum) -> Result<Self, Misfit> {
        let line = line.trim();
        let body = line.strip_prefix(['$', '!']).ok_or(Misfit::Other)?;
        let body = match (body.split_once('*'), checksum) {
            (Some((body, sum)), _) => {
                let sum = sum.get(..2).filter(|_| sum.len() == 2).and_then(|sum| u8::from_str_radix(sum, 16).ok());
                let found = body.bytes().fold(0, |sum, byte| sum ^ byte);
                if sum != Some(found) {
                    return Err(Misfit::Damaged);
                }
                body
            }
            (None, Checksum::Optional) => body,
            (None, Checksum::Required) => return Err(Misfit::Damaged),
        };
        let mut fields = body.split(',');
        let address = fields.next().unwrap_or_default();
        let is_address = (3..=10).contains(&address.len()) && address.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_address {
            return Err(Misfit::Other);
        }
        Ok(Self { address, fields: fields.take(MOST_FIELDS).collect() })
    }

    /// The type: without the talker, unless the sentence is a maker's own.
    fn kind(&self) -> &'t str {
        if self.address.starts_with('P') { self.address } else { self.address.get(2..).unwrap_or_default() }
    }

    /// The field of that name.
    pub fn get(&self, name: &str) -> Option<Found<'t>> {
        let (sentence, name) = name.split_once('.')?;
        if sentence != self.address && sentence != self.kind() {
            return None;
        }
        let meaning = match name.parse() {
            Ok(number) => Meaning::Field(number),
            Err(_) => meaning(self.kind(), name)?,
        };
        Some(self.read(meaning))
    }

    fn read(&self, meaning: Meaning) -> Found<'t> {
        match meaning {
            Meaning::Field(number) => match self.field(number) {
                Some(text) => Found::Text(Cow::Borrowed(text)),
                None => Found::Nothing("the sentence has no such field"),
            },
            _ if !self.has_fix() => Found::Nothing("the receiver has no position"),
            Meaning::Degrees(number) => match self.degrees(number) {
                Some(degrees) => Found::Text(Cow::Owned(spell(degrees))),
                None => Found::Nothing("this is no position in degrees and minutes"),
            },
            Meaning::Position(number, altitude) => {
                let both = (self.degrees(number), self.degrees(number + 2));
                let (Some(latitude), Some(longitude)) = both else {
                    return Found::Nothing("this is no position in degrees and minutes");
                };
                let altitude =
                    altitude.and_then(|number| self.field(number)).filter(|text| text.parse::<f64>().is_ok());
                let altitude = altitude.map(|text| format!(",{text}")).unwrap_or_default();
                Found::Text(Cow::Owned(format!("{},{}{altitude}", spell(latitude), spell(longitude))))
            }
        }
    }

    /// Field numbers count from 1.
    fn field(&self, number: usize) -> Option<&'t str> {
        self.fields.get(number.checked_sub(1)?).map(|text| text.trim())
    }

    fn has_fix(&self) -> bool {
        match self.kind() {
            "RMC" => self.field(2) == Some("A"),
            "GGA" => self.field(6).is_some_and(|fix| !fix.is_empty() && fix != "0"),
            _ => true,
        }
    }

    /// `ddmm.mmmm` or `dddmm.mmmm` with its hemisphere, in degrees: degrees + minutes / 60.
    fn degrees(&self, number: usize) -> Option<f64> {
        let (text, hemisphere) = (self.field(number)?, self.field(number + 1)?);
        let point = text.find('.').unwrap_or(text.len());
        let (degrees, minutes) = text.split_at_checked(point.checked_sub(2)?)?;
        let is_number = !degrees.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let (degrees, minutes) = (degrees.parse::<f64>().ok()?, minutes.parse::<f64>().ok()?);
        let (sign, most) = match hemisphere {
            "N" => (1.0, 90.0),
            "S" => (-1.0, 90.0),
            "E" => (1.0, 180.0),
            "W" => (-1.0, 180.0),
            _ => return None,
        };
        let angle = degrees + minutes / 60.0;
        (is_number && minutes < 60.0 && angle <= most).then_some(sign * angle)
    }
}

/// To the seventh decimal, which is a centimetre.
fn spell(degrees: f64) -> String {
    format!("{degrees:.7}")
}

fn meaning(kind: &str, name: &str) -> Option<Meaning> {
    NAMED.iter().find(|(sentence, field, _)| *sentence == kind && *field == name).map(|(_, _, meaning)| *meaning)
}

/// Whether a field can be called so.
///
/// # Errors
/// What is wrong with it, in words.
pub fn check_field(name: &str) -> Result<(), String> {
    let Some((sentence, field)) = name.split_once('.') else {
        return Err(format!("`{name}` names no sentence: write RMC.latitude or GGA.7"));
    };
    let is_sentence = (3..=10).contains(&sentence.len())
        && sentence.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if !is_sentence {
        return Err(format!("`{sentence}` is not the type of a sentence, such as RMC or GPGGA"));
    }
    if let Ok(number) = field.parse::<usize>() {
        return if (1..=MOST_FIELDS).contains(&number) {
            Ok(())
        } else {
            Err(format!("fields are counted from 1 to {MOST_FIELDS}"))
        };
    }
    let kind = if sentence.len() == 5 { sentence.get(2..).unwrap_or_default() } else { sentence };
    if meaning(kind, field).is_some() {
        return Ok(());
    }
    let known: Vec<&str> =
        NAMED.iter().filter(|(sentence, ..)| *sentence == kind).map(|(_, field, _)| *field).collect();
    Err(if known.is_empty() {
        format!("the fields of {sentence} have no names here: count them, {sentence}.1 is the first")
    } else {
        format!("{sentence} has no field `{field}`: there are {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RMC: &str = "$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A";
    const GGA: &str = "$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47";

    fn check(line: &str, name: &str, expected: Option<&str>) {
        let sentence = Sentence::parse(line, Checksum::Required).unwrap();
        assert_eq!(sentence.get(name), expected.map(|text| Found::Text(text.to_owned().into())), "{line}: {name}");
    }

    fn with_sum(body: &str) -> String {
        format!("${body}*{:02X}", body.bytes().fold(0, |sum, byte| sum ^ byte))
    }

    #[test]
    fn a_position_is_reckoned_in_degrees() {
        check(RMC, "RMC.latitude", Some("48.1173000"));
        check(RMC, "RMC.longitude", Some("11.5166667"));
        check(RMC, "RMC.position", Some("48.1173000,11.5166667"));
        check(GGA, "GGA.position", Some("48.1173000,11.5166667,545.4"));
        check(GGA, "GPGGA.altitude", Some("545.4"));
        let south_west = with_sum("GNRMC,1,A,3351.50000,S,07036.25,W,,,,,,A");
        check(&south_west, "RMC.position", Some("-33.8583333,-70.6041667"));
    }

    #[test]
    fn any_field_has_a_number() {
        check(RMC, "RMC.7", Some("022.4"));
        check(RMC, "RMC.speed", Some("022.4"));
        check(GGA, "GGA.13", Some(""));
        check(GGA, "RMC.7", None);
        check(GGA, "GNGGA.7", None);
        check(&with_sum("PUBX,00,0815"), "PUBX.2", Some("0815"));
    }

    #[test]
    fn without_a_fix_there_is_no_position() {
        let sentence = with_sum("GPRMC,123519,V,,,,,,,230394,,");
        let sentence = Sentence::parse(&sentence, Checksum::Required).unwrap();
        assert_eq!(sentence.get("RMC.latitude"), Some(Found::Nothing("the receiver has no position")));
        assert_eq!(sentence.get("RMC.date"), Some(Found::Text("230394".into())));
        assert_eq!(sentence.get("RMC.40"), Some(Found::Nothing("the sentence has no such field")));
    }

    #[test]
    fn impossible_angles_are_no_position() {
        for angle in
            ["9107.038,N", "4861.0,N", "x807.0,N", "07.0,N", ".5,N", "4807.038,Q", ",N", "4807.038.1,N", "48é7.0,N"]
        {
            let line = with_sum(&format!("GPGGA,1,{angle},01131.000,E,1"));
            let sentence = Sentence::parse(&line, Checksum::Required).unwrap();
            assert!(matches!(sentence.get("GGA.latitude"), Some(Found::Nothing(_))), "{angle}");
        }
    }

    #[test]
    fn a_sentence_is_believed_with_its_checksum_alone_unless_said_otherwise() {
        let parse = |line: &str, checksum| Sentence::parse(line, checksum).map(|_| ());
        assert_eq!(parse(&RMC.replace("*6A", "*6B"), Checksum::Optional), Err(Misfit::Damaged));
        assert_eq!(parse(&RMC.replace("*6A", "*6A0"), Checksum::Optional), Err(Misfit::Damaged));
        assert_eq!(parse(&RMC.replace("*6A", ""), Checksum::Required), Err(Misfit::Damaged));
        assert_eq!(parse(&RMC.replace("*6A", ""), Checksum::Optional), Ok(()));
        assert_eq!(parse("hello", Checksum::Optional), Err(Misfit::Other));
        assert_eq!(parse("$,1", Checksum::Optional), Err(Misfit::Other));
    }

    #[test]
    fn a_name_that_no_sentence_has_is_refused_in_words() {
        for right in ["RMC.latitude", "GPGGA.7", "PUBX.3", "GGA.hdop"] {
            assert_eq!(check_field(right), Ok(()), "{right}");
        }
        for (wrong, words) in [
            ("latitude", "names no sentence"),
            ("RMC.altitude", "there are time, status"),
            ("VTG.speed", "count them"),
            ("rmc.1", "not the type"),
            ("RMC.0", "from 1"),
        ] {
            let error = check_field(wrong).unwrap_err();
            assert!(error.contains(words), "{wrong}: {error}");
        }
    }
}
