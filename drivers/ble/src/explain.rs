//! One advertisement, written down, and what it says: for people with a dump, and for lists of known
//! advertisements. Pure, and without any memory: each line stands alone.
//!
//! A line is a JSON object
//!
//! `{"mac":"A4:C1:38:02:83:F4","service_data":{"fcd2":"4002…"},"manufacturer_data":{"0x0499":"05…"},
//! "local_name":"…","rssi":-60,"key":"…","model":"…"}`
//!
//! of which only `mac` has to be there; or a line of `wharf scan ble --all --json` as it is; or the address and the advertisement's bytes as they are on the
//! air, in hexadecimal: `A4:C1:38:02:83:F4 0201060a16d2fc4002ca0903bf13`.

use serde_json::{Map, Value as Json, json};

use crate::advert::{self, Address, Advert, Datum, Descriptions, Frame, Key, Known, Outcome, Refusal, Sequence, Uuid};

/// The longest line that is looked at, in bytes. The longest advertisement there is has 1,650 bytes.
pub const LONGEST: usize = 16_384;

/// What a line says, as one JSON object: `values` if it was read, else `refused` with the reason's name
/// and `reason` in words, or `error` if the line makes no sense. The key is never repeated.
pub fn explain(line: &str) -> Json {
    explain_with(line, &Descriptions::default())
}

/// The same, with further sensors that are described by data.
pub fn explain_with(line: &str, described: &Descriptions) -> Json {
    let told = match parse(line) {
        Err(error) => return json!({ "error": error }),
        Ok(told) => told,
    };
    let known = Known { key: told.key.as_ref(), model: told.model.as_deref(), ..Known::default() };
    let mut json = Map::new();
    json.insert("mac".into(), told.advert.address.to_string().into());
    match advert::read_with(&told.advert, &known, described) {
        Outcome::NotMine => put_refusal(&mut json, "not_mine", "no format reads it"),
        Outcome::Refused(refusal) => put_refusal(&mut json, refusal.name(), &refusal.to_string()),
        // As a gateway has it, that knows the key.
        Outcome::Heard(frame) if known.key.is_some() && !frame.encrypted && !frame.values.is_empty() => {
            put_refusal(&mut json, Refusal::NotEncrypted.name(), &Refusal::NotEncrypted.to_string());
        }
        Outcome::Heard(frame) => put_frame(&mut json, &frame),
    }
    json.into()
}

fn put_refusal(json: &mut Map<String, Json>, name: &str, reason: &str) {
    json.insert("refused".into(), name.into());
    json.insert("reason".into(), reason.into());
}

fn put_frame(json: &mut Map<String, Json>, frame: &Frame) {
    let mut put = |key: &str, value: Json| {
        if !value.is_null() {
            json.insert(key.to_owned(), value);
        }
    };
    put("format", frame.format.into());
    put("model", json!(frame.model));
    put("firmware", json!(frame.firmware));
    put("values", values_of(&frame.values));
    put(
        "counter",
        match frame.sequence {
            Some(Sequence::Frame { number, .. }) => number.into(),
            Some(Sequence::Encryption(number)) => number.into(),
            None => Json::Null,
        },
    );
    put("encrypted", if frame.encrypted { true.into() } else { Json::Null });
    put("on_event_only", if frame.on_event_only { true.into() } else { Json::Null });
    put("unread", if frame.unread.is_empty() { Json::Null } else { json!(frame.unread) });
}

/// Values by the names of their points, with the reason's name where there is none.
fn values_of(values: &[Datum]) -> Json {
    let mut json = crate::heard::values_to_json(values);
    for datum in values {
        if let Err(absent) = &datum.value {
            json[&*datum.point]["absent"] = match absent {
                advert::Absent::NoValue => "no_value",
                advert::Absent::Implausible(_) => "implausible",
                advert::Absent::Fault(_) => "fault",
            }
            .into();
        }
    }
    json
}

/// The name of a reason, for programs.
/// What stands on a line.
struct Told {
    advert: Advert,
    key: Option<Key>,
    model: Option<String>,
}

