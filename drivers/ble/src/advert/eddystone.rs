//! Eddystone, Google's beacons: service data of 0xFEAA, big-endian. The first byte is the kind.
//!
//! - UID, 0x00: `power s8 | namespace (10) | instance (6)`, then two reserved bytes or none;
//! - URL, 0x10: `power s8 | scheme u8 |` a text in which some bytes stand for `.com/` and the like;
//! - telemetry, 0x20 0x00: `battery u16 mV | temperature s16 in 1/256 °C | frames u32 | uptime u32 in
//!   0.1 s`, with 0 and 0x8000 where there is no battery or thermometer; 0x20 0x01 is encrypted;
//! - EID, 0x30: an id that changes and that only its owner can read.
//!
//! The power is that at 0 m, in dBm.
//!
//! Source: <https://github.com/google/eddystone>.

use std::fmt::Write as _;

use super::bytes::Bytes;
use super::{Advert, Format, Frame, Known, Outcome, Refusal, quantity::*};

/// Eddystone.
pub const FORMAT: Format = Format { name: "Eddystone", needs_active_scan: false, read };

const SERVICE: u16 = 0xfeaa;

const SCHEMES: [&str; 4] = ["http://www.", "https://www.", "http://", "https://"];
const ENDINGS: [&str; 7] = [".com", ".org", ".edu", ".net", ".info", ".biz", ".gov"];

fn read(advert: &Advert, _: &Known<'_>) -> Outcome {
    match advert.service(SERVICE) {
        Some(data) => frame(&mut Bytes::new(data)).into(),
        None => Outcome::NotMine,
    }
}

fn frame(bytes: &mut Bytes<'_>) -> Result<Frame, Refusal> {
    let values = match bytes.u8()? {
        0x00 => {
            let (power, namespace, instance) = (bytes.i8()?, bytes.take(10)?, bytes.take(6)?);
            vec![BEACON.says(format!("{}/{}", hex(namespace), hex(instance))), TX_POWER.whole(power)]
        }
        0x10 => {
            let power = bytes.i8()?;
            vec![BEACON.says(url(bytes)?), TX_POWER.whole(power)]
        }
        0x20 => match bytes.u8()? {
            0 => telemetry(bytes)?.to_vec(),
            1 => return Err(Refusal::Unknown("encrypted telemetry of Eddystone".to_owned())),
            version => return Err(Refusal::Unknown(format!("version {version} of Eddystone's telemetry"))),
        },
        0x30 => vec![TX_POWER.whole(bytes.i8()?)],
        kind => return Err(Refusal::Unknown(format!("Eddystone frame {kind:#04x}"))),
    };
    Ok(Frame { format: FORMAT.name, values, ..Frame::default() })
}

fn telemetry(bytes: &mut Bytes<'_>) -> Result<[super::Datum; 3], Refusal> {
    let (battery, temperature) = (bytes.u16_be()?, bytes.i16_be()?);
    bytes.skip(4)?;
    let uptime = bytes.u32_be()?;
    Ok([
        if battery == 0 { BATTERY_VOLTAGE.missing() } else { BATTERY_VOLTAGE.of(f64::from(battery) / 1000.0) },
        if temperature == i16::MIN { TEMPERATURE.missing() } else { TEMPERATURE.of(f64::from(temperature) / 256.0) },
        UPTIME.of(f64::from(uptime) / 10.0),
    ])
}

fn url(bytes: &mut Bytes<'_>) -> Result<String, Refusal> {
    let scheme = bytes.u8()?;
    let scheme = SCHEMES.get(usize::from(scheme));
    let mut url = (*scheme.ok_or_else(|| Refusal::Implausible("an address of no known scheme".to_owned()))?).to_owned();
    for &byte in bytes.rest() {
        let code = usize::from(byte);
        match (ENDINGS.get(code), ENDINGS.get(code.wrapping_sub(ENDINGS.len()))) {
            (Some(ending), _) => {
                url.push_str(ending);
                url.push('/');
            }
            (None, Some(ending)) => url.push_str(ending),
            (None, None) if byte.is_ascii_graphic() => url.push(byte.into()),
            (None, None) => return Err(Refusal::Implausible(format!("byte {byte:#04x} in an address"))),
        }
    }
    Ok(url)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::testing::{advert, heard, refused, values};

    fn said(data: &str) -> Outcome {
        read(&advert("AA:BB:CC:DD:EE:FF").with_service(SERVICE, data), &Known::default())
    }

    #[test]
    fn every_kind_is_read() {
        for (data, expected) in [
            ("00ee8b0ca750095477cb3e770011223344550000", "beacon 8b0ca750095477cb3e77/001122334455, tx_power -18 dBm"),
            ("00ee8b0ca750095477cb3e77001122334455", "beacon 8b0ca750095477cb3e77/001122334455, tx_power -18 dBm"),
            ("10ee02676f6f676c6507", "beacon http://google.com, tx_power -18 dBm"),
            ("10ee03676f6f676c65002f61", "beacon https://google.com//a, tx_power -18 dBm"),
            ("20000bb817800000012c00000e10", "battery_voltage 3 V, temperature 23.5 °C, uptime 360 s"),
            ("20000bb8f7400000012c00000e11", "battery_voltage 3 V, temperature -8.75 °C, uptime 360.1 s"),
            ("30ee0011223344556677", "tx_power -18 dBm"),
        ] {
            assert_eq!(values(&heard(said(data))), expected);
        }
    }

    #[test]
    fn telemetry_without_battery_or_thermometer_says_so() {
        let frame = heard(said("2000000080000000012c00000e10"));
        assert_eq!(
            values(&frame),
            "battery_voltage (the sensor has no value), temperature (the sensor has no value), uptime 360 s"
        );
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        for whole in ["00ee8b0ca750095477cb3e77001122334455", "20000bb817800000012c00000e10", "10ee02", "30ee"] {
            for length in 0..whole.len() / 2 {
                assert!(matches!(refused(said(&whole[..length * 2])), Refusal::Truncated { .. }), "{whole} {length}");
            }
        }
    }

    #[test]
    fn what_nobody_can_read_is_refused() {
        assert!(matches!(refused(said("2001")), Refusal::Unknown(_)));
        assert!(matches!(refused(said("2002")), Refusal::Unknown(_)));
        assert!(matches!(refused(said("40")), Refusal::Unknown(_)));
        assert!(matches!(refused(said("10ee04")), Refusal::Implausible(_)));
        assert!(matches!(refused(said("10ee0220")), Refusal::Implausible(_)));
        assert_eq!(read(&advert("AA:BB:CC:DD:EE:FF"), &Known::default()), Outcome::NotMine);
    }
}
