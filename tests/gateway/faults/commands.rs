//! Commands that come twice, too late, or retained.

use super::{Bench, HONEST, again, in_both, valve};
use crate::lab::scripted::{Acks, Close, Command, Script};
use crate::lab::{PATIENCE, wait_for};

#[test]
fn a_command_delivered_again_after_a_reconnect_is_obeyed_once() {
    in_both(|protocol| {
        let mut bench = Bench::start(protocol, "", &[]);
        bench.ready_for_commands();
        bench.broker.send(valve(7, "1"));
        bench.obeyed(&["2;3;1;0;2;1"]);
        bench.wait_newest("the acknowledgement", 1, |connect| connect.commands_acked == [7]);

        bench.broker.be_away(true);
        bench.broker.keep(again(valve(7, "1")));
        bench.broker.be_away(false);
        bench.wait_newest("the second acknowledgement", 2, |connect| connect.commands_acked == [7]);
        bench.obeyed(&["2;3;1;0;2;1"]);
        wait_for("the answer", PATIENCE, || (bench.answers().len() == 1).then_some(()));

        // What only looks alike is a command of its own.
        bench.broker.send(valve(7, "1"));
        bench.broker.send(again(valve(8, "1")));
        bench.broker.send(again(valve(7, "0")));
        bench.obeyed(&["2;3;1;0;2;1", "2;3;1;0;2;1", "2;3;1;0;2;1", "2;3;1;0;2;0"]);
    });
}

#[test]
fn a_command_delivered_again_is_known_even_after_a_connection_too_short_for_it() {
    in_both(|protocol| {
        let mut bench = Bench::start(protocol, "", &[HONEST, Script { close: Close::After(1), ..HONEST }]);
        bench.ready_for_commands();
        bench.broker.send(valve(7, "1"));
        bench.obeyed(&["2;3;1;0;2;1"]);
        bench.wait_newest("the acknowledgement", 1, |connect| connect.commands_acked == [7]);

        // The second connection breaks at its first publication, before anything is delivered.
        bench.broker.cut();
        bench.wait_newest("the third connection", 3, |connect| !connect.publishes.is_empty());
        bench.broker.send(again(valve(7, "1")));
        bench.wait_newest("the second acknowledgement", 3, |connect| connect.commands_acked == [7]);
        bench.obeyed(&["2;3;1;0;2;1"]);
    });
}

#[test]
fn a_command_that_comes_in_while_the_gateway_stops_is_answered_though_not_obeyed() {
    in_both(|protocol| {
        // A busy machine may bring the command after the end of the connection, where it proves
        // nothing; then it is tried again.
        wait_for("a command in the last words of a gateway", PATIENCE, || {
            // The backlog that the broker does not acknowledge keeps the uplink for its last words.
            let script = Script { acks: Acks::First(20), receive_maximum: Some(10), ..HONEST };
            let mut bench = Bench::start(protocol, "", &[script]);
            bench.tell(100);
            bench.wait_newest("the broker to stop acknowledging", 1, |connect| connect.publishes.len() == 30);
            let mut gateway = bench.gateway.take().unwrap();
            gateway.ask_to_stop();
            gateway.wait_log("link closed");
            bench.broker.send(valve(9, "1"));
            let status = gateway.wait();
            assert!(status.success(), "{status}");
            assert!(bench.garden().is_empty());
            let came_in = bench.broker.connects().last().unwrap().commands_acked == [9];
            bench.gateway = Some(bench.site.run());
            came_in.then(|| {
                wait_for("the answer", PATIENCE, || (bench.answers().len() == 1).then_some(()));
                assert!(bench.answers().first().unwrap().contains("stopping"), "{:?}", bench.answers());
            })
        });
    });
}

#[test]
fn a_retained_command_is_answered_and_not_obeyed() {
    in_both(|protocol| {
        let mut bench = Bench::start(protocol, "", &[]);
        bench.ready_for_commands();
        bench.broker.send(Command { retained: true, ..valve(1, "1") });
        wait_for("the answer", PATIENCE, || (bench.answers().len() == 1).then_some(()));
        assert!(bench.answers().first().unwrap().contains("retained"));
        bench.obeyed(&[]);
    });
}
