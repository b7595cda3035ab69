//! Who was heard on the air, for people, and for the site file. Pure.

use serde_json::Value as Json;

use crate::cli::words::{counted, harmless, lasting, table};

/// How many values of one sender stand in its row.
const SHOWN: usize = 6;

/// How wide the last column becomes.
const WIDEST: usize = 90;

/// Whether somebody may want it: it can be read, or could be with its key, or is a device already.
pub fn is_of_interest(sender: &Json) -> bool {
    let refused = sender["why_not"].as_str().is_some_and(|why| why != "no format reads it");
    !sender["format"].is_null() || !sender["device"].is_null() || refused
}

/// Everybody as a table. Those that no format reads are only counted, unless `all`.
pub fn human(heard: &Json, all: bool) -> String {
    let senders = heard["heard"].as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<Vec<String>> = senders.iter().filter(|sender| all || is_of_interest(sender)).map(row).collect();
    let left_out = senders.len() - rows.len();
    let mut text = String::new();
    if !rows.is_empty() {
        text = table(&["ADDRESS", "RSSI", "EVERY", "NAME", "FORMAT", "SAYS"], 1, 3, &rows);
        text.push('\n');
    }
    if left_out > 0 {
        text += &format!("{} that no format reads; --all shows them\n", counted(left_out as u64, "sender"));
    }
    text
}

fn row(sender: &Json) -> Vec<String> {
    let text = |key: &str| harmless(sender[key].as_str().unwrap_or_default());
    let every = sender["interval_s"].as_u64().map(|secs| lasting(std::time::Duration::from_secs(secs)));
    let name = match (text("device"), text("name")) {
        (device, _) if !device.is_empty() => format!("= {device}"),
        (_, name) => name,
    };
    let format = match (text("format"), text("model")) {
        (format, model) if model.is_empty() || model == format => format,
        (format, model) => format!("{model} ({format})"),
    };
    vec![
        text("address"),
        sender["rssi"].as_i64().map(|rssi| rssi.to_string()).unwrap_or_default(),
        every.unwrap_or_default(),
        name,
        format,
        clipped(&says(sender)),
    ]
}

/// What it says, or why that cannot be told.
fn says(sender: &Json) -> String {
    let values = sender["values"].as_object();
    let mut parts: Vec<String> =
        values.into_iter().flatten().take(SHOWN).map(|(name, value)| said(name, value)).collect();
    let more = values.map_or(0, |values| values.len().saturating_sub(SHOWN));
    if more > 0 {
        parts.push(format!("{more} more"));
    }
    if let Some(why) = sender["why_not"].as_str() {
        parts.push(format!("({})", harmless(why)));
        if parts.len() == 1 {
            let data = sender["data"].as_object().into_iter().flatten();
            parts.extend(data.map(|(key, hex)| format!("{key}: {}", hex.as_str().unwrap_or_default())));
        }
    }
    parts.join(", ")
}

/// `temperature 4.5 °C`
fn said(name: &str, value: &Json) -> String {
    let told = match (&value["value"], value["reason"].as_str()) {
        (_, Some(reason)) => format!("({reason})"),
        (Json::String(text), _) => text.clone(),
        (other, _) => other.to_string(),
    };
    let unit = value["unit"].as_str().map(|unit| format!(" {unit}")).unwrap_or_default();
    harmless(&format!("{name} {told}{unit}"))
}

fn clipped(text: &str) -> String {
    if text.chars().count() <= WIDEST {
        return text.to_owned();
    }
    let short: String = text.chars().take(WIDEST - 1).collect();
    short + "…"
}

/// The sensors that are no devices yet, as they can stand in the site file; empty if there is none.
pub fn stanza(heard: &Json, link: &str) -> String {
    let senders = heard["heard"].as_array().map_or(&[][..], Vec::as_slice);
    let new = senders.iter().filter(|sender| sender["device"].is_null() && is_of_interest(sender));
    let lines: Vec<String> = new.map(line).collect();
    if lines.is_empty() {
        return String::new();
    }
    format!("ble:\n  {link}:\n    devices:\n{}", lines.join("\n"))
}

fn line(sender: &Json) -> String {
    let address = sender["address"].as_str().unwrap_or_default();
    let digits: String = address.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    let name = format!("sensor-{}", digits.get(6..).unwrap_or_default());
    let why = sender["why_not"].as_str().unwrap_or_default();
    let needs_key = why.starts_with("encrypted") || sender["encrypted"] == true;
    let key = if needs_key { format!(", key: \"${{file:{name}.key}}\"") } else { String::new() };
    let model = sender["model"].as_str().or(sender["format"].as_str()).unwrap_or_default();
    let says = [sender["name"].as_str().unwrap_or_default(), model, &says(sender)]
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(harmless)
        .collect::<Vec<_>>()
        .join(": ");
    format!("      {name}: {{ mac: \"{address}\"{key} }}  # {}", clipped(&says))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn heard() -> Json {
        json!({ "heard": [
            { "address": "A4:C1:38:56:53:84", "rssi": -60, "name": "ATC_565384", "format": "BTHome v2", "interval_s": 5,
              "values": { "temperature": { "value": -4.5, "unit": "°C" }, "humidity": { "reason": "the sensor has no value" } } },
            { "address": "A4:C1:38:56:53:85", "rssi": -70, "why_not": "encrypted, and there is no key for it in the site file",
              "data": { "service fcd2": "41a4" } },
            { "address": "A4:C1:38:56:53:86", "rssi": -80, "device": "fridge", "format": "pvvx", "model": "LYWSD03MMC",
              "values": { "battery": { "value": 90, "unit": "%" } } },
            { "address": "11:22:33:44:55:66", "rssi": -40, "name": "TV\u{1b}[2J", "why_not": "no format reads it",
              "data": { "company 0499": "00" } },
        ] })
    }

    #[test]
    fn people_see_what_can_be_read_and_how_much_else_there_is() {
        let expected = "\
ADDRESS            RSSI  EVERY  NAME        FORMAT             SAYS
A4:C1:38:56:53:84   -60    5 s  ATC_565384  BTHome v2          temperature -4.5 °C, humidity (the sensor has no value)
A4:C1:38:56:53:85   -70                                        (encrypted, and there is no key for it in the site file), service fcd2: 41a4
A4:C1:38:56:53:86   -80         = fridge    LYWSD03MMC (pvvx)  battery 90 %
1 sender that no format reads; --all shows them
";
        assert_eq!(human(&heard(), false), expected);
        let all = human(&heard(), true);
        assert!(all.contains("company 0499: 00") && !all.contains('\u{1b}'), "{all}");
    }

    #[test]
    fn what_is_no_device_yet_can_be_pasted_and_is_a_good_site_file() {
        let stanza = stanza(&heard(), "hall");
        assert!(
            stanza.contains("sensor-565384: { mac: \"A4:C1:38:56:53:84\" }  # ATC_565384: BTHome v2: temperature"),
            "{stanza}"
        );
        assert!(
            stanza.contains("sensor-565385: { mac: \"A4:C1:38:56:53:85\", key: \"${file:sensor-565385.key}\" }"),
            "{stanza}"
        );
        assert!(!stanza.contains("565386") && !stanza.contains("TV"), "{stanza}");
        let site = format!("gateway: g\n{stanza}\n");
        let read = crate::config::read(&site, std::path::Path::new("site.yaml"), &|_| Ok("0".repeat(32)));
        assert_eq!(read.unwrap().ble.get("hall").unwrap().devices.len(), 2);
    }
}
