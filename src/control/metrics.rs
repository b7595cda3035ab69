//! A status as Prometheus reads it: the text exposition format, for node_exporter's textfile
//! collector.
//!
//! | metric | labels | what |
//! |---|---|---|
//! | `wharf_up` | | 1 while a gateway is running |
//! | `wharf_info` | `gateway`, `version` | always 1 |
//! | `wharf_start_time_seconds` | | when the gateway started |
//! | `wharf_link_up` | `link` | 1 while the link is online, with or without trouble |
//! | `wharf_link_devices` | `link`, `state` | its devices that are `online`, `offline`, or `unheard` so far |
//! | `wharf_link_requests_total` | `link`, `outcome` | requests put to its devices since the start, by how they ended |
//! | `wharf_link_counted_total` | `link`, `what` | what else its driver counts since the start: advertisements `heard`, `dropped`, and so on |
//! | `wharf_link_refused_total` | `link`, `reason` | what came of its devices since the start and was not used |
//! | `wharf_uplink_up` | `uplink` | 1 while it is connected |
//! | `wharf_uplink_connects_total` | `uplink` | connections since the start |
//! | `wharf_uplink_in_flight` | `uplink` | messages published and not yet acknowledged |
//! | `wharf_uplink_replayed_total` | `uplink` | messages published as replayed since the start |
//! | `wharf_uplink_refusals_total` | `uplink` | publications the broker refused since the start, each try counted |
//! | `wharf_uplink_aside` | `uplink` | messages set aside that wait for another try |
//! | `wharf_queue_captured_total` | `uplink` | messages captured since the queue was made |
//! | `wharf_queue_acknowledged_total` | `uplink` | of these, acknowledged by the broker |
//! | `wharf_queue_waiting` | `uplink` | of these, waiting |
//! | `wharf_queue_blocking` | `uplink` | 1 while it is full and takes nothing more |
//! | `wharf_queue_dropped_total` | `uplink`, `reason` | of these, dropped |
//! | `wharf_queue_losses_untold` | `uplink` | losses the broker has not been told of yet |
//! | `wharf_queue_oldest_timestamp_seconds` | `uplink` | when the oldest waiting message was captured; missing while none waits |
//! | `wharf_queue_size_bytes` | `uplink` | what its segments take on disk, as far as `max_size` goes |
//! | `wharf_queue_written_bytes_total` | `uplink` | bytes written to the log since the start |
//! | `wharf_queue_device_bytes_total` | `uplink` | the same in whole pages, as a card sees it |
//! | `wharf_queue_commits_total` | `uplink` | commits since the start |
//! | `wharf_queue_failed_syncs_total` | `uplink` | writes and syncs that failed since the start |
//! | `wharf_queue_set_aside_total` | `uplink` | segments found unreadable since the start |
//! | `wharf_controllers_attached` | | MySensors controllers that are attached to the gateway itself |
//! | `wharf_controllers_lines_in_total` | | lines from controllers since the start |
//! | `wharf_controllers_lines_out_total` | | lines to controllers since the start |
//! | `wharf_controllers_not_taken_total` | | of the lines in, those that made no sense or were too many |
//! | `wharf_controllers_dropped_total` | | controllers dropped since the start because they did not read |
//! | `wharf_controllers_refused_total` | | controllers sent away since the start |
//! | `wharf_virtual_nodes` | | devices that are shown as MySensors nodes |
//! | `wharf_virtual_nodes_missed_total` | | readings that came too fast for virtual nodes since the start |
//! | `wharf_virtual_nodes_clashes_total` | | messages since the start of nodes that have the number of a virtual one |
//! | `wharf_broker_clients` | | clients of the local broker now |
//! | `wharf_broker_sessions` | | its sessions now, those of clients that are away included |
//! | `wharf_broker_subscriptions` | | its subscriptions now |
//! | `wharf_broker_retained` | | its retained messages now |
//! | `wharf_broker_queued` | | messages that wait for its clients now |
//! | `wharf_broker_queued_bytes` | | what they take |
//! | `wharf_broker_received_total` | | publications its clients have sent since the start |
//! | `wharf_broker_sent_total` | | publications they were sent |
//! | `wharf_broker_bytes_received_total` | | bytes they have sent |
//! | `wharf_broker_bytes_sent_total` | | bytes they were sent |
//! | `wharf_broker_connections_total` | | connections since the start |
//! | `wharf_broker_repeated_commands_total` | | commands that came a second time and were obeyed once |
//! | `wharf_broker_refused_total` | `what` | `full`: connections beyond the bound; `logins`; `publications` and `subscriptions` without the right |
//! | `wharf_broker_dropped_total` | `why` | messages its clients did not get: they read too `slow`ly, too many waited (`full`), they were too `large`, had `expired`, were `withheld` for lack of rights, or came too fast for the broker (`missed`) |
//! | `wharf_broker_closed_total` | `why` | connections closed: `violations` of MQTT, `silent` beyond their keep alive, `stalled` without reading |
//! | `wharf_broker_not_retained_total` | `why` | messages that were not retained because there were too many, or too large ones |
//! | `wharf_broker_store_size_bytes` | | what is kept of it over a restart takes on disk |
//! | `wharf_broker_store_pending_bytes` | | what of that waits to be written |
//! | `wharf_broker_store_pending_seconds` | | for how long the first of it has |
//! | `wharf_broker_store_behind` | | 1 while the disk does not take it: what changes is not safe |
//! | `wharf_broker_store_commits_total` | | commits since the start |
//! | `wharf_broker_store_written_bytes_total` | | bytes written since the start |
//! | `wharf_broker_store_failures_total` | | times writing failed since the start |
//! | `wharf_bridge_up_total` | `uplink` | messages of local clients that went into its queue by `bridge` rules since the start |
//! | `wharf_bridge_up_dropped_total` | `uplink`, `reason` | those it did not take: `no_room`, `too_large` |
//! | `wharf_bridge_down_total` | `uplink` | messages from upstream that went to local clients by `bridge` rules since the start |
//! | `wharf_bridge_down_dropped_total` | `uplink`, `reason` | those that found `no_room` on the way |
//! | `wharf_bridge_unanswerable_total` | `direction` | messages that passed without the topic their sender wants an answer on |
//! | `wharf_disk_size_bytes` | | the file system that holds the queues |

