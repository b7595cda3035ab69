//! The local broker and the bridge in a status: how they are, and of each trouble what it means and what to do.

use serde_json::Value as Json;

use super::{ago, number, word};
use crate::cli::words::{bytes, count, harmless, lasting, table};

/// What went wrong with clients: where it is counted, what it is called, and what is to be done.
const TROUBLES: [(&str, &str, &str); 12] = [
    ("refused_full", "connections refused", "as many clients are attached as may be: raise broker.limits.clients"),
    ("refused_logins", "logins refused", "wrong password, unknown user or no certificate: `audit` in the log says who"),
    ("refused_publications", "publications refused", "their client has no right to: broker.users, publish"),
    (
        "refused_subscriptions",
        "subscriptions refused",
        "their client has no right to (broker.users, subscribe), or has too many (broker.limits.subscriptions)",
    ),
    ("withheld", "messages withheld", "their client subscribes to more than it may read: broker.users, subscribe"),
    (
        "dropped_slow",
        "messages of QoS 0 dropped",
        "their client reads too slowly: look at it and its network, or subscribe with QoS 1",
    ),
    (
        "dropped_full",
        "messages dropped",
        "more waited for their client than may: broker.limits.queued, queued_size and queued_size_together",
    ),
    ("dropped_large", "messages dropped as too large", "their client takes smaller packets only, as it said itself"),
    (
        "missed",
        "messages of the gateway missed by local clients",
        "they came too fast for the broker; upstream nothing is lost",
    ),
    (
        "not_retained",
        "messages not retained",
        "too many or too large ones: broker.limits.retained, retained_size, retained_message",
    ),
    (
        "violations",
        "connections closed as no good MQTT",
        "something else speaks to the broker's port, or a faulty client",
    ),
    ("stalled", "connections closed that took nothing", "their clients hang, or their network does"),
];

/// The local broker, if there is one.
pub fn broker(status: &Json, now: u64) -> Option<String> {
    let broker = &status["broker"];
    broker.as_object()?;
    let of = |name: &str| match broker["limits"][name].as_u64() {
        Some(most) => format!("{} of {}", number(&broker[name]), count(most)),
        None => number(&broker[name]),
    };
    let get = |name: &str| broker[name].as_u64().unwrap_or_default();
    let away = get("sessions").saturating_sub(get("clients"));
    let waiting = match get("queued") {
        0 => "0".to_owned(),
        some => format!("{} ({})", count(some), bytes(broker["queued_bytes"].as_f64().unwrap_or_default())),
    };
    let row =
        vec![of("clients"), count(away), number(&broker["received"]), number(&broker["sent"]), of("retained"), waiting];
    let listeners: Vec<String> = broker["listeners"].as_array().into_iter().flatten().map(word).collect();
    let place = match listeners.as_slice() {
        [] => "for the gateway's links alone".to_owned(),
        some => format!("on {}", some.join(", ")),
    };
    let mut lines = vec![
        format!("local broker {place}"),
        table(&["CLIENTS", "SESSIONS AWAY", "MESSAGES IN", "OUT", "RETAINED", "WAITING"], 0, 6, &[row]),
    ];
    lines.extend(store(&broker["store"], now));
    let troubles = TROUBLES.iter().filter(|(key, ..)| get(key) > 0);
    lines.extend(troubles.map(|(key, what, why)| format!("{} {what}: {why}", number(&broker[*key]))));
    Some(lines.join("\n"))
}

/// What is kept over a restart.
fn store(store: &Json, now: u64) -> Vec<String> {
    if store.is_null() {
        return Vec::new();
    }
    let get = |name: &str| store[name].as_u64().unwrap_or_default();
    let size = |name: &str| bytes(store[name].as_f64().unwrap_or_default());
    let mut lines =
        vec![format!("kept over a restart: {} on disk, {} commits", size("disk_bytes"), number(&store["commits"]))];
    if get("pending_bytes") > 0 {
        let since = lasting(std::time::Duration::from_millis(get("pending_ms")));
        lines[0] += &format!(", {} not written yet (for {since})", size("pending_bytes"));
    }
    let error = &store["last_error"];
    let last = error["error"].as_str().map(|words| format!(" ({} ago: {})", ago(&error["at"], now), harmless(words)));
    let last = last.unwrap_or_default();
    if store["is_behind"] == true {
        lines.push(format!(
            "what the local broker keeps is not safe on disk{last}: retained messages and sessions would be lost with \
             the gateway; it tries again by itself, so free space or mend the disk"
        ));
    } else if get("failures") > 0 {
        let times = number(&store["failures"]);
        lines.push(format!("the disk did not take what the local broker keeps, times {times}{last}; it is safe again"));
    }
    let damaged = [("damaged", "damaged records"), ("set_aside", "unreadable files")];
    for (key, what) in damaged.into_iter().filter(|(key, _)| get(key) > 0) {
        let number = number(&store[key]);
        lines.push(format!("{number} {what} found when the gateway started: what they kept is lost; look at the disk"));
    }
    if get("too_large") > 0 {
        lines.push(format!("{} changes too large to be kept over a restart", number(&store["too_large"])));
    }
    lines
}

