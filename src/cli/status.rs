//! `wharf status`: how is the gateway?

mod controllers;
mod counts;
mod local;

use std::time::Duration;

use clap::Args;
use serde_json::{Value as Json, json};

use super::exit::{self, Exit};
use super::place::{Place, nowhere};
use super::words::{about, bytes, count, harmless, lasting, table, time};
use crate::control::{self, AskError, metrics};

/// How many devices of a link are shown, those to look at first.
const DEVICES_SHOWN: usize = 40;

/// Ask a running gateway how it is.
#[derive(Args)]
pub struct StatusArgs {
    #[command(flatten)]
    place: Place,
    /// Print everything as one JSON object
    #[arg(long, conflicts_with = "metrics")]
    json: bool,
    /// Print metrics in the text format of Prometheus, for node_exporter's textfile collector
    #[arg(long)]
    metrics: bool,
}

/// Asks and prints. Without a running gateway: exit code 1. A site file that is no good is told, and keeps nobody from
/// asking a gateway that runs.
pub fn run(args: &StatusArgs) -> Result<(), Exit> {
    let (state_dir, is_good) = args.place.find()?;
    let error = match control::ask(&state_dir, &json!({ "do": "status" })) {
        Ok(status) if args.json => return super::say(&status.to_string()),
        Ok(status) if args.metrics => return super::say(metrics::render(&status).trim_end()),
        Ok(status) => return super::say(&human(&status)),
        Err(error) => error,
    };
    let why = match &error {
        AskError::Nobody => {
            let hint = nowhere(&state_dir).map(|hint| format!(" ({hint})")).unwrap_or_default();
            format!("no gateway is running with the state in {}{hint}", state_dir.display())
        }
        other => format!("{other} (state in {})", state_dir.display()),
    };
    if args.json {
        super::say(&json!({ "ok": false, "running": !matches!(error, AskError::Nobody), "error": why }).to_string())?;
    } else if args.metrics {
        super::say(metrics::down().trim_end())?;
    }
    exit::complain(&format_args!("wharf: {why}"));
    Err(if is_good { Exit::FAILED } else { Exit::SITE_FILE })
}

/// How many requests a link has put, and how many of them brought no valid answer.
fn requests(outcomes: &Json) -> (String, String) {
    let Some(outcomes) = outcomes.as_object() else { return (String::new(), String::new()) };
    let of = |wanted: &dyn Fn(&str) -> bool| -> u64 {
        outcomes.iter().filter(|(outcome, _)| wanted(outcome)).filter_map(|(_, count)| count.as_u64()).sum()
    };
    let in_vain = of(&|outcome| !matches!(outcome, "answered" | "untold"));
    (count(of(&|_| true)), count(in_vain))
}

/// The status for people.
fn human(status: &Json) -> String {
    let now = status["now"].as_u64().unwrap_or_default();
    let mut parts = vec![format!(
        "gateway {}, wharf {}, running for {} (since {})",
        word(&status["gateway"]),
        word(&status["version"]),
        lasting(Duration::from_secs(status["uptime_s"].as_u64().unwrap_or_default())),
        time(status["since"].as_u64().unwrap_or_default()),
    )];
    parts.extend(reload(&status["reload"], now));
    let links = rows(&status["links"], |link| {
        let asked = requests(&link["requests"]);
        let [name, state, reason] = ["name", "state", "reason"].map(|key| word(&link[key]));
        let since = ago(&link["since"], now);
        vec![name, state, since, asked.0, asked.1, reason]
    });
    if !links.is_empty() {
        parts.push(table(&["LINK", "STATE", "SINCE", "REQUESTS", "IN VAIN", "REASON"], 2, 5, &links));
    }
    parts.extend(status["links"].as_array().into_iter().flatten().filter_map(|link| devices(link, now)));
    parts.extend(status["links"].as_array().into_iter().flatten().filter_map(counts::of_link));
    parts.extend(controllers::at_doors(status));
    parts.extend(controllers::virtual_nodes(status));
    let uplinks = rows(&status["uplinks"], |uplink| {
        let error = &uplink["last_error"];
        let last = match error["error"].as_str() {
            Some(words) => format!("{} ago: {}", ago(&error["at"], now), harmless(words)),
            None => String::new(),
        };
        vec![
            word(&uplink["name"]),
            word(&uplink["state"]),
            ago(&uplink["since"], now),
            number(&uplink["in_flight"]),
            number(&uplink["replayed"]),
            number(&uplink["refusals"]),
            number(&uplink["aside"]),
            number(&uplink["connects"]),
            word(&uplink["url"]),
            last,
        ]
    });
    if !uplinks.is_empty() {
        let header =
            ["UPLINK", "STATE", "SINCE", "IN FLIGHT", "REPLAYED", "REFUSALS", "ASIDE", "CONNECTS", "URL", "LAST ERROR"];
        parts.push(table(&header, 2, 8, &uplinks));
        let queues = rows(&status["uplinks"], |uplink| queue_row(uplink, now));
        let header = ["QUEUE", "WAITING", "OLDEST", "ON DISK", "IN/S", "OUT/S", "UNTOLD", "DROPPED"];
        parts.push(table(&header, 1, 7, &queues));
        parts.extend(blocking(&status["uplinks"]));
    }
    parts.extend(local::broker(status, now));
    parts.extend(local::bridge(status));
    if !uplinks.is_empty() {
        parts.push(wear(&status["wear"]));
    }
    parts.join("\n\n")
}