use std::fmt::Write;

use serde_json::Value as Json;

/// What is said when no gateway is running.
pub fn down() -> String {
    let mut page = Page::default();
    page.metric("wharf_up", "gauge", "1 while a gateway is running.", [(Labels::NONE, Some(0.0))]);
    page.text
}

/// A status in Prometheus' text form.
pub fn render(status: &Json) -> String {
    let mut page = Page::default();
    let info = Labels(vec![("gateway", text(&status["gateway"])), ("version", text(&status["version"]))]);
    page.metric("wharf_up", "gauge", "1 while a gateway is running.", [(Labels::NONE, Some(1.0))]);
    page.metric("wharf_info", "gauge", "The gateway's name and version.", [(info, Some(1.0))]);
    let started = seconds(&status["since"]);
    page.metric("wharf_start_time_seconds", "gauge", "When the gateway started.", [(Labels::NONE, started)]);
    page.each("wharf_link_up", "gauge", "1 while the link is online.", &status["links"], "link", |link| {
        Some(flag(matches!(link["state"].as_str(), Some("online" | "degraded"))))
    });
    for (name, kind, help, key, label) in LINK {
        let samples = list(&status["links"]).iter().flat_map(|link| {
            let counts = link[key].as_object().into_iter().flatten();
            counts.map(move |(of, count)| (Labels(vec![("link", text(&link["name"])), (label, of)]), count.as_f64()))
        });
        page.metric(name, kind, help, samples);
    }
    uplinks(&mut page, &status["uplinks"]);
    for (name, kind, help, part, key) in CONTROLLERS {
        page.metric(name, kind, help, [(Labels::NONE, status[part][key].as_f64())]);
    }
    for (name, kind, help, key) in BROKER {
        page.metric(name, kind, help, [(Labels::NONE, status["broker"][key].as_f64())]);
    }
    for (name, help, label, keys) in BROKER_BY {
        let of = |(value, key): &(&'static str, &str)| (Labels(vec![(label, *value)]), status["broker"][key].as_f64());
        page.metric(name, "counter", help, keys.iter().map(of));
    }
    let store = &status["broker"]["store"];
    for (name, kind, help, key) in STORE {
        page.metric(name, kind, help, [(Labels::NONE, store[key].as_f64())]);
    }
    let waiting = store["pending_ms"].as_f64().map(|ms| ms / 1000.0);
    let help = "For how long the first of it has waited.";
    page.metric("wharf_broker_store_pending_seconds", "gauge", help, [(Labels::NONE, waiting)]);
    let behind = store["is_behind"].as_bool().map(flag);
    let help = "1 while the disk does not take what is kept.";
    page.metric("wharf_broker_store_behind", "gauge", help, [(Labels::NONE, behind)]);
    bridge(&mut page, &status["bridge"]);
    let disk = status["wear"]["disk_bytes"].as_f64();
    page.metric("wharf_disk_size_bytes", "gauge", "The file system that holds the queues.", [(Labels::NONE, disk)]);
    page.text
}

/// What is counted of a link by names: the metric, its type, what it says, where it stands, and the label
/// that has the name.
const LINK: [(&str, &str, &str, &str, &str); 4] = [
    (
        "wharf_link_requests_total",
        "counter",
        "Requests put to devices since the start, by how they ended.",
        "requests",
        "outcome",
    ),
    ("wharf_link_counted_total", "counter", "What else the driver counts since the start.", "counts", "what"),
    (
        "wharf_link_refused_total",
        "counter",
        "What came of devices since the start and was not used, by reason.",
        "refused",
        "reason",
    ),
    ("wharf_link_devices", "gauge", "Devices of the link, by how they are.", "device_states", "state"),
];

/// What is counted of MySensors controllers, and of the nodes made for them: as above, and where it stands.
const CONTROLLERS: [(&str, &str, &str, &str, &str); 9] = [
    ("wharf_controllers_attached", "gauge", "Controllers that are attached.", "controllers", "attached"),
    (
        "wharf_controllers_lines_in_total",
        "counter",
        "Lines from controllers since the start.",
        "controllers",
        "lines_in",
    ),
    (
        "wharf_controllers_lines_out_total",
        "counter",
        "Lines to controllers since the start.",
        "controllers",
        "lines_out",
    ),
    ("wharf_controllers_not_taken_total", "counter", "Lines that were not taken.", "controllers", "not_taken"),
    ("wharf_controllers_dropped_total", "counter", "Controllers that did not read.", "controllers", "dropped"),
    ("wharf_controllers_refused_total", "counter", "Controllers sent away.", "controllers", "refused"),
    ("wharf_virtual_nodes", "gauge", "Devices shown as nodes.", "virtual_nodes", "nodes"),
    ("wharf_virtual_nodes_missed_total", "counter", "Readings that came too fast.", "virtual_nodes", "missed"),
    (
        "wharf_virtual_nodes_clashes_total",
        "counter",
        "Messages of nodes with a virtual number.",
        "virtual_nodes",
        "clashes",
    ),
];

/// What is counted of the local broker.
const BROKER: [Column; 12] = [
    ("wharf_broker_clients", "gauge", "Clients of the local broker.", "clients"),
    ("wharf_broker_sessions", "gauge", "Sessions, those of clients that are away included.", "sessions"),
    ("wharf_broker_subscriptions", "gauge", "Subscriptions.", "subscriptions"),
    ("wharf_broker_retained", "gauge", "Retained messages.", "retained"),
    ("wharf_broker_queued", "gauge", "Messages that wait for clients.", "queued"),
    ("wharf_broker_queued_bytes", "gauge", "What they take.", "queued_bytes"),
    ("wharf_broker_received_total", "counter", "Publications clients have sent since the start.", "received"),
    ("wharf_broker_sent_total", "counter", "Publications clients were sent since the start.", "sent"),
    ("wharf_broker_bytes_received_total", "counter", "Bytes clients have sent since the start.", "bytes_received"),
    ("wharf_broker_bytes_sent_total", "counter", "Bytes clients were sent since the start.", "bytes_sent"),
    ("wharf_broker_connections_total", "counter", "Connections since the start.", "connections"),
    (
        "wharf_broker_repeated_commands_total",
        "counter",
        "Commands that came a second time and were obeyed once.",
        "repeated_commands",
    ),
];

/// What is counted of what it keeps over a restart.
const STORE: [Column; 5] = [
    ("wharf_broker_store_size_bytes", "gauge", "What is kept takes on disk.", "disk_bytes"),
    ("wharf_broker_store_pending_bytes", "gauge", "What of it waits to be written.", "pending_bytes"),
    ("wharf_broker_store_commits_total", "counter", "Commits since the start.", "commits"),
    ("wharf_broker_store_written_bytes_total", "counter", "Bytes written since the start.", "written_bytes"),
    ("wharf_broker_store_failures_total", "counter", "Times writing failed since the start.", "failures"),
];

/// What is counted of the bridge: by direction, what passed and what was dropped.
const BRIDGE: [(&str, &str, &str, &str, &str); 2] = [
    (
        "up",
        "wharf_bridge_up_total",
        "Messages of local clients that went into the queue.",
        "wharf_bridge_up_dropped_total",
        "Messages of local clients that the queue did not take.",
    ),
    (
        "down",
        "wharf_bridge_down_total",
        "Messages from upstream that went to local clients.",
        "wharf_bridge_down_dropped_total",
        "Messages from upstream that did not.",
    ),
];

/// What is counted of it by reason: the metric, what it says, its label, and its values with where they stand.
type ByReason = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

const BROKER_BY: [ByReason; 4] = [
    (
        "wharf_broker_refused_total",
        "What clients were refused.",
        "what",
        &[
            ("full", "refused_full"),
            ("logins", "refused_logins"),
            ("publications", "refused_publications"),
            ("subscriptions", "refused_subscriptions"),
        ],
    ),
    (
        "wharf_broker_dropped_total",
        "Messages that clients did not get.",
        "why",
        &[
            ("slow", "dropped_slow"),
            ("full", "dropped_full"),
            ("large", "dropped_large"),
            ("expired", "expired"),
            ("withheld", "withheld"),
            ("missed", "missed"),
        ],
    ),
    (
        "wharf_broker_closed_total",
        "Connections that the broker has closed.",
        "why",
        &[("violations", "violations"), ("silent", "silent"), ("stalled", "stalled")],
    ),
    ("wharf_broker_not_retained_total", "Messages that were not retained.", "why", &[("bounds", "not_retained")]),
];

/// A column of the table of uplinks or of queues: the metric, its type, what it says, and where it stands.
type Column = (&'static str, &'static str, &'static str, &'static str);

const UPLINK: [Column; 5] = [
    ("wharf_uplink_connects_total", "counter", "Connections since the start.", "connects"),
    ("wharf_uplink_in_flight", "gauge", "Messages not yet acknowledged.", "in_flight"),
    ("wharf_uplink_replayed_total", "counter", "Messages published as replayed since the start.", "replayed"),
    ("wharf_uplink_refusals_total", "counter", "Publications the broker refused since the start.", "refusals"),
    ("wharf_uplink_aside", "gauge", "Messages set aside that wait for another try.", "aside"),
];

const QUEUE: [Column; 10] = [
    ("wharf_queue_captured_total", "counter", "Messages captured since the queue was made.", "captured"),
    ("wharf_queue_acknowledged_total", "counter", "Messages the broker has acknowledged.", "acknowledged"),
    ("wharf_queue_waiting", "gauge", "Messages that wait.", "waiting"),
    ("wharf_queue_losses_untold", "gauge", "Losses the broker has not been told of yet.", "losses_untold"),
    ("wharf_queue_size_bytes", "gauge", "What the queue's segments take on disk.", "disk_bytes"),
    ("wharf_queue_written_bytes_total", "counter", "Bytes written to the log since the start.", "written_bytes"),
    ("wharf_queue_device_bytes_total", "counter", "Bytes written in whole pages since the start.", "device_bytes"),
    ("wharf_queue_commits_total", "counter", "Commits since the start.", "commits"),
    ("wharf_queue_failed_syncs_total", "counter", "Writes and syncs that failed since the start.", "failed_syncs"),
    ("wharf_queue_set_aside_total", "counter", "Segments found unreadable since the start.", "set_aside"),
];

fn uplinks(page: &mut Page, uplinks: &Json) {
    page.each("wharf_uplink_up", "gauge", "1 while the uplink is connected.", uplinks, "uplink", |uplink| {
        Some(flag(uplink["state"] == "up"))
    });
    for (name, kind, help, key) in UPLINK {
        page.each(name, kind, help, uplinks, "uplink", |uplink| uplink[key].as_f64());
    }
    for (name, kind, help, key) in QUEUE {
        page.each(name, kind, help, uplinks, "uplink", |uplink| uplink["queue"][key].as_f64());
    }
    let blocking = |uplink: &Json| uplink["queue"]["blocking"].as_bool().map(flag);
    let help = "1 while the queue is full and takes nothing more.";
    page.each("wharf_queue_blocking", "gauge", help, uplinks, "uplink", blocking);
    let oldest = |uplink: &Json| seconds(&uplink["queue"]["oldest"]);
    let help = "When the oldest waiting message was captured.";
    page.each("wharf_queue_oldest_timestamp_seconds", "gauge", help, uplinks, "uplink", oldest);
    let dropped = list(uplinks).iter().flat_map(|uplink| {
        let reasons = uplink["queue"]["dropped"].as_object().into_iter().flatten();
        reasons.map(|(reason, count)| {
            (Labels(vec![("uplink", text(&uplink["name"])), ("reason", reason)]), count.as_f64())
        })
    });
    page.metric("wharf_queue_dropped_total", "counter", "Messages dropped, by reason.", dropped);
}

fn bridge(page: &mut Page, bridge: &Json) {
    for (direction, passed, passed_help, lost, lost_help) in BRIDGE {
        let uplinks = || list(&bridge[direction]).iter();
        let samples = uplinks().map(|of| (Labels(vec![("uplink", text(&of["uplink"]))]), of["passed"].as_f64()));
        page.metric(passed, "counter", passed_help, samples);
        let dropped = uplinks().flat_map(|of| {
            let reasons = of["dropped"].as_object().into_iter().flatten();
            reasons.map(|(reason, count)| {
                (Labels(vec![("uplink", text(&of["uplink"])), ("reason", reason)]), count.as_f64())
            })
        });
        page.metric(lost, "counter", lost_help, dropped);
    }
    let down = list(&bridge["down"]).iter().filter_map(|uplink| uplink["unanswerable"].as_f64());
    let both = [("up", bridge["unanswerable"].as_f64()), ("down", bridge.is_object().then(|| down.sum()))];
    let samples = both.into_iter().map(|(direction, count)| (Labels(vec![("direction", direction)]), count));
    let help = "Messages that passed without the topic their sender wants an answer on.";
    page.metric("wharf_bridge_unanswerable_total", "counter", help, samples);
}

/// A sample's labels.
struct Labels<'a>(Vec<(&'static str, &'a str)>);

impl Labels<'_> {
    const NONE: Self = Self(Vec::new());
}

