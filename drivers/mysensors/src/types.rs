//! What the type numbers of the protocol stand for: the V_, S_, I_ and ST_ tables.
//!
//! Names are the library's own in lower case without their prefix: `V_LIGHT_LEVEL` is
//! `light_level`. Units are the metric ones the library documents; a type whose unit depends on the
//! sensor, such as `V_LEVEL`, has none.

/// What kind of value a payload holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `0` or `1`.
    Switch,
    /// A number, with a fraction or without.
    Number,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// `V_TEXT`.
pub const TEXT: u8 = 47;
/// `V_POSITION`.
pub const POSITION: u8 = 49;
/// `I_BATTERY_LEVEL`.
pub const BATTERY: u8 = 0;
/// `I_VERSION`.
pub const VERSION: u8 = 2;
/// `I_LOG_MESSAGE`.
pub const LOG: u8 = 9;
/// `I_GATEWAY_READY`.
pub const READY: u8 = 14;

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

/// The value types, `V_`, by number.
pub const VALUES: &[Type] = &[
    with(0, "temp", Kind::Number, "°C"),
    with(1, "hum", Kind::Percent, "%"),
    bare(2, "status", Kind::Switch),
    with(3, "percentage", Kind::Percent, "%"),
    with(4, "pressure", Kind::Number, "hPa"),
    bare(5, "forecast", Kind::Text),
    with(6, "rain", Kind::Number, "mm"),
    with(7, "rainrate", Kind::Number, "mm/h"),
    with(8, "wind", Kind::Number, "m/s"),
    with(9, "gust", Kind::Number, "m/s"),
    with(10, "direction", Kind::Number, "°"),
    bare(11, "uv", Kind::Number),
    with(12, "weight", Kind::Number, "kg"),
    with(13, "distance", Kind::Number, "m"),
    with(14, "impedance", Kind::Number, "Ω"),
    bare(15, "armed", Kind::Switch),
    bare(16, "tripped", Kind::Switch),
    with(17, "watt", Kind::Number, "W"),
    with(18, "kwh", Kind::Number, "kWh"),
    bare(19, "scene_on", Kind::Text),
    bare(20, "scene_off", Kind::Text),
    bare(21, "hvac_flow_state", Kind::Text),
    bare(22, "hvac_speed", Kind::Text),
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
    bare(34, "flow", Kind::Number),
    with(35, "volume", Kind::Number, "m³"),
    // 1 is locked (serial API 2.x). It stays so: the same payload goes both ways and in classic topics.
    bare(36, "lock_status", Kind::Switch),
    bare(37, "level", Kind::Number),
    with(38, "voltage", Kind::Number, "V"),
    with(39, "current", Kind::Number, "A"),
    bare(40, "rgb", Kind::Hex(6)),
    bare(41, "rgbw", Kind::Hex(8)),
    bare(42, "id", Kind::Text),
    bare(43, "unit_prefix", Kind::Text),
    with(44, "hvac_setpoint_cool", Kind::Number, "°C"),
    with(45, "hvac_setpoint_heat", Kind::Number, "°C"),
    bare(46, "hvac_flow_mode", Kind::Text),
    bare(TEXT, "text", Kind::Text),
    bare(48, "custom", Kind::Text),
    bare(POSITION, "position", Kind::Position),
    bare(50, "ir_record", Kind::Text),
    bare(51, "ph", Kind::Number),
    with(52, "orp", Kind::Number, "mV"),
    with(53, "ec", Kind::Number, "µS/cm"),
    with(54, "var", Kind::Number, "var"),
    with(55, "va", Kind::Number, "VA"),
    bare(56, "power_factor", Kind::Number),
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
    bare(5, "inclusion_mode", Kind::Text),
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
