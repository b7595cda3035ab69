//! Decoder and schema come from one definition; here they have to give one verdict.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use wharf::config::{schema, tree};
use wharf_contract::settings::{Node, NodeKind, Typed};

use crate::{files, read};

fn refused_by_schema(text: &str) -> bool {
    let tree = tree::parse(&tree::normalise(text));
    let instance = to_json(&tree.root.expect("a file in the corpus is YAML"));
    static VALIDATOR: LazyLock<jsonschema::Validator> =
        LazyLock::new(|| jsonschema::draft7::new(&schema()).expect("the schema is one"));
    !VALIDATOR.is_valid(&instance)
}

/// The tree as an editor's schema validator sees it.
fn to_json(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Sequence(items) => items.iter().map(to_json).collect(),
        NodeKind::Mapping(entries) => {
            Value::Object(entries.iter().map(|e| (e.key.clone(), to_json(&e.value))).collect::<Map<_, _>>())
        }
        NodeKind::Scalar { .. } => match node.typed() {
            None | Some(Typed::Null) => Value::Null,
            Some(Typed::Bool(value)) => value.into(),
            Some(Typed::Int(value)) => {
                i64::try_from(value).map_or_else(|_| json!(value.to_string().parse::<f64>().unwrap()), Into::into)
            }
            // JSON has no infinity; a text is as wrong in its place.
            Some(Typed::Float(value)) => {
                serde_json::Number::from_f64(value).map_or_else(|| ".inf".into(), Value::Number)
            }
            Some(Typed::Text(text)) => text.into(),
        },
    }
}

#[test]
fn the_schema_is_a_valid_one() {
    assert!(jsonschema::meta::is_valid(&schema()));
}

#[test]
fn good_files_are_accepted_by_decoder_and_schema() {
    for (path, text) in files("tests/config/good") {
        if let Err(errors) = read(&text) {
            panic!("{}:\n{errors}", path.display());
        }
        assert!(!refused_by_schema(&text), "{}: refused by the schema", path.display());
    }
}

#[test]
fn bad_files_are_refused_by_decoder_and_schema() {
    for (path, text) in files("tests/config/bad") {
        assert!(read(&text).is_err(), "{}: accepted by the decoder", path.display());
        assert!(refused_by_schema(&text), "{}: accepted by the schema", path.display());
    }
}

#[test]
fn mistakes_of_meaning_are_seen_by_the_decoder_alone() {
    for (path, text) in files("tests/config/meaning") {
        assert!(read(&text).is_err(), "{}: accepted by the decoder", path.display());
        assert!(!refused_by_schema(&text), "{}: refused by the schema, so it belongs in bad/", path.display());
    }
}

