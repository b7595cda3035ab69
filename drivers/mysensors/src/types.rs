//! What the type numbers of the protocol stand for: the V_, S_, I_ and ST_ tables.
//!
//! Names are the library's own in lower case without their prefix: `V_LIGHT_LEVEL` is
//! `light_level`. Units are the metric ones the library documents; a type whose unit depends on the
//! sensor, such as `V_LEVEL`, has none.

/// What kind of value a payload holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `0` or `1`.
    Switch,
    /// A number, with a fraction or without.
    Number,
    /// A number that cannot be true beyond these two.
    Within(f64, f64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A number from 0 to 100.
    Percent,
    /// A whole number from 0 to 100.
    WholePercent,
    /// A whole number, not negative.
    Count,
    /// So many hexadecimal digits, as a colour has.
    Hex(usize),
    /// Latitude, longitude and altitude, with commas between them.
    Position,
    /// Any text.
    Text,
}

/// One row of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Type {
    /// The number on the wire.
    pub number: u8,
    /// Its name, lower case, without the prefix.
    pub name: &'static str,
    /// What its payload holds.
    pub kind: Kind,
    /// The unit of the payload, if it has a fixed one.
    pub unit: Option<&'static str>,
}

/// The type of a value in `set` and `req`.
pub fn value_type(number: u8) -> Option<&'static Type> {
    find(VALUES, number)
}

/// The value type of that name, `temp` or `V_TEMP`.
pub fn value_type_named(name: &str) -> Option<&'static Type> {
    VALUES.iter().find(|row| row.name == name || protocol_name(row) == name)
}

/// The name of a value type as the protocol writes it: `V_TEMP`.
pub fn protocol_name(row: &Type) -> String {
    format!("V_{}", row.name.to_ascii_uppercase())
}

/// The type of an internal message.
pub fn internal_type(number: u8) -> Option<&'static Type> {
    find(INTERNALS, number)
}

/// The name of the sensor that a presentation announces.
pub fn sensor_name(number: u8) -> Option<&'static str> {
    SENSORS.get(usize::from(number)).copied()
}

/// The name of a stream message.
pub fn stream_name(number: u8) -> Option<&'static str> {
    STREAMS.get(usize::from(number)).copied()
}

/// The name of a value type as it stands in topics: `light-level`; one that is not known is named by
/// its number, `v99`.
pub fn value_in_topic(number: u8) -> String {
    value_type(number).map_or_else(|| format!("v{number}"), |row| row.name.replace('_', "-"))
}

/// The value that a sensor of this kind, an S_ number, is mainly there for.
pub fn main_value(sensor: u8) -> Option<u8> {
    MAIN_VALUES.get(usize::from(sensor)).copied().flatten()
}

/// `V_TEXT`.
pub const TEXT: u8 = 47;
/// `V_POSITION`.
pub const POSITION: u8 = 49;
/// `I_BATTERY_LEVEL`.
pub const BATTERY: u8 = 0;
/// `I_VERSION`.
pub const VERSION: u8 = 2;
/// `I_TIME`.
pub const TIME: u8 = 1;
/// `I_ID_REQUEST`.
pub const ID_REQUEST: u8 = 3;
/// `I_ID_RESPONSE`.
pub const ID_RESPONSE: u8 = 4;
/// `I_INCLUSION_MODE`.
pub const INCLUSION: u8 = 5;
/// `I_CONFIG`.
pub const CONFIG: u8 = 6;
/// `I_SKETCH_NAME`.
pub const SKETCH_NAME: u8 = 11;
/// `I_SKETCH_VERSION`.
pub const SKETCH_VERSION: u8 = 12;
/// `I_HEARTBEAT_REQUEST`.
pub const HEARTBEAT_REQUEST: u8 = 18;
/// `I_PRESENTATION`: please say what you are.
pub const PRESENT: u8 = 19;
/// `I_DISCOVER_REQUEST`.
pub const DISCOVER: u8 = 20;
/// `I_DISCOVER_RESPONSE`.
pub const DISCOVER_RESPONSE: u8 = 21;
/// `I_HEARTBEAT_RESPONSE`.
pub const HEARTBEAT_RESPONSE: u8 = 22;
/// `I_PRE_SLEEP_NOTIFICATION`.
pub const PRE_SLEEP: u8 = 32;
/// `I_POST_SLEEP_NOTIFICATION`.
pub const POST_SLEEP: u8 = 33;
/// `S_ARDUINO_REPEATER_NODE`.
pub const S_REPEATER: u8 = 18;
/// `I_LOG_MESSAGE`.
pub const LOG: u8 = 9;
/// `I_REBOOT`.
pub const REBOOT: u8 = 13;
/// `I_GATEWAY_READY`.
pub const READY: u8 = 14;
/// `ST_FIRMWARE_CONFIG_REQUEST`.
pub const FIRMWARE_CONFIG_REQUEST: u8 = 0;
/// `ST_FIRMWARE_CONFIG_RESPONSE`.
pub const FIRMWARE_CONFIG_RESPONSE: u8 = 1;
/// `ST_FIRMWARE_REQUEST`.
pub const FIRMWARE_REQUEST: u8 = 2;
/// `ST_FIRMWARE_RESPONSE`.
pub const FIRMWARE_RESPONSE: u8 = 3;
/// `ST_FIRMWARE_RESPONSE_RLE`.
pub const FIRMWARE_RESPONSE_RLE: u8 = 7;

