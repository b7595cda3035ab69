//! What the simulated network says and does.

use proptest::prelude::*;

use super::*;

const START: Duration = Duration::from_secs(10);

fn running() -> Network {
    let mut network = Network::default();
    network.start(START);
    network
}

/// What the network says in answer, a line each.
fn answer(network: &mut Network, heard: &str) -> String {
    network.hear(heard, START).join("\n")
}

#[test]
fn a_gateway_that_starts_says_so_and_its_nodes_present_themselves() {
    let lines = Network::default().start(START);
    assert_eq!(lines[0], "0;255;3;0;14;Gateway startup complete.");
    assert_eq!(
        lines[1..6],
        ["1;255;0;0;17;2.3.2", "1;255;3;0;11;Greenhouse", "1;255;3;0;12;1.0", "1;1;0;0;6;air", "1;2;0;0;7;air",]
    );
    for expected in ["2;1;0;0;38;goat", "3;1;0;0;35;bed 1", "3;3;0;0;3;bed 1"] {
        assert!(lines.iter().any(|line| line == expected), "{expected} is missing");
    }
}

#[test]
fn every_value_is_sent_within_seconds_of_the_start() {
    let mut network = running();
    let mut lines = Vec::new();
    while let Some(next) = network.next().filter(|next| *next < START + Duration::from_millis(1_900)) {
        lines.extend(network.speak(next));
    }
    for expected in ["1;1;1;0;0;", "1;2;1;0;1;", "1;255;3;0;0;97", "2;1;1;0;49;", "3;1;1;0;37;", "3;3;1;0;2;0"] {
        assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected} is missing from {lines:?}");
    }
    assert_eq!(lines.len(), REPORTS.len());
}

#[test]
fn values_keep_coming_and_a_stall_is_not_made_up_for() {
    let mut network = running();
    let late = START + Duration::from_secs(3_600);
    assert_eq!(network.speak(late).len(), REPORTS.len());
    assert!(network.speak(late).is_empty());
    assert_eq!(network.next(), Some(late + Duration::from_secs(2)));
}

#[test]
fn a_gateway_that_was_not_started_or_was_halted_is_silent() {
    let mut network = Network::default();
    assert!(network.next().is_none() && network.speak(START).is_empty() && !network.is_running());
    network.start(START);
    network.hear("3;3;1;0;2;1", START);
    network.halt();
    assert!(network.next().is_none() && network.speak(START).is_empty() && !network.is_running());
    network.start(START);
    assert_eq!(answer(&mut network, "3;3;2;0;2;"), "3;3;1;0;2;1", "the valve stands as it was left");
}

#[test]
fn a_valve_that_is_set_echoes_when_asked_and_shows_it_in_its_next_reading() {
    let mut network = running();
    assert_eq!(answer(&mut network, "3;3;1;1;2;1"), "3;3;1;1;2;1\n3;3;1;0;2;1");
    assert_eq!(answer(&mut network, "3;3;1;0;2;0"), "3;3;1;0;2;0");
    assert_eq!(answer(&mut network, "3;3;1;0;2;1"), "3;3;1;0;2;1");
    // Neither on nor off: the echo says what was received, the reading how the valve stands.
    assert_eq!(answer(&mut network, "3;3;1;1;2;open"), "3;3;1;1;2;open\n3;3;1;0;2;1");
}

#[test]
fn an_open_valve_waters_the_soil_and_a_closed_one_lets_it_dry() {
    let mut network = running();
    let mut moisture = |heard: &str, seconds| {
        let now = START + Duration::from_secs(seconds);
        network.hear(heard, now);
        let told = network.hear("3;1;2;0;37;", now).join("");
        told.strip_prefix("3;1;1;0;37;").unwrap().parse::<f64>().unwrap()
    };
    let dry = moisture("3;3;1;0;2;1", 0);
    let wet = moisture("3;3;1;0;2;0", 60);
    let drying = moisture("", 120);
    assert!(dry + 5.0 < wet && drying + 5.0 < wet, "{dry} {wet} {drying}");
}

#[test]
fn questions_are_answered_by_whom_they_are_for() {
    for (heard, expected) in [
        ("0;255;3;0;2;", "0;255;3;0;2;2.3.2"),
        ("0;255;3;0;2;\r", "0;255;3;0;2;2.3.2"),
        ("2;255;3;0;18;", "2;255;3;0;22;10000"),
        ("255;255;3;0;20;", "1;255;3;0;21;0\n2;255;3;0;21;0\n3;255;3;0;21;0"),
        ("2;255;3;0;19;", "2;255;0;0;17;2.3.2\n2;255;3;0;11;Tracker\n2;255;3;0;12;1.0\n2;1;0;0;38;goat"),
        ("3;3;2;0;2;", "3;3;1;0;2;0"),
        ("1;9;2;0;0;", ""),
        ("200;1;1;1;2;1", ""),
        ("hello", ""),
        ("1;1;1;0;2", ""),
        ("1;1;1;0;999;1", ""),
        ("", ""),
    ] {
        assert_eq!(answer(&mut running(), heard), expected, "{heard}");
    }
}

#[test]
fn the_tracker_walks_a_little() {
    assert_eq!(position(Duration::ZERO), "55.722526,13.017972,18");
    for second in 0..300 {
        let told = position(Duration::from_secs(second));
        let parts: Vec<f64> = told.split(',').map(|part| part.parse().unwrap()).collect();
        assert!((parts[0] - 55.7225).abs() < 0.001 && (parts[1] - 13.018).abs() < 0.001, "{told}");
        assert!(told.len() <= 25, "{told} does not fit into a radio message");
    }
    assert_ne!(position(Duration::from_secs(2)), position(Duration::from_secs(4)));
}

#[test]
fn a_battery_runs_down_and_stays_a_percentage() {
    assert_eq!(battery(Duration::ZERO), 97);
    assert_eq!(battery(curve::DAY * 3), 94);
    assert_eq!(battery(curve::DAY * 1_000), 5);
}

proptest! {
    #[test]
    fn no_line_makes_it_panic(heard in ".{0,60}", fields in "[0-9]{1,3}(;[0-9]{1,3}){4};.{0,30}") {
        let mut network = running();
        network.hear(&heard, START);
        network.hear(&fields, START);
    }
}
