//! Lines in JSON. A field is a path: `main.temp`, `sensors.0.value`.

use std::borrow::Cow;

use serde_json::Value as Json;

use super::Found;

/// The deepest path that is followed.
const DEEPEST: usize = 32;

/// The object or array a line is.
pub fn parse(line: &str) -> Option<Json> {
    let line = line.trim();
    if !line.starts_with(['{', '[']) {
        return None;
    }
    // The parser itself refuses what is nested more than 128 deep.
    serde_json::from_str(line).ok()
}

/// What stands at the end of a path.
pub fn get<'j>(json: &'j Json, path: &str) -> Option<Found<'j>> {
    // A key may have a point in it, as long as it is the whole path.
    let whole = json.as_object().and_then(|object| object.get(path));
    let found = match whole {
        Some(found) => found,
        None => path.split('.').take(DEEPEST).try_fold(json, |json, key| match json {
            Json::Object(object) => object.get(key),
            Json::Array(items) => items.get(key.parse::<usize>().ok()?),
            _ => None,
        })?,
    };
    Some(match found {
        Json::Null => Found::Nothing("the device says null"),
        Json::String(text) => Found::Text(Cow::Borrowed(text)),
        other => Found::Text(Cow::Owned(other.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, path: &str, expected: Option<&str>) {
        let json = parse(line).unwrap();
        assert_eq!(get(&json, path), expected.map(|text| Found::Text(text.to_owned().into())), "{line} at {path}");
    }

    #[test]
    fn a_path_leads_through_objects_and_lists() {
        let line = r#"{"main":{"temp":21.50,"ok":true},"list":[{"v":"a"},2],"a.b":7}"#;
        check(line, "main.temp", Some("21.5"));
        check(line, "main.ok", Some("true"));
        check(line, "list.0.v", Some("a"));
        check(line, "list.1", Some("2"));
        check(line, "a.b", Some("7"));
        for nowhere in ["main.hum", "list.2", "list.x", "main.temp.x", ""] {
            check(line, nowhere, None);
        }
        check("[1,2]", "1", Some("2"));
    }

    #[test]
    fn what_is_null_is_no_value() {
        assert_eq!(get(&parse(r#"{"t":null}"#).unwrap(), "t"), Some(Found::Nothing("the device says null")));
    }

    #[test]
    fn only_a_whole_object_or_list_is_a_line() {
        for wrong in ["", "7", "\"a\"", "{\"t\":1", "{\"t\":1} x", "t=1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(parse(&"[".repeat(10_000)), None, "nested too deep");
    }
}
