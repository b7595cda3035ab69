//! Recordings that need a word: where we do not follow a library, and what must be refused.

/// A place that the recordings do not show for certain.
const NOWHERE: &str = "too few recordings to show where it is";

/// What the maker says of the state of such a lock.
const UNCALIBRATED: &str = "it means nothing before the lock is calibrated, says its maker";

/// Where a library is known to be wrong, the row to be made up, or a value not to be read by us:
/// family, the beginning of the test's name, the beginning of their name of the value or `*`, and why.
pub const DISAGREE: &[(&str, &str, &str, &str)] = &[
    ("xiaomi_mibeacon", "", "voltage", "computed from the battery's percentage by them"),
    ("xiaomi_mibeacon", "test_Xiaomi_LYWSD03MMC_encrypted", "humidity", "they cut the transmitted 46.7 to 46"),
    ("xiaomi_mibeacon", "test_Xiaomi_YLYK01YL", "power", "they make a switch of two buttons"),
    ("xiaomi_mibeacon", "test_Xiaomi_DSL_C08", "lock", "unlocked with them, of a door that was just locked"),
    ("xiaomi_mibeacon", "test_Xiaomi_M2456B1_charging_state", "*", "words with them, on or off with us"),
    ("bthome", "test_bthome_timestamp", "*", "a timestamp is a date in words with them and not compared"),
    (
        "ruuvi",
        "test_parsing_v5_invalid_acceleration",
        "acceleration_",
        "one axis without a value takes away all with them",
    ),
    ("ruuvi", "test_parsing_v6", "illuminance", "rounded to whole lux by them"),
    ("govee", "test_gvh5178_unknown_sensor_id", "*", "theirs takes it for the base"),
    ("govee", "test_gvh5182", "temperature_alarm_probe_2", "a zero that is one, see the format's own tests"),
    ("govee", "test_gvh5191", "temperature", "our temperature_ambient, see the format's own tests"),
    ("inkbird", "test_tps_multi_entry_dict_with_raw", "*", "theirs takes the later; a radio's map has no order"),
    ("inkbird", "test_xbbq_2a_adv2", "*", "their other test shows that these are no temperatures of now"),
    ("inkbird", "test_adv_temperature_boundary_invariant[IBS-TH", "*", "made up; the checksum does not fit"),
    ("inkbird", "test_adv_battery_boundary_invariant[IBS-TH", "*", "the checksum vouches for the others"),
    ("mopeka", "test_tdr40_air_low_quality", "tank_level", "they were told that it is air"),
    ("switchbot", "", "speed_ms", "the percent of a fan"),
    ("switchbot", "", "illuminance_lx", "theirs is a table's; the level is told"),
    ("switchbot", "", "duration_s", "of a presence, and in which unit is not known"),
    ("switchbot", "test_adv_active[test_case0]", "*", "theirs nests two switches, see the format's own tests"),
    ("switchbot", "test_adv_passive[test_case0]", "*", "theirs nests two switches, see the format's own tests"),
    ("switchbot", "test_adv_active[test_case3]", "door_open", NOWHERE),
    ("switchbot", "test_adv_passive[test_case3]", "door_open", NOWHERE),
    ("switchbot", "test_adv_active[test_case18]", "motion_detected", NOWHERE),
    ("switchbot", "test_adv_active[test_case19]", "motion_detected", NOWHERE),
    ("switchbot", "test_adv_passive[test_case17]", "motion_detected", NOWHERE),
    ("switchbot", "test_adv_active[test_case18]", "is_light", NOWHERE),
    ("switchbot", "test_adv_active[test_case19]", "is_light", NOWHERE),
    ("switchbot", "test_adv_passive[test_case17]", "is_light", NOWHERE),
    ("switchbot", "test_adv_active[test_case20]", "door_open", NOWHERE),
    ("switchbot", "test_adv_passive[test_case18]", "door_open", NOWHERE),
    ("switchbot", "test_adv_active[test_case22]", "lightLevel", NOWHERE),
    ("switchbot", "test_adv_passive[test_case20]", "lightLevel", NOWHERE),
    ("switchbot", "test_k10_", "work_status", NOWHERE),
    ("switchbot", "test_parse_advertisement_data_roller_shade", "inMotion", NOWHERE),
    ("switchbot", "test_roller_shade_passive", "inMotion", NOWHERE),
    ("switchbot", "test_lock_active[test_case4]", "status", NOWHERE),
    ("switchbot", "test_lock_passive[test_case4]", "status", NOWHERE),
    ("switchbot", "test_lock_active[test_case5]", "status", UNCALIBRATED),
    ("switchbot", "test_lock_active[test_case6]", "status", UNCALIBRATED),
    ("switchbot", "test_lock_passive[test_case5]", "status", UNCALIBRATED),
    ("switchbot", "test_lock_passive[test_case6]", "status", UNCALIBRATED),
    ("switchbot", "test_lock_with_empty_data[test_case4]", "*", "its battery is in the service data"),
    ("switchbot", "test_new_bot_firmware", "isOn", "a bot that presses has no state"),
    ("switchbot", "test_parse_advertisement_with_mac_cache", "*", "they were told the model before"),
    ("switchbot", "test_with_special_manufacturer_data_length", "*", "enciphered, and of another company"),
    ("thermopro", "test_tp357s_invalid_values", "temperature", "theirs keeps the value before, ours is missing"),
    ("thermopro", "test_tp357s_invalid_values", "humidity", "theirs keeps the value before, ours is missing"),
    ("thermopro", "test_tp972s", "ambient_temperature_probe_", "theirs cuts the fraction off"),
];

/// Rows that must be refused for a certain reason: family, test, which row of it, the beginning of the
/// refusal.
pub const REFUSED: &[(&str, &str, u64, &str)] = &[
    ("bthome", "test_bindkey_wrong", 0, "WrongKey"),
    ("bthome", "test_downgrade_detected_flag_v1", 1, "NotEncrypted"),
    ("bthome", "test_downgrade_detected_flag_v2", 0, "WrongKey"),
    ("bthome", "test_downgrade_detected_flag_v2", 1, "NotEncrypted"),
    ("bthome", "test_incorrect_bthome_version", 0, "Unknown"),
    ("xiaomi_mibeacon", "test_bindkey_wrong", 0, "WrongKey"),
    ("xiaomi_mibeacon", "test_bindkey_wrong_legacy", 0, "WrongKey"),
    ("xiaomi_mibeacon", "test_blank_advertisements_then_encrypted", 0, "NoKey"),
    ("govee", "test_gvh512x_bad_crc_dropped", 0, "Checksum"),
    ("inkbird", "test_adv_humidity_boundary_invariant[IBS-TH]", 0, "Checksum"),
    ("inkbird", "test_ith_11_b_corrupt_humidity_dropped", 0, "Implausible"),
    ("inkbird", "test_iam_t2_corrupt_humidity_dropped", 0, "Implausible"),
    ("switchbot", "test_contact_sensor_mfr_no_service_data", 0, "Unknown"),
    ("switchbot", "test_hub3_with_empty_data", 0, "Truncated"),
    ("switchbot", "test_weather_station_no_data", 0, "Truncated"),
    ("thermobeacon", "test_bad_data_ignored[data0]", 0, "Unknown"),
    ("thermobeacon", "test_bad_data_ignored[data1]", 0, "Implausible"),
    ("thermopro", "test_parser_error_1", 0, "Unknown"),
];
