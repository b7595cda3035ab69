//! The fuzz target for everything that takes a line of text apart. Arbitrary bytes come in as a stream,
//! are cut into lines, and the lines are taken apart by every form; a pattern may come from the input,
//! too. Nothing may panic, how the stream was cut into pieces makes no difference, no value may be what
//! a reading cannot hold, and what was read and is spelt again is read as the same.

use wharf_contract::Value;
use wharf_contract::meaning::{Scaling, Words};
use wharf_lines::form::csv::Csv;
use wharf_lines::form::nmea::Checksum;
use wharf_lines::form::pairs::Pairs;
use wharf_lines::form::pattern::Pattern;
use wharf_lines::form::{self, Fields, Form, Found};
use wharf_lines::value::{Meaning, Spelling, ValueType};
use wharf_stream::frames::Counted;
use wharf_stream::{Cut, Frames};

/// The names under which fields are asked for.
const FIELDS: &[&str] = &[
    "a",
    "b",
    "1",
    "2",
    "9",
    "main.temp",
    "list.0.v",
    "0",
    "RMC.position",
    "RMC.latitude",
    "GGA.position",
    "GGA.altitude",
    "GPRMC.1",
    "VTG.7",
    "RMC.99999999999999999999",
    "T",
    "",
];

/// Tries one input: the first bytes choose how the rest is cut and taken apart.
pub fn run(input: &[u8]) {
    let Some((&[kind, cut, piece, split], rest)) = input.split_first_chunk() else { return };
    let (spec, stream) = rest.split_at(usize::from(split).min(rest.len()));
    let (mut whole, mut pieces) = (Frames::new(cut_of(cut, spec)), Frames::new(cut_of(cut, spec)));
    let lines = whole.push(stream);
    let in_pieces: Vec<Vec<u8>> =
        stream.chunks(usize::from(piece).max(1)).flat_map(|piece| pieces.push(piece)).collect();
    assert_eq!(lines, in_pieces);
    assert_eq!(whole.tally(), pieces.tally());
    assert!(pieces.held() <= 4200, "{} bytes are held", pieces.held());
    let Some(form) = form_of(kind, spec) else { return };
    for line in &lines {
        let Some(line) = form::text(line) else { continue };
        try_line(&form, &line);
        if matches!(form, Form::Nmea(_)) {
            // Few inputs would have a checksum that fits.
            let body: String = line.chars().filter(|c| !matches!(c, '*' | '$')).collect();
            let sum = body.bytes().fold(0, |sum, byte| sum ^ byte);
            try_line(&form, &format!("${body}*{sum:02X}"));
        }
    }
}

fn try_line(form: &Form, line: &str) {
    let Ok(fields) = form.take_apart(line) else { return };
    if let Fields::Named(named) = &fields {
        assert!(named.iter().all(|(_, text)| line.contains(text)));
    }
    for name in FIELDS {
        let found = fields.get(name);
        if form.check_field(name).is_err() && matches!(form, Form::Pattern(_)) {
            assert_eq!(found, None, "{name}");
        }
        if let Some(Found::Text(text)) = found {
            try_value(&text);
        }
    }
}

fn try_value(text: &str) {
    for kind in [ValueType::Number, ValueType::Whole, ValueType::Hex, ValueType::Bool, ValueType::Text] {
        let plain = meaning(kind, None, false);
        if let Ok(value) = plain.read(text) {
            sound(&value);
            if let Ok(spelt) = plain.spell(&value, Spelling::default()) {
                assert_eq!(plain.read(&spelt).ok(), Some(value), "{text:?} as {kind}, spelt {spelt:?}");
            }
        }
        for scale in [1e300, -0.1] {
            if let Ok(value) = meaning(kind, Some(scale), true).read(text) {
                sound(&value);
                let _ = meaning(kind, Some(scale), true).spell(&value, Spelling { width: 9, decimals: Some(2) });
            }
        }
    }
}

fn sound(value: &Value) {
    if let Value::Float(number) = value {
        assert!(number.is_finite());
    }
}

fn meaning(kind: ValueType, scale: Option<f64>, comma: bool) -> Meaning {
    let number = Scaling { scale, offset: scale.map(|_| 1.5), precision: scale.map(|_| 9), ..Scaling::default() };
    Meaning { kind, number, words: Words::default(), unit: None, comma }
}

fn cut_of(cut: u8, spec: &[u8]) -> Cut {
    let first = |count: usize| spec.iter().copied().chain([2, 3, 10]).take(count).collect::<Vec<u8>>();
    match cut % 5 {
        0 => Cut::End { end: b"\n".to_vec(), longest: 256 },
        1 => Cut::End { end: first(usize::from(cut / 64) + 1), longest: usize::from(cut) },
        2 => Cut::Length(usize::from(cut)),
        _ => Cut::Counted(Counted {
            start: first(usize::from(cut / 128) + 1),
            at: usize::from(cut / 128) + 1 + usize::from(cut % 3),
            two_bytes: cut & 8 != 0,
            little: cut & 16 != 0,
            plus: i32::from(cut) - 100,
            end: if cut & 32 != 0 { vec![3] } else { Vec::new() },
            longest: 4096,
        }),
    }
}

fn form_of(kind: u8, spec: &[u8]) -> Option<Form> {
    Some(match kind % 8 {
        0 | 1 => Form::Pattern(vec![Pattern::parse(&String::from_utf8_lossy(spec)).ok()?]),
        2 => Form::Pattern(vec![
            Pattern::parse("{a},{},{b:number} kg").ok()?,
            Pattern::parse("{a:2}{b:word} {:hex}{}x").ok()?,
        ]),
        3 => Form::Csv(Csv {
            separator: [',', ';', ' ', '\t'][usize::from(kind / 8) % 4],
            columns: Vec::new(),
            least: 1,
        }),
        4 => Form::Csv(Csv { separator: ';', columns: vec!["a".into(), "b".into()], least: 0 }),
        5 => Form::Json,
        6 => Form::Nmea(if kind & 8 == 0 { Checksum::Required } else { Checksum::Optional }),
        _ => Form::Pairs(Pairs {
            equals: (kind & 8 != 0).then(|| "->".into()),
            separator: (kind & 16 != 0).then(|| ", ".into()),
        }),
    })
}
