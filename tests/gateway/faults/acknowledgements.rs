//! What is under way, and what becomes of it when acknowledgements are late or do not come.

use std::collections::BTreeSet;
use std::thread::sleep;

use super::{A_WHILE, Bench, HONEST, acknowledged, in_both, lines};
use crate::lab::scripted::{Acks, Close, Connect, Script, Session};
use crate::lab::{PATIENCE, accept, wait_for};

#[test]
fn late_acknowledgements_hold_the_window_and_nothing_else() {
    in_both(|protocol| {
        let mut bench = Bench::start(protocol, "", &[Script { acks: Acks::Held, ..HONEST }]);
        bench.tell(50);
        bench.wait_newest("the window to fill", 1, |connect| connect.most_in_flight == 10);
        sleep(A_WHILE);
        assert_eq!(bench.sessions()[0].publishes.len(), 10);
        bench.broker.release();
        bench.everything_arrives();
        assert_eq!(bench.sessions().len(), 1);
    });
}

#[test]
fn no_more_is_under_way_than_the_broker_announces_to_take() {
    for (announced, expected) in [(1, 1), (4, 4), (500, 10)] {
        let script = Script { acks: Acks::Held, receive_maximum: Some(announced), ..HONEST };
        let mut bench = Bench::start("5", "", &[script]);
        bench.tell(50);
        bench.wait_newest("the window to fill", 1, |connect| connect.most_in_flight == expected);
        sleep(A_WHILE);
        assert_eq!(bench.sessions()[0].publishes.len(), expected);
        bench.broker.release();
        bench.everything_arrives();
    }
}

#[test]
fn a_broker_that_takes_less_after_a_reconnect_is_sent_less() {
    let scripts = [
        Script { acks: Acks::First(15), close: Close::After(25), ..HONEST },
        Script { acks: Acks::Held, receive_maximum: Some(3), ..HONEST },
        Script { acks: Acks::Held, receive_maximum: Some(6), ..HONEST },
    ];
    let mut bench = Bench::start("5", "", &scripts);
    bench.window = 10;
    bench.tell(50);
    for (sessions, expected) in [(2, 3), (3, 6)] {
        bench.wait_newest("the window to fill", sessions, |connect| connect.most_in_flight == expected);
        sleep(A_WHILE);
        assert_eq!(bench.sessions()[sessions - 1].publishes.len(), expected);
        if sessions == 2 {
            bench.broker.cut();
        }
    }
    bench.broker.release();
    bench.everything_arrives();
}

#[test]
fn acknowledgements_in_reverse_find_their_messages() {
    in_both(|protocol| {
        let scripts = [
            Script { acks: Acks::Reversed, close: Close::After(35), ..HONEST },
            Script { acks: Acks::Reversed, ..HONEST },
        ];
        let mut bench = Bench::start(protocol, "", &scripts);
        bench.tell(2000);
        bench.everything_arrives();
        assert_eq!(bench.sessions().len(), 2);
    });
}

#[test]
fn a_message_never_acknowledged_holds_nothing_up_and_comes_again() {
    in_both(|protocol| {
        // More lines than there are packet ids, so that the numbers run into the one that is taken.
        let mut bench = Bench::start(protocol, "", &[Script { acks: Acks::AllBut(20), ..HONEST }]);
        bench.tell(2500);
        wait_for("all lines but one", PATIENCE, || (acknowledged(&bench.sessions()).len() == 2499).then_some(()));
        let missing: BTreeSet<usize> = (1..=2500).collect();
        let missing: Vec<usize> = missing.difference(&acknowledged(&bench.sessions())).copied().collect();
        assert_eq!(bench.sessions().len(), 1);
        bench.broker.cut();
        bench.everything_arrives();
        assert_eq!(lines(&bench.sessions()[1])[0], missing[0]);
    });
}

#[test]
fn connections_that_break_amid_publications_lose_nothing() {
    in_both(|protocol| {
        let scripts = [
            Script { acks: Acks::First(12), close: Close::After(20), ..HONEST },
            Script { close: Close::Inside(15), session: Session::Forgotten, ..HONEST },
            Script { close: Close::After(1200), ..HONEST },
            Script { acks: Acks::First(0), close: Close::Inside(10), ..HONEST },
        ];
        let mut bench = Bench::start(protocol, "", &scripts);
        bench.tell(3000);
        bench.everything_arrives();
        let sessions = bench.sessions();
        assert_eq!(sessions.len(), 5);
        let unacked = |connect: &Connect| connect.publishes.iter().filter(|publish| !publish.acked).count();
        assert_eq!((unacked(&sessions[0]), unacked(&sessions[3])), (8, 9), "the scripts were played");
    });
}

#[test]
fn a_stop_amid_publications_keeps_what_is_not_acknowledged_for_the_next_start() {
    in_both(|protocol| {
        let mut bench =
            Bench::start(protocol, "", &[Script { acks: Acks::First(20), receive_maximum: Some(10), ..HONEST }]);
        bench.tell(100);
        bench.wait_newest("the broker to stop acknowledging", 1, |connect| connect.publishes.len() == 30);
        let before = bench.broker.connects().len();
        let (status, _) = bench.gateway.take().unwrap().terminate();
        assert!(status.success());
        assert_eq!(bench.broker.connects().len(), before);
        bench.gateway = Some(bench.site.run());
        bench.node = accept(&bench.listener);
        bench.everything_arrives();

        let (status, _) = bench.gateway.take().unwrap().terminate();
        assert!(status.success());
        bench.gateway = Some(bench.site.run());
        bench.node = accept(&bench.listener);
        bench.tell(1);
        bench.everything_arrives();
        assert_eq!(lines(bench.sessions().last().unwrap()), [101], "what is acknowledged is gone for good");
    });
}
