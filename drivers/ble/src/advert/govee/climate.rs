//! Govee's thermometers with a hygrometer.
//!
//! Some pack both into three bytes, high byte first: bit 23 for below zero, and in the others
//! `temperature ×10 × 1000 + humidity ×10`. The thousands must be cut off, not divided: what remains is
//! the humidity and no fraction of the temperature.
//!
//! | models | company id | data |
//! | --- | --- | --- |
//! | H5072, H5075, H5129 | EC88 | `00 packed battery 00` |
//! | H5074 | EC88 | `00 temperature s16 ×0.01, humidity u16 ×0.01, battery 02`, low byte first |
//! | H5051, H5052, H5071 | EC88 | the same with two bytes more |
//! | H5100 to H5105, H5110, H5174, H5177, H5179 | 0001 | `01 01 packed battery` |
//! | H5106 | 0001 | `01 01 u32`: bit 31 below zero, temperature ×10 ×10⁶ + humidity ×10 ×10³ + PM2.5 |
//! | H5108 | 0001 | `01 01 packed battery 00 00` |
//! | H5112 | 0001 | `01 01 packed battery ?? probe`: 41 the first, with humidity, 82 the second, without |
//! | H5140 | 0001 | `01 01 packed CO2 u16 fault` |
//! | H5178 | 0001 | `01 01 sensor packed battery ?? ??`: 0 the base, 1 the remote one |
//! | H5179 | 8801 | `EC 00 01 01 temperature s16 ×0.01, humidity u16 ×0.01, battery`, low byte first |
//! | H5127 | 8803, 8843 | `EC 00 01/02 01 present state`: 11 for motion |
//!
//! Bit 7 of a battery stands for a fault of the sensor. The last two lines are told by how they begin,
//! as their company ids are none.

use super::super::bytes::Bytes;
use super::super::quantity::{BATTERY, CO2, HUMIDITY, MOTION, OCCUPANCY, PM2_5, TEMPERATURE};
use super::super::{Absent, Advert, Datum, Frame, Quantity, Refusal, block};
use super::{events, frame};

const GOVEE: u16 = 0xec88;
/// Nokia's, and therefore not enough to tell a Govee.
const SHARED: u16 = 0x0001;

/// What the sensors can measure, in °C, and a little more: the makers say −20 to 60, and freezers are
/// colder. Outside of it the number is no temperature.
const POSSIBLE: std::ops::RangeInclusive<f64> = -60.0..=100.0;

/// Nothing if it is none of these.
pub(super) fn read(advert: &Advert, model: Option<u16>) -> Option<Result<Frame, Refusal>> {
    if let Some(data) = advert.company(GOVEE) {
        return Some(by_length(model, block::without_beacon(data)));
    }
    let all = advert.manufacturer_data.values().map(|data| block::without_beacon(data));
    if let Some(data) = all.into_iter().find(|data| matches!(data, [0xec, 0x00, 0x01 | 0x02, 0x01, ..])) {
        return Some(by_beginning(data));
    }
    let is_govee = model.is_some() || advert.has_service(GOVEE);
    let data = block::without_beacon(advert.company(SHARED).filter(|_| is_govee)?);
    data.starts_with(&[1, 1]).then(|| by_model(model, data))
}

fn by_length(model: Option<u16>, data: &[u8]) -> Result<Frame, Refusal> {
    let mut bytes = Bytes::new(data);
    match data.len() {
        6 => {
            bytes.skip(1)?;
            let packed = bytes.u24_be()?;
            let mut frame = frame(model, packed_and_battery(packed, bytes.u8()?));
            // Both models send the same, and nobody needs to know which it is.
            frame.model.get_or_insert("H5072/H5075".into());
            Ok(frame)
        }
        length @ (7 | 9) => {
            bytes.skip(1)?;
            Ok(frame(model.or((length == 7).then_some(5074)), plain(&mut bytes)?))
        }
        // What buttons and the like send beside their events.
        12 => match events::model(data) {
            Some(model) => Ok(Frame { on_event_only: true, ..frame(Some(model), Vec::new()) }),
            None => Err(Refusal::Unknown("a Govee frame of 12 bytes from an unknown model".into())),
        },
        have @ 0..6 => Err(Refusal::Truncated { have, need: 6 }),
        length => Err(Refusal::Unknown(format!("a Govee frame of {length} bytes"))),
    }
}

