//! Sessions and subscriptions that the broker has lost, refused or made up.

use std::thread::sleep;
use std::time::Duration;

use super::{Bench, HONEST, in_both, valve};
use crate::lab::scripted::{Close, Script, Session};

#[test]
fn a_subscription_is_made_anew_where_the_session_was_lost_and_only_there() {
    in_both(|protocol| {
        for (session, expected) in [(Session::Honest, 0), (Session::Forgotten, 1)] {
            let mut bench = Bench::start(protocol, "", &[HONEST, Script { session, ..HONEST }]);
            bench.ready_for_commands();
            bench.broker.cut();
            bench.tell(10);
            bench.everything_arrives();
            bench.wait_newest("the second connection", 2, |connect| !connect.publishes.is_empty());
            bench.broker.send(valve(1, "1"));
            bench.obeyed(&["2;3;1;0;2;1"]);
            assert_eq!(bench.sessions()[1].subscribes, expected, "MQTT {protocol}, {session:?}");
        }
    });
}

#[test]
fn a_subscription_the_broker_did_not_take_is_asked_for_again() {
    let troubles = [
        ("lost", Script { close: Close::OnSubscribe, ..HONEST }),
        ("refused", Script { refuse_subscription: true, ..HONEST }),
    ];
    in_both(|protocol| {
        for (what, trouble) in troubles {
            let mut bench = Bench::start(protocol, "", &[trouble]);
            bench.wait_newest("the subscription", 1, |connect| connect.subscribes == 1);
            bench.tell(10);
            if what == "refused" {
                bench.wait_log("the broker refused our subscription");
                bench.everything_arrives();
                bench.broker.cut();
            }
            bench.wait_newest("the second connection", 2, |connect| !connect.publishes.is_empty());
            bench.everything_arrives();
            let second = bench.sessions()[1].clone();
            assert!(second.session_present, "the session began before the subscription");
            bench.wait_newest("the subscription", 2, |connect| connect.subscribes == 1);
            bench.wait_log("link online");
            bench.broker.send(valve(1, "1"));
            bench.obeyed(&["2;3;1;0;2;1"]);
        }
    });
}

#[test]
fn a_session_that_cannot_be_there_is_not_believed() {
    in_both(|protocol| {
        let mut bench = Bench::start(protocol, "", &[Script { session: Session::Claimed, ..HONEST }]);
        bench.tell(10);
        bench.everything_arrives();
        bench.wait_log("link online");
        bench.wait_newest("the subscription", 1, |connect| connect.subscribes == 1);
        bench.broker.send(valve(1, "1"));
        bench.obeyed(&["2;3;1;0;2;1"]);
    });
}

#[test]
fn after_a_short_absence_the_commands_kept_for_the_gateway_are_obeyed_once() {
    in_both(|protocol| {
        let mut bench = Bench::start(protocol, "", &[]);
        bench.ready_for_commands();
        bench.broker.be_away(true);
        for (id, payload) in [(1, "1"), (2, "0"), (3, "1")] {
            bench.broker.keep(valve(id, payload));
        }
        bench.tell(20);
        bench.broker.be_away(false);
        bench.obeyed(&["2;3;1;0;2;1", "2;3;1;0;2;0", "2;3;1;0;2;1"]);
        bench.everything_arrives();
        bench.wait_newest("the answers", 2, |connect| connect.commands_acked == [1, 2, 3]);
        let newest = bench.broker.connects().pop().unwrap();
        assert!(newest.session_present && !newest.clean);
    });
}

#[test]
fn after_a_long_absence_the_session_starts_clean_and_stale_commands_are_gone() {
    in_both(|protocol| {
        let mut bench = Bench::start(protocol, "    command_age: 1s", &[]);
        bench.ready_for_commands();
        bench.broker.be_away(true);
        bench.broker.keep(valve(1, "1"));
        bench.tell(20);
        sleep(Duration::from_millis(2500));
        bench.broker.be_away(false);
        bench.everything_arrives();
        bench.wait_newest("the new subscription", 2, |connect| connect.subscribes == 1);
        bench.broker.send(valve(2, "0"));
        bench.obeyed(&["2;3;1;0;2;0"]);
        let all = bench.broker.connects();
        // 3.1.1 has its session forgotten on a connection of its own.
        let cleaning = if protocol == "5" { all.len() - 1 } else { all.len() - 2 };
        assert!(all[cleaning].clean && !all.last().unwrap().session_present, "MQTT {protocol}: {all:?}");
    });
}
