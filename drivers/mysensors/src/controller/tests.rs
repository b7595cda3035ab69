use std::time::UNIX_EPOCH;

use super::*;
use crate::registry::names::NameSource;

/// A controller and what it knows, on a clock of its own.
struct Bench {
    controller: Controller,
    registry: Registry,
    now: Now,
}

impl Bench {
    fn of(rules: Rules) -> Self {
        let now = Now { clock: Instant::now(), time: UNIX_EPOCH + Duration::from_secs(1_795_219_869) };
        let registry = Registry::new("garden", NameSource::Numbers);
        Self { controller: Controller::new(rules, Zone::Fixed(3600)), registry, now }
    }

    fn local() -> Self {
        Self::of(Rules::of(Role::Local))
    }

    fn steps(&mut self, line: &str) -> Vec<Step> {
        let message = Message::parse(line.as_bytes()).unwrap();
        let was_known = self.registry.node(message.node).is_some();
        self.registry.hear(&message, self.now.time);
        self.controller.hear(&message, was_known, &mut self.registry, self.now)
    }

    /// What is said to a line.
    fn said(&mut self, line: &str) -> Vec<String> {
        said(&self.steps(line))
    }

    fn pass(&mut self, time: Duration) {
        self.now = Now { clock: self.now.clock + time, time: self.now.time + time };
    }
}

