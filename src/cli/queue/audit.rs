//! `wharf queue audit`: captured = acknowledged + waiting + dropped, proved from the files.

use clap::Args;
use serde_json::{Value as Json, json};

use super::{Found, Which};
use crate::cli::exit::Exit;
use crate::cli::words::{bytes, count, counted};
use crate::control::dropped_json;
use crate::queue::inspect::{self, Audit};

/// How many ranges and damaged places are written out for people; all that are kept are in the JSON.
const SHOWN: usize = 20;

#[derive(Args)]
pub struct AuditArgs {
    #[command(flatten)]
    which: Which,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Audits each queue: exit code 1 if one does not hold.
pub fn run(args: &AuditArgs) -> Result<(), Exit> {
    let queues = args.which.find()?;
    let (mut holds, mut verdicts) = (true, Vec::new());
    for queue in &queues.found {
        let audit = inspect::audit(&queue.dir).map_err(|error| queue.unreadable(error))?;
        holds &= audit.holds();
        if args.json {
            verdicts.push(to_json(queue, &audit));
        } else {
            crate::cli::say(&human(queue, &audit))?;
        }
    }
    if args.json {
        crate::cli::say(&json!({ "holds": holds, "queues": verdicts }).to_string())?;
    } else if queues.found.is_empty() {
        crate::cli::say("this site has no uplink, and so no queue")?;
    }
    if holds { Ok(()) } else { Err(Exit::FAILED) }
}

fn human(queue: &Found, audit: &Audit) -> String {
    let overview = &audit.overview;
    let verdict = if audit.holds() { "holds" } else { "DOES NOT HOLD" };
    let mut lines = vec![
        format!(
            "{}: {verdict}: captured {} = acknowledged {} + waiting {} + dropped {}",
            queue.uplink,
            count(overview.captured),
            count(overview.acknowledged),
            count(overview.waiting),
            count(overview.dropped.total()),
        ),
        format!(
            "  {} read and found whole, in {} ({})",
            counted(audit.found, "waiting message"),
            counted(overview.segments as u64, "segment"),
            bytes(overview.disk_bytes as f64),
        ),
    ];
    if audit.finished_since > 0 {
        lines.push(format!("  finished while this was read: {}", counted(audit.finished_since, "message")));
    }
    if overview.unstored > 0 {
        let still = counted(overview.unstored, "message");
        lines.push(format!(
            "  not on disk yet: {still} in the gateway's memory; lost if it was killed, and counted at its next start"
        ));
    }
    if audit.missing_count > 0 {
        let shown = audit.missing.iter().take(SHOWN).map(|missing| match missing.end - missing.start {
            1 => missing.start.to_string(),
            _ => format!("{}–{}", missing.start, missing.end - 1),
        });
        let more = if audit.missing.len() > SHOWN { ", …" } else { "" };
        let ranges = shown.collect::<Vec<_>>().join(", ");
        lines.push(format!("  missing: {}, with the numbers {ranges}{more}", counted(audit.missing_count, "message")));
    }
    for place in audit.damaged.iter().take(SHOWN) {
        let (file, length) = (&place.file, counted(place.bytes.end - place.bytes.start, "byte"));
        lines.push(format!("  damaged: {file} at byte {}, {length}", count(place.bytes.start)));
    }
    if audit.damaged_count > SHOWN as u64 {
        lines.push(format!("  and {} more damaged places", count(audit.damaged_count - SHOWN as u64)));
    }
    if overview.set_aside > 0 {
        lines.push(format!("  set aside as unreadable: {}", counted(overview.set_aside as u64, "segment")));
    }
    lines.join("\n")
}

fn to_json(queue: &Found, audit: &Audit) -> Json {
    let overview = &audit.overview;
    let missing: Vec<Json> =
        audit.missing.iter().map(|range| json!({ "first": range.start, "last": range.end - 1 })).collect();
    let damaged: Vec<Json> = audit
        .damaged
        .iter()
        .map(|place| json!({ "file": place.file, "from": place.bytes.start, "to": place.bytes.end }))
        .collect();
    json!({
        "uplink": queue.uplink,
        "holds": audit.holds(),
        "captured": overview.captured,
        "acknowledged": overview.acknowledged,
        "waiting": overview.waiting,
        "dropped": dropped_json(&overview.dropped),
        "found": audit.found,
        "finished_since": audit.finished_since,
        "unstored": overview.unstored,
        "missing_count": audit.missing_count,
        "missing": missing,
        "damaged_count": audit.damaged_count,
        "damaged": damaged,
        "segments": overview.segments,
        "set_aside": overview.set_aside,
        "disk_bytes": overview.disk_bytes,
    })
}
