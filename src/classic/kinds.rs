//! What a point of another protocol is to a MySensors controller: the sensor its child is presented
//! as (`S_`) and the type of its values (`V_`), by unit, kind of value and name. Pure.
//!
//! A controller takes a value for what its type says, so only what fits is shown as such: a type has
//! a unit of its own, and any other goes before the values as a `V_UNIT_PREFIX`. What fits nothing is
//! shown as a custom sensor, and a text as an information display.

use wharf_contract::{Value, WriteRule};
use wharf_mysensors::types::{self, Kind as Form};

/// `V_UNIT_PREFIX`: the unit of a child whose type has none, or another.
pub const UNIT_PREFIX: u8 = 43;

/// How a point is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What its child is presented as: an `S_` number.
    pub sensor: u8,
    /// The type of its values: a `V_` number.
    pub value: u8,
}

/// One way for a number to be shown.
struct Row {
    /// The units it is for; empty for numbers without one.
    units: &'static [&'static str],
    /// Beginnings of words in the point's name, one of which has to be there; empty for any name.
    words: &'static [&'static str],
    kind: Kind,
}

const fn row(units: &'static [&'static str], words: &'static [&'static str], sensor: u8, value: u8) -> Row {
    Row { units, words, kind: Kind { sensor, value } }
}

/// Numbers, the more particular before the general. Sensor and type of each row belong together in
/// the protocol, which a test holds them to.
const NUMBERS: &[Row] = &[
    row(&["%"], &["hum"], 7, 1),
    row(&["%"], &["moisture", "soil"], 35, 37),
    row(&["°C", "°F", "K"], &[], 6, 0),
    row(&["hPa", "mbar", "kPa", "Pa", "bar", "psi"], &[], 8, 4),
    row(&["lx", "lux"], &[], 16, 37),
    row(&["dB", "dB(A)", "dBA"], &[], 33, 37),
    row(&["W", "kW", "MW"], &[], 13, 17),
    row(&["kWh", "Wh", "MWh"], &[], 13, 18),
    row(&["var", "kvar", "Mvar"], &[], 13, 54),
    row(&["VA", "kVA", "MVA"], &[], 13, 55),
    row(&[], &["power_factor", "cos_phi", "cosphi"], 13, 56),
    row(&["mV"], &["orp", "redox"], 39, 52),
    row(&["V", "mV", "kV"], &[], 30, 38),
    row(&["A", "mA", "kA"], &[], 30, 39),
    row(&["Ω", "kΩ", "MΩ"], &[], 30, 14),
    row(&["mm", "in"], &["rain", "precipitation"], 10, 6),
    row(&["mm/h", "in/h"], &[], 10, 7),
    row(&["m", "cm", "mm", "km"], &[], 15, 13),
    row(&["kg", "g", "t", "lb", "st"], &[], 12, 12),
    row(&["µg/m³", "mg/m³"], &["pm", "dust"], 24, 37),
    row(&["ppm", "ppb", "µg/m³", "mg/m³", "Bq/m³"], &[], 22, 37),
    row(&["m³", "L", "l", "ft³", "gal"], &["gas"], 37, 35),
    row(&["m³", "L", "l", "ft³", "gal"], &[], 21, 35),
    row(&["m³/h", "L/h", "l/h", "L/min", "l/min", "m³/s", "L/s", "l/s"], &["gas"], 37, 34),
    row(&["m³/h", "L/h", "l/h", "L/min", "l/min", "m³/s", "L/s", "l/s"], &[], 21, 34),
    row(&["m/s", "km/h", "kn", "mph"], &["gust"], 9, 9),
    row(&["m/s", "km/h", "kn", "mph"], &["wind"], 9, 8),
    row(&["°"], &["wind", "direction"], 9, 10),
    row(&[], &["uv"], 11, 11),
    row(&["pH"], &[], 39, 51),
    row(&["µS/cm"], &[], 39, 53),
];