/// `I_REGISTRATION_RESPONSE`.
pub const REGISTRATION_RESPONSE: u8 = 27;
/// `I_NONCE_RESPONSE`.
pub const NONCE_RESPONSE: u8 = 17;
/// `I_FIND_PARENT_RESPONSE`.
pub const FIND_PARENT_RESPONSE: u8 = 8;
/// `I_PONG`.
pub const PONG: u8 = 25;
/// The value types that are something that happens and no state to be in: scenes and infrared codes.
pub const HAPPENS: &[u8] = &[19, 20, 32, 33, 50];
/// What the inclusion mode of a controller is, when it is written as a point.
pub const INCLUSION_TYPE: &Type = &bare(INCLUSION, "inclusion_mode", Kind::Switch);

fn find(table: &'static [Type], number: u8) -> Option<&'static Type> {
    // Both tables are dense and in order, which a test holds them to.
    table.get(usize::from(number))
}

const fn bare(number: u8, name: &'static str, kind: Kind) -> Type {
    Type { number, name, kind, unit: None }
}

const fn with(number: u8, name: &'static str, kind: Kind, unit: &'static str) -> Type {
    Type { number, name, kind, unit: Some(unit) }
}

/// Temperatures that cannot be: below absolute zero, and hotter than any sensor stands.
const TEMPERATURE: Kind = Kind::Within(-273.15, 3000.0);
/// What is never less than nothing.
const AMOUNT: Kind = Kind::Within(0.0, 1e12);
/// What flows either way, or lies on either side of zero.
const EITHER_WAY: Kind = Kind::Within(-1e9, 1e9);
const FORECASTS: Kind = Kind::Word(&["stable", "sunny", "cloudy", "unstable", "thunderstorm", "unknown"]);
const FLOW_STATES: Kind = Kind::Word(&["Off", "HeatOn", "CoolOn", "AutoChangeOver"]);
/// Before 2.0 the same number was a switch.
const SPEEDS: Kind = Kind::Word(&["Min", "Normal", "Max", "Auto", "0", "1"]);
const FLOW_MODES: Kind = Kind::Word(&["Auto", "ContinuousOn", "PeriodicOn"]);

/// The value types, `V_`, by number, with what their values can be: as the library says, and where it
/// does not, what a sensor in its senses can mean.
pub const VALUES: &[Type] = &[
    with(0, "temp", TEMPERATURE, "°C"),
    with(1, "hum", Kind::Percent, "%"),
    bare(2, "status", Kind::Switch),
    with(3, "percentage", Kind::Percent, "%"),
    // Some send pascals.
    with(4, "pressure", Kind::Within(0.0, 2_000_000.0), "hPa"),
    bare(5, "forecast", FORECASTS),
    with(6, "rain", AMOUNT, "mm"),
    with(7, "rainrate", Kind::Within(0.0, 10_000.0), "mm/h"),
    with(8, "wind", Kind::Within(0.0, 200.0), "m/s"),
    with(9, "gust", Kind::Within(0.0, 200.0), "m/s"),
    with(10, "direction", Kind::Within(0.0, 360.0), "°"),
    bare(11, "uv", Kind::Within(0.0, 100.0)),
    with(12, "weight", EITHER_WAY, "kg"),
    with(13, "distance", AMOUNT, "m"),
    with(14, "impedance", AMOUNT, "Ω"),
    bare(15, "armed", Kind::Switch),
    bare(16, "tripped", Kind::Switch),
    with(17, "watt", EITHER_WAY, "W"),
    with(18, "kwh", EITHER_WAY, "kWh"),
    bare(19, "scene_on", Kind::Text),
    bare(20, "scene_off", Kind::Text),
    bare(21, "hvac_flow_state", FLOW_STATES),
    bare(22, "hvac_speed", SPEEDS),
    with(23, "light_level", Kind::Percent, "%"),
    bare(24, "var1", Kind::Text),
    bare(25, "var2", Kind::Text),
    bare(26, "var3", Kind::Text),
    bare(27, "var4", Kind::Text),
    bare(28, "var5", Kind::Text),
    bare(29, "up", Kind::Text),
    bare(30, "down", Kind::Text),
    bare(31, "stop", Kind::Text),
    bare(32, "ir_send", Kind::Text),
    bare(33, "ir_receive", Kind::Text),
    bare(34, "flow", EITHER_WAY),
    with(35, "volume", AMOUNT, "m³"),
    // 1 is locked (serial API 2.x). It stays so: the same payload goes both ways and in classic topics.
    bare(36, "lock_status", Kind::Switch),
    bare(37, "level", EITHER_WAY),
    with(38, "voltage", EITHER_WAY, "V"),
    with(39, "current", EITHER_WAY, "A"),
    bare(40, "rgb", Kind::Hex(6)),
    bare(41, "rgbw", Kind::Hex(8)),
    bare(42, "id", Kind::Text),
    bare(43, "unit_prefix", Kind::Text),
    with(44, "hvac_setpoint_cool", TEMPERATURE, "°C"),
    with(45, "hvac_setpoint_heat", TEMPERATURE, "°C"),
    bare(46, "hvac_flow_mode", FLOW_MODES),
    bare(TEXT, "text", Kind::Text),
    bare(48, "custom", Kind::Text),
    bare(POSITION, "position", Kind::Position),
    bare(50, "ir_record", Kind::Text),
    bare(51, "ph", Kind::Within(-2.0, 16.0)),
    with(52, "orp", Kind::Within(-5000.0, 5000.0), "mV"),
    with(53, "ec", AMOUNT, "µS/cm"),
    with(54, "var", EITHER_WAY, "var"),
    with(55, "va", EITHER_WAY, "VA"),
    bare(56, "power_factor", Kind::Within(-1.0, 1.0)),
    bare(57, "multi_message", Kind::Text),
    with(58, "tilt", Kind::Percent, "%"),
];

/// The internal types, `I_`, by number.
pub const INTERNALS: &[Type] = &[
    with(BATTERY, "battery_level", Kind::WholePercent, "%"),
    bare(1, "time", Kind::Text),
    bare(VERSION, "version", Kind::Text),
    bare(3, "id_request", Kind::Text),
    bare(4, "id_response", Kind::Text),
    bare(INCLUSION, "inclusion_mode", Kind::Switch),
    bare(6, "config", Kind::Text),
    bare(7, "find_parent_request", Kind::Text),
    bare(8, "find_parent_response", Kind::Text),
    bare(LOG, "log_message", Kind::Text),
    bare(10, "children", Kind::Text),
    bare(11, "sketch_name", Kind::Text),
    bare(12, "sketch_version", Kind::Text),
    bare(13, "reboot", Kind::Text),
    bare(READY, "gateway_ready", Kind::Text),
    bare(15, "signing_presentation", Kind::Text),
    bare(16, "nonce_request", Kind::Text),
    bare(17, "nonce_response", Kind::Text),
    bare(18, "heartbeat_request", Kind::Text),
    bare(19, "presentation", Kind::Text),
    bare(20, "discover_request", Kind::Text),
    bare(21, "discover_response", Kind::Text),
    with(22, "heartbeat_response", Kind::Count, "ms"),
    bare(23, "locked", Kind::Text),
    bare(24, "ping", Kind::Text),
    bare(25, "pong", Kind::Text),
    bare(26, "registration_request", Kind::Text),
    bare(27, "registration_response", Kind::Text),
    bare(28, "debug", Kind::Text),
    bare(29, "signal_report_request", Kind::Text),
    bare(30, "signal_report_reverse", Kind::Text),
    bare(31, "signal_report_response", Kind::Text),
    with(32, "pre_sleep_notification", Kind::Count, "ms"),
    with(33, "post_sleep_notification", Kind::Count, "ms"),
];

const SENSORS: &[&str] = &[
    "door",
    "motion",
    "smoke",
    "binary",
    "dimmer",
    "cover",
    "temp",
    "hum",
    "baro",
    "wind",
    "rain",
    "uv",
    "weight",
    "power",
    "heater",
    "distance",
    "light_level",
    "arduino_node",
    "arduino_repeater_node",
    "lock",
    "ir",
    "water",
    "air_quality",
    "custom",
    "dust",
    "scene_controller",
    "rgb_light",
    "rgbw_light",
    "color_sensor",
    "hvac",
    "multimeter",
    "sprinkler",
    "water_leak",
    "sound",
    "vibration",
    "moisture",
    "info",
    "gas",
    "gps",
    "water_quality",
];

/// The main value of each sensor, by the sensor's number. Nodes, scenes and remote controls have none.
const MAIN_VALUES: &[Option<u8>] = &[
    Some(16), // door: tripped
    Some(16), // motion
    Some(16), // smoke
    Some(2),  // binary: status
    Some(3),  // dimmer: percentage
    Some(3),  // cover: percentage
    Some(0),  // temp
    Some(1),  // hum
    Some(4),  // baro: pressure
    Some(8),  // wind
    Some(6),  // rain
    Some(11), // uv
    Some(12), // weight
    Some(17), // power: watt
    Some(45), // heater: setpoint
    Some(13), // distance
    Some(23), // light_level; those that measure lux send level
    None,     // arduino_node
    None,     // arduino_repeater_node
    Some(36), // lock: lock_status
    None,     // ir
    Some(35), // water: volume
    Some(37), // air_quality: level
    None,     // custom
    Some(37), // dust: level
    None,     // scene_controller
    Some(40), // rgb_light: rgb
    Some(41), // rgbw_light: rgbw
    Some(40), // color_sensor: rgb
    Some(45), // hvac: setpoint
    Some(38), // multimeter: voltage
    Some(2),  // sprinkler: status
    Some(16), // water_leak: tripped
    Some(37), // sound: level
    Some(37), // vibration: level
    Some(37), // moisture: level
    Some(47), // info: text
    Some(35), // gas: volume
    Some(49), // gps: position
    Some(51), // water_quality: ph
];

const STREAMS: &[&str] = &[
    "firmware_config_request",
    "firmware_config_response",
    "firmware_request",
    "firmware_response",
    "sound",
    "image",
    "firmware_confirm",
    "firmware_response_rle",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_where_its_number_says() {
        for table in [VALUES, INTERNALS] {
            for (place, row) in table.iter().enumerate() {
                assert_eq!(usize::from(row.number), place, "{}", row.name);
            }
        }
        assert_eq!((VALUES.len(), INTERNALS.len(), SENSORS.len(), STREAMS.len()), (59, 34, 40, 8));
        assert_eq!(MAIN_VALUES.len(), SENSORS.len());
    }

    #[test]
    fn numbers_agree_with_the_library() {
        for (number, name) in [(16, "tripped"), (37, "level"), (49, "position"), (56, "power_factor")] {
            assert_eq!(value_type(number).map(|row| row.name), Some(name));
        }
        assert_eq!(internal_type(22).map(|row| row.name), Some("heartbeat_response"));
        assert_eq!((sensor_name(17), sensor_name(39)), (Some("arduino_node"), Some("water_quality")));
        assert_eq!((stream_name(2), stream_name(8)), (Some("firmware_request"), None));
        assert_eq!(value_type(59), None);
    }

    #[test]
    fn a_value_type_is_found_by_either_spelling() {
        assert_eq!(value_type_named("light_level"), value_type(23));
        assert_eq!(value_type_named("V_LIGHT_LEVEL"), value_type(23));
        assert_eq!(value_type_named("Light_Level"), None);
    }

    #[test]
    fn names_are_safe_in_a_topic() {
        let rows = VALUES.iter().chain(INTERNALS).map(|row| row.name);
        for name in rows.chain(SENSORS.iter().copied()).chain(STREAMS.iter().copied()) {
            assert!(name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')), "{name}");
        }
    }
}
