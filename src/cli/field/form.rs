//! What is written on the command line, as settings: the same words as in the site file, checked by
//! the same rules.

use clap::Args;
use wharf_contract::settings::{Context, Entry, Node, NodeKind, Problem, Setting, Span};
use wharf_modbus::PointSettings;

use crate::cli::exit::{self, Exit};

/// The tables, as an address names them.
const TABLES: [&str; 4] = ["coil", "discrete", "holding", "input"];

/// How the value at an address is read; the words are those of a point in the site file.
#[derive(Args, Default)]
#[command(next_help_heading = "What stands there")]
pub struct Form {
    /// The type: u16, i32, f32, string…
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// The order of the bytes: ABCD, CDAB, BADC or DCBA
    #[arg(long, value_name = "ORDER")]
    order: Option<String>,
    /// What the number is multiplied by
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    scale: Option<String>,
    /// What is added after scaling
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    offset: Option<String>,
    /// The length of a string, in registers
    #[arg(long, value_name = "REGISTERS")]
    length: Option<String>,
    /// One bit of a register, 0–15
    #[arg(long, value_name = "BIT")]
    bit: Option<String>,
    /// Which half of a register a u8 or i8 is: high or low
    #[arg(long, value_name = "HALF")]
    byte: Option<String>,
}

impl Form {
    /// The point as it can stand in the site file: `{ holding: 100, type: f32 }`.
    pub fn yaml(&self, address: &str) -> String {
        let keys = self.keys().into_iter().map(|(key, value)| format!(", {key}: {value}"));
        format!("{{ {}{} }}", address.replacen(':', ": ", 1), keys.collect::<String>())
    }

    fn keys(&self) -> Vec<(&'static str, &str)> {
        let given = [
            ("type", &self.kind),
            ("order", &self.order),
            ("scale", &self.scale),
            ("offset", &self.offset),
            ("length", &self.length),
            ("bit", &self.bit),
            ("byte", &self.byte),
        ];
        given.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?))).collect()
    }

    /// The settings of the point at an address such as `holding:100`.
    pub fn at(&self, address: &str) -> Result<PointSettings, Exit> {
        let Some((table, number)) = address.split_once(':').filter(|(table, _)| TABLES.contains(table)) else {
            let tables = "coil:3, discrete:3, holding:100 or input:100, counted from 0";
            return Err(wrong(&format!("`{address}` is not an address; write {tables}")));
        };
        let given = self.keys().into_iter().map(|(key, value)| (key, plain(value)));
        decode(&mapping([(table, plain(number))].into_iter().chain(given)))
    }
}

/// A word or number, as it would stand in the site file.
pub fn plain(text: &str) -> Node {
    Node::plain(text, Span::default())
}

/// Keys with values.
pub fn mapping<'a>(entries: impl IntoIterator<Item = (&'a str, Node)>) -> Node {
    let entry = |(key, value): (&str, Node)| Entry { key: key.to_owned(), key_span: Span::default(), value };
    Node { span: Span::default(), kind: NodeKind::Mapping(entries.into_iter().map(entry).collect()) }
}

/// The settings, or every mistake in what was given, told.
pub fn decode<T: Setting>(node: &Node) -> Result<T, Exit> {
    let mut cx = Context::new("", &|_| Err("there are no secrets on a command line".into()));
    let settings = T::decode(node, &mut cx);
    let (problems, _) = cx.finish();
    match settings {
        Some(settings) if problems.is_empty() => Ok(settings),
        _ => {
            for problem in &problems {
                exit::complain(&format_args!("wharf: {}", in_words(problem)));
            }
            Err(Exit::USAGE)
        }
    }
}

/// Wrong usage, and why.
pub fn wrong(why: &str) -> Exit {
    exit::complain(&format_args!("wharf: {why}"));
    Exit::USAGE
}

/// A mistake by the name of its option.
fn in_words(problem: &Problem) -> String {
    let key = problem.path.rsplit('.').next().unwrap_or_default();
    let dashes = if key.is_empty() || TABLES.contains(&key) { "" } else { "--" };
    let colon = if key.is_empty() { "" } else { ": " };
    let help = problem.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    format!("{dashes}{}{colon}{}{help}", key.replace('_', "-"), problem.message)
}