/// What is either on or off and cannot be written, by a word in its name.
const SWITCHES: &[(&[&str], u8)] = &[
    (&["motion", "moving", "occupancy", "occupied", "presence"], 1),
    (&["smoke"], 2),
    (&["leak", "water", "wet", "flood"], 32),
    (&["sound", "noise"], 33),
    (&["vibration", "tilt"], 34),
    (&["moisture", "soil"], 35),
];

const DOOR: u8 = 0;
const TRIPPED: u8 = 16;
const BINARY: Kind = Kind { sensor: 3, value: 2 };
const DIMMER: Kind = Kind { sensor: 4, value: 3 };
/// A setpoint. A thermostat and no `S_HEATER`, which Home Assistant has nothing for.
const THERMOSTAT: Kind = Kind { sensor: 29, value: 45 };
const STATUS: u8 = 2;
const FLOW_STATE: u8 = 21;
const HEATS: &str = "HeatOn";
/// A text.
pub const INFO: Kind = Kind { sensor: 36, value: types::TEXT };
const CUSTOM: Kind = Kind { sensor: 23, value: 24 };

impl Kind {
    /// How a point is shown that has this name, this unit and this value. `write`: what may be written to
    /// it, if anything.
    pub fn of(point: &str, unit: Option<&str>, value: &Value, write: Option<&WriteRule>) -> Self {
        let unit = unit.unwrap_or_default();
        match (value, write) {
            (Value::Text(_) | Value::List(_), _) => INFO,
            (Value::Bool(_), Some(_)) => BINARY,
            (Value::Bool(_), None) => {
                let sensor =
                    SWITCHES.iter().find(|(words, _)| has_any(point, words)).map_or(DOOR, |(_, sensor)| *sensor);
                Self { sensor, value: TRIPPED }
            }
            // Both types go from 0 to 100 and no further.
            (_, Some(rule)) if unit == "%" && is_within(rule, 0.0, 100.0) => DIMMER,
            (_, Some(rule)) if unit == "°C" && is_within(rule, 0.0, 100.0) => THERMOSTAT,
            _ => {
                let fits = |row: &&Row| {
                    let unit_fits = if row.units.is_empty() { unit.is_empty() } else { row.units.contains(&unit) };
                    unit_fits && (row.words.is_empty() || has_any(point, row.words))
                };
                NUMBERS.iter().find(fits).map_or(CUSTOM, |row| row.kind)
            }
        }
    }

    /// Whether the unit has to be told, because the type has none or another.
    pub fn needs_unit(self, unit: &str) -> bool {
        // A controller takes the level of these two for lux and decibel.
        let own = match (self.sensor, types::value_type(self.value).and_then(|row| row.unit)) {
            (16, None) => Some("lx"),
            (33, None) => Some("dB"),
            (_, own) => own,
        };
        let knows_units = self.value != TRIPPED && !matches!(self.sensor, 3..=5 | 29 | 36);
        knows_units && !unit.is_empty() && own != Some(unit)
    }

    /// Whether its child has values of this type.
    pub fn has(self, value: u8) -> bool {
        value == self.value || self.beside("0").is_some_and(|(beside, _)| beside == value)
    }

    /// What goes with a payload, type and payload: to Home Assistant a dimmer has to be on or off as well, and
    /// a thermostat in a mode, or it shows neither.
    pub fn beside(self, payload: &str) -> Option<(u8, &'static str)> {
        match self {
            DIMMER => Some((STATUS, if payload == "0" { "0" } else { "1" })),
            THERMOSTAT => Some((FLOW_STATE, HEATS)),
            _ => None,
        }
    }

    /// The value that a payload of the type beside says, where the point has the value `now` and may have
    /// `most`. On is as it is, or else all there is.
    pub fn value_beside(self, payload: &str, now: Option<&Value>, most: Value) -> Option<Value> {
        match (self, payload.trim()) {
            (DIMMER, "0") => Some(Value::Int(0)),
            (DIMMER, "1") => Some(now.filter(|now| now.as_f64() != Some(0.0)).cloned().unwrap_or(most)),
            // A setpoint has one mode, and another cannot be had.
            _ => None,
        }
    }

