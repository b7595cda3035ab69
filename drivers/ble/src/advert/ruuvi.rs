//! RuuviTag and Ruuvi Air: manufacturer data of Ruuvi Innovations (0x0499), everything big-endian.
//!
//! The first byte is the data format; then
//!
//! | format | bytes | layout |
//! | --- | --- | --- |
//! | 3 | 14 | humidity u8 in 0.5 %, temperature: sign bit and whole degrees, hundredths u8, pressure, acceleration, battery u16 mV |
//! | 5 | 24 | temperature, humidity, pressure, acceleration, power, movements u8, sequence u16, address |
//! | C5 | 18 | as 5, without acceleration |
//! | 6 | 20 | temperature, humidity, pressure, PM2.5, CO₂ u16, VOC u8, NOₓ u8, luminosity u8, reserved, sequence u8, flags u8, address (its last 3) |
//! | E1 | 40 | temperature, humidity, pressure, PM1, PM2.5, PM4, PM10, CO₂ u16, VOC u8, NOₓ u8, luminosity u24 in 0.01 lx, 3 reserved, sequence u24, flags u8, 5 reserved, address |
//!
//! with temperature s16 in 0.005 °C, humidity u16 in 0.0025 %, pressure u16 in Pa above 50 000,
//! acceleration three s16 in mg, particulate matter u16 in 0.1 µg/m³, power eleven bits of mV above
//! 1600 and five of 2 dBm above −40. The VOC and NOₓ indexes have a ninth bit, the lowest, in bits 6
//! and 7 of the flags. The luminosity of format 6 is logarithmic: exp(code · ln 65536 / 254) − 1.
//! The largest number of each field (for signed ones, the smallest) says that there is no value.
//! Byte 14 of format 6 is reserved in the published format, so it is not read.
//!
//! A Ruuvi Air sends 6 and E1 about the same measurement; E1 is the finer.
//!
//! Source: <https://docs.ruuvi.com/communication/bluetooth-advertisements>.

use super::bytes::Bytes;
use super::{Advert, Datum, Format, Frame, Known, Outcome, Quantity, Refusal, Sequence, quantity::*};

/// RuuviTag and Ruuvi Air.
pub const FORMAT: Format = Format { name: "Ruuvi", needs_active_scan: false, read };

/// The name of Ruuvi Air's frame that fits into any advertisement …
pub const DF6: &str = "Ruuvi 6";
/// … and of the one that needs an extended advertisement.
pub const DFE1: &str = "Ruuvi E1";

const COMPANY: u16 = 0x0499;

fn read(advert: &Advert, _: &Known<'_>) -> Outcome {
    match advert.company(COMPANY) {
        Some(data) => frame(&mut Bytes::new(data)).into(),
        None => Outcome::NotMine,
    }
}

fn frame(bytes: &mut Bytes<'_>) -> Result<Frame, Refusal> {
    match bytes.u8()? {
        0x03 => raw_v1(bytes),
        0x05 => raw_v2(bytes, "Ruuvi 5", true),
        0xc5 => raw_v2(bytes, "Ruuvi C5", false),
        0x06 => air(bytes),
        0xe1 => air_extended(bytes),
        other => Err(Refusal::Unknown(format!("Ruuvi data format {other:#04x}"))),
    }
}

fn raw_v1(bytes: &mut Bytes<'_>) -> Result<Frame, Refusal> {
    let humidity = HUMIDITY.of(f64::from(bytes.u8()?) / 2.0);
    let (degrees, hundredths) = (bytes.u8()?, bytes.u8()?);
    let magnitude = f64::from(u32::from(degrees & 0x7f) * 100 + u32::from(hundredths)) / 100.0;
    let mut values = vec![TEMPERATURE.of(if degrees & 0x80 == 0 { magnitude } else { -magnitude }), humidity];
    values.push(PRESSURE.of(pascals(bytes.u16_be()?)));
    for axis in [ACCELERATION_X, ACCELERATION_Y, ACCELERATION_Z] {
        values.push(axis.of(f64::from(bytes.i16_be()?) / 1000.0));
    }
    values.push(BATTERY_VOLTAGE.of(f64::from(bytes.u16_be()?) / 1000.0));
    Ok(Frame { format: "Ruuvi 3", values, ..Frame::default() })
}