/// What became of the last reload, if there was one.
fn reload(last: &Json, now: u64) -> Option<String> {
    let ago = ago(&last["at"], now);
    if let Some(why) = last["error"].as_str() {
        return Some(format!("site file read anew {ago} ago and no good, so nothing has changed: {}", harmless(why)));
    }
    let sections: Vec<&str> = last["restart_for"].as_array()?.iter().filter_map(Json::as_str).collect();
    let waiting = match sections.as_slice() {
        [] => String::new(),
        sections => format!("; waiting for a restart: {}", harmless(&sections.join(", "))),
    };
    Some(format!("site file read anew {ago} ago{waiting}"))
}

/// The devices of a link: as many as fit, and how many others there are.
fn devices(link: &Json, now: u64) -> Option<String> {
    let counts: Vec<(&str, usize)> = link["device_states"]
        .as_object()?
        .iter()
        .filter_map(|(state, number)| Some((state.as_str(), usize::try_from(number.as_u64()?).ok()?)))
        .collect();
    let all = link["devices"].as_array()?;
    let listed = &all[..all.len().min(DEVICES_SHOWN)];
    if listed.is_empty() {
        return None;
    }
    let rows: Vec<Vec<String>> = listed.iter().map(|device| device_row(device, now)).collect();
    let header = ["DEVICE", "STATE", "SINCE", "LAST GOOD", "REQUESTS", "NO ANSWER", "DAMAGED", "REASON"];
    let shown = |state: &str| listed.iter().filter(|device| device["state"] == *state).count();
    let left: Vec<(&str, usize)> = counts
        .iter()
        .map(|(state, number)| (*state, number.saturating_sub(shown(state))))
        .filter(|(_, number)| *number > 0)
        .collect();
    let title = format!("{}: {}", word(&link["name"]), by_state(&counts));
    let more = match left.as_slice() {
        [] => String::new(),
        [(state, number)] => format!("\nand {} more, all {state}", count(*number as u64)),
        several => {
            let number: usize = several.iter().map(|(_, number)| number).sum();
            format!("\nand {} more: {}", count(number as u64), by_state(several))
        }
    };
    let refused: String = listed.iter().filter_map(|device| counts::of_device(device, now)).collect();
    Some(format!("{title}\n{}{more}{refused}", table(&header, 2, 7, &rows)))
}

/// `480 online, 2 offline`
fn by_state(counts: &[(&str, usize)]) -> String {
    let counts = counts.iter().filter(|(_, number)| *number > 0);
    counts.map(|(state, number)| format!("{} {state}", count(*number as u64))).collect::<Vec<_>>().join(", ")
}

fn device_row(device: &Json, now: u64) -> Vec<String> {
    let counted = |outcome: &str| match device["requests"].as_object() {
        Some(requests) => number(&requests.get(outcome).cloned().unwrap_or_default()),
        None => String::new(),
    };
    let good = ago(&device["last_good"], now);
    let trouble = &device["trouble"];
    let reason = match (device["reason"].as_str(), trouble["reason"].as_str()) {
        (Some(reason), _) => harmless(reason),
        (None, Some(reason)) => format!("{}: {}", word(&trouble["point"]), harmless(reason)),
        (None, None) => String::new(),
    };
    vec![
        word(&device["name"]),
        word(&device["state"]),
        ago(&device["since"], now),
        if good.is_empty() { "never".to_owned() } else { format!("{good} ago") },
        requests(&device["requests"]).0,
        counted("silent"),
        counted("damaged"),
        reason,
    ]
}