fn by_beginning(data: &[u8]) -> Result<Frame, Refusal> {
    let mut bytes = Bytes::new(data);
    bytes.skip(4)?;
    match data.len() {
        6 => {
            let [present, state] = bytes.array()?;
            Ok(frame(Some(5127), vec![OCCUPANCY.is(present != 0), MOTION.is(state == 0x11)]))
        }
        9 => Ok(frame(Some(5179), plain(&mut bytes)?)),
        length => Err(Refusal::Unknown(format!("a Govee frame of {length} bytes beginning with ec 00"))),
    }
}

fn by_model(model: Option<u16>, data: &[u8]) -> Result<Frame, Refusal> {
    let mut bytes = Bytes::new(data);
    bytes.skip(2)?;
    let model = match (model, data) {
        (_, data) if data.len() == 9 => Some(5178),
        // The zeros would be hundreds of ppm to the point from the one, and no probe of the other.
        (None, [_, _, _, _, _, battery, 0, 0]) if (40..=100).contains(&(battery & 0x7f)) => Some(5108),
        (model, _) => model,
    };
    let values = match model {
        None => {
            return Err(Refusal::Unknown("a Govee whose name has not been heard, and only it tells the model".into()));
        }
        Some(5100..=5105 | 5108 | 5110 | 5174 | 5177 | 5179) => {
            let packed = bytes.u24_be()?;
            packed_and_battery(packed, bytes.u8()?)
        }
        Some(5106) => air(bytes.u32_be()?),
        Some(5112) => probe(&mut bytes)?,
        Some(5140) => carbon_dioxide(&mut bytes)?,
        Some(5178) => base_and_remote(&mut bytes)?,
        Some(model) => return Err(Refusal::Unknown(format!("the Govee model H{model}"))),
    };
    Ok(frame(model, values))
}

/// Temperature, humidity and battery, low byte first.
fn plain(bytes: &mut Bytes<'_>) -> Result<Vec<Datum>, Refusal> {
    let temperature = f64::from(bytes.i16_le()?) / 100.0;
    let humidity = f64::from(bytes.u16_le()?) / 100.0;
    let battery = bytes.u8()?;
    let [temperature, humidity] = possible(temperature, humidity);
    Ok(vec![temperature, humidity, BATTERY.whole(battery)])
}

fn packed_and_battery(packed: u32, battery: u8) -> Vec<Datum> {
    let climate = if battery & 0x80 == 0 { unpacked(packed) } else { [TEMPERATURE, HUMIDITY].map(faulty) };
    let [temperature, humidity] = climate;
    vec![temperature, humidity, BATTERY.whole(battery & 0x7f)]
}

fn unpacked(packed: u32) -> [Datum; 2] {
    let number = packed & 0x7f_ffff;
    possible(tenths(packed & 0x80_0000 != 0, number / 1000), f64::from(number % 1000) / 10.0)
}

fn tenths(below_zero: bool, number: u32) -> f64 {
    // The zero below zero is the same zero.
    if below_zero && number > 0 { f64::from(number) / -10.0 } else { f64::from(number) / 10.0 }
}

/// Both come out of one number: if one cannot be, the other is not to be trusted.
fn possible(temperature: f64, humidity: f64) -> [Datum; 2] {
    if POSSIBLE.contains(&temperature) {
        return [TEMPERATURE.of(temperature), HUMIDITY.of(humidity)];
    }
    let reason = Absent::Implausible(format!("{temperature} °C is more than the sensor can measure"));
    [TEMPERATURE.with(Err(reason.clone())), HUMIDITY.with(Err(reason))]
}

fn faulty(quantity: Quantity) -> Datum {
    quantity.with(Err(Absent::Fault("a fault of its own".into())))
}