/// What passes between local clients and uplinks, if there are rules for that.
pub fn bridge(status: &Json) -> Option<String> {
    let bridge = &status["bridge"];
    bridge.as_object()?;
    let rows = |direction: &'static str| {
        bridge[direction].as_array().into_iter().flatten().map(move |uplink| {
            let name = word(&uplink["uplink"]);
            let in_queue = uplink["in_queue"].as_u64().map(count).unwrap_or_default();
            vec![direction.to_owned(), name, number(&uplink["passed"]), in_queue, super::dropped(&uplink["dropped"])]
        })
    };
    let rows: Vec<Vec<String>> = rows("up").chain(rows("down")).collect();
    let mut lines = vec![table(&["BRIDGE", "UPLINK", "PASSED", "IN QUEUE", "DROPPED"], 2, 5, &rows)];
    let sum = |direction: &str, reason: &str| -> u64 {
        let uplinks = bridge[direction].as_array().into_iter().flatten();
        uplinks.filter_map(|uplink| uplink["dropped"][reason].as_u64()).sum()
    };
    if sum("up", "no_room") > 0 {
        lines.push(
            "up, no_room: the uplink's queue was full or the disk too slow; when_full and max_size decide".into(),
        );
    }
    if sum("up", "too_large") > 0 {
        lines.push("up, too_large: larger than a message in the queue may be".into());
    }
    if sum("down", "no_room") > 0 {
        lines.push("down, no_room: they came faster than the local broker takes them; narrow the rules' topics".into());
    }
    let below = bridge["down"].as_array().into_iter().flatten().filter_map(|uplink| uplink["unanswerable"].as_u64());
    let unanswerable = bridge["unanswerable"].as_u64().unwrap_or_default() + below.sum::<u64>();
    if unanswerable > 0 {
        lines.push(format!(
            "{} passed without the topic their sender wants an answer on: no rule brings an answer back there",
            count(unanswerable)
        ));
    }
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_the_local_broker_it_is_said_who_is_there_and_what_waits_and_what_is_kept() {
        let mut status = json!({ "broker": {
            "listeners": ["mqtt://127.0.0.1:1883", "wss://0.0.0.0:9443"],
            "limits": { "clients": 1000, "retained": 10_000 },
            "clients": 12, "sessions": 15, "received": 12_345, "sent": 67_890, "retained": 245,
            "queued": 17, "queued_bytes": 3000, "refused_logins": 0,
            "store": { "disk_bytes": 1_200_000, "commits": 34, "pending_bytes": 512, "pending_ms": 800, "is_behind": false },
        } });
        let expected = "\
local broker on mqtt://127.0.0.1:1883, wss://0.0.0.0:9443
    CLIENTS  SESSIONS AWAY  MESSAGES IN     OUT       RETAINED      WAITING
12 of 1,000              3       12,345  67,890  245 of 10,000  17 (3.0 kB)
kept over a restart: 1.2 MB on disk, 34 commits, 512 B not written yet (for 0 s)";
        assert_eq!(broker(&status, 0).unwrap(), expected);
        status["broker"]["refused_logins"] = 3.into();
        status["broker"]["store"]["is_behind"] = true.into();
        status["broker"]["store"]["last_error"] = json!({ "at": 1000, "error": "No space left on device" });
        let said = broker(&status, 6000).unwrap();
        let lines: Vec<&str> = said.lines().skip(4).collect();
        assert!(lines[0].contains("is not safe on disk (5 s ago: No space left on device)"), "{said}");
        assert!(lines[1].starts_with("3 logins refused: wrong password"), "{said}");
        assert_eq!(lines.len(), 2, "{said}");
        status["broker"]["listeners"] = json!([]);
        assert!(broker(&status, 0).unwrap().starts_with("local broker for the gateway's links alone\n"));
        assert_eq!(broker(&json!({ "broker": null }), 0), None);
    }

    #[test]
    fn of_the_bridge_it_is_said_what_passed_each_way_and_why_something_did_not() {
        let mut status = json!({ "bridge": {
            "up": [{ "uplink": "central", "passed": 1234, "in_queue": 500, "dropped": { "no_room": 0, "too_large": 0 } }],
            "down": [{ "uplink": "central", "passed": 17, "dropped": { "no_room": 0 }, "unanswerable": 0 }],
            "unanswerable": 0,
        } });
        let expected = "\
BRIDGE  UPLINK   PASSED  IN QUEUE  DROPPED
up      central   1,234       500        0
down    central      17                  0";
        assert_eq!(bridge(&status).unwrap(), expected);
        status["bridge"]["down"][0]["dropped"]["no_room"] = 2.into();
        status["bridge"]["unanswerable"] = 3.into();
        let said = bridge(&status).unwrap();
        assert!(said.contains("2 (2 no_room)\ndown, no_room: they came faster"), "{said}");
        assert!(said.ends_with(
            "3 passed without the topic their sender wants an answer on: no rule brings an answer back there"
        ));
        assert_eq!(bridge(&json!({ "bridge": null })), None);
    }
}