fn said(steps: &[Step]) -> Vec<String> {
    let said = steps.iter().filter_map(|step| match step {
        Step::Say(message) | Step::SayWhenStored(message) => Some(message.to_string()),
        Step::Tell(_) => None,
    });
    said.collect()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn only_a_local_controller_answers() {
    for role in [Role::None, Role::Upstream] {
        let mut bench = Bench::of(Rules::of(role));
        for line in
            ["255;255;3;0;3;", "2;255;3;0;6;0", "2;255;3;0;1;", "2;1;1;0;0;21", "2;1;2;0;0;", "0;255;3;0;14;ready"]
        {
            assert_eq!(bench.steps(line), [], "{role} {line}");
        }
    }
}

#[test]
fn a_number_is_said_only_when_it_is_stored_and_a_token_comes_back() {
    let mut bench = Bench::local();
    let answer = |line: &str| [Step::SayWhenStored(Message::parse(line.as_bytes()).unwrap())];
    assert_eq!(bench.steps("255;255;3;0;3;"), answer("255;255;3;0;4;1"));
    assert_eq!(bench.steps("255;17;3;0;3;"), answer("255;17;3;0;4;2"));
    assert_eq!(bench.steps("255;17;3;0;3;"), answer("255;17;3;0;4;2"), "the same node asks again");
    assert_eq!(bench.steps("255;18;3;0;3;"), answer("255;18;3;0;4;3"));
    bench.pass(SAME_TOKEN);
    assert_eq!(bench.steps("255;17;3;0;3;"), answer("255;17;3;0;4;4"), "another node may have the same token");
}

#[test]
fn units_time_and_values_are_answered() {
    let mut bench = Bench::local();
    bench.registry.wrote(2, 3, 2, "1");
    assert_eq!(bench.said("2;255;0;0;17;2.3.2"), [""; 0]);
    assert_eq!(bench.said("2;255;3;0;6;0"), ["2;255;3;0;6;M"]);
    // An hour ahead of UTC, as if it were UTC.
    assert_eq!(bench.said("2;255;3;0;1;"), ["2;255;3;0;1;1795223469"]);
    bench.said("2;3;0;0;3;Valve");
    assert_eq!(bench.said("2;3;2;0;2;"), ["2;3;1;0;2;1"]);
    assert_eq!(bench.said("2;3;2;0;17;"), [""; 0], "there is no such value");
}

#[test]
fn a_node_that_was_never_presented_is_asked_what_it_is_and_ever_less_often() {
    let mut bench = Bench::local();
    let question = ["2;255;3;0;19;"];
    assert_eq!(bench.said("2;1;1;0;0;21"), question);
    let mut asked = Vec::new();
    for second in 1..=4 * 3600 {
        bench.pass(SECOND);
        if bench.said("2;1;1;0;0;21") == question {
            asked.push(second);
        }
    }
    assert_eq!(asked, [60, 180, 420, 900, 1860, 3780, 7380, 10980]);
}

#[test]
fn a_child_that_was_never_presented_is_asked_for_and_a_presented_one_is_not() {
    let mut bench = Bench::local();
    assert_eq!(bench.said("2;255;0;0;17;2.3.2"), [""; 0]);
    assert_eq!(bench.said("2;1;0;0;6;Temp"), [""; 0]);
    assert_eq!(bench.said("2;1;1;0;0;21"), [""; 0]);
    assert_eq!(bench.said("2;2;1;0;0;21"), ["2;255;3;0;19;"]);
    assert_eq!(bench.said("0;5;1;0;0;21"), [""; 0], "the gateway is not asked");
}

#[test]
fn a_gateway_that_starts_is_followed_by_a_question_to_all_nodes_and_an_old_one_is_not() {
    let mut bench = Bench::local();
    assert_eq!(bench.said("0;255;3;0;14;Gateway startup complete."), ["255;255;3;0;20;"]);
    assert_eq!(bench.said("0;255;3;0;14;Gateway startup complete."), [""; 0], "not again at once");
    bench.pass(BETWEEN_DISCOVERS);
    assert_eq!(bench.said("0;255;3;0;14;Gateway startup complete."), ["255;255;3;0;20;"]);
    bench.pass(BETWEEN_DISCOVERS);
    bench.said("0;255;3;0;2;1.5.4");
    assert_eq!(bench.said("0;255;3;0;14;Gateway startup complete."), [""; 0]);
    assert_eq!(bench.said("2;1;1;0;0;21"), [""; 0], "and nodes of that time know no such question");
}

#[test]
fn numbers_only_during_inclusion_which_ends_by_itself() {
    let mut bench = Bench::of(Rules { numbers: Numbers::Inclusion, ..Rules::of(Role::Local) });
    assert_eq!(bench.said("255;255;3;0;3;"), [""; 0]);
    let why = |bench: &Bench| bench.controller.why_no_number(&bench.registry, bench.now.clock);
    assert_eq!(why(&bench), Some("the network is not open for new nodes"));
    let opened = bench.controller.open(true, &mut bench.registry, bench.now);
    let state = Message::parse(b"0;255;3;0;5;1").unwrap();
    assert_eq!(opened, [Step::Say(state.clone()), Step::Tell(state)]);
    assert_eq!(bench.said("255;255;3;0;3;"), ["255;255;3;0;4;1"]);

    let until = bench.controller.until(&bench.registry, bench.now.clock).unwrap();
    assert_eq!(until - bench.now.clock, Duration::from_secs(60));
    bench.pass(Duration::from_secs(60));
    assert_eq!(said(&bench.controller.tick(&bench.registry, bench.now.clock)), ["0;255;3;0;5;0"]);
    assert_eq!(bench.controller.until(&bench.registry, bench.now.clock), None);
    assert_eq!(bench.said("255;255;3;0;3;"), [""; 0]);

    // The button on the gateway does it too.
    bench.said("0;255;3;0;5;1");
    assert_eq!(bench.said("255;255;3;0;3;"), ["255;255;3;0;4;2"]);
    bench.said("0;255;3;0;5;0");
    assert_eq!(bench.said("255;255;3;0;3;"), [""; 0]);
}

#[test]
fn after_what_was_known_got_lost_no_number_is_given_until_somebody_opens_the_network() {
    let mut bench = Bench::local();
    bench.registry.forget();
    assert_eq!(bench.said("255;255;3;0;3;"), [""; 0]);
    bench.controller.open(true, &mut bench.registry, bench.now);
    assert_eq!(bench.said("255;255;3;0;3;"), ["255;255;3;0;4;1"]);
}

#[test]
fn when_everything_upstream_has_been_away_long_enough_it_answers_in_its_place() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let mut bench = Bench::of(Rules { take_over: Some(minutes(10)), ..Rules::of(Role::Upstream) });
    bench.controller.upstream(false, bench.now.clock);
    bench.pass(minutes(9));
    bench.controller.upstream(false, bench.now.clock);
    assert_eq!(bench.said("2;255;3;0;6;0"), [""; 0]);
    bench.pass(minutes(1));
    assert_eq!(bench.said("2;255;3;0;6;0").first().map(String::as_str), Some("2;255;3;0;6;M"));
    let took_over = [(); 2].map(|()| bench.controller.took_over(bench.now.clock));
    assert_eq!(took_over, [Some(true), None], "it is said once");
    bench.controller.upstream(true, bench.now.clock);
    assert_eq!(bench.controller.took_over(bench.now.clock), Some(false));
    assert_eq!(bench.said("2;255;3;0;6;0"), [""; 0]);
}

