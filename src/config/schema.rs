//! The JSON Schema of the site file, for editors. Draft 7, which yaml-language-server knows best.

use serde_json::{Value, json};
use wharf_contract::settings::Setting;

use super::Site;
use super::profiles::builtin;

/// Where the schema of a device that may have a profile stands.
const DEVICE: &str = "/properties/modbus/additionalProperties/properties/devices/additionalProperties";

/// The whole schema, from the same definitions as the decoder.
pub fn schema() -> Value {
    let mut document = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "wharf site file",
    });
    if let (Value::Object(document), Value::Object(site)) = (&mut document, Site::schema()) {
        document.extend(site);
    }
    if let Some(device) = document.pointer_mut(DEVICE) {
        with_profiles(device);
    }
    for of in ["devices/additionalProperties", "discover/items"] {
        let device = format!("/properties/mqtt/additionalProperties/properties/{of}");
        if let Some(device) = document.pointer_mut(&device) {
            with_mqtt_profiles(device);
        }
    }
    document
}

/// The names of the profiles there are, and points that are `off`.
fn with_mqtt_profiles(device: &mut Value) {
    let properties = &mut device["properties"];
    let any_name = properties["profile"].take();
    let names: Vec<_> = builtin::mqtt::names().collect();
    properties["profile"] = json!({
        "description": any_name["description"],
        "anyOf": [{ "enum": names }, { "type": any_name["type"] }],
    });
    let point = &mut properties["points"]["additionalProperties"];
    point["type"] = json!(["object", "null", "string", "boolean"]);
    let rules = point["allOf"].take();
    let off = json!({ "if": { "type": ["string", "boolean"] }, "then": { "enum": ["off", false] } });
    point["allOf"] = rules.as_array().into_iter().flatten().cloned().chain([off]).collect();
}

/// What a profile changes in what may be written of a device: the names of those there are, and
/// points that say only what is different, or `off`.
fn with_profiles(device: &mut Value) {
    let properties = &mut device["properties"];
    let any_name = properties["profile"].take();
    let names: Vec<_> = builtin::names().collect();
    properties["profile"] = json!({
        "description": any_name["description"],
        "anyOf": [{ "enum": names }, { "type": any_name["type"] }],
    });
    let point = &mut properties["points"]["additionalProperties"];
    let whole = point["allOf"].take();
    point["type"] = json!(["object", "null", "string", "boolean"]);
    point["allOf"] = json!([{ "if": { "type": ["string", "boolean"] }, "then": { "enum": ["off", false] } }]);
    device["allOf"] = json!([{
        "if": { "required": ["profile"] },
        "else": { "properties": { "points": { "additionalProperties": { "type": "object", "allOf": whole } } } },
    }]);
}
