//! Inkbird.
//!
//! Most put something of their own in the place of the company id, and models are told apart by
//! lengths, names and checksums:
//!
//! - [`ibs`], the small IBS thermometers: a reading with a checksum.
//! - [`ith`], ITH-…-B and IBS-P02B: the address, then a reading.
//! - [`iam`], IAM-T2: a reading with carbon dioxide.
//! - [`bbq`], iBBQ and xBBQ: meat probes.
//!
//! IAM-T1, IDT-…, IHT-… and INT-… tell their values over a connection only; their advertisements say
//! that they are there.
//!
//! Source: the layouts as inkbird-ble reads them (Apache-2.0), checked against its recordings.

mod bbq;
mod iam;
mod ibs;
mod ith;

use super::{Advert, Datum, Format, Frame, Known, Outcome, Refusal, block};

/// Inkbird thermometers.
pub const FORMAT: Format = Format { name: "Inkbird", needs_active_scan: false, read };

/// Another maker's too.
const SERVICE: u16 = 0xfff0;

/// What begins the names of those that tell their values over a connection only.
const ON_CONNECTION: [&str; 4] = ["IAM-T1", "IDT-", "IHT-", "INT-"];

fn read(advert: &Advert, known: &Known<'_>) -> Outcome {
    let named = named(advert.name());
    let model = named.as_deref().or(known.model);
    if let Some(outcome) = iam::read(advert).or_else(|| bbq::read(advert, model)) {
        return outcome.into();
    }
    if let Some(name) = model.filter(|name| ON_CONNECTION.iter().any(|start| name.starts_with(start))) {
        return Outcome::Heard(frame(Some(name), Vec::new()));
    }
    match block::sole(advert) {
        Ok(None) => Outcome::NotMine,
        Ok(Some(entry)) => {
            let read = ibs::read(advert, model, &block::on_air(entry)).or_else(|| ith::read(advert, model, entry));
            read.map_or(Outcome::NotMine, Outcome::from)
        }
        Err(refusal) if model.is_some_and(|name| ibs::is_one(name) || ith::is_one(name)) => Outcome::Refused(refusal),
        Err(_) => Outcome::NotMine,
    }
}

/// The model that a local name stands for.
fn named(name: &str) -> Option<String> {
    let name = name.trim().to_ascii_uppercase();
    let name = name.strip_prefix("INK@").unwrap_or(&name);
    // Behind a number sign stands the end of the address.
    let name = name.split('#').next().unwrap_or_default();
    let model = match name {
        "SPS" => ibs::WITH_HUMIDITY,
        "TPS" => ibs::SECOND,
        "IBBQ" => "iBBQ",
        "XBBQ" => "xBBQ",
        name if ["IAM-", "IBS-", "IDT-", "IHT-", "INT-", "ITH-"].iter().any(|start| name.starts_with(start)) => name,
        _ => return None,
    };
    Some(model.to_owned())
}

fn frame(model: Option<&str>, values: Vec<Datum>) -> Frame {
    let model = model.map(|name| name.to_owned().into());
    Frame { format: FORMAT.name, model, values, ..Frame::default() }
}

/// What has no checksum is refused as a whole if one of its values cannot be.
fn plausible(humidity: f64, battery: u8) -> Result<(), Refusal> {
    if humidity > 100.0 {
        return Err(Refusal::Implausible(format!("a humidity of {humidity} %")));
    }
    if battery > 100 {
        return Err(Refusal::Implausible(format!("a battery of {battery} %")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::testing::{advert, heard, refused};

    #[test]
    fn names_are_models() {
        for (name, model) in [
            ("sps", Some("IBS-TH")),
            ("tps", Some("IBS-TH2/P01B")),
            ("ith-11-b", Some("ITH-11-B")),
            ("Ink@IAM-T2", Some("IAM-T2")),
            ("Ink@IHT-2PB#c4b", Some("IHT-2PB")),
            ("xBBQ", Some("xBBQ")),
            ("N0BYD", None),
            ("", None),
        ] {
            assert_eq!(named(name).as_deref(), model, "{name}");
        }
    }

    #[test]
    fn those_that_speak_over_a_connection_only_are_there() {
        let named = advert("90:7B:C6:0A:06:28").with_name("INT-11P-B").with_company(0x0628, "0ac67b90");
        let frame = heard(read(&named, &Known::default()));
        assert_eq!((frame.model.as_deref(), frame.values.len()), (Some("INT-11P-B"), 0));
    }

    #[test]
    fn two_readings_at_once_are_refused_if_they_are_mine() {
        let two =
            advert("49:22:08:15:00:BB").with_company(0x08a2, "000000dfb90008").with_company(0x08c0, "00000026710008");
        assert_eq!(read(&two, &Known::default()), Outcome::NotMine);
        assert!(matches!(refused(read(&two.with_name("tps"), &Known::default())), Refusal::Unknown(_)));
    }
}
