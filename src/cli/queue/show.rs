//! `wharf queue show`: depth, age, size, and what became of every message.

use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::{Value as Json, json};

use super::{Found, Which};
use crate::cli::exit::Exit;
use crate::cli::status::dropped;
use crate::cli::words::{bytes, count, counted, lasting, table, time};
use crate::control::{self, dropped_json};
use crate::health::loss_facts;
use crate::mapping::epoch_ms;
use crate::queue::Loss;
use crate::queue::inspect::{self, Overview};

#[derive(Args)]
pub struct ShowArgs {
    #[command(flatten)]
    pub(super) which: Which,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Prints what each queue is like.
pub fn run(args: &ShowArgs) -> Result<(), Exit> {
    let queues = args.which.find()?;
    // The rates are all that the files cannot tell.
    let status = control::ask(&queues.state_dir, &json!({ "do": "status" })).ok();
    let mut seen = Vec::new();
    for queue in &queues.found {
        let overview = inspect::overview(&queue.dir).map_err(|error| queue.unreadable(error))?;
        seen.push((queue, overview, rate(status.as_ref(), &queue.uplink)));
    }
    if args.json {
        let queues: Vec<Json> = seen.iter().map(|(queue, overview, rate)| to_json(queue, overview, rate)).collect();
        return crate::cli::say(&json!({ "running": status.is_some(), "queues": queues }).to_string());
    }
    if seen.is_empty() {
        return crate::cli::say("this site has no uplink, and so no queue");
    }
    let rows: Vec<Vec<String>> = seen.iter().map(|(queue, overview, rate)| row(queue, overview, rate)).collect();
    let header = ["QUEUE", "CAPTURED", "ACKNOWLEDGED", "WAITING", "OLDEST", "ON DISK", "IN/S", "OUT/S", "DROPPED"];
    crate::cli::say(&table(&header, 1, 8, &rows))?;
    for (queue, overview, _) in &seen {
        for loss in &overview.losses {
            crate::cli::say(&untold(&queue.uplink, loss))?;
        }
    }
    Ok(())
}

fn row(queue: &Found, overview: &Overview, rate: &Json) -> Vec<String> {
    let oldest = overview.oldest.map(|(_, at)| SystemTime::now().duration_since(at).unwrap_or(Duration::ZERO));
    let per_second = |key: &str| rate[key].as_f64().map(|rate| format!("{rate:.1}")).unwrap_or_default();
    vec![
        queue.uplink.clone(),
        count(overview.captured),
        count(overview.acknowledged),
        count(overview.waiting),
        oldest.map(lasting).unwrap_or_default(),
        bytes(overview.disk_bytes as f64),
        per_second("in"),
        per_second("out"),
        dropped(&dropped_json(&overview.dropped)),
    ]
}

/// A loss the broker has not acknowledged the report of.
fn untold(uplink: &str, loss: &Loss) -> String {
    format!(
        "{uplink}: not yet told upstream: {} lost ({}), numbers {} to {}, captured {} to {}",
        counted(loss.count, "message"),
        loss.reason.as_str(),
        loss.first,
        loss.last,
        time(epoch_ms(loss.from)),
        time(epoch_ms(loss.to)),
    )
}

/// One queue as a script reads it.
pub fn to_json(queue: &Found, overview: &Overview, rate: &Json) -> Json {
    let oldest = overview.oldest.map(|(seq, at)| json!({ "seq": seq.get(), "captured_at": epoch_ms(at) }));
    let losses: Vec<Json> = overview.losses.iter().map(loss_facts).collect();
    json!({
        "uplink": queue.uplink,
        "captured": overview.captured,
        "acknowledged": overview.acknowledged,
        "waiting": overview.waiting,
        "unstored": overview.unstored,
        "dropped": dropped_json(&overview.dropped),
        "oldest": oldest,
        "disk_bytes": overview.disk_bytes,
        "segments": overview.segments,
        "set_aside": overview.set_aside,
        "losses_untold": losses,
        "rate": rate,
    })
}

/// A running gateway's rates for an uplink, or null.
fn rate(status: Option<&Json>, uplink: &str) -> Json {
    let uplinks = status.and_then(|status| status["uplinks"].as_array()).into_iter().flatten();
    uplinks.into_iter().find(|known| known["name"] == uplink).map(|known| known["rate"].clone()).unwrap_or_default()
}
