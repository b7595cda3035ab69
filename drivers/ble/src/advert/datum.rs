//! One value of an advertisement, and the names and units it goes by.

use std::borrow::Cow;

use wharf_contract::Value;

/// What can be measured: one name and one unit, whichever format it comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// The point's name.
    pub name: &'static str,
    /// Its unit; empty where there is none.
    pub unit: &'static str,
    /// What kind of point it is.
    pub kind: Kind,
}

/// What kind of point a value belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// What the sensor is for.
    #[default]
    Measurement,
    /// How the sensor itself is: battery, signal.
    Diagnostic,
    /// Something that happened, such as a press of a button: true of its moment alone, and told
    /// again if it happens again.
    Event,
}

/// A value of an advertisement.
#[derive(Clone, Debug, PartialEq)]
pub struct Datum {
    /// The point's name.
    pub point: Cow<'static, str>,
    /// The value, or why there is none.
    pub value: Result<Value, Absent>,
    /// Its unit; empty where there is none.
    pub unit: Cow<'static, str>,
    /// What kind of point it is.
    pub kind: Kind,
}

/// Why there is no value where the format has room for one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// The sensor says so itself.
    #[error("the sensor has no value")]
    NoValue,
    /// It cannot be, in words.
    #[error("implausible: {0}")]
    Implausible(String),
    /// The sensor reports a fault, in words.
    #[error("the sensor reports: {0}")]
    Fault(String),
}

impl Quantity {
    const fn new(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, kind: Kind::Measurement }
    }

    const fn diagnostic(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, kind: Kind::Diagnostic }
    }

    const fn event(name: &'static str) -> Self {
        Self { name, unit: "", kind: Kind::Event }
    }

    /// A number of it.
    pub fn of(self, number: f64) -> Datum {
        // A division by zero or an exponent out of range in a float the sensor sent.
        let value = if number.is_finite() { Ok(Value::Float(number)) } else { Err(Absent::NoValue) };
        self.with(value)
    }

    /// A whole number of it.
    pub fn whole(self, number: impl Into<i64>) -> Datum {
        self.with(Ok(Value::Int(number.into())))
    }

    /// On or off.
    pub fn is(self, on: bool) -> Datum {
        self.with(Ok(Value::Bool(on)))
    }

    /// In words.
    pub fn says(self, text: impl Into<String>) -> Datum {
        self.with(Ok(Value::Text(text.into())))
    }

    /// None of it, as the sensor says.
    pub fn missing(self) -> Datum {
        self.with(Err(Absent::NoValue))
    }

    /// A value, or why there is none.
    pub fn with(self, value: Result<Value, Absent>) -> Datum {
        Datum { point: self.name.into(), value, unit: self.unit.into(), kind: self.kind }
    }
}

impl Datum {
    /// The same for the `n`th of several on one device, counted from 1: the first keeps the plain
    /// name, the others get theirs with a number behind, as in `temperature_2`.
    #[must_use]
    pub fn nth(mut self, n: usize) -> Self {
        if n > 1 {
            self.point = format!("{}_{n}", self.point).into();
        }
        self
    }
}

/// The quantities there are names for.
pub mod quantity {
    use super::Quantity;

    macro_rules! quantities {
        ($($name:ident = $make:ident($($argument:literal),*);)*) => {
            $(
                #[allow(missing_docs, reason = "their names say it all")]
                pub const $name: Quantity = Quantity::$make($($argument),*);
            )*
            /// All of them.
            pub const ALL: &[Quantity] = &[$($name),*];
        };
    }