fn raw_v2(bytes: &mut Bytes<'_>, format: &'static str, has_acceleration: bool) -> Result<Frame, Refusal> {
    let mut values = climate(bytes)?.to_vec();
    if has_acceleration {
        for axis in [ACCELERATION_X, ACCELERATION_Y, ACCELERATION_Z] {
            values.push(signed(axis, bytes.i16_be()?, 1000.0));
        }
    }
    let power = bytes.u16_be()?;
    let (above, steps) = (power >> 5, power & 0x1f);
    values.push(unless(above == 2047, BATTERY_VOLTAGE, |it| it.of(f64::from(1600 + above) / 1000.0)));
    values.push(unless(steps == 31, TX_POWER, |it| it.whole(i64::from(steps) * 2 - 40)));
    let movements = bytes.u8()?;
    values.push(unless(movements == u8::MAX, MOVEMENT, |it| it.whole(movements)));
    let sequence = bytes.u16_be()?;
    let sequence = (sequence != u16::MAX).then_some(Sequence::Frame { number: sequence.into(), bits: 16 });
    bytes.skip(6)?;
    Ok(Frame { format, values, sequence, ..Frame::default() })
}

fn air(bytes: &mut Bytes<'_>) -> Result<Frame, Refusal> {
    let mut values = climate(bytes)?.to_vec();
    values.push(particles(PM2_5, bytes)?);
    values.push(co2(bytes)?);
    let (voc, nox, luminosity) = (bytes.u8()?, bytes.u8()?, bytes.u8()?);
    bytes.skip(1)?;
    let (sequence, flags) = (bytes.u8()?, bytes.u8()?);
    values.extend(indexes(voc, nox, flags));
    let brightness = f64::from(luminosity) * f64::from(65_536).ln() / 254.0;
    // The code is coarse, so that hundredths are more than it tells.
    values.push(unless(luminosity == u8::MAX, ILLUMINANCE, |it| it.of((brightness.exp_m1() * 100.0).round() / 100.0)));
    bytes.skip(3)?;
    // All 256 numbers are in use.
    let sequence = Some(Sequence::Frame { number: sequence.into(), bits: 8 });
    Ok(Frame { format: DF6, values, sequence, ..Frame::default() })
}

fn air_extended(bytes: &mut Bytes<'_>) -> Result<Frame, Refusal> {
    let mut values = climate(bytes)?.to_vec();
    for size in [PM1, PM2_5, PM4, PM10] {
        values.push(particles(size, bytes)?);
    }
    values.push(co2(bytes)?);
    let (voc, nox, luminosity) = (bytes.u8()?, bytes.u8()?, bytes.u24_be()?);
    bytes.skip(3)?;
    let (sequence, flags) = (bytes.u24_be()?, bytes.u8()?);
    values.extend(indexes(voc, nox, flags));
    values.push(unless(luminosity == 0xff_ffff, ILLUMINANCE, |it| it.of(f64::from(luminosity) / 100.0)));
    bytes.skip(5 + 6)?;
    let sequence = (sequence != 0xff_ffff).then_some(Sequence::Frame { number: sequence, bits: 24 });
    Ok(Frame { format: DFE1, values, sequence, ..Frame::default() })
}

/// Temperature, humidity and pressure, as all but the oldest format have them.
fn climate(bytes: &mut Bytes<'_>) -> Result<[Datum; 3], Refusal> {
    let (temperature, humidity, pressure) = (bytes.i16_be()?, bytes.u16_be()?, bytes.u16_be()?);
    Ok([
        signed(TEMPERATURE, temperature, 200.0),
        unless(humidity == u16::MAX, HUMIDITY, |it| it.of(f64::from(humidity) / 400.0)),
        unless(pressure == u16::MAX, PRESSURE, |it| it.of(pascals(pressure))),
    ])
}

/// In hPa, of Pa above 50 000.
fn pascals(above: u16) -> f64 {
    f64::from(50_000 + u32::from(above)) / 100.0
}

fn particles(size: Quantity, bytes: &mut Bytes<'_>) -> Result<Datum, Refusal> {
    let tenths = bytes.u16_be()?;
    Ok(unless(tenths == u16::MAX, size, |it| it.of(f64::from(tenths) / 10.0)))
}

fn co2(bytes: &mut Bytes<'_>) -> Result<Datum, Refusal> {
    let ppm = bytes.u16_be()?;
    Ok(unless(ppm == u16::MAX, CO2, |it| it.whole(ppm)))
}

/// VOC and NOₓ, whose lowest bits are in the flags.
fn indexes(voc: u8, nox: u8, flags: u8) -> [Datum; 2] {
    let index = |high: u8, bit: u8| u16::from(high) << 1 | u16::from(flags >> bit & 1);
    [(VOC_INDEX, index(voc, 6)), (NOX_INDEX, index(nox, 7))]
        .map(|(quantity, index)| unless(index == 511, quantity, |it| it.whole(index)))
}

