use std::time::SystemTime;

use wharf_mysensors::paced::PAUSE;

use super::*;

/// How long the gateway has been running.
const UP: Duration = Duration::from_secs(60);

fn reading(device: &str, point: &str, value: Value, unit: &str) -> Reading {
    let mut reading = Reading::good(device.into(), point.into(), value, SystemTime::UNIX_EPOCH);
    reading.unit = Some(unit).filter(|unit| !unit.is_empty()).map(Unit::from);
    reading
}

fn temperature(device: &str, value: f64) -> Reading {
    reading(device, "temperature", Value::Float(value), "°C")
}

fn lines(said: &[Said]) -> Vec<String> {
    said.iter().map(|said| said.message.to_string()).collect()
}

fn nodes() -> Nodes {
    Nodes::new("", HashMap::new(), Rules::new())
}

fn ask(nodes: &mut Nodes, line: &str) -> Reply {
    nodes.asked(&Message::parse(line.as_bytes()).unwrap(), UP, Instant::now())
}

fn said(reply: Reply) -> Vec<String> {
    match reply {
        Reply::Say(said) => lines(&said),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_device_presents_itself_before_its_first_value() {
    let mut nodes = nodes();
    let heard = lines(&nodes.hear(&temperature("fridge", 4.5), Instant::now()));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        heard,
        [
            "200;255;0;0;17;2.3.2",
            "200;255;3;0;11;fridge",
            &format!("200;255;3;0;12;{version}"),
            "200;1;0;0;6;temperature",
            "200;1;1;0;0;4.5",
        ]
    );
    assert_eq!(lines(&nodes.hear(&temperature("fridge", 5.0), Instant::now())), ["200;1;1;0;0;5"]);
    let other = lines(&nodes.hear(&reading("fridge", "signal", Value::Int(-60), "dBm"), Instant::now()));
    assert_eq!(other, ["200;2;0;0;23;signal", "200;2;1;0;43;dBm", "200;2;1;0;24;-60"]);
}

#[test]
fn the_battery_is_the_nodes_own_and_no_child() {
    let mut nodes = nodes();
    nodes.hear(&temperature("fridge", 4.5), Instant::now());
    let battery = |level| reading("fridge", "battery", Value::Float(level), "%");
    assert_eq!(lines(&nodes.hear(&battery(86.6), Instant::now())), ["200;255;3;0;0;87"]);
    // One that has no percentage is a voltage like any other.
    let volts = reading("fridge", "battery", Value::Float(3.1), "V");
    assert_eq!(lines(&nodes.hear(&volts, Instant::now())), ["200;2;0;0;30;battery", "200;2;1;0;38;3.1"]);
}

#[test]
fn a_value_that_is_not_good_is_not_said() {
    let mut nodes = nodes();
    let now = Instant::now();
    assert_eq!(nodes.hear(&Reading::bad("fridge".into(), "temperature".into(), "?", SystemTime::UNIX_EPOCH), now), []);
    let stale = Reading { quality: Quality::Stale, ..temperature("fridge", 4.5) };
    assert_eq!(nodes.hear(&stale, now), []);
    assert_eq!(nodes.numbers().count(), 0);
}

#[test]
fn numbers_are_kept_over_a_restart_whatever_is_heard_first() {
    let mut before = nodes();
    for device in ["a", "b", "c"] {
        before.hear(&temperature(device, 1.0), Instant::now());
    }
    before.hear(&reading("b", "humidity", Value::Float(50.0), "%"), Instant::now());
    assert!(before.take_news() && !before.take_news());

    let mut after = Nodes::new(&before.to_text(), HashMap::new(), Rules::new());
    assert_eq!(after.to_text(), before.to_text());
    assert_eq!(
        lines(&after.hear(&reading("b", "humidity", Value::Float(51.0), "%"), Instant::now())),
        ["199;2;1;0;1;51"]
    );
    assert_eq!(lines(&after.hear(&temperature("c", 2.0), Instant::now())), ["198;1;1;0;0;2"]);
    assert!(!after.take_news());
    let presented = lines(&after.present_all(Instant::now()));
    assert!(presented.contains(&"200;1;0;0;6;temperature".to_owned()), "what was not heard yet is presented, too");
}

#[test]
fn a_number_that_the_site_file_gives_comes_before_what_was_kept() {
    let mut before = nodes();
    before.hear(&temperature("a", 1.0), Instant::now());
    before.hear(&temperature("b", 1.0), Instant::now());
    let stated = HashMap::from([("b".into(), 200)]);
    let mut after = Nodes::new(&before.to_text(), stated, Rules::new());
    assert_eq!(lines(&after.hear(&temperature("b", 2.0), Instant::now())), ["200;1;1;0;0;2"]);
    assert_eq!(lines(&after.hear(&temperature("a", 2.0), Instant::now())).last().unwrap(), "199;1;1;0;0;2");
}

#[test]
fn a_text_that_makes_no_sense_is_none() {
    for text in [
        "{",
        "[]",
        "{\"nodes\":7}",
        "{\"nodes\":[{\"node\":255,\"device\":\"a\"},{\"node\":0,\"device\":\"b\"},{}]}",
        "{\"nodes\":[{\"node\":7,\"device\":\"a\",\"children\":[{\"child\":1,\"point\":\"p\",\"sensor\":900,\"value\":1}]}]}",
    ] {
        let mut nodes = Nodes::new(text, HashMap::new(), Rules::new());
        assert!(!nodes.hear(&temperature("fridge", 1.0), Instant::now()).is_empty(), "{text}");
    }
}

#[test]
fn there_are_254_nodes_and_254_children_and_what_does_not_fit_is_told_once() {
    let mut nodes = nodes();
    for n in 0..300 {
        nodes.hear(&temperature(&format!("d{n}"), 1.0), Instant::now());
        nodes.hear(&temperature(&format!("d{n}"), 2.0), Instant::now());
    }
    assert_eq!(nodes.numbers().count(), 254);
    let told = nodes.take_left_out();
    assert_eq!((told.len(), told[0].as_str()), (46, "d254: all 254 node numbers are taken"));
    for n in 0..300 {
        nodes.hear(&reading("d0", &format!("p{n}"), Value::Int(1), ""), Instant::now());
    }
    assert_eq!(nodes.take_left_out(), ["d0/p253: all 254 children are taken"]);
}

#[test]
fn values_are_said_again_a_moment_after_a_presentation() {
    let mut nodes = nodes();
    let now = Instant::now();
    assert_eq!(nodes.until(), None);
    nodes.hear(&temperature("fridge", 4.5), now);
    nodes.hear(&temperature("fridge", 4.75), now);
    let due = nodes.until().unwrap();
    assert_eq!(nodes.due(UP, now), []);
    assert_eq!(lines(&nodes.due(UP, due)), ["200;1;1;0;0;4.75"]);
    assert_eq!((nodes.due(UP, due), nodes.until()), (Vec::new(), None));
}

#[test]
fn a_controller_gets_what_it_asks_for() {
    let mut nodes = nodes();
    nodes.hear(&temperature("fridge", 4.5), Instant::now());
    nodes.hear(&temperature("attic", 30.0), Instant::now());
    assert_eq!(said(ask(&mut nodes, "255;255;3;0;20;")), ["199;255;3;0;21;0", "200;255;3;0;21;0"]);
    assert_eq!(said(ask(&mut nodes, "200;255;3;0;2;")), ["200;255;3;0;2;2.3.2"]);
    assert_eq!(said(ask(&mut nodes, "200;255;3;0;18;")), ["200;255;3;0;22;60000"]);
    assert_eq!(said(ask(&mut nodes, "200;1;2;0;0;")), ["200;1;1;0;0;4.5"]);
    let presented = said(ask(&mut nodes, "200;255;3;0;19;"));
    assert_eq!(presented.first().unwrap(), "200;255;0;0;17;2.3.2");
    assert_eq!(presented.last().unwrap(), "200;1;1;0;0;4.5");
    let later = |nodes: &mut Nodes, line: &str, times| {
        said(nodes.asked(&Message::parse(line.as_bytes()).unwrap(), UP, Instant::now() + PAUSE * times))
    };
    assert_eq!(later(&mut nodes, "200;255;3;0;13;", 2), presented);
    assert_eq!(later(&mut nodes, "255;255;3;0;19;", 4).len(), 10);
    assert_eq!(said(ask(&mut nodes, "255;255;3;0;5;1")), [""; 0]);
    for (line, why) in [
        ("200;7;2;0;0;", "fridge has no child 7"),
        ("200;1;2;0;1;", "child 1 of fridge has V_TEMP, not V_HUM"),
        ("9;1;2;0;1;", "there is no virtual node 9"),
        ("200;255;4;0;0;01", "a virtual node has no answer to that"),
        ("200;255;3;0;6;0", "a virtual node has no answer to that"),
        ("200;1;1;0;0;warm", "`warm` is no value of V_TEMP"),
    ] {
        assert_eq!(ask(&mut nodes, line), Reply::Refuse(why.into()), "{line}");
    }
}

#[test]
fn what_a_controller_sets_is_written_to_the_device_behind_the_node() {
    let rules = Rules::from([(("tank".into(), "valve".into()), Arc::new(WriteRule::default()))]);
    let mut nodes = Nodes::new("", HashMap::new(), rules);
    nodes.hear(&reading("tank", "valve", Value::Bool(false), ""), Instant::now());
    let write = Reply::Write { device: "tank".into(), point: "valve".into(), value: Value::Bool(true) };
    assert_eq!(ask(&mut nodes, "200;1;1;1;2;1"), write);
    assert_eq!(ask(&mut nodes, "200;1;1;1;2;on"), Reply::Refuse("`on` is no value of V_STATUS".into()));
}

#[test]
fn a_point_that_has_become_something_else_is_presented_anew() {
    let mut nodes = nodes();
    nodes.hear(&reading("d", "p", Value::Int(1), "W"), Instant::now());
    nodes.take_news();
    let heard = lines(&nodes.hear(&reading("d", "p", Value::Int(1), "kWh"), Instant::now()));
    assert_eq!(heard, ["200;1;0;0;13;p", "200;1;1;0;18;1"]);
    assert!(nodes.take_news());
}

#[test]
fn devices_that_are_not_shown_any_more_leave_their_numbers() {
    let mut nodes = nodes();
    nodes.hear(&temperature("a", 1.0), Instant::now());
    nodes.hear(&temperature("b", 1.0), Instant::now());
    nodes.take_news();
    nodes.retain(|device| device.as_str() == "b");
    assert!(nodes.take_news());
    assert_eq!(nodes.numbers().collect::<Vec<_>>(), [199]);
    assert!(lines(&nodes.hear(&temperature("c", 1.0), Instant::now())).contains(&"200;1;1;0;0;1".to_owned()));
}

#[test]
fn numbers_leave_room_for_a_controller_that_counts_on_from_the_highest_it_knows() {
    let mut nodes = nodes();
    for n in 0..200 {
        nodes.hear(&temperature(&format!("d{n}"), 1.0), Instant::now());
    }
    assert_eq!(nodes.numbers().collect::<Vec<_>>(), (1..=200).collect::<Vec<_>>());
    nodes.hear(&temperature("one-more", 1.0), Instant::now());
    assert_eq!(nodes.numbers().last(), Some(201));
}

#[test]
fn nothing_is_said_again_of_a_device_that_does_not_answer() {
    let mut nodes = nodes();
    let now = Instant::now();
    nodes.hear(&temperature("fridge", 4.5), now);
    nodes.hear(&reading("fridge", "battery", Value::Int(80), "%"), now);
    nodes.hear(&temperature("attic", 30.0), now);
    nodes.device(&"fridge".into(), false);
    // It is still a node, but there is no sign of life and no value of it.
    let presented = lines(&nodes.present_all(now));
    assert!(presented.contains(&"200;1;0;0;6;temperature".to_owned()));
    let values = |said: &[String]| -> Vec<String> {
        said.iter().filter(|line| line.contains(";1;1;0;") || line.contains(";255;3;0;0;")).cloned().collect()
    };
    assert_eq!(values(&presented), ["199;1;1;0;0;30"]);
    let due = nodes.until().unwrap();
    assert_eq!(lines(&nodes.due(UP, due)), ["199;1;1;0;0;30"]);
    assert_eq!(lines(&nodes.discover_all()), ["199;255;3;0;21;0"]);
    assert_eq!(said(ask(&mut nodes, "255;255;3;0;18;")), ["199;255;3;0;22;60000"]);
    assert_eq!(ask(&mut nodes, "200;255;3;0;18;"), Reply::Refuse("fridge is offline".into()));
    assert_eq!(ask(&mut nodes, "200;1;2;0;0;"), Reply::Refuse("its value is not known".into()));

    nodes.device(&"fridge".into(), true);
    assert_eq!(lines(&nodes.discover_all()).len(), 2);
    assert_eq!(lines(&nodes.hear(&temperature("fridge", 5.0), now)), ["200;1;1;0;0;5"]);
    assert_eq!(said(ask(&mut nodes, "200;1;2;0;0;")), ["200;1;1;0;0;5"]);
}

#[test]
fn a_value_that_is_not_good_any_more_is_not_said_again() {
    let mut nodes = nodes();
    let now = Instant::now();
    nodes.hear(&temperature("fridge", 4.5), now);
    nodes.hear(&Reading { quality: Quality::Stale, ..temperature("fridge", 4.5) }, now);
    assert!(lines(&nodes.present_all(now)).iter().all(|line| !line.contains(";1;1;0;0;")));
    assert_eq!(ask(&mut nodes, "200;1;2;0;0;"), Reply::Refuse("its value is not known".into()));
}

fn nodes_with(device: &str, point: &str, rule: WriteRule) -> Nodes {
    Nodes::new("", HashMap::new(), Rules::from([((device.into(), point.into()), Arc::new(rule))]))
}

#[test]
fn a_setpoint_is_a_thermostat_that_heats() {
    let rule = WriteRule { min: Some(5.0), max: Some(80.0), ..WriteRule::default() };
    let mut nodes = nodes_with("tank", "setpoint", rule);
    let heard = lines(&nodes.hear(&reading("tank", "setpoint", Value::Float(21.5), "°C"), Instant::now()));
    assert_eq!(heard[3..], ["200;1;0;0;29;setpoint", "200;1;1;0;21;HeatOn", "200;1;1;0;45;21.5"]);
    assert_eq!(said(ask(&mut nodes, "200;1;2;0;45;")), ["200;1;1;0;45;21.5"]);
    let write = Reply::Write { device: "tank".into(), point: "setpoint".into(), value: Value::Int(30) };
    assert_eq!(ask(&mut nodes, "200;1;1;1;45;30"), write);
    assert_eq!(ask(&mut nodes, "200;1;1;1;21;Off"), Reply::Refuse("`Off` is no value of V_HVAC_FLOW_STATE".into()));
}

#[test]
fn a_dimmer_is_on_or_off_as_well() {
    let rule = WriteRule { min: Some(0.0), max: Some(90.0), ..WriteRule::default() };
    let mut nodes = nodes_with("tank", "position", rule);
    let position = |value| reading("tank", "position", Value::Int(value), "%");
    let heard = lines(&nodes.hear(&position(40), Instant::now()));
    assert_eq!(heard[3..], ["200;1;0;0;4;position", "200;1;1;0;2;1", "200;1;1;0;3;40"]);
    let write = |value| Reply::Write { device: "tank".into(), point: "position".into(), value };
    // On is as it is; off and on again is all there may be.
    assert_eq!(ask(&mut nodes, "200;1;1;1;2;1"), write(Value::Int(40)));
    assert_eq!(ask(&mut nodes, "200;1;1;1;2;0"), write(Value::Int(0)));
    assert_eq!(lines(&nodes.hear(&position(0), Instant::now())), ["200;1;1;0;2;0", "200;1;1;0;3;0"]);
    assert_eq!(ask(&mut nodes, "200;1;1;1;2;1"), write(Value::Float(90.0)));
    assert_eq!(ask(&mut nodes, "200;1;1;1;3;25"), write(Value::Int(25)));
}

#[test]
fn a_controller_that_asks_in_a_loop_is_answered_at_once_and_then_once_in_ten_seconds() {
    let (mut nodes, start) = (nodes(), Instant::now());
    for device in ["fridge", "attic"] {
        nodes.hear(&temperature(device, 4.5), start);
    }
    let mut now = start + VALUES_FOLLOW;
    nodes.due(UP, now);
    let heard = |said: &[String], line: &str| said.iter().filter(|said| said.ends_with(line)).count();
    let mut told = Vec::new();
    let questions = ["200;255;3;0;19;", "255;255;3;0;19;", "199;255;3;0;13;", "255;255;3;0;20;", "255;255;3;0;18;"];
    for _ in 0..250 {
        for question in questions {
            told.extend(said(nodes.asked(&Message::parse(question.as_bytes()).unwrap(), UP, now)));
        }
        now += Duration::from_millis(100);
        told.extend(lines(&nodes.due(UP, now)));
    }
    for line in ["200;1;0;0;6;temperature", "199;1;0;0;6;temperature", "200;255;3;0;21;0", "200;255;3;0;22;60000"] {
        assert_eq!(heard(&told, line), 3, "{line}");
    }
    // Each question for all is one for each node where it is the presentation.
    assert_eq!(nodes.take_coalesced(), 250 * 6 - 4);
    // Whoever asked after the last answer has one more, and then there is silence.
    let mut last = Vec::new();
    while let Some(due) = nodes.until() {
        last.extend(lines(&nodes.due(UP, due)));
    }
    assert_eq!(heard(&last, "200;1;0;0;6;temperature"), 1);
    // One value costs one message, and is answered each time.
    let value = "200;1;2;0;0;";
    assert_eq!([said(ask(&mut nodes, value)), said(ask(&mut nodes, value))], [["200;1;1;0;0;4.5"]; 2]);
}