    /// The payload that says this value; `None` if its type cannot say it, such as 120 where 100 is the
    /// most.
    pub fn payload(self, value: &Value) -> Option<String> {
        let number = value.as_f64().filter(|number| number.is_finite());
        match (self.value, types::value_type(self.value)?.kind) {
            (_, Form::Switch) => Some(if number? == 0.0 { "0" } else { "1" }.to_owned()),
            // Controllers take whole percentages alone.
            (3, _) => number.map(f64::round).filter(|n| (0.0..=100.0).contains(n)).map(|n| n.to_string()),
            (45, _) => number.filter(|n| (0.0..=100.0).contains(n)).map(|n| n.to_string()),
            (56, _) => number.filter(|n| (-1.0..=1.0).contains(n)).map(|n| n.to_string()),
            (_, Form::Within(low, high)) => number.filter(|n| (low..=high).contains(n)).map(|_| value.to_string()),
            (_, Form::Number | Form::Percent) => number.map(|_| value.to_string()),
            _ => Some(plain(&value.to_string())),
        }
    }

    /// The value that a payload from a controller says; `None` if it says none of this type.
    pub fn value(self, payload: &str) -> Option<Value> {
        let payload = payload.trim();
        match types::value_type(self.value)?.kind {
            Form::Switch => match payload {
                "0" => Some(Value::Bool(false)),
                "1" => Some(Value::Bool(true)),
                _ => None,
            },
            Form::Number | Form::Within(..) | Form::Percent => number(payload),
            // A number goes back as the number it came as.
            _ if self == CUSTOM => number(payload).or_else(|| Some(Value::Text(payload.to_owned()))),
            _ => Some(Value::Text(payload.to_owned())),
        }
    }
}

/// A text without what would end a line or, to controllers, a field.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                ' '
            } else if c == ';' {
                ','
            } else {
                c
            }
        })
        .collect()
}

fn number(text: &str) -> Option<Value> {
    match text.parse() {
        Ok(whole) => Some(Value::Int(whole)),
        Err(_) => text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float),
    }
}

/// Whether one of the words in the name begins so.
fn has_any(name: &str, words: &[&str]) -> bool {
    let name = format!("_{}", name.to_lowercase().replace(['-', '.', ' '], "_"));
    words.iter().any(|word| name.contains(&format!("_{word}")))
}

