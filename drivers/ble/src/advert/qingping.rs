//! Qingping, formerly ClearGrass.
//!
//! Service data of 0xFDCD: `flags | kind of device | address (6, reversed) | values`. Bit 6 of the
//! flags stands for something that has just happened. A value is `type | length | data`, low byte
//! first:
//!
//! | type | length | value |
//! | --- | --- | --- |
//! | 01 | 4 | temperature s16 ×0.1 °C, humidity u16 ×0.1 % |
//! | 02 | 1 | battery %, 255 for a device on the mains |
//! | 04 | 1 | door: 0 open, 1 closed, 2 left open |
//! | 07 | 2 | pressure u16 ×0.1 hPa |
//! | 08 | 4 | motion u8, illuminance u24 lx |
//! | 09 | 4 | illuminance u32 lx |
//! | 0F | 1 | number of the frame |
//! | 11 | 1 | light: 1 for yes |
//! | 12 | 4 | PM2.5 u16, PM10 u16, µg/m³ |
//! | 13 | 2 | CO2 u16 ppm |
//! | 15 | 2 | VOC index u16 |
//! | 18 | any | what the device can do |
//! | 19 | 1 | sound dB |
//!
//! Source: the layouts as qingping-ble and ble_monitor read them (MIT), checked against the
//! recordings of the first. Types 04 (left open), 11, 15 and 19 are not in those. The second takes the
//! illuminance of an event for invalid; the recordings have plausible ones, so it is told.

use super::bytes::Bytes;
use super::quantity::{
    BATTERY, CO2, DOOR, HUMIDITY, ILLUMINANCE, LEFT_OPEN, LIGHT, MOTION, PM2_5, PM10, POWERED, PRESSURE, SOUND,
    TEMPERATURE, VOC_INDEX,
};
use super::{Advert, Format, Frame, Known, Outcome, Refusal, Sequence};

/// Qingping sensors.
pub const FORMAT: Format = Format { name: "Qingping", needs_active_scan: false, read };

const SERVICE: u16 = 0xfdcd;

/// The battery of a device that has none.
const MAINS: u8 = 0xff;

/// The kinds there are names for. Values explain themselves, so that another one is read as well.
const MODELS: &[(u8, &str)] = &[
    (0x04, "CGH1"),
    (0x0c, "CGD1"),
    (0x0e, "CGDN1"),
    (0x0f, "CGM1"),
    (0x12, "CGPR1"),
    (0x15, "CGF1W"),
    (0x16, "CGG1"),
    (0x18, "CGP23W"),
    (0x1e, "CGC1"),
    (0x24, "CGDN1"),
    (0x33, "CGP22C"),
    (0x4f, "CGG3"),
    (0x5d, "CGP22C"),
];

/// Those that speak when a door or somebody moves.
const ON_EVENT_ONLY: [u8; 2] = [0x04, 0x12];

fn read(advert: &Advert, _: &Known<'_>) -> Outcome {
    match advert.service(SERVICE) {
        Some(data) => frame(data).into(),
        None => Outcome::NotMine,
    }
}

fn frame(data: &[u8]) -> Result<Frame, Refusal> {
    let mut bytes = Bytes::new(data);
    bytes.skip(1)?;
    let kind = bytes.u8()?;
    bytes.skip(6)?;
    let mut frame = Frame {
        format: FORMAT.name,
        model: MODELS.iter().find(|(code, _)| *code == kind).map(|(_, name)| (*name).into()),
        on_event_only: ON_EVENT_ONLY.contains(&kind),
        ..Frame::default()
    };
    while !bytes.is_empty() {
        let id = bytes.u8()?;
        let length = bytes.u8()?;
        value(id, bytes.take(length.into())?, &mut frame);
    }
    Ok(frame)
}

