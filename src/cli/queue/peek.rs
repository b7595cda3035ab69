//! `wharf queue peek` and `wharf queue export`: the messages themselves.

use std::io::{self, BufWriter, IsTerminal, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use serde_json::{Value as Json, json};

use super::{Found, Which};
use crate::cli::exit::Exit;
use crate::cli::words::{harmless, time};
use crate::clock::Correction;
use crate::mapping::epoch_ms;
use crate::message::{Message, Qos};
use crate::queue::inspect::{self, Kept};

/// How much of a payload fits a line of the table, in characters.
const PAYLOAD: usize = 80;

#[derive(Args)]
pub struct PeekArgs {
    #[command(flatten)]
    which: Which,
    /// How many messages of each queue
    #[arg(short, long = "number", value_name = "N", default_value_t = 10)]
    n: u64,
    /// Begin with the message of this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    from: u64,
    /// Print a JSON object a line, also on a terminal
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct ExportArgs {
    #[command(flatten)]
    which: Which,
    /// Also what is still on disk although it is finished with: acknowledged or dropped
    #[arg(long)]
    all: bool,
}

/// Prints the oldest messages that wait.
pub fn peek(args: &PeekArgs) -> Result<(), Exit> {
    let human = !args.json && io::stdout().is_terminal();
    let wanted = Wanted { from: args.from, most: args.n, all: false };
    print(&args.which, &wanted, if human { FOR_PEOPLE } else { FOR_SCRIPTS })
}

/// Prints all that wait.
pub fn export(args: &ExportArgs) -> Result<(), Exit> {
    print(&args.which, &Wanted { from: 0, most: u64::MAX, all: args.all }, FOR_SCRIPTS)
}

struct Wanted {
    from: u64,
    most: u64,
    all: bool,
}

/// How messages are printed: what stands above those of a queue, and each of them.
#[derive(Clone, Copy)]
struct Form {
    head: fn(&Found) -> String,
    line: fn(&Found, &Kept) -> String,
}

const FOR_PEOPLE: Form = Form { head, line };
const FOR_SCRIPTS: Form = Form { head: |_| String::new(), line: ndjson };

fn print(which: &Which, wanted: &Wanted, form: Form) -> Result<(), Exit> {
    let queues = which.find()?;
    let mut out = BufWriter::new(io::stdout().lock());
    for queue in &queues.found {
        let mut written = out.write_all((form.head)(queue).as_bytes());
        let walked = inspect::walk(&queue.dir, wanted.from, wanted.most, wanted.all, |kept| {
            written = writeln!(out, "{}", (form.line)(queue, &kept));
            written.is_ok()
        });
        walked.map_err(|error| queue.unreadable(error))?;
        if let Err(error) = written.and_then(|()| out.flush()) {
            return crate::cli::unsaid(error);
        }
    }
    Ok(())
}

fn head(queue: &Found) -> String {
    format!("{}\n{:>10}  {:<24}  TOPIC  PAYLOAD\n", queue.uplink, "NUMBER", "CAPTURED AT")
}

/// One message as a line of a table.
fn line(_: &Found, kept: &Kept) -> String {
    let record = &kept.record;
    let at = time(epoch_ms(record.captured_at));
    match Message::decode(record.body.clone()) {
        Ok(message) => {
            let payload = String::from_utf8_lossy(&message.payload);
            let payload = harmless(&payload);
            let mut shown: String = payload.chars().take(PAYLOAD).collect();
            if shown.len() < payload.len() {
                shown.push('…');
            }
            format!("{:>10}  {at}  {}  {shown}", record.seq.get(), harmless(&message.topic))
        }
        Err(error) => format!("{:>10}  {at}  ({error})", record.seq.get()),
    }
}

/// One message as a script reads it. A payload that is not text is in base64; `clock` is there if
/// the time was taken by a clock that was not set.
fn ndjson(queue: &Found, kept: &Kept) -> String {
    let record = &kept.record;
    let mut json = json!({
        "uplink": queue.uplink,
        "seq": record.seq.get(),
        "captured_at": epoch_ms(record.captured_at),
    });
    match record.correction {
        Correction::None => {}
        Correction::By(_) => json["clock"] = "corrected".into(),
        Correction::Unknown => json["clock"] = "unset".into(),
    }
    if kept.finished {
        json["finished"] = true.into();
    }
    match Message::decode(record.body.clone()) {
        Ok(message) => {
            json["topic"] = message.topic.into();
            bytes_into(&mut json, "payload", &message.payload);
            json["qos"] = if message.qos == Qos::AtLeastOnce { 1.into() } else { 0.into() };
            json["retain"] = message.retain.into();
            if let Some(correlation) = &message.correlation {
                json["correlation_base64"] = BASE64.encode(correlation).into();
            }
            if let Some(said) = &message.properties {
                json["properties"] = json!({
                    "is_text": said.is_text,
                    "content_type": said.content_type,
                    "response_topic": said.response_topic,
                    "expires_ms": said.expires_in.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
                    "user": said.user,
                });
            }
        }
        Err(error) => {
            json["error"] = error.to_string().into();
            json["body_base64"] = BASE64.encode(&record.body).into();
        }
    }
    json.to_string()
}

fn bytes_into(json: &mut Json, key: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => json[key] = text.into(),
        Err(_) => json[format!("{key}_base64")] = BASE64.encode(bytes).into(),
    }
}
