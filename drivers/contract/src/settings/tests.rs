//! The framework as a driver author meets it: definitions, mistakes, schemas.

use serde_json::json;

use super::*;
use crate::{setting_enum, settings};

setting_enum! {
    /// A protocol.
    enum Protocol {
        /// The newer.
        V5 = "5",
        /// The older.
        V311 = "3.1.1" | "v3",
    }
}

settings! {
    /// A point,
    /// on two lines.
    struct Point {
        /// A coil.
        coil: Option<u16> = None,
        /// A register.
        holding: Option<u16> = None,
        /// Its type.
        r#type: Protocol = Protocol::V5,
        /// What may be written.
        write: Option<WriteSettings> = None,
    }
    exactly_one_of: [coil, holding];
}

settings! {
    /// A link.
    struct Link {
        /// Where.
        tcp: HostPort<502>,
        /// How often.
        every: Period<100, 60_000> = Period::secs(10),
        /// A number.
        window: Ranged<u16, 1, 16> = Ranged::new(4),
        /// A password.
        password: Option<Secret> = None,
        /// A certificate.
        cert: Option<FilePath> = None,
        /// Its key.
        key: Option<FilePath> = None,
        /// A label.
        label: Option<String> = None,
        /// Words.
        words: OneOrMany<Name> = OneOrMany::one(Name::new("a").unwrap()),
        /// Points.
        points: Named<Point> = Named::none(),
    }
    together: [cert, key];
}

/// A tree as if the JSON text had been written on one endless line; columns count nodes.
fn tree(value: &serde_json::Value) -> Node {
    fn grow(value: &serde_json::Value, next: &mut usize) -> Node {
        *next += 1;
        let span = Span { line: 1, column: *next, length: 1 };
        let scalar = |text: String, style| NodeKind::Scalar { text, style };
        let kind = match value {
            serde_json::Value::String(text) => scalar(text.clone(), Style::Quoted),
            serde_json::Value::Array(items) => NodeKind::Sequence(items.iter().map(|item| grow(item, next)).collect()),
            serde_json::Value::Object(fields) => NodeKind::Mapping(
                fields
                    .iter()
                    .map(|(key, value)| {
                        *next += 1;
                        let key_span = Span { line: 1, column: *next, length: key.len() };
                        Entry { key: key.clone(), key_span, value: grow(value, next) }
                    })
                    .collect(),
            ),
            other => scalar(other.to_string(), Style::Plain),
        };
        Node { span, kind }
    }
    grow(value, &mut 0)
}

fn read<T: Setting>(value: serde_json::Value) -> (Option<T>, Vec<Problem>) {
    let mut cx = Context::new("/etc/wharf", &|reference| match reference {
        "file:good" => Ok("hunter2".into()),
        other => Err(format!("{other} cannot be read")),
    });
    let decoded = T::decode(&tree(&value), &mut cx);
    (decoded, cx.finish().0)
}

/// The mistakes as `path: message [help]`.
fn mistakes<T: Setting>(value: serde_json::Value) -> Vec<String> {
    let (_, problems) = read::<T>(value);
    let line = |p: Problem| match p.help {
        Some(help) => format!("{}: {} [{help}]", p.path, p.message),
        None => format!("{}: {}", p.path, p.message),
    };
    problems.into_iter().map(line).collect()
}

#[test]
fn what_is_left_out_takes_its_default() {
    let (link, problems) = read::<Link>(json!({ "tcp": "meter" }));
    let link = link.unwrap();
    assert_eq!(problems, []);
    assert_eq!((link.tcp.host(), link.tcp.port()), ("meter", 502));
    assert_eq!(link.every, Period::secs(10));
    assert_eq!(link.window.get(), 4);
    assert!(link.points.is_empty() && link.cert.is_none());
    assert_eq!(link.words.len(), 1);
}

