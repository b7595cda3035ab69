//! What can be seen of a certificate file before any client has: is it one, does it hold now, does it name a host.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::broker::rights::Der;

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// YYMMDDHHMMSSZ, and the same with four digits of a year (RFC 5280, section 4.1.2.5).
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// 2.5.29.17: subjectAltName.
const NAMES: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x11];

/// What a certificate says of itself, as far as it matters to those who set it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// From when on it holds.
    pub from: SystemTime,
    /// Until when.
    pub until: SystemTime,
    /// Whether it is of version 3, as TLS wants it.
    pub is_current: bool,
    /// Whether it names hosts or addresses (subjectAltName).
    pub names_hosts: bool,
}

impl Facts {
    /// Those of a certificate in DER. `None`: it cannot be read.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let certificate = Der(certificate).take(SEQUENCE)?;
        let mut fields = Der(Der(certificate).take(SEQUENCE)?);
        let is_current = fields.0.first() == Some(&VERSION);
        fields.skip(VERSION);
        fields.take(INTEGER)?; // serial number
        fields.take(SEQUENCE)?; // algorithm
        fields.take(SEQUENCE)?; // issuer
        let mut validity = Der(fields.take(SEQUENCE)?);
        let (from, until) = (time(validity.next()?)?, time(validity.next()?)?);
        let mut names_hosts = false;
        while let Some((tag, value)) = fields.next() {
            if tag == EXTENSIONS {
                let mut extensions = Der(Der(value).take(SEQUENCE)?);
                while let Some((_, extension)) = extensions.next() {
                    names_hosts |= extension.starts_with(NAMES);
                }
            }
        }
        Some(Self { from, until, is_current, names_hosts })
    }
}

fn time((tag, text): (u8, &[u8])) -> Option<SystemTime> {
    let digits = text.strip_suffix(b"Z")?;
    let (year, rest) = match tag {
        UTC_TIME => digits.split_at_checked(2)?,
        GENERALIZED_TIME => digits.split_at_checked(4)?,
        _ => return None,
    };
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
    let year = match (tag, number(year)?) {
        (UTC_TIME, short @ 0..50) => 2000 + short,
        (UTC_TIME, short) => 1900 + short,
        (_, long) => long,
    };
    let pair = |index: usize| number(rest.get(2 * index..2 * index + 2)?);
    let (month, day) = (pair(0)?, pair(1)?);
    let (hour, minute, second) = (pair(2)?, pair(3)?, pair(4)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        // Before 1970 there were no certificates.
        return Some(UNIX_EPOCH);
    }
    // Days since 1970 in the Gregorian calendar, the year beginning in March: its leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    UNIX_EPOCH.checked_add(Duration::from_secs(86_400 * days + 3_600 * hour + 60 * minute + second))
}

/// What a file holds in which no certificate in PEM was found, and what makes one of it.
pub fn instead_of_certificate(content: &[u8], name: &str) -> (&'static str, Option<String>) {
    if holds(content, "BEGIN CERTIFICATE REQUEST") || holds(content, "BEGIN NEW CERTIFICATE REQUEST") {
        return ("holds a request for a certificate, which a CA has yet to sign", None);
    }
    if holds(content, "PRIVATE KEY-----") {
        return ("holds a private key and no certificate; the two files may be swapped", None);
    }
    match content.first() {
        Some(&SEQUENCE) => (
            "is not a certificate in PEM form, but in another",
            Some(format!(
                "`openssl x509 -inform der -in {name} -out broker.pem`, or of PKCS #12 `openssl pkcs12 -in {name} -nodes -out broker.pem`"
            )),
        ),
        _ => ("holds no certificate (PEM expected)", None),
    }
}

/// What a file holds in which no key was found that can be used, and what makes one of it.
pub fn instead_of_key(content: &[u8], name: &str) -> (&'static str, Option<String>) {
    if holds(content, "ENCRYPTED") {
        let fix = format!("take the passphrase off: `openssl pkey -in {name} -out broker.key`");
        return ("is locked with a passphrase, and nobody is there to type it", Some(fix));
    }
    if holds(content, "BEGIN CERTIFICATE") {
        return ("holds a certificate and no key; the two files may be swapped", None);
    }
    ("holds no private key (PEM expected)", None)
}

fn holds(content: &[u8], words: &str) -> bool {
    content.windows(words.len()).any(|window| window == words.as_bytes())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(names: &[&str], until: i32) -> Vec<u8> {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_before = date_time_ymd(2020, 2, 29);
        params.not_after = date_time_ymd(until, 3, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn at(secs: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(secs)
    }

    #[test]
    fn when_a_certificate_holds_is_read_in_both_forms_of_time() {
        // 2020-02-29, 2021-03-01 and 2051-03-01.
        let facts = Facts::of(&certificate(&["gw1.local"], 2021)).unwrap();
        assert_eq!((facts.from, facts.until), (at(1_582_934_400), at(1_614_556_800)));
        let facts = Facts::of(&certificate(&["gw1.local"], 2051)).unwrap();
        assert_eq!(facts.until, at(2_561_241_600));
    }

    #[test]
    fn a_certificate_that_names_no_host_is_told_from_one_that_does() {
        assert!(Facts::of(&certificate(&["gw1.local"], 2030)).unwrap().names_hosts);
        let nameless = Facts::of(&certificate(&[], 2030)).unwrap();
        assert!(!nameless.names_hosts && nameless.is_current);
    }

    #[test]
    fn no_bytes_do_harm() {
        let good = certificate(&["gw1.local"], 2030);
        for length in 0..good.len() {
            let _ = Facts::of(&good[..length]);
        }
        for seed in 0..10_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut bytes = good.clone();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            let _ = Facts::of(&bytes);
        }
        for text in ["", "Z", "9", "99999999999999Z", "00000000000000Z", "20261332256161Z", "ééééééé"] {
            let _ = time((GENERALIZED_TIME, text.as_bytes()));
            let _ = time((UTC_TIME, text.as_bytes()));
        }
    }
}