fn is_within(rule: &WriteRule, least: f64, most: f64) -> bool {
    rule.min.is_some_and(|min| min >= least) && rule.max.is_some_and(|max| max <= most)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    use wharf_test_support::lab;

    use super::*;

    fn check(point: &str, unit: &str, value: Value, write: Option<WriteRule>, expected: (u8, u8)) {
        let kind = Kind::of(point, Some(unit).filter(|unit| !unit.is_empty()), &value, write.as_ref());
        assert_eq!((kind.sensor, kind.value), expected, "{point} {unit}");
    }

    fn limits(min: f64, max: f64) -> Option<WriteRule> {
        Some(WriteRule { min: Some(min), max: Some(max), ..WriteRule::default() })
    }

    #[test]
    fn a_point_is_what_its_unit_says() {
        let number = || Value::Float(1.0);
        check("temperature", "°C", number(), None, (6, 0));
        check("humidity", "%", number(), None, (7, 1));
        check("pressure", "hPa", number(), None, (8, 4));
        check("active_power", "kW", number(), None, (13, 17));
        check("energy", "kWh", number(), None, (13, 18));
        check("l1-voltage", "V", number(), None, (30, 38));
        check("level", "m", number(), None, (15, 13));
        check("co2", "ppm", number(), None, (22, 37));
        check("pm25", "µg/m³", number(), None, (24, 37));
        check("frequency", "Hz", number(), None, (23, 24));
        check("rssi", "dBm", number(), None, (23, 24));
        check("count", "", Value::Int(7), None, (23, 24));
    }

    #[test]
    fn where_the_unit_leaves_it_open_the_name_decides() {
        check("soil_moisture", "%", Value::Int(1), None, (35, 37));
        check("fill", "%", Value::Int(1), None, (23, 24));
        check("gas_total", "m³", Value::Int(1), None, (37, 35));
        check("total", "m³", Value::Int(1), None, (21, 35));
        check("rainfall", "mm", Value::Int(1), None, (10, 6));
        check("l2_power_factor", "", Value::Float(0.9), None, (13, 56));
        check("uv_index", "", Value::Float(0.9), None, (11, 11));
        check("wind-gust", "m/s", Value::Int(1), None, (9, 9));
    }

    #[test]
    fn what_can_be_written_is_something_that_can_be_set() {
        check("pump", "", Value::Bool(true), Some(WriteRule::default()), (3, 2));
        check("setpoint", "°C", Value::Int(20), limits(5.0, 80.0), (29, 45));
        check("setpoint", "°C", Value::Int(20), limits(-20.0, 80.0), (6, 0));
        check("position", "%", Value::Int(20), limits(0.0, 100.0), (4, 3));
        check("mode", "", Value::Text("eco".into()), Some(WriteRule::default()), (36, 47));
    }

    #[test]
    fn what_is_only_on_or_off_is_known_by_its_name() {
        check("motion", "", Value::Bool(true), None, (1, 16));
        check("water_leak", "", Value::Bool(true), None, (32, 16));
        check("window", "", Value::Bool(true), None, (0, 16));
        check("alarm", "", Value::Bool(true), None, (0, 16));
    }

    #[test]
    fn a_value_is_said_as_its_type_has_it_or_not_at_all() {
        let said = |sensor, value, what: Value| Kind { sensor, value }.payload(&what);
        assert_eq!(said(3, 2, Value::Bool(true)).as_deref(), Some("1"));
        assert_eq!(said(0, 16, Value::Int(0)).as_deref(), Some("0"));
        assert_eq!(said(6, 0, Value::Float(21.5)).as_deref(), Some("21.5"));
        assert_eq!(said(4, 3, Value::Float(49.6)).as_deref(), Some("50"));
        assert_eq!(said(4, 3, Value::Int(120)), None);
        assert_eq!(said(13, 56, Value::Float(1.2)), None);
        assert_eq!(said(6, 0, Value::Float(f64::NAN)), None);
        assert_eq!(said(36, 47, Value::Text("a;b\nc".into())).as_deref(), Some("a,b c"));
    }

    #[test]
    fn what_a_controller_sets_is_read_by_the_type() {
        let read = |sensor, value, payload| Kind { sensor, value }.value(payload);
        assert_eq!(read(3, 2, "1"), Some(Value::Bool(true)));
        assert_eq!(read(3, 2, "on"), None);
        assert_eq!(read(29, 45, "21.5"), Some(Value::Float(21.5)));
        assert_eq!(read(29, 45, "inf"), None);
        assert_eq!(read(23, 24, "7"), Some(Value::Int(7)));
        assert_eq!(read(36, 47, "eco"), Some(Value::Text("eco".into())));
    }

    #[test]
    fn a_unit_is_told_where_the_type_does_not_say_it() {
        let needs = |sensor, value, unit| Kind { sensor, value }.needs_unit(unit);
        assert!(!needs(6, 0, "°C") && needs(6, 0, "°F"));
        assert!(!needs(16, 37, "lx") && needs(35, 37, "%"));
        assert!(needs(23, 24, "Hz") && !needs(23, 24, ""));
        // An information display knows no unit, nor does a switch.
        assert!(!needs(36, 47, "h") && !needs(3, 2, "x"));
    }

    /// Every kind there is, with payloads it gives.
    fn every_kind() -> Vec<(Kind, Vec<String>)> {
        let values = [0.0, 1.0, -0.5, 21.5, 49.6, 100.0, 1234.567].map(Value::Float);
        let switches = SWITCHES.iter().map(|(_, sensor)| Kind { sensor: *sensor, value: TRIPPED });
        let fixed = [Kind { sensor: DOOR, value: TRIPPED }, BINARY, DIMMER, THERMOSTAT, INFO, CUSTOM];
        let kinds = NUMBERS.iter().map(|row| row.kind).chain(switches).chain(fixed);
        kinds.map(|kind| (kind, values.iter().filter_map(|value| kind.payload(value)).collect())).collect()
    }

    /// What Home Assistant makes an entity of, by its MySensors integration (const.py, helpers.py): the sensor, the
    /// type it is made of, and the types its child has to have besides.
    const ENTITIES: &[(&[u8], &[u8], &[u8])] = &[
        (&[0, 1, 2, 32, 33, 34, 35], &[16], &[]),
        (&[3], &[2], &[]),
        (&[4], &[3], &[2]),
        (&[6], &[0], &[]),
        (&[7], &[1], &[]),
        (&[8], &[4], &[]),
        (&[9], &[8, 9, 10], &[]),
        (&[10], &[6, 7], &[]),
        (&[11], &[11], &[]),
        (&[12], &[12], &[]),
        (&[13], &[17, 18, 54, 55, 56], &[]),
        (&[15], &[13], &[]),
        (&[16, 22, 24, 33, 34, 35], &[37], &[]),
        (&[21, 37], &[34, 35], &[]),
        (&[23], &[24], &[]),
        (&[29], &[21], &[]),
        (&[30], &[14, 38, 39], &[]),
        (&[36], &[47], &[]),
        (&[39], &[51, 52, 53], &[]),
    ];

    #[test]
    fn home_assistant_makes_something_of_every_kind() {
        for (kind, payloads) in every_kind() {
            let mut types = vec![kind.value];
            types.extend(kind.beside(&payloads[0]).map(|(beside, _)| beside));
            let is_one = |(sensors, made_of, besides): &(&[u8], &[u8], &[u8])| {
                sensors.contains(&kind.sensor)
                    && types.iter().any(|value| made_of.contains(value))
                    && besides.iter().all(|value| types.contains(value))
            };
            assert!(ENTITIES.iter().any(is_one), "{kind:?} with {types:?}");
        }
    }

    /// Asks Home Assistant's own library.
    #[test]
    fn pymysensors_takes_every_kind_and_every_payload_for_valid() {
        let Some(python) = lab::python("mysensors") else { return };
        let mut judge = Command::new(python)
            .arg(lab::folder("mysensors").join("controller.py"))
            .arg("tables")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut asking = judge.stdin.take().unwrap();
        let mut answers = BufReader::new(judge.stdout.take().unwrap()).lines();
        let mut answer = || serde_json::from_str::<serde_json::Value>(&answers.next().unwrap().unwrap()).unwrap();
        let fits = answer();
        for (Kind { sensor, value }, payloads) in every_kind() {
            let types = fits["S"][sensor.to_string()].as_array().unwrap();
            assert!(types.contains(&value.into()), "{value} does not belong to {sensor}");
            let tells_unit = Kind { sensor, value }.needs_unit("furlong");
            assert!(!tells_unit || types.contains(&UNIT_PREFIX.into()), "{sensor} knows no unit");
            assert!(!payloads.is_empty());
            for payload in payloads {
                writeln!(asking, "{value} {payload}").unwrap();
                assert_eq!(answer(), true, "{value} {payload}");
                if let Some((beside, payload)) = (Kind { sensor, value }).beside(&payload) {
                    assert!(types.contains(&beside.into()), "{beside} does not belong to {sensor}");
                    writeln!(asking, "{beside} {payload}").unwrap();
                    assert_eq!(answer(), true, "{beside} {payload}");
                }
            }
        }
        drop(asking);
        judge.wait().unwrap();
    }
}