fn parse(line: &str) -> Result<Told, String> {
    if line.len() > LONGEST {
        return Err(format!("a line has at most {LONGEST} bytes"));
    }
    if line.trim_start().starts_with('{') {
        return parse_json(line);
    }
    let (address, bytes) =
        line.trim().split_once(' ').ok_or("a line is a JSON object, or an address and hexadecimal")?;
    let mut advert = Advert::new(address.parse().map_err(|error: advert::NoAddress| error.to_string())?);
    put_structures(&mut advert, &unhex(bytes)?)?;
    Ok(Told { advert, key: None, model: None })
}

fn parse_json(line: &str) -> Result<Told, String> {
    // The error of the reader would quote from the line, and there may be a key in it.
    let json: Json = serde_json::from_str(line).map_err(|error| format!("no JSON: column {}", error.column()))?;
    let text = |key: &str| json[key].as_str().filter(|text| !text.is_empty());
    let mac = text("mac").or(text("address")).ok_or("`mac` is missing: who sent it")?;
    let mut advert = Advert::new(mac.parse::<Address>().map_err(|error| error.to_string())?);
    // As a scan has it: `service fcd2`, `company 0499`.
    let scanned = |kind: &'static str| {
        let data = json["data"].as_object().into_iter().flatten();
        data.filter_map(move |(key, data)| Some((key.strip_prefix(kind)?.trim_start(), data)))
    };
    let listed = |key: &str| json[key].as_object().into_iter().flatten().map(|(id, data)| (id.as_str(), data));
    for (uuid, data) in listed("service_data").chain(scanned("service ")) {
        let uuid: Uuid = uuid.trim_start_matches("0x").parse().map_err(|error: advert::NoUuid| error.to_string())?;
        advert.service_data.insert(uuid, unhex(data.as_str().unwrap_or_default())?);
    }
    let hexadecimal = |digits: &str| u16::from_str_radix(digits, 16).ok();
    let company = |id: &str| id.strip_prefix("0x").map_or_else(|| id.parse().ok(), hexadecimal);
    let companies = listed("manufacturer_data").map(|(id, data)| (id, company(id), data));
    for (id, parsed, data) in companies.chain(scanned("company ").map(|(id, data)| (id, hexadecimal(id), data))) {
        let id = parsed.ok_or_else(|| format!("`{id}` is no company: 0x0499, or 1177"))?;
        advert.manufacturer_data.insert(id, unhex(data.as_str().unwrap_or_default())?);
    }
    for uuid in json["services"].as_array().into_iter().flatten().filter_map(Json::as_str) {
        let uuid = uuid.trim_start_matches("0x").parse().map_err(|error: advert::NoUuid| error.to_string())?;
        advert.services.push(uuid);
    }
    advert.name = text("local_name").or(text("name")).map(str::to_owned);
    advert.rssi = json["rssi"].as_i64().and_then(|rssi| i16::try_from(rssi).ok());
    let key = text("key").map(str::parse).transpose().map_err(|error: advert::NoKey| error.to_string())?;
    Ok(Told { advert, key, model: text("model").map(str::to_owned) })
}