fn value(id: u8, data: &[u8], frame: &mut Frame) {
    let values = &mut frame.values;
    match (id, data) {
        (0x01, &[t0, t1, h0, h1]) => {
            values.push(TEMPERATURE.of(f64::from(i16::from_le_bytes([t0, t1])) / 10.0));
            values.push(HUMIDITY.of(f64::from(u16::from_le_bytes([h0, h1])) / 10.0));
        }
        (0x02, &[MAINS]) => values.push(POWERED.is(true)),
        (0x02, &[percent]) => values.push(BATTERY.whole(percent)),
        (0x04, &[state @ 0..=2]) => {
            values.push(DOOR.is(state != 1));
            values.push(LEFT_OPEN.is(state == 2));
        }
        (0x07, &[low, high]) => values.push(PRESSURE.of(f64::from(u16::from_le_bytes([low, high])) / 10.0)),
        (0x08, &[motion, l0, l1, l2]) => {
            values.push(MOTION.is(motion != 0));
            values.push(ILLUMINANCE.whole(u32::from_le_bytes([l0, l1, l2, 0])));
        }
        (0x09, &[l0, l1, l2, l3]) => values.push(ILLUMINANCE.whole(u32::from_le_bytes([l0, l1, l2, l3]))),
        (0x0f, &[number]) => frame.sequence = Some(Sequence::Frame { number: number.into(), bits: 8 }),
        (0x11, &[light]) => values.push(LIGHT.is(light == 1)),
        (0x12, &[f0, f1, c0, c1]) => {
            values.push(PM2_5.whole(u16::from_le_bytes([f0, f1])));
            values.push(PM10.whole(u16::from_le_bytes([c0, c1])));
        }
        (0x13, &[low, high]) => values.push(CO2.whole(u16::from_le_bytes([low, high]))),
        (0x15, &[low, high]) => values.push(VOC_INDEX.whole(u16::from_le_bytes([low, high]))),
        (0x18, _) => {}
        (0x19, &[decibels]) => values.push(SOUND.whole(decibels)),
        _ => frame.unread.push(format!("value of type {id:#04x} with {} bytes", data.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::testing::{advert, heard, refused, values};

    const AIR: &str = "080ea3808fe64854010422014c011204710072001302ed03";

    fn read_data(data: &str) -> Outcome {
        read(&advert("54:48:E6:8F:80:A3").with_service(SERVICE, data), &Known::default())
    }

    fn told(data: &str) -> String {
        values(&heard(read_data(data)))
    }

    #[test]
    fn climate_pressure_and_air_are_read() {
        assert_eq!(
            told("08096f1c40342d580104be000d0207027226020157"),
            "temperature 19 °C, humidity 52.5 %, pressure 984.2 hPa, battery 87 %"
        );
        assert_eq!(told(AIR), "temperature 29 °C, humidity 33.2 %, pm2_5 113 µg/m³, pm10 114 µg/m³, co2 1005 ppm");
        assert_eq!(told("08096f1c40342d580104f6ff0d02"), "temperature -1 °C, humidity 52.5 %");
    }

    #[test]
    fn a_door_is_open_closed_or_left_open() {
        let frame = heard(read_data("c8044d3a40342d580401010f01ef"));
        assert_eq!(values(&frame), "door false, left_open false");
        assert_eq!(frame.sequence, Some(Sequence::Frame { number: 0xef, bits: 8 }));
        assert!(frame.on_event_only);
        assert_eq!(told("c8044d3a40342d580401000f01ef"), "door true, left_open false");
        assert_eq!(told("c8044d3a40342d580401020f01ef"), "door true, left_open true");
    }

    #[test]
    fn motion_tells_the_light_with_it() {
        assert_eq!(told("4812005e60342d580804013309010f0134"), "motion true, illuminance 67891 lx");
    }

    #[test]
    fn a_device_on_the_mains_has_no_battery() {
        assert_eq!(told("080ea3808fe648540201ff"), "powered true");
    }

    #[test]
    fn what_is_not_known_is_counted_and_passed_over() {
        let frame = heard(read_data("080ea3808fe6485477020102130201020401031801ff"));
        assert_eq!(values(&frame), "co2 513 ppm");
        assert_eq!(frame.unread, ["value of type 0x77 with 2 bytes", "value of type 0x04 with 1 bytes"]);
    }

    #[test]
    fn cut_off_inside_a_value_it_is_refused() {
        let ends: Vec<usize> = vec![8, 14, 20, 24];
        for length in 0..=AIR.len() / 2 {
            let outcome = read_data(AIR.get(..length * 2).unwrap());
            match ends.contains(&length) {
                true => drop(heard(outcome)),
                false => assert!(matches!(refused(outcome), Refusal::Truncated { .. }), "{length}"),
            }
        }
    }
}
