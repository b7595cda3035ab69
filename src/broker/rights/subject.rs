//! Whose certificate it is: the subject of a certificate that TLS has verified.
//!
//! The crates of TLS verify a chain and say nothing of subjects; a whole parser of certificates would be as large
//! as they are. What is needed is one walk through DER (ITU-T X.690) to one field (RFC 5280, chapter 4.1), so it is here. What
//! is not as it should be gives an empty one.

use std::fmt;

/// The longest text of a subject that is kept, in bytes: no certificate authority allows more.
const LONGEST_TEXT: usize = 256;
/// The most attributes that are kept.
const MOST_ATTRIBUTES: usize = 32;

/// Attributes of a subject by their names, and their object identifiers in DER.
const ATTRIBUTES: [(&str, &[u8]); 7] = [
    ("CN", &[0x55, 4, 3]),
    ("SERIALNUMBER", &[0x55, 4, 5]),
    ("C", &[0x55, 4, 6]),
    ("L", &[0x55, 4, 7]),
    ("ST", &[0x55, 4, 8]),
    ("O", &[0x55, 4, 10]),
    ("OU", &[0x55, 4, 11]),
];

/// Tags of DER.
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const VERSION: u8 = 0xa0;
/// UTF8String, PrintableString, IA5String. The others are of the last century.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// The subject of a certificate, as far as it is text: `CN=plc-1,O=Plant`. Also what is asked of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject(Vec<(&'static str, String)>);

impl Subject {
    /// The subject of a certificate in DER. One that cannot be read has nothing in it, and nothing that is asked for fits.
    pub fn of(certificate: &[u8]) -> Self {
        Self::read(certificate).unwrap_or_default()
    }

    fn read(certificate: &[u8]) -> Option<Self> {
        let certificate = Der(certificate).take(SEQUENCE)?;
        let mut fields = Der(Der(certificate).take(SEQUENCE)?);
        fields.skip(VERSION);
        fields.take(INTEGER)?; // serial number
        for _ in 0..3 {
            fields.take(SEQUENCE)?; // algorithm, issuer, validity
        }
        let mut names = Der(fields.take(SEQUENCE)?);
        let mut attributes = Vec::new();
        while !names.0.is_empty() {
            let mut set = Der(names.take(SET)?);
            while !set.0.is_empty() {
                let mut pair = Der(set.take(SEQUENCE)?);
                let identifier = pair.take(OBJECT_IDENTIFIER)?;
                let Some((name, _)) = ATTRIBUTES.iter().find(|(_, known)| *known == identifier) else { continue };
                let (tag, value) = pair.next()?;
                let text = TEXTS.contains(&tag).then(|| std::str::from_utf8(value).ok())??;
                if text.len() > LONGEST_TEXT || attributes.len() == MOST_ATTRIBUTES {
                    return None;
                }
                attributes.push((*name, text.to_owned()));
            }
        }
        Some(Self(attributes))
    }

    /// Reads what is asked of a subject: `CN=plc-1` or `CN=plc-1,O=Plant`, a comma or backslash in a value written `\,` or
    /// `\\`. The error says in words what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut attributes: Vec<(&'static str, String)> = Vec::new();
        for part in split(text) {
            let (name, value) = part.split_once('=').ok_or("a subject is written CN=plc-1")?;
            let upper = name.trim().to_ascii_uppercase();
            let Some((name, _)) = ATTRIBUTES.iter().find(|(known, _)| *known == upper) else {
                let known: Vec<_> = ATTRIBUTES.iter().map(|(name, _)| *name).collect();
                return Err(format!("`{}` is not known here; there are {}", name.trim(), known.join(", ")));
            };
            if value.is_empty() {
                return Err(format!("`{name}` is empty"));
            }
            if attributes.iter().any(|(before, _)| before == name) {
                return Err(format!("`{name}` is here twice"));
            }
            attributes.push((name, value.to_owned()));
        }
        Ok(Self(attributes))
    }

    /// Whether a certificate's subject has all that is asked for. What it has twice counts for nothing: which of the
    /// two its issuer has looked at is not known.
    pub fn fits(&self, certificate: &Self) -> bool {
        let has = |(name, value): &(&str, String)| {
            let mut values = certificate.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
            values.next() == Some(value) && values.next().is_none()
        };
        !self.0.is_empty() && self.0.iter().all(has)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{name}={}", value.replace('\\', "\\\\").replace(',', "\\,"))?;
        }
        Ok(())
    }
}