#[test]
fn a_second_controller_is_noticed_by_what_it_sends_and_by_what_it_gave_away() {
    let relays = |line: &str| {
        let mut bench = Bench::local();
        let message = Message::parse(line.as_bytes()).unwrap();
        bench.controller.relayed(&message, &mut bench.registry, bench.now);
        bench.controller.rivals_seen()
    };
    assert_eq!((relays("255;255;3;0;4;9"), relays("2;255;3;0;6;M"), relays("2;255;3;0;1;123")), (1, 1, 1));
    assert_eq!((relays("2;1;1;0;2;1"), relays("2;255;3;0;13;"), relays("2;255;3;0;1;")), (0, 0, 0));

    let mut bench = Bench::local();
    bench.said("5;255;0;0;17;2.3.2");
    assert_eq!(bench.said("255;255;3;0;3;"), ["255;255;3;0;4;1"]);
    bench.said("5;255;3;0;0;87");
    assert_eq!(bench.controller.rival(bench.now.clock), None, "node 5 was there before");
    bench.said("9;255;0;0;17;2.3.2");
    let words = bench.controller.rival(bench.now.clock).unwrap();
    assert!(words.starts_with("node 9 came up when a new node was given the number 1"), "{words}");
    bench.pass(Duration::from_secs(600));
    assert_eq!(bench.controller.rival(bench.now.clock), None, "it has not happened again");
    assert_eq!(bench.controller.rivals_seen(), 1);
}

#[test]
fn a_node_that_takes_its_number_is_no_second_controller() {
    let mut bench = Bench::local();
    bench.said("255;255;3;0;3;");
    bench.said("1;255;0;0;17;2.3.2");
    bench.said("9;255;0;0;17;2.3.2");
    assert_eq!(bench.controller.rivals_seen(), 0);
}

#[test]
fn a_silent_node_is_asked_for_a_sign_of_life_and_a_sleeping_one_is_left_alone() {
    let hour = Duration::from_secs(3600);
    let mut bench = Bench::of(Rules { heartbeat: Some(hour), ..Rules::of(Role::Local) });
    bench.said("2;255;0;0;17;2.3.2");
    bench.said("3;255;0;0;17;2.3.2");
    bench.said("3;255;3;0;32;500");
    bench.said("4;255;0;0;17;1.5.1");
    let until = bench.controller.until(&bench.registry, bench.now.clock).unwrap();
    assert_eq!(until - bench.now.clock, hour);
    bench.pass(hour);
    assert_eq!(said(&bench.controller.tick(&bench.registry, bench.now.clock)), ["2;255;3;0;18;"]);
    assert_eq!(bench.controller.tick(&bench.registry, bench.now.clock), []);
    let again = bench.controller.until(&bench.registry, bench.now.clock).unwrap();
    assert_eq!(again - bench.now.clock, hour);
}

#[test]
fn a_number_that_a_controller_upstream_gave_is_not_given_again_by_the_one_that_stands_in() {
    let take_over = Some(SECOND * 600);
    let mut bench = Bench::of(Rules { take_over, ..Rules::of(Role::Upstream) });
    for line in ["255;255;3;0;4;1", "255;255;3;0;4;255", "255;255;3;0;4;x"] {
        let given = Message::parse(line.as_bytes()).unwrap();
        bench.controller.relayed(&given, &mut bench.registry, bench.now);
    }
    bench.controller.upstream(false, bench.now.clock);
    bench.pass(SECOND * 600);
    assert_eq!(bench.said("255;255;3;0;3;"), ["255;255;3;0;4;2"]);
}

#[test]
fn a_token_that_comes_again_after_its_number_was_taken_up_is_of_another_node() {
    let mut bench = Bench::local();
    assert_eq!(bench.said("255;17;3;0;3;"), ["255;17;3;0;4;1"]);
    assert_eq!(bench.said("255;17;3;0;3;"), ["255;17;3;0;4;1"], "the answer got lost");
    bench.said("1;255;0;0;17;2.4.0");
    assert_eq!(bench.said("255;17;3;0;3;"), ["255;17;3;0;4;2"]);
    assert_eq!(bench.said("255;17;3;0;3;"), ["255;17;3;0;4;2"]);
}

#[test]
fn a_clock_that_was_not_set_is_told_to_nobody() {
    let mut bench = Bench::local();
    bench.now.time = UNIX_EPOCH + SECOND * 40;
    assert_eq!(bench.said("2;255;0;0;17;2.3.2"), [""; 0]);
    assert_eq!(bench.said("2;255;3;0;1;"), [""; 0], "it asks again");
}