fn air(number: u32) -> Vec<Datum> {
    let magnitude = number & 0x7fff_ffff;
    let temperature = tenths(number & 0x8000_0000 != 0, magnitude / 1_000_000);
    let [temperature, humidity] = possible(temperature, f64::from(magnitude / 1000 % 1000) / 10.0);
    vec![temperature, humidity, PM2_5.whole(magnitude % 1000)]
}

fn probe(bytes: &mut Bytes<'_>) -> Result<Vec<Datum>, Refusal> {
    let packed = bytes.u24_be()?;
    let battery = bytes.u8()?;
    bytes.skip(1)?;
    let values = packed_and_battery(packed, battery);
    match bytes.u8()? {
        0x41 => Ok(values),
        0x82 => {
            let without_humidity = values.into_iter().filter(|datum| datum.point != HUMIDITY.name);
            let second = |datum: Datum| if datum.point == TEMPERATURE.name { datum.nth(2) } else { datum };
            Ok(without_humidity.map(second).collect())
        }
        probe => Err(Refusal::Unknown(format!("probe {probe:#04x} of an H5112"))),
    }
}

fn carbon_dioxide(bytes: &mut Bytes<'_>) -> Result<Vec<Datum>, Refusal> {
    let packed = bytes.u24_be()?;
    let co2 = bytes.u16_be()?;
    if bytes.u8()? != 0 {
        return Ok([TEMPERATURE, HUMIDITY, CO2].map(faulty).into());
    }
    let [temperature, humidity] = unpacked(packed);
    Ok(vec![temperature, humidity, CO2.whole(co2)])
}