/// Splits at commas that have no backslash before them, and takes the backslashes out.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ',' => parts.push(String::new()),
            '\\' => parts.last_mut().into_iter().for_each(|part| part.extend(characters.next())),
            _ => parts.last_mut().into_iter().for_each(|part| part.push(character)),
        }
    }
    parts
}

/// What is left of a run of DER values.
pub struct Der<'a>(pub &'a [u8]);

impl<'a> Der<'a> {
    /// The next value with its tag.
    pub fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            // The short form; then the long one, with one to three bytes of length, which do for any certificate.
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 3))?;
                (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    /// The next value, which is to have that tag.
    pub fn take(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, value)| value)
    }

    /// Goes past the next value, if it has that tag.
    pub fn skip(&mut self, tag: u8) {
        if self.0.first() == Some(&tag) {
            self.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair};

    use super::*;

    fn certificate(attributes: &[(DnType, DnValue)]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (attribute, value) in attributes {
            params.distinguished_name.push(attribute.clone(), value.clone());
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn plc() -> Vec<u8> {
        certificate(&[
            (DnType::CountryName, DnValue::PrintableString("DE".try_into().unwrap())),
            (DnType::OrganizationName, DnValue::Utf8String("Straße, Süd".into())),
            (DnType::CommonName, DnValue::Utf8String("plc-1".into())),
        ])
    }

    #[test]
    fn the_subject_of_a_certificate_is_found() {
        let subject = Subject::of(&plc());
        assert_eq!(subject.to_string(), "C=DE,O=Straße\\, Süd,CN=plc-1");
        assert_eq!(Subject::parse(&subject.to_string()), Ok(subject));
        // A long subject has its length in two bytes.
        let long = certificate(&[(DnType::CommonName, DnValue::Utf8String("x".repeat(200)))]);
        assert_eq!(Subject::of(&long).to_string(), format!("CN={}", "x".repeat(200)));
        let nameless = Subject::of(&certificate(&[]));
        assert!(!Subject::parse("CN=plc-1").unwrap().fits(&nameless));
    }

    #[test]
    fn what_is_asked_for_has_to_be_there_once() {
        let subject = Subject::of(&plc());
        let fits = |asked: &str| Subject::parse(asked).unwrap().fits(&subject);
        assert!(fits("CN=plc-1") && fits("cn=plc-1,C=DE") && fits("O=Straße\\, Süd"));
        assert!(!fits("CN=plc-2") && !fits("CN=plc") && !fits("CN=PLC-1") && !fits("CN=plc-1,OU=x"));
        let twice = Subject(vec![("CN", "plc-1".into()), ("CN", "admin".into())]);
        assert!(!Subject::parse("CN=plc-1").unwrap().fits(&twice));
        assert!(!Subject::parse("CN=admin").unwrap().fits(&twice));
    }

    #[test]
    fn what_is_no_subject_is_told_why() {
        for (text, why) in [("", "CN="), ("plc-1", "CN="), ("XY=1", "`XY`"), ("CN=", "empty"), ("CN=a,CN=b", "twice")] {
            let told = Subject::parse(text).unwrap_err();
            assert!(told.contains(why), "{text}: {told}");
        }
    }

    #[test]
    fn no_bytes_do_harm() {
        let good = plc();
        for seed in 0..20_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut bytes = good.clone();
            for _ in 0..random.usize(1..8) {
                let at = random.usize(..bytes.len());
                match random.u8(..4) {
                    0 => bytes.truncate(at.max(1)),
                    1 => bytes[at] = [0, 0x30, 0x7f, 0x80, 0x83, 0xff][random.usize(..6)],
                    _ => bytes[at] = random.u8(..),
                }
            }
            let _ = Subject::of(&bytes);
        }
        for length in 0..good.len() {
            assert_eq!(Subject::read(&good[..length]), None, "cut to {length}");
        }
    }
}
