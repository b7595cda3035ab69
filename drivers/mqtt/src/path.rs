//! The way to a value in a JSON payload: `ENERGY.Power`, `sensors[0].temp`, `["switch:0"].output`.
//!
//! Names stand between points. One with a point, a bracket or a quote in it is written `["a.b"]` or with
//! a backslash before the sign: `a\.b`. `[n]` is the item of a list, counted from 0; a bare number is one,
//! too, where the payload has a list.

use std::fmt;

use serde_json::Value as Json;

/// The longest path, in bytes.
const LONGEST: usize = 256;

/// The most steps.
const MOST_STEPS: usize = 32;

/// The way to a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JsonPath {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Name(String),
    Item(usize),
}

impl JsonPath {
    /// Takes a text apart.
    ///
    /// # Errors
    /// It is no path: in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > LONGEST {
            return Err(format!("a path has 1 to {LONGEST} bytes"));
        }
        let mut steps = Vec::new();
        let mut rest = text;
        loop {
            rest = match rest.strip_prefix('[') {
                Some(inside) => {
                    let (step, after) = bracket(inside)?;
                    steps.push(step);
                    after
                }
                None => {
                    let (name, after) = name(rest)?;
                    steps.push(Step::Name(name));
                    after
                }
            };
            if rest.is_empty() {
                break;
            }
            match (rest.strip_prefix('.'), rest.starts_with('[')) {
                (Some(after), _) => rest = after,
                (None, true) => {}
                (None, false) => return Err("behind a bracket comes a point, or another bracket".into()),
            }
        }
        if steps.len() > MOST_STEPS {
            return Err(format!("a path has {MOST_STEPS} steps at most"));
        }
        Ok(Self { text: text.to_owned(), steps })
    }

    /// What stands there, if anything does.
    pub fn find<'j>(&self, json: &'j Json) -> Option<&'j Json> {
        self.steps.iter().try_fold(json, |json, step| match (json, step) {
            (Json::Object(object), Step::Name(name)) => object.get(name),
            (Json::Array(items), Step::Item(index)) => items.get(*index),
            (Json::Array(items), Step::Name(name)) => items.get(name.parse::<usize>().ok()?),
            _ => None,
        })
    }
}

/// What stands behind an opening bracket, and what comes after the closing one.
fn bracket(text: &str) -> Result<(Step, &str), String> {
    const OPEN: &str = "a bracket is not closed";
    let Some(quoted) = text.strip_prefix('"') else {
        let (number, after) = text.split_once(']').ok_or(OPEN)?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let index = is_number.then(|| number.parse().ok()).flatten();
        return Ok((Step::Item(index.ok_or("in brackets stands a number from 0 on, or a name in quotes")?), after));
    };
    let (mut name, mut signs) = (String::new(), quoted.chars());
    loop {
        match signs.next().ok_or(OPEN)? {
            '"' => break,
            '\\' => name.push(signs.next().ok_or(OPEN)?),
            sign => name.push(sign),
        }
    }
    let after = signs.as_str().strip_prefix(']').ok_or(OPEN)?;
    Ok((Step::Name(name), after))
}

/// A bare name, and what comes after it.
fn name(text: &str) -> Result<(String, &str), String> {
    let (mut name, mut signs) = (String::new(), text.chars());
    loop {
        let after = signs.as_str();
        match signs.next() {
            None | Some('.' | '[') if name.is_empty() => return Err("a name in the path is empty".into()),
            None | Some('.' | '[') => return Ok((name, after)),
            Some('\\') => name.push(signs.next().ok_or("the path ends with a backslash")?),
            Some(']' | '"') => return Err("a name with brackets or quotes is written [\"…\"]".into()),
            Some(sign) => name.push(sign),
        }
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(json: &str, path: &str, expected: Option<&str>) {
        let json: Json = serde_json::from_str(json).unwrap();
        let found = JsonPath::parse(path).unwrap().find(&json).map(ToString::to_string);
        assert_eq!(found.as_deref(), expected, "{json} at {path}");
    }

    #[test]
    fn a_path_leads_through_objects_and_lists() {
        let json = r#"{"sensors":[{"temp":21.5},2],"switch:0":{"output":true},"a.b":7,"c\"]":8,"n":null,"0":9}"#;
        check(json, "sensors.0.temp", Some("21.5"));
        check(json, "sensors[0].temp", Some("21.5"));
        check(json, "sensors[1]", Some("2"));
        check(json, "switch:0.output", Some("true"));
        check(json, r#"["switch:0"].output"#, Some("true"));
        check(json, r#"["a.b"]"#, Some("7"));
        check(json, r"a\.b", Some("7"));
        check(json, r#"["c\"]"]"#, Some("8"));
        check(json, "n", Some("null"));
        check(json, "0", Some("9"));
        for nowhere in ["temp", "sensors.temp", "sensors[2]", "sensors.x", "switch:0[0]", "n.x", "a.b"] {
            check(json, nowhere, None);
        }
        check("[[1,2]]", "[0][1]", Some("2"));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for wrong in [
            "", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[-1]", "a[]", "a[\"b\"", "a[\"b", "a]", "a[0]b", "a\\", "a\"b",
        ] {
            assert!(JsonPath::parse(wrong).is_err(), "{wrong}");
        }
        assert!(JsonPath::parse(&["a"; 33].join(".")).is_err());
    }

    proptest! {
        #[test]
        fn any_name_can_be_written_in_quotes(name in ".{0,40}") {
            let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
            let mut object = serde_json::Map::new();
            object.insert(name, Json::from(7));
            let path = JsonPath::parse(&format!("[\"{escaped}\"]")).unwrap();
            let json = Json::Object(object);
            prop_assert_eq!(path.find(&json), Some(&Json::from(7)));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}") {
            if let Ok(path) = JsonPath::parse(&text) {
                path.find(&serde_json::json!({ "a": [1, { "b": 2 }] }));
            }
        }
    }
}