fn queue_row(uplink: &Json, now: u64) -> Vec<String> {
    let queue = &uplink["queue"];
    let rate = |key: &str| format!("{:.1}", uplink["rate"][key].as_f64().unwrap_or_default());
    vec![
        word(&uplink["name"]),
        number(&queue["waiting"]),
        ago(&queue["oldest"], now),
        bytes(queue["disk_bytes"].as_f64().unwrap_or_default()),
        rate("in"),
        rate("out"),
        number(&queue["losses_untold"]),
        dropped(&queue["dropped"]),
    ]
}

/// The queues that are full and hold everything up.
fn blocking(uplinks: &Json) -> Option<String> {
    let full = uplinks.as_array()?.iter().filter(|uplink| uplink["queue"]["blocking"] == true);
    let lines: Vec<String> = full
        .map(|uplink| {
            let name = word(&uplink["name"]);
            format!(
                "queue {name} is full and blocks: no reading becomes a message until there is room (when_full: block)"
            )
        })
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// `17 (12 full, 5 age)`
pub fn dropped(by_reason: &Json) -> String {
    let counts = by_reason.as_object().into_iter().flatten();
    let counts: Vec<(&String, u64)> = counts.filter_map(|(reason, n)| Some((reason, n.as_u64()?))).collect();
    let total = count(counts.iter().map(|(_, n)| n).sum());
    let reasons = counts.iter().filter(|(_, n)| *n > 0).map(|(reason, n)| format!("{} {reason}", count(*n)));
    let reasons: Vec<String> = reasons.collect();
    if reasons.is_empty() { total } else { format!("{total} ({})", reasons.join(", ")) }
}

/// What the writing means for the card.
fn wear(wear: &Json) -> String {
    let per_day = wear["bytes_per_day"].as_f64().unwrap_or_default();
    let over = lasting(Duration::from_secs(wear["over_s"].as_u64().unwrap_or_default()));
    let mut text = format!("written: {} a day, projected from the {over} since the start", bytes(per_day));
    let (few, many) = (&wear["overwrites"][0], &wear["overwrites"][1]);
    let years = (wear["years"][0].as_f64(), wear["years"][1].as_f64());
    if let (Some(disk), Some(days), (Some(short), Some(long))) =
        (wear["disk_bytes"].as_f64(), wear["days_per_overwrite"].as_f64(), years)
    {
        text += &format!(
            "; the disk ({}) is written over once in {} days; a card that stands {} to {} overwrites lasts {}–{} years",
            bytes(disk),
            about(days),
            number(few),
            number(many),
            about(short),
            about(long),
        );
    }
    text
}

fn rows(list: &Json, row: impl Fn(&Json) -> Vec<String>) -> Vec<Vec<String>> {
    list.as_array().into_iter().flatten().map(row).collect()
}

fn word(json: &Json) -> String {
    harmless(json.as_str().unwrap_or_default())
}

fn number(json: &Json) -> String {
    count(json.as_u64().unwrap_or_default())
}

/// How long ago a moment was; nothing if there is none.
fn ago(moment: &Json, now: u64) -> String {
    moment.as_u64().map(|at| lasting(Duration::from_millis(now.saturating_sub(at)))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_writing_does_to_a_card_is_said_with_what_it_rests_on() {
        let said = wear(&json!({
            "bytes_per_day": 2_900_000_000_u64, "over_s": 18_720, "disk_bytes": 29_800_000_000_u64,
            "days_per_overwrite": 10.28, "overwrites": [1000, 3000], "years": [28.1, 84.4],
        }));
        assert_eq!(
            said,
            "written: 2.9 GB a day, projected from the 5 h 12 min since the start; the disk (29.8 GB) is written over \
             once in 10 days; a card that stands 1,000 to 3,000 overwrites lasts 28–84 years"
        );
        assert_eq!(wear(&json!({ "over_s": 3 })), "written: 0 B a day, projected from the 3 s since the start");
    }

    #[test]
    fn of_each_link_it_is_said_how_many_requests_were_put_and_how_many_of_them_in_vain() {
        let said = human(&json!({ "gateway": "gw1", "links": [
            { "name": "bus", "state": "online", "requests":
                { "answered": 12_000, "untold": 5, "silent": 30, "damaged": 4, "unsent": 1 } },
            { "name": "garden", "state": "online", "requests": null },
        ] }));
        let row = |name| said.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().collect();
        let (bus, garden): (Vec<_>, Vec<_>) = (row("bus"), row("garden"));
        assert_eq!(bus, ["bus", "online", "12,040", "35"]);
        assert_eq!(garden, ["garden", "online"]);
    }

    #[test]
    fn of_each_device_it_is_said_how_it_is_since_when_and_why() {
        let now = 1_000_000;
        let said = human(&json!({ "gateway": "gw1", "now": now, "links": [{
            "name": "bus", "state": "degraded", "device_states": { "offline": 1, "online": 2, "unheard": 1 },
            "devices": [
                { "name": "dead", "state": "offline", "since": now - 60_000, "last_good": now - 65_000,
                    "reason": "no answer within 1s", "trouble": null,
                    "requests": { "answered": 1000, "silent": 7, "damaged": 2 } },
                { "name": "odd", "state": "online", "since": now - 90_000, "last_good": now - 1000, "reason": null,
                    "trouble": { "point": "level", "reason": "illegal data address" }, "requests": { "answered": 9 } },
                { "name": "new", "state": "unheard", "since": now - 5000, "requests": null },
                { "name": "well", "state": "online", "since": now - 90_000, "last_good": now, "requests": { "answered": 9 } },
            ],
        }] }));
        let expected = "\
bus: 1 offline, 2 online, 1 unheard
DEVICE  STATE    SINCE  LAST GOOD  REQUESTS  NO ANSWER  DAMAGED  REASON
dead    offline   60 s   65 s ago     1,009          7        2  no answer within 1s
odd     online    90 s    1 s ago         9          0        0  level: illegal data address
new     unheard    5 s      never
well    online    90 s    0 s ago         9          0        0";
        assert!(said.ends_with(expected), "{said}");
    }

    #[test]
    fn of_many_devices_some_are_shown_and_the_others_counted() {
        let device = |number: usize, state| json!({ "name": format!("d{number}"), "state": state });
        let shown = |offline: usize, online: usize| {
            let devices = (0..offline)
                .map(|n| device(n, "offline"))
                .chain((offline..offline + online).map(|n| device(n, "online")));
            let devices: Vec<Json> = devices.collect();
            let states = json!({ "offline": offline, "online": online });
            human(&json!({ "links": [{ "name": "bus", "device_states": states, "devices": devices }] }))
        };
        assert!(shown(2, 518).ends_with("\nand 480 more, all online"), "{}", shown(2, 518));
        assert!(shown(41, 2000).ends_with("\nand 2,001 more: 1 offline, 2,000 online"));
        assert!(shown(0, 40).lines().last().is_some_and(|line| line.starts_with("d39")));
    }

    #[test]
    fn of_each_uplink_it_is_said_what_was_replayed_and_refused_and_whether_its_queue_blocks() {
        let mut status = json!({ "gateway": "gw1", "uplinks": [{
            "name": "central", "state": "up", "in_flight": 7, "replayed": 12_345, "refusals": 6, "aside": 2, "connects": 3,
            "url": "mqtt://a:1883", "queue": { "waiting": 5, "blocking": true },
        }]});
        let said = human(&status);
        let row = said.lines().find(|line| line.starts_with("central")).unwrap();
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>(),
            ["central", "up", "7", "12,345", "6", "2", "3", "mqtt://a:1883"]
        );
        assert!(said.contains("queue central is full and blocks"), "{said}");
        status["uplinks"][0]["queue"]["blocking"] = false.into();
        assert!(!human(&status).contains("blocks"), "{}", human(&status));
    }

    #[test]
    fn a_reload_says_what_it_has_not_changed() {
        let said = |reload: Json| human(&json!({ "gateway": "gw1", "now": 90_000, "reload": reload }));
        assert!(!said(Json::Null).contains("site file"));
        let good = said(json!({ "at": 30_000, "ok": true, "restart_for": [] }));
        assert!(good.ends_with("site file read anew 60 s ago"), "{good}");
        let waiting = said(json!({ "at": 30_000, "ok": true, "restart_for": ["modbus", "broker.listen"] }));
        assert!(waiting.ends_with("; waiting for a restart: modbus, broker.listen"), "{waiting}");
        let bad = said(json!({ "at": 30_000, "ok": false, "error": "3 mistakes in site.yaml" }));
        assert!(bad.ends_with("so nothing has changed: 3 mistakes in site.yaml"), "{bad}");
    }

    #[test]
    fn drops_name_their_reasons() {
        assert_eq!(dropped(&json!({ "full": 12, "age": 5, "damaged": 0 })), "17 (12 full, 5 age)");
        assert_eq!(dropped(&json!({ "full": 0 })), "0");
    }
}