/// One good line of each kind, and what must not stand in its place. The schema may be more
/// lenient than the decoder where a rule cannot be put in its words, never stricter.
#[test]
fn the_schema_never_refuses_what_the_decoder_accepts() {
    let values = [
        "~",
        "1",
        "0",
        "-1",
        "1.0",
        "1.5",
        "1e3",
        "0x10",
        "256",
        "65536",
        "true",
        "on",
        "abc",
        "\"5\"",
        "[]",
        "{}",
        "[1]",
        "10s",
        "1h30m",
        "0s",
        "10 s",
        "16MiB",
        "1B",
        "5",
        "3.1.1",
        "\"\"",
        "a b",
        "host",
        "host:1",
        "[::1]:1",
        "\"[::1]:1\"",
        "127.0.0.1:1",
        "0.0.0.0:1",
        "mqtt://a",
        "mqtts://a:1/",
        "/dev/x",
        "${env:A}",
        "a${env:A}",
        "{a: {}}",
        ".inf",
        "99999999999999999999",
        "raw",
        "drop_newest",
        "temp",
        "V_TEMP",
        "[127.0.0.1:1]",
        "{min: 1, max: 2}",
        "xy-md02",
        "off",
        "false",
        "{0: off, 1: 5, 0x2: true}",
        "{-1: a}",
        "{+2: a}",
        "{a: b}",
        "[0x8000, -1.5]",
        "CDAB",
        "{1: 5, 0x2: 7}",
        "{-0: 1}",
        "BA",
    ];
    let places = [
        "gateway: @",
        "gateway: g\nstate_dir: @",
        "gateway: g\nuplinks: @",
        "gateway: g\nuplinks: {u: {url: @}}",
        "gateway: g\nuplinks: {u: {url: mqtts://a, protocol: @}}",
        "gateway: g\nuplinks: {u: {url: mqtts://a, client_id: @}}",
        "gateway: g\nuplinks: {u: {url: mqtts://a, username: u, password: @}}",
        "gateway: g\nuplinks: {u: {url: mqtts://a, tls: @}}",
        "gateway: g\nuplinks: {u: {url: mqtts://a, keep_alive: @}}",
        "gateway: g\nuplinks: {u: {url: mqtts://a, in_flight: @}}",
        "gateway: g\nuplinks: {u: {url: mqtts://a, command_age: @}}",
        "gateway: g\nuplinks: {u: {url: mqtts://a, queue: @}}",
        "gateway: g\nuplinks: {u: {url: mqtts://a, queue: {max_size: @}}}",
        "gateway: g\nuplinks: {u: {url: mqtts://a, queue: {when_full: @}}}",
        "gateway: g\nbroker: @",
        "gateway: g\nbroker: {listen: @}",
        "gateway: g\nbroker: {listen: [@]}",
        "gateway: g\nbroker: {listen: [{address: @}]}",
        "gateway: g\nbroker: {anonymous: @}",
        "gateway: g\nbroker: {users: @}",
        "gateway: g\nbroker: {passwords: p, users: {u: {subscribe: [@]}}}",
        "gateway: g\nbroker: {passwords: p, users: {u: {clients: @}}}",
        "gateway: g\nbroker: {limits: {clients: @}}",
        "gateway: g\ncommands: @",
        "gateway: g\nmodbus: @",
        "gateway: g\nmodbus: {l: {tcp: @, devices: {}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: @}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: @}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, points: {p: @}}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, points: {p: {holding: @}}}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, points: {p: {holding: 1, scale: @}}}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, points: {p: {holding: 1, unit: @}}}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, points: {p: {holding: 1, write: @}}}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, profile: @}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, profile: xy-md02, points: @}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, profile: xy-md02, points: {humidity: @}}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, profile: xy-md02, points: {humidity: {scale: @}}}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, points: {p: {holding: 1, invalid: @}}}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, points: {p: {holding: 1, type: u32, names: @}}}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, points: {p: {holding: 1, flags: @}}}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, points: {p: {holding: 1, precision: @, type: f32}}}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, points: {p: {holding: 1, count: @}}}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, points: {p: {holding: 1, bit: @}}}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, points: {p: {holding: 1, order: @}}}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, points: {p: {holding: 1, wraps_at: @}}}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, profile: sunspec-103, base: @}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, points: {p: {holding: 1, scale_from: @}}}}}}",
        "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, points: {p: {holding: 1, requires: @}}}}}}",
        "gateway: g\nmysensors: {l: {tcp: @}}",
        "gateway: g\nmysensors: {l: {serial: @}}",
        "gateway: g\nmysensors: {l: {serial: /x, baud: @}}",
        "gateway: g\nmysensors: {l: {tcp: a, controller: @}}",
        "gateway: g\nmysensors: {l: {tcp: a, controller: local, time: @}}",
        "gateway: g\nmapping: [{topic: @}]",
        "gateway: g\nmysensors: {l: {tcp: a, devices: {d: {node: 1, points: {p: {child: 1, type: @}}}}}}",
        "gateway: g\nmapping: @",
        "gateway: g\nmapping: [{topic: x, payload: @}]",
        "gateway: g\nmapping: [{topic: @}]",
        "gateway: g\nmapping: [{topic: x, qos: @}]",
        "gateway: g\nmapping: [{topic: x, match: @}]",
    ];
    let mut accepted = 0;
    for place in places {
        for value in values {
            let text = place.replace('@', value);
            // Some values cannot stand in a flow mapping without quotes.
            if tree::parse(&text).root.is_none() || read(&text).is_err() {
                continue;
            }
            accepted += 1;
            assert!(!refused_by_schema(&text), "the schema refuses what the decoder accepts:\n{text}");
        }
    }
    assert!(accepted > 150, "only {accepted} combinations were accepted: the test has lost its teeth");
}
