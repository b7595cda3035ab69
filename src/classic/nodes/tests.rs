use super::*;

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
    nodes.asked(&Message::parse(line.as_bytes()).unwrap(), Duration::from_secs(60), Instant::now())
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
            "254;255;0;0;17;2.3.2",
            "254;255;3;0;11;fridge",
            &format!("254;255;3;0;12;{version}"),
            "254;1;0;0;6;temperature",
            "254;1;1;0;0;4.5",
        ]
    );
    assert_eq!(lines(&nodes.hear(&temperature("fridge", 5.0), Instant::now())), ["254;1;1;0;0;5"]);
    let other = lines(&nodes.hear(&reading("fridge", "signal", Value::Int(-60), "dBm"), Instant::now()));
    assert_eq!(other, ["254;2;0;0;23;signal", "254;2;1;0;43;dBm", "254;2;1;0;24;-60"]);
}

#[test]
fn the_battery_is_the_nodes_own_and_no_child() {
    let mut nodes = nodes();
    nodes.hear(&temperature("fridge", 4.5), Instant::now());
    let battery = |level| reading("fridge", "battery", Value::Float(level), "%");
    assert_eq!(lines(&nodes.hear(&battery(86.6), Instant::now())), ["254;255;3;0;0;87"]);
    // One that has no percentage is a voltage like any other.
    let volts = reading("fridge", "battery", Value::Float(3.1), "V");
    assert_eq!(lines(&nodes.hear(&volts, Instant::now())), ["254;2;0;0;30;battery", "254;2;1;0;38;3.1"]);
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
        ["253;2;1;0;1;51"]
    );
    assert_eq!(lines(&after.hear(&temperature("c", 2.0), Instant::now())), ["252;1;1;0;0;2"]);
    assert!(!after.take_news());
    let presented = lines(&after.present_all(Instant::now()));
    assert!(presented.contains(&"254;1;0;0;6;temperature".to_owned()), "what was not heard yet is presented, too");
}

#[test]
fn a_number_that_the_site_file_gives_comes_before_what_was_kept() {
    let mut before = nodes();
    before.hear(&temperature("a", 1.0), Instant::now());
    before.hear(&temperature("b", 1.0), Instant::now());
    let stated = HashMap::from([("b".into(), 254)]);
    let mut after = Nodes::new(&before.to_text(), stated, Rules::new());
    assert_eq!(lines(&after.hear(&temperature("b", 2.0), Instant::now())), ["254;1;1;0;0;2"]);
    assert_eq!(lines(&after.hear(&temperature("a", 2.0), Instant::now())).last().unwrap(), "253;1;1;0;0;2");
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
    assert_eq!(nodes.due(now), []);
    assert_eq!(lines(&nodes.due(due)), ["254;1;1;0;0;4.75"]);
    assert_eq!((nodes.due(due), nodes.until()), (Vec::new(), None));
}

#[test]
fn a_controller_gets_what_it_asks_for() {
    let mut nodes = nodes();
    nodes.hear(&temperature("fridge", 4.5), Instant::now());
    nodes.hear(&temperature("attic", 30.0), Instant::now());
    assert_eq!(said(ask(&mut nodes, "255;255;3;0;20;")), ["253;255;3;0;21;0", "254;255;3;0;21;0"]);
    assert_eq!(said(ask(&mut nodes, "254;255;3;0;2;")), ["254;255;3;0;2;2.3.2"]);
    assert_eq!(said(ask(&mut nodes, "254;255;3;0;18;")), ["254;255;3;0;22;60000"]);
    assert_eq!(said(ask(&mut nodes, "254;1;2;0;0;")), ["254;1;1;0;0;4.5"]);
    let presented = said(ask(&mut nodes, "254;255;3;0;19;"));
    assert_eq!(presented.first().unwrap(), "254;255;0;0;17;2.3.2");
    assert_eq!(presented.last().unwrap(), "254;1;1;0;0;4.5");
    assert_eq!(said(ask(&mut nodes, "254;255;3;0;13;")), presented);
    assert_eq!(said(ask(&mut nodes, "255;255;3;0;19;")).len(), 10);
    assert_eq!(said(ask(&mut nodes, "255;255;3;0;5;1")), [""; 0]);
    for (line, why) in [
        ("254;7;2;0;0;", "fridge has no child 7"),
        ("254;1;2;0;1;", "child 1 of fridge has V_TEMP, not V_HUM"),
        ("9;1;2;0;1;", "there is no virtual node 9"),
        ("254;255;4;0;0;01", "a virtual node has no answer to that"),
        ("254;255;3;0;6;0", "a virtual node has no answer to that"),
        ("254;1;1;0;0;warm", "`warm` is no value of V_TEMP"),
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
    assert_eq!(ask(&mut nodes, "254;1;1;1;2;1"), write);
    assert_eq!(ask(&mut nodes, "254;1;1;1;2;on"), Reply::Refuse("`on` is no value of V_STATUS".into()));
}

#[test]
fn a_point_that_has_become_something_else_is_presented_anew() {
    let mut nodes = nodes();
    nodes.hear(&reading("d", "p", Value::Int(1), "W"), Instant::now());
    nodes.take_news();
    let heard = lines(&nodes.hear(&reading("d", "p", Value::Int(1), "kWh"), Instant::now()));
    assert_eq!(heard, ["254;1;0;0;13;p", "254;1;1;0;18;1"]);
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
    assert_eq!(nodes.numbers().collect::<Vec<_>>(), [253]);
    assert!(lines(&nodes.hear(&temperature("c", 1.0), Instant::now())).contains(&"254;1;1;0;0;1".to_owned()));
}
