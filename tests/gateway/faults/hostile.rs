//! A broker that says nothing, says no, or says what makes no sense.

use std::io::Write;

use super::{Bench, HONEST, in_both};
use crate::lab::scripted::{Acks, Close, Script};

#[test]
fn a_broker_that_does_not_answer_pings_is_left() {
    in_both(|protocol| {
        let script = Script { deaf_to_pings: true, acks: Acks::First(15), ..HONEST };
        let mut bench = Bench::start(protocol, "    keep_alive: 1s", &[script]);
        bench.tell(30);
        bench.wait_log("the broker stopped answering");
        bench.everything_arrives();
        assert_eq!(bench.sessions().len(), 2);
    });
}

#[test]
fn a_refused_connection_is_tried_again() {
    in_both(|protocol| {
        let code = if protocol == "5" { 0x87 } else { 5 };
        let mut bench = Bench::start(protocol, "", &[Script { refuse: Some(code), ..HONEST }; 2]);
        bench.tell(30);
        bench.wait_log("the broker does not let this gateway in");
        bench.everything_arrives();
        assert_eq!(bench.sessions().last().unwrap().subscribes, 1);
    });
}

#[test]
fn a_broker_that_says_nothing_to_a_connect_is_left() {
    in_both(|protocol| {
        let mut bench = Bench::start(protocol, "", &[Script { mute: true, ..HONEST }]);
        bench.tell(30);
        bench.wait_log("the broker did not answer in time");
        bench.everything_arrives();
    });
}

#[test]
fn garbage_ends_a_connection_at_most() {
    const GARBAGE: [&[u8]; 7] = [
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        // A second CONNACK; an acknowledgement of nothing; a length without end.
        &[0x20, 2, 0, 0],
        &[0x40, 2, 0xff, 0xfe],
        &[0x32, 0xff, 0xff, 0xff, 0xff, 0xff],
        // A command of 200 MB; one whose topic is longer than the packet; one in bytes that are no text.
        &[0x32, 0xff, 0xff, 0xff, 0x60, 0, 1, b'a'],
        &[0x32, 4, 0xff, 0xff, b'a', b'b'],
        &[0x32, 7, 0, 3, 0xc3, 0x28, 0xff, 0, 9],
    ];
    in_both(|protocol| {
        for garbage in GARBAGE {
            let script = Script { garbage: Some(garbage), acks: Acks::First(15), close: Close::After(20), ..HONEST };
            let mut bench = Bench::start(protocol, "", &[script]);
            bench.tell(30);
            bench.everything_arrives();
            assert_eq!(bench.garden(), Vec::<String>::new());
        }
    });
}

#[test]
fn a_message_larger_than_the_broker_takes_blocks_nothing_behind_it() {
    // A text of 100 bytes on a topic of 18 makes a packet of 125: type and length, the length of
    // the topic, the packet id and the length of the properties take seven.
    let mut bench = Bench::start("5", "", &[Script { maximum_packet_size: Some(125), ..HONEST }]);
    let text = |length: usize| "x".repeat(length);
    bench.tell(5);
    for length in [200, 101, 100] {
        writeln!(bench.node, "2;1;1;0;47;{}", text(length)).unwrap();
    }
    bench.tell(20);
    bench.everything_arrives();
    let session = &bench.sessions()[0];
    let texts = session.publishes.iter().filter(|publish| publish.topic == "gw1-out/2/1/1/0/47");
    assert_eq!(texts.map(|publish| publish.payload.clone()).collect::<Vec<_>>(), [text(100)]);
    assert_eq!(session.longest_packet, 125);
    bench.wait_log("larger than the broker takes");
    assert_eq!(bench.sessions().len(), 1);
}