    quantities! {
        TEMPERATURE = new("temperature", "°C");
        TEMPERATURE_AMBIENT = new("temperature_ambient", "°C");
        TEMPERATURE_CENTER = new("temperature_center", "°C");
        TEMPERATURE_END = new("temperature_end", "°C");
        TEMPERATURE_ALARM = new("temperature_alarm", "°C");
        TEMPERATURE_ALARM_LOW = new("temperature_alarm_low", "°C");
        HUMIDITY = new("humidity", "%");
        PRESSURE = new("pressure", "hPa");
        DEW_POINT = new("dew_point", "°C");
        ILLUMINANCE = new("illuminance", "lx");
        LIGHT_LEVEL = new("light_level", "");
        CO2 = new("co2", "ppm");
        TVOC = new("tvoc", "µg/m³");
        VOC_INDEX = new("voc_index", "");
        NOX_INDEX = new("nox_index", "");
        FORMALDEHYDE = new("formaldehyde", "mg/m³");
        PM1 = new("pm1", "µg/m³");
        PM2_5 = new("pm2_5", "µg/m³");
        PM4 = new("pm4", "µg/m³");
        PM10 = new("pm10", "µg/m³");
        SOUND = new("sound", "dB");
        MOISTURE = new("moisture", "%");
        CONDUCTIVITY = new("conductivity", "µS/cm");
        MASS = new("mass", "kg");
        MASS_POUNDS = new("mass_lb", "lb");
        MASS_UNSETTLED = new("mass_unsettled", "kg");
        IMPEDANCE = new("impedance", "Ω");
        COUNT = new("count", "");
        ENERGY = new("energy", "kWh");
        POWER = new("power", "W");
        VOLTAGE = new("voltage", "V");
        CURRENT = new("current", "A");
        DISTANCE = new("distance", "mm");
        DURATION = new("duration", "s");
        SPEED = new("speed", "m/s");
        ROTATION = new("rotation", "°");
        ROTATIONAL_SPEED = new("rotational_speed", "rpm");
        DIRECTION = new("direction", "°");
        UV_INDEX = new("uv_index", "");
        VOLUME = new("volume", "L");
        VOLUME_STORED = new("volume_stored", "L");
        FLOW = new("flow", "m³/h");
        GAS = new("gas", "m³");
        WATER = new("water", "L");
        PRECIPITATION = new("precipitation", "mm");
        ACCELERATION = new("acceleration", "m/s²");
        ACCELERATION_X = new("acceleration_x", "g");
        ACCELERATION_Y = new("acceleration_y", "g");
        ACCELERATION_Z = new("acceleration_z", "g");
        GYROSCOPE = new("gyroscope", "°/s");
        TIMESTAMP = new("timestamp", "s");
        LEVEL = new("level", "mm");
        POSITION = new("position", "%");
        TILT = new("tilt", "%");
        BRIGHTNESS = new("brightness", "%");
        GRAVITY = new("gravity", "");
        TEXT = new("text", "");
        RAW = new("raw", "");
        CHANNEL = new("channel", "");
        MOVEMENT = new("movement", "");
        SCORE = new("score", "");
        PROFILE = new("profile", "");
        HEART_RATE = new("heart_rate", "1/min");
        IMPEDANCE_HIGH = new("impedance_high", "Ω");
        OCCUPIED_FOR = new("occupied_for", "s");
        VACANT_FOR = new("vacant_for", "s");
        KEY_ID = new("key_id", "");
        BEACON = new("beacon", "");
        LOCK_METHOD = new("lock_method", "");
        // On or off. Of what can be opened or unlocked, a child lock too, on is open or unlocked,
        // whatever a format has there; what is armed is on when it is armed.
        STATE = new("state", "");
        SWITCH = new("switch", "");
        OPENING = new("opening", "");
        DOOR = new("door", "");
        LEFT_OPEN = new("left_open", "");
        WINDOW = new("window", "");
        GARAGE_DOOR = new("garage_door", "");
        LOCK = new("lock", "");
        MOTION = new("motion", "");
        MOVING = new("moving", "");
        OCCUPANCY = new("occupancy", "");
        PRESENCE = new("presence", "");
        LIGHT = new("light", "");
        SMOKE = new("smoke", "");
        CO = new("co", "");
        GAS_ALARM = new("gas_alarm", "");
        WATER_LEAK = new("water_leak", "");
        COLD = new("cold", "");
        HEAT = new("heat", "");
        PLUG = new("plug", "");
        RUNNING = new("running", "");
        SAFETY = new("safety", "");
        SOUND_ALARM = new("sound_alarm", "");
        VIBRATION = new("vibration", "");
        POWERED = new("powered", "");
        CONNECTIVITY = new("connectivity", "");
        PROBLEM = new("problem", "");
        ARMED = new("armed", "");
        CHILD_LOCK = new("child_lock", "");
        STUCK = new("stuck", "");
        SPLASH = new("splash", "");
        OCCUPANCY_NEAR = new("occupancy_near", "");
        ASLEEP = new("asleep", "");
        WORN = new("worn", "");
        STABILIZED = new("stabilized", "");
        TAMPER = diagnostic("tamper", "");
        CHARGING = diagnostic("charging", "");
        BATTERY_LOW = diagnostic("battery_low", "");
        // The sensor itself.
        BATTERY = diagnostic("battery", "%");
        BATTERY_VOLTAGE = diagnostic("battery_voltage", "V");
        TX_POWER = diagnostic("tx_power", "dBm");
        RSSI = diagnostic("rssi", "dBm");
        UPTIME = diagnostic("uptime", "s");
        LEVEL_QUALITY = diagnostic("level_quality", "");
        RSSI_AT_1M = diagnostic("rssi_at_1m", "dBm");
        CONSUMABLE = diagnostic("consumable", "%");
        // What happens.
        BUTTON = event("button");
        DIMMER = event("dimmer");
        DIMMER_PRESSED = event("dimmer_pressed");
        COMMAND = event("command");
        MOTION_DETECTED = event("motion_detected");
        VIBRATION_DETECTED = event("vibration_detected");
        KNOCK = event("knock");
        FINGERPRINT = event("fingerprint");
        LOCK_ACTION = event("lock_action");
        LOCK_ALARM = event("lock_alarm");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_topic_levels_and_each_is_there_once() {
        let mut seen = std::collections::HashSet::new();
        for quantity in quantity::ALL {
            assert!(seen.insert(quantity.name), "{}", quantity.name);
            assert!(
                quantity.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            );
        }
    }

    #[test]
    fn the_first_of_several_keeps_its_name() {
        assert_eq!(quantity::TEMPERATURE.of(1.5).nth(1).point, "temperature");
        assert_eq!(quantity::TEMPERATURE.of(1.5).nth(2).point, "temperature_2");
    }

    #[test]
    fn a_number_that_is_none_is_missing() {
        assert_eq!(quantity::TEMPERATURE.of(f64::NAN).value, Err(Absent::NoValue));
    }
}