fn base_and_remote(bytes: &mut Bytes<'_>) -> Result<Vec<Datum>, Refusal> {
    let sensor = bytes.u8()?;
    let packed = bytes.u24_be()?;
    let battery = bytes.u8()?;
    if sensor > 1 {
        return Err(Refusal::Unknown(format!("sensor {sensor} of an H5178")));
    }
    let values = packed_and_battery(packed, battery);
    Ok(values.into_iter().map(|datum| datum.nth(usize::from(sensor) + 1)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::read as read_any;
    use super::*;
    use crate::advert::testing::{advert, heard, refused, values};
    use crate::advert::{Known, Outcome, Uuid};

    fn sent(name: &str, id: u16, data: &str) -> Outcome {
        let mut advert = advert("A4:C1:38:DD:DB:F8").with_name(name).with_company(id, data);
        advert.services.push(Uuid::short(GOVEE));
        read_any(&advert, &Known::default())
    }

    fn told(name: &str, id: u16, data: &str) -> String {
        values(&heard(sent(name, id, data)))
    }

    #[test]
    fn packed_numbers_are_unpacked() {
        assert_eq!(told("GVH5075_2762", GOVEE, "00034db26400"), "temperature 21.6 °C, humidity 49.8 %, battery 100 %");
        assert_eq!(
            told("GVH5110_4A33", SHARED, "010182f7fd64"),
            "temperature -19.4 °C, humidity 55.7 %, battery 100 %"
        );
        assert_eq!(told("GVH5075_2762", GOVEE, "008001f46400"), "temperature 0 °C, humidity 50 %, battery 100 %");
    }

    #[test]
    fn plain_numbers_are_read() {
        assert_eq!(
            told("Govee_H5074_5FF4", GOVEE, "00e609bc126402"),
            "temperature 25.34 °C, humidity 47.96 %, battery 100 %"
        );
        assert_eq!(told("", GOVEE, "001cffa7143b000002"), "temperature -2.28 °C, humidity 52.87 %, battery 59 %");
        assert_eq!(told("", 0x8801, "ec0001010a0aa40664"), "temperature 25.7 °C, humidity 17 %, battery 100 %");
    }

    #[test]
    fn a_freezer_is_cold_and_nothing_is_colder_than_it_can_be() {
        assert!(told("", GOVEE, "0086462a6400").starts_with("temperature -41.1 °C"));
        let told = told("GVH5075_2762", GOVEE, "00bc00043e27");
        assert!(told.starts_with("temperature (implausible: -393.2 °C is more than"), "{told}");
        assert!(told.ends_with("battery 62 %"), "{told}");
    }

    #[test]
    fn dust_carbon_dioxide_and_presence_are_read() {
        assert_eq!(told("GVH5106_4E05", SHARED, "010181867cd8"), "temperature -2.5 °C, humidity 59.1 %, pm2_5 0 µg/m³");
        assert_eq!(told("GV5140303A", SHARED, "0101033dee023e00"), "temperature 21.2 °C, humidity 46.2 %, co2 574 ppm");
        assert_eq!(told("", 0x8803, "ec0001010111"), "occupancy true, motion true");
        assert_eq!(told("", 0x8843, "ec0002010101"), "occupancy true, motion false");
    }

    #[test]
    fn a_second_sensor_has_points_of_its_own() {
        assert_eq!(
            told("B51782BC8", SHARED, "010101002af7640003"),
            "temperature_2 1 °C, humidity_2 99.9 %, battery_2 100 %"
        );
        assert_eq!(told("GV5112AC3D", SHARED, "0101034928640082"), "temperature_2 21.5 °C, battery 100 %");
    }

    #[test]
    fn a_fault_is_no_value() {
        assert_eq!(
            told("GV51085242", SHARED, "010103c730e40000"),
            "temperature (the sensor reports: a fault of its own), humidity (the sensor reports: a fault of its own), \
             battery 100 %"
        );
        assert!(
            told("GV5140303A", SHARED, "0101031abc025801").ends_with("co2 (the sensor reports: a fault of its own)")
        );
    }

    #[test]
    fn an_ibeacon_behind_it_is_cut_off() {
        let told = told("GVH5103_5A4E", SHARED, "010103513e644c000215494e54454c4c495f524f434b535f48575075f2ff0c");
        assert_eq!(told, "temperature 21.7 °C, humidity 40.6 %, battery 100 %");
    }

    #[test]
    fn a_model_is_remembered_and_not_guessed() {
        let data = "01010ed13298";
        assert!(matches!(refused(sent("G", SHARED, data)), Refusal::Unknown(_)));
        let bare = advert("A4:C1:38:DD:DB:F8").with_company(SHARED, data);
        assert_eq!(read_any(&bare, &Known::default()), Outcome::NotMine);
        let told = values(&heard(read_any(&bare, &Known { model: Some("H5106"), ..Known::default() })));
        assert_eq!(told, "temperature 24.8 °C, humidity 59.1 %, pm2_5 0 µg/m³");
        assert_eq!(heard(sent("G", SHARED, "010103c730640000")).model.as_deref(), Some("H5108"));
        assert_eq!(refused(sent("GVH5999", SHARED, data)).to_string(), "the Govee model H5999");
    }

    #[test]
    fn unknown_sensors_are_refused() {
        assert_eq!(refused(sent("GV5112AC3D", SHARED, "0101034928640099")).to_string(), "probe 0x99 of an H5112");
        assert_eq!(refused(sent("B51782BC8", SHARED, "010107002af7640003")).to_string(), "sensor 7 of an H5178");
    }

    #[test]
    fn cut_off_anywhere_nothing_is_heard() {
        for (name, id, whole) in [
            ("GVH5075_2762", GOVEE, "00034db26400"),
            ("GVH5100_7738", SHARED, "010103465464"),
            ("GVH5106_4E05", SHARED, "01010ed13298"),
            ("GV5140303A", SHARED, "0101033dee023e00"),
            ("GV5112AC3D", SHARED, "0101034928640082"),
            ("", 0x8801, "ec0001010a0aa40664"),
        ] {
            for length in 0..whole.len() / 2 {
                let cut = sent(name, id, whole.get(..length * 2).unwrap());
                // Six bytes of an H5179 are what an H5127 sends.
                let other = id == 0x8801 && length == 6;
                assert!(other || !matches!(cut, Outcome::Heard(_)), "{name} {length}: {cut:?}");
            }
        }
    }
}