/// Takes an advertisement's bytes apart: structures of a length, a type and data (Core Specification
/// Supplement, part A).
fn put_structures(advert: &mut Advert, mut bytes: &[u8]) -> Result<(), String> {
    while let Some((&length, rest)) = bytes.split_first() {
        // Zeros fill up what is left.
        if length == 0 {
            break;
        }
        let structure = rest.get(..usize::from(length)).ok_or("the last structure is cut off")?;
        bytes = rest.get(usize::from(length)..).unwrap_or_default();
        let Some((&kind, data)) = structure.split_first() else { continue };
        match kind {
            0x02 | 0x03 => {
                let shorts = data.as_chunks().0.iter().map(|bytes| Uuid::short(u16::from_le_bytes(*bytes)));
                advert.services.extend(shorts);
            }
            0x06 | 0x07 => {
                let longs = data.as_chunks().0.iter().map(|bytes| Uuid(u128::from_le_bytes(*bytes)));
                advert.services.extend(longs);
            }
            0x08 | 0x09 => advert.name = Some(String::from_utf8_lossy(data).into_owned()),
            0x16 => {
                if let Some((id, data)) = data.split_first_chunk() {
                    advert.service_data.insert(Uuid::short(u16::from_le_bytes(*id)), data.to_vec());
                }
            }
            0x21 => {
                if let Some((id, data)) = data.split_first_chunk() {
                    advert.service_data.insert(Uuid(u128::from_le_bytes(*id)), data.to_vec());
                }
            }
            0xff => {
                if let Some((id, data)) = data.split_first_chunk() {
                    advert.manufacturer_data.insert(u16::from_le_bytes(*id), data.to_vec());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        u8::from_str_radix(text, 16).ok().filter(|_| pair.len() == 2)
    };
    digits
        .chunks(2)
        .map(pair)
        .collect::<Option<_>>()
        .ok_or_else(|| "data is written in hexadecimal, two digits a byte".into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn readings_come_with_their_units() {
        let told = explain(r#"{"mac":"A4:C1:38:02:83:F4","service_data":{"fcd2":"4002ca0903bf13"}}"#);
        assert_eq!(
            told,
            json!({ "mac": "A4:C1:38:02:83:F4", "format": "BTHome v2", "values": {
                "temperature": { "value": 25.06, "unit": "°C" }, "humidity": { "value": 50.55, "unit": "%" } } })
        );
    }

    #[test]
    fn bytes_from_the_air_say_the_same() {
        let json =
            explain(r#"{"mac":"A4:C1:38:02:83:F4","service_data":{"0xfcd2":"4002ca0903bf13"},"local_name":"x"}"#);
        assert_eq!(explain("A4:C1:38:02:83:F4 020106 0a16d2fc4002ca0903bf13 020978 0000"), json);
    }

    #[test]
    fn what_a_scan_could_not_read_is_explained_as_it_is() {
        let scanned = r#"{"address":"A4:C1:38:02:83:F4","name":"x","rssi":-60,"values":{},"why_not":"no format reads it",
            "data":{"service fcd2":"4002ca0903bf13","company 004c":"10050318"},"count":3}"#;
        assert_eq!(explain(scanned)["values"]["temperature"]["value"], 25.06);
    }

    #[test]
    fn a_key_opens_and_is_never_repeated() {
        let line = |key: &str| {
            format!(
                r#"{{"mac":"54:48:E6:8F:80:A5","service_data":{{"fcd2":"41a47266c95f730011223378237214"}},"key":"{key}"}}"#
            )
        };
        let told = explain(&line("231d39c1d7cc1ab1aee224cd096db932"));
        assert_eq!((&told["values"]["temperature"]["value"], &told["encrypted"]), (&json!(25.06), &json!(true)));
        let wrong = explain(&line("231d39c1d7cc1ab1aee224cd096db933"));
        assert_eq!(wrong["refused"], "wrong_key");
        assert_eq!(explain(&line(""))["refused"], "no_key");
        for key in ["231d39c1d7", "231d39c1d7cc1ab1aee224cd096db932\"\u{1}"] {
            assert!(!explain(&line(key)).to_string().contains("231d39"));
        }
    }

    #[test]
    fn what_is_plain_though_there_is_a_key_is_refused_as_a_gateway_would() {
        let told = explain(
            r#"{"mac":"CB:B8:33:4C:88:4F","key":"231d39c1d7cc1ab1aee224cd096db932","manufacturer_data":
            {"0x0499":"0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F"}}"#,
        );
        assert_eq!(told["refused"], "not_encrypted");
    }

    #[test]
    fn a_line_that_makes_no_sense_is_answered_in_words() {
        for (line, words) in [
            ("", "a line is"),
            ("{", "no JSON"),
            ("{}", "`mac` is missing"),
            (r#"{"mac":"here"}"#, "no Bluetooth address"),
            (r#"{"mac":"A4:C1:38:02:83:F4","service_data":{"fc":"00"}}"#, "no UUID"),
            (r#"{"mac":"A4:C1:38:02:83:F4","service_data":{"fcd2":"0"}}"#, "hexadecimal"),
            (r#"{"mac":"A4:C1:38:02:83:F4","manufacturer_data":{"x":"00"}}"#, "no company"),
            ("A4:C1:38:02:83:F4 0a16", "cut off"),
        ] {
            let told = explain(line);
            assert!(told["error"].as_str().unwrap_or_default().contains(words), "{line}: {told}");
        }
        assert_eq!(explain(r#"{"mac":"A4:C1:38:02:83:F4"}"#)["refused"], "not_mine");
    }

    proptest! {
        #[test]
        fn no_line_is_too_odd(line in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            explain(&line);
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            explain(&format!("A4:C1:38:02:83:F4 {hex}"));
        }
    }
}