/// The text so far.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    /// One metric with its samples; without any it is left out.
    fn metric<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, Option<f64>)>,
    ) {
        let mut samples = samples.into_iter().filter_map(|(labels, value)| Some((labels, value?))).peekable();
        if samples.peek().is_none() {
            return;
        }
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            self.text.push_str(name);
            for (index, (label, text)) in labels.0.iter().enumerate() {
                let opening = if index == 0 { '{' } else { ',' };
                let _ = write!(self.text, "{opening}{label}=\"{}\"", escaped(text));
            }
            let closing = if labels.0.is_empty() { "" } else { "}" };
            let _ = writeln!(self.text, "{closing} {value}");
        }
    }

    /// One metric with a sample for each of a list, labelled with its name.
    fn each(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        all: &Json,
        label: &'static str,
        value: impl Fn(&Json) -> Option<f64>,
    ) {
        let samples = list(all).iter().map(|one| (Labels(vec![(label, text(&one["name"]))]), value(one)));
        self.metric(name, kind, help, samples);
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn list(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap_or_default()
}

fn flag(on: bool) -> f64 {
    if on { 1.0 } else { 0.0 }
}

fn seconds(milliseconds: &Json) -> Option<f64> {
    Some(milliseconds.as_f64()? / 1000.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_becomes_samples_with_help_and_type() {
        let text = render(&json!({
            "gateway": "gw1", "version": "9.9", "since": 1_795_219_869_500_u64,
            "links": [{ "name": "garden", "state": "degraded" }, { "name": "bus", "state": "offline", "requests": { "answered": 7, "silent": 2 },
                "counts": { "heard": 9 }, "refused": { "wrong_key": 3 } }],
            "uplinks": [{ "name": "central", "state": "up", "connects": 3, "in_flight": 7, "aside": 2, "queue": {
                "blocking": true, "captured": 12_345_678_901_u64, "waiting": 5, "oldest": null, "dropped": { "full": 2, "age": 0 },
            }}],
            "controllers": { "attached": 2, "dropped": 1 }, "broker": { "clients": 4, "refused_logins": 6, "missed": 8 }, "virtual_nodes": { "missed": 4 },
            "bridge": { "up": [{ "uplink": "central", "passed": 11, "dropped": { "no_room": 2 } }], "down": [], "unanswerable": 1 },
            "wear": { "disk_bytes": 64_000_000_000_u64 },
        }));
        for line in [
            "wharf_info{gateway=\"gw1\",version=\"9.9\"} 1",
            "wharf_start_time_seconds 1795219869.5",
            "wharf_link_up{link=\"garden\"} 1",
            "wharf_link_up{link=\"bus\"} 0",
            "wharf_link_requests_total{link=\"bus\",outcome=\"answered\"} 7",
            "wharf_link_requests_total{link=\"bus\",outcome=\"silent\"} 2",
            "wharf_link_counted_total{link=\"bus\",what=\"heard\"} 9",
            "wharf_link_refused_total{link=\"bus\",reason=\"wrong_key\"} 3",
            "wharf_uplink_in_flight{uplink=\"central\"} 7",
            "wharf_uplink_aside{uplink=\"central\"} 2",
            "wharf_queue_blocking{uplink=\"central\"} 1",
            "# TYPE wharf_queue_captured_total counter",
            "wharf_queue_captured_total{uplink=\"central\"} 12345678901",
            "wharf_queue_dropped_total{uplink=\"central\",reason=\"full\"} 2",
            "wharf_queue_dropped_total{uplink=\"central\",reason=\"age\"} 0",
            "wharf_controllers_attached 2",
            "wharf_controllers_dropped_total 1",
            "wharf_virtual_nodes_missed_total 4",
            "wharf_broker_clients 4",
            "wharf_broker_refused_total{what=\"logins\"} 6",
            "wharf_broker_dropped_total{why=\"missed\"} 8",
            "wharf_bridge_up_total{uplink=\"central\"} 11",
            "wharf_bridge_up_dropped_total{uplink=\"central\",reason=\"no_room\"} 2",
            "wharf_bridge_unanswerable_total{direction=\"up\"} 1",
            "wharf_disk_size_bytes 64000000000",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n---\n{text}");
        }
        // Nothing waits, so nothing is oldest; what is not known is not there.
        assert!(!text.contains("wharf_queue_oldest_timestamp_seconds") && !text.contains("commits"), "{text}");
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn labels_cannot_break_out_of_their_quotes() {
        let text = render(&json!({ "links": [{ "name": "a\"} 1\nb\\", "state": "online" }] }));
        assert!(text.contains("wharf_link_up{link=\"a\\\"} 1\\nb\\\\\"} 1\n"), "{text}");
    }

    #[test]
    fn a_gateway_that_is_not_there_is_down() {
        assert!(down().ends_with("wharf_up 0\n"));
    }
}