fn signed(quantity: Quantity, raw: i16, by: f64) -> Datum {
    unless(raw == i16::MIN, quantity, |it| it.of(f64::from(raw) / by))
}

fn unless(missing: bool, quantity: Quantity, value: impl FnOnce(Quantity) -> Datum) -> Datum {
    if missing { quantity.missing() } else { value(quantity) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::testing::{advert, heard, hex, refused, values};

    const WHOLE: &[&str] = &[
        "03291a1ece1efc18f94202ca0b53",
        "0512fc5394c37c0004fffc040cac364200cdcbb8334c884f",
        "c512fc5394c37cac364200cdcbb8334c884f",
        "06170c5668c79e007000c90501d9ffcd004c884f",
        "e1170c5668c79e0065007004bd11ca00c90a0213e0acffffffdecdee01ffffffffffcbb8334c884f",
    ];

    fn said(data: &str) -> Outcome {
        read(&advert("CB:B8:33:4C:88:4F").with_company(COMPANY, data), &Known::default())
    }

    #[test]
    fn every_format_is_read() {
        let climate = "temperature 24.3 °C, humidity 53.49 %, pressure 1000.44 hPa";
        let power = "battery_voltage 2.977 V, tx_power 4 dBm, movement 66";
        let air = "temperature 29.5 °C, humidity 55.3 %, pressure 1011.02 hPa";
        let expected = [
            "temperature 26.3 °C, humidity 20.5 %, pressure 1027.66 hPa, acceleration_x -1 g, \
             acceleration_y -1.726 g, acceleration_z 0.714 g, battery_voltage 2.899 V"
                .to_owned(),
            format!("{climate}, acceleration_x 0.004 g, acceleration_y -0.004 g, acceleration_z 1.036 g, {power}"),
            format!("{climate}, {power}"),
            format!("{air}, pm2_5 11.2 µg/m³, co2 201 ppm, voc_index 10, nox_index 2, illuminance 13026.67 lx"),
            format!(
                "{air}, pm1 10.1 µg/m³, pm2_5 11.2 µg/m³, pm4 121.3 µg/m³, pm10 455.4 µg/m³, co2 201 ppm, \
                 voc_index 20, nox_index 4, illuminance 13027 lx"
            ),
        ];
        for (data, expected) in WHOLE.iter().zip(expected) {
            assert_eq!(values(&heard(said(data))), expected);
        }
    }

    #[test]
    fn sequences_tell_repetitions_unless_there_is_none() {
        let sequences: Vec<_> = WHOLE.iter().map(|data| heard(said(data)).sequence).collect();
        let frame = |number, bits| Some(Sequence::Frame { number, bits });
        assert_eq!(sequences, [None, frame(205, 16), frame(205, 16), frame(205, 8), frame(14_601_710, 24)]);
        assert_eq!(heard(said("058000ffffffff800080008000ffffffffffffffffffffff")).sequence, None);
    }

    #[test]
    fn what_the_tag_has_no_value_for_is_missing() {
        for data in [
            "058000ffffffff800080008000ffffffffffffffffffffff",
            "c58000ffffffffffffffffffffffffffffff",
            "068000ffffffffffffffffffffffffffffffffff",
            "e18000fffffffffffffffffffffffffffffffffffffffffffffffffffeffffffffffffffffffffff",
        ] {
            let frame = heard(said(data));
            assert!(frame.values.len() >= 6 && frame.values.iter().all(|datum| datum.value.is_err()), "{frame:?}");
        }
    }

    #[test]
    fn frost_is_below_zero_and_the_sign_counts_for_the_fraction_too() {
        assert!(values(&heard(said("03b28145ca20007a002603d0088f"))).starts_with("temperature -1.69 °C"));
        assert!(
            values(&heard(said("05fc185394c37c0004fffc040cac364200cdcbb8334c884f"))).starts_with("temperature -5 °C")
        );
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_refused() {
        for whole in WHOLE {
            let bytes = hex(whole);
            for length in 0..bytes.len() {
                assert!(matches!(refused(said(&whole[..length * 2])), Refusal::Truncated { .. }), "{whole} {length}");
            }
        }
        assert_eq!(refused(said("08")), Refusal::Unknown("Ruuvi data format 0x08".into()));
        assert_eq!(read(&advert("CB:B8:33:4C:88:4F"), &Known::default()), Outcome::NotMine);
    }
}