#[test]
fn what_is_written_is_read() {
    let (link, problems) = read::<Link>(json!({
        "tcp": "[::1]:1502", "every": "1s", "window": 16, "cert": "gw.pem", "key": "/k", "label": 1.50, "words": ["x", 2],
        "points": { "valve": { "coil": 3, "type": "v3", "write": null }, "level": { "holding": 0, "type": 5 } },
    }));
    let link = link.unwrap();
    assert_eq!(problems, []);
    assert_eq!(link.tcp.to_string(), "[::1]:1502");
    assert_eq!(link.cert.unwrap().as_path(), std::path::Path::new("/etc/wharf/gw.pem"));
    assert_eq!(link.key.unwrap().as_path(), std::path::Path::new("/k"));
    assert_eq!(link.label.as_deref(), Some("1.5"));
    assert_eq!(link.words[1].as_str(), "2");
    let names: Vec<_> = link.points.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["valve", "level"]);
    let valve = link.points.get("valve").unwrap();
    assert_eq!((valve.coil, valve.r#type.as_str()), (Some(3), "3.1.1"));
    assert_eq!(valve.write, Some(WriteSettings::default()));
    assert_eq!(link.points.entries()[0].name.path, "points.valve");
}

#[test]
fn all_mistakes_are_found_at_once_each_at_its_path() {
    let found = mistakes::<Link>(json!({
        "evry": "1s", "window": 17, "every": 10, "cert": "c",
        "points": {
            "a b": { "coil": 70000 },
            "two": { "coil": 1, "holding": 2, "type": "3.1" },
            "none": {},
            "limits": { "holding": 1, "write": { "min": 5, "max": 1, "verify": "yes" } },
        },
    }));
    assert_eq!(
        found,
        [
            "evry: `evry` is not known here [did you mean `every`?]",
            ": `tcp` is missing",
            "cert: `cert` needs `key` beside it",
            "every: 10 has no unit [write 10s for seconds; units are ms, s, m, h, d]",
            "window: 17 is out of range (1–16)",
            "points.a b: a name cannot contain blanks",
            "points.a b.coil: 70000 is out of range (0–65535)",
            "points.two.holding: `coil` and `holding` exclude each other [keep one of `coil`, `holding`]",
            "points.two.type: \"3.1\" is not known here [known here: 5, 3.1.1]",
            "points.none: one of `coil`, `holding` is needed",
            "points.limits.write.verify: expected true or false, found \"yes\" [write true, without quotes]",
        ]
    );
}

#[test]
fn words_of_other_tools_and_manuals_are_understood() {
    let check = |word, ours: &[&'static str], meant| assert_eq!(suggest(word, ours.iter().copied()), meant, "{word}");
    check("float", &["bool", "f16", "f32"], Some("f32"));
    check("INT16", &["u16", "i16"], Some("i16"));
    check("slave", &["unit", "every"], Some("unit"));
    check("float", &["bool", "u16"], None);
}

#[test]
fn a_comma_is_no_decimal_point() {
    let help = "expected a number, found \"0,1\" [decimals stand behind a point: 0.1]";
    assert_eq!(mistakes::<f64>(json!("0,1")), [format!(": {help}")]);
}

#[test]
fn a_misspelt_key_is_not_called_missing_on_top() {
    assert_eq!(mistakes::<Link>(json!({ "tpc": "meter" })), ["tpc: `tpc` is not known here [did you mean `tcp`?]"]);
    let found = mistakes::<Point>(json!({ "holdng": 1 }));
    assert_eq!(found, ["holdng: `holdng` is not known here [did you mean `holding`?]"]);
}

#[test]
fn a_struct_with_a_default_for_every_field_has_one_itself() {
    assert_eq!(read::<WriteSettings>(json!({})).0, Some(WriteSettings::default()));
}

#[test]
fn a_rule_over_several_fields_points_at_the_field_it_names() {
    let (_, problems) = read::<WriteSettings>(json!({ "min": 5, "max": 1 }));
    assert_eq!(problems[0].path, "max");
    assert_eq!(problems[0].span.column, 5);
    assert_eq!(problems[0].message, "the maximum 1 is below the minimum 5");
}

#[test]
fn a_value_of_the_wrong_shape_says_what_was_expected() {
    assert_eq!(mistakes::<u8>(json!("3")), [": expected a whole number, found \"3\" [write it without quotes]"]);
    assert_eq!(mistakes::<u8>(json!(300)), [": 300 is out of range (0–255)"]);
    assert_eq!(mistakes::<u8>(json!(1.5)), [": expected a whole number, found 1.5"]);
    assert_eq!(read::<u8>(json!(3.0)).0, Some(3));
    assert_eq!(mistakes::<f64>(json!([])), [": expected a number, found a list"]);
    assert_eq!(mistakes::<Link>(json!("x")), [": expected a mapping, found \"x\""]);
    let help = "give it a value, or remove the key";
    assert_eq!(mistakes::<Option<u8>>(json!(null)), [format!(": expected a whole number, found nothing [{help}]")]);
    assert_eq!(mistakes::<Vec<u8>>(json!([1, "a", 256])).len(), 2);
    assert_eq!(mistakes::<OneOrMany<u8>>(json!([])), [": the list is empty"]);
    assert_eq!(mistakes::<Period<1_000>>(json!("5ms")), [": 5ms is out of range (1s–36525d)"]);
    assert_eq!(mistakes::<ByteSize<1024>>(json!("5B"))[0], ": 5B is out of range (1KiB–1024TiB)");
}

#[test]
fn addresses_say_what_is_wrong_with_them() {
    let wrong = |text: &str| HostPort::<0>::parse(text).unwrap_err();
    assert_eq!(wrong("meter"), "the port is missing");
    assert_eq!(wrong("::1:502"), "an IPv6 address stands in brackets: [::1]:502");
    assert_eq!(wrong("[::1]502"), "after `]` comes `:` and the port");
    assert_eq!(wrong("meter:0"), "`0` is not a port (1–65535)");
    assert_eq!(wrong("meter:+5"), "`+5` is not a port (1–65535)");
    assert_eq!(wrong("meter:"), "after the colon the port is missing");
    assert_eq!(wrong("tcp://meter"), "a host and a port stand here, without `tcp://`");
    assert_eq!(wrong("modbus://meter:502"), "a host and a port stand here, without `modbus://`");
    assert_eq!(wrong(":502"), "`` is not a host name or address");
}

#[test]
fn a_name_is_safe_in_a_topic() {
    for bad in ["", "a b", "a/b", "a+", "#", "{a}", "$SYS", "a\u{7}", "\u{a0}", "..", &"x".repeat(65), &"😀".repeat(64)]
    {
        assert!(Name::new(bad).is_err(), "{bad:?}");
    }
    for good in ["main-meter", "Zähler_1", "1.2", &"ä".repeat(64)] {
        assert!(Name::new(good).is_ok(), "{good:?}");
    }
}

#[test]
fn a_secret_is_opened_and_never_shown() {
    let (secret, _) = read::<Secret>(json!("${file:good}"));
    let secret = secret.unwrap();
    assert_eq!(secret.expose(), "hunter2");
    assert_eq!(format!("{secret} {secret:?}"), "••• •••");
    assert_eq!(mistakes::<Secret>(json!("${env:NONE}")), [": env:NONE cannot be read"]);
    for wrong in [json!("pre${file:good}"), json!("${good}"), json!("${vault:x}"), json!(["hunter2"]), json!("")] {
        let found = mistakes::<Secret>(wrong.clone());
        assert_eq!(found.len(), 1, "{wrong}");
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }
    assert!(mistakes::<String>(json!("${file:good}"))[0].contains("passwords and keys only"));
}

#[test]
fn secrets_and_what_may_be_one_are_hidden_from_quotations() {
    let mut cx = Context::new(".", &|_| Err(String::new()));
    let node = tree(&json!({ "tcp": "m", "password": "hunter2", "pasword": "hunter3" }));
    Link::decode(&node, &mut cx);
    let hidden = cx.finish().1;
    let place = |key| node.get(key).unwrap().value.span;
    assert!(hidden.contains(&place("password")) && hidden.contains(&place("pasword")));
}

#[test]
fn the_schema_says_what_the_decoder_does() {
    let schema = Point::schema();
    assert_eq!(schema["description"], "A point, on two lines.");
    assert_eq!(schema["type"], "object");
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"]["coil"]["description"], "A coil.");
    assert_eq!(schema["properties"]["coil"]["maximum"], 65_535);
    assert_eq!(schema["properties"]["type"]["enum"], json!([5, "5", "3.1.1", "v3"]));
    assert_eq!(schema["allOf"], json!([{ "oneOf": [{ "required": ["coil"] }, { "required": ["holding"] }] }]));
    assert_eq!(WriteSettings::schema()["type"], json!(["object", "null"]));
    let link = Link::schema();
    assert_eq!(link["required"], json!(["tcp"]));
    assert_eq!(
        link["allOf"],
        json!([{ "dependencies": { "cert": ["key"] } }, { "dependencies": { "key": ["cert"] } }])
    );
}

#[test]
fn a_warning_is_told_apart_from_a_mistake_and_leaves_the_value() {
    let node = tree(&json!({ "coil": 9 }));
    let mut cx = Context::new(".", &|_| Err("none".into()));
    cx.field_problem(&node, "coil", "wrong");
    cx.field_warning(&node, "coil", "odd").help("perhaps 8 is meant");
    let (problems, _) = cx.finish();
    assert_eq!(problems.iter().map(Problem::is_warning).collect::<Vec<_>>(), [false, true]);
    assert_eq!(problems[1].help.as_deref(), Some("perhaps 8 is meant"));
    assert_eq!((problems[1].span, problems[1].path.as_str()), (problems[0].span, "coil"));
}
