//! The uplink against a broker that is late, forgetful, wrong or hostile, in both versions of MQTT.
//!
//! Whatever the broker does to a connection, every line told by a node is acknowledged in the end,
//! in the order it was told, with no more repetitions than were under way when a connection broke.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use crate::lab::gateway::{Gateway, Site};
use crate::lab::scripted::{Acks, Close, Command, Connect, Script, Scripted, Session};
use crate::lab::{PATIENCE, accept, wait_for};

const VALVE: &str = "gw1-in/2/3/1/0/2";
const ANSWER: &str = "gw1-sys/answer/soil/valve";
/// Long enough for something unwanted to show itself.
const A_WHILE: Duration = Duration::from_millis(500);
const HONEST: Script = Script {
    refuse: None,
    mute: false,
    session: Session::Honest,
    receive_maximum: None,
    maximum_packet_size: None,
    maximum_qos: None,
    no_retain: false,
    refuse_topic: None,
    acks: Acks::AtOnce,
    refuse_every: None,
    close: Close::Never,
    goodbye: None,
    refuse_subscription: false,
    deaf_to_pings: false,
    garbage: None,
};

/// A scripted broker, a gateway that may have ten publications under way, and its garden.
struct Bench {
    broker: Scripted,
    gateway: Option<Gateway>,
    listener: TcpListener,
    node: TcpStream,
    /// The set commands that reached the node.
    garden: Arc<Mutex<Vec<String>>>,
    site: Site,
    protocol: &'static str,
    told: usize,
    window: usize,
}

impl Bench {
    fn start(protocol: &'static str, settings: &str, scripts: &[Script]) -> Self {
        let broker = Scripted::start(scripts);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let site = Site::new(&format!(
            "gateway: gw1
uplinks:
  central:
    url: mqtt://127.0.0.1:{}
    protocol: {protocol}
    in_flight: 10
{settings}
broker: {{ listen: [] }}
mysensors:
  garden:
    tcp: {}
    devices: {{ soil: {{ node: 2, points: {{ valve: {{ child: 3, type: status, write: {{}} }} }} }} }}
",
            broker.port,
            listener.local_addr().unwrap(),
        ));
        let gateway = Some(site.run());
        let node = accept(&listener);
        let garden = Arc::default();
        listen(&node, &garden);
        let announced = scripts.iter().filter_map(|script| script.receive_maximum).map(usize::from).min();
        let window = announced.filter(|_| protocol == "5").unwrap_or(10).min(10);
        Self { broker, gateway, listener, node, garden, site, protocol, told: 0, window }
    }

    /// Has the node tell so many lines, numbered on from the last.
    fn tell(&mut self, lines: usize) {
        for _ in 0..lines {
            self.told += 1;
            writeln!(self.node, "2;1;1;0;24;{}", self.told).unwrap();
        }
    }

    /// The connections that carried messages, without the short clean ones of 3.1.1.
    fn sessions(&self) -> Vec<Connect> {
        let carries = |connect: &Connect| self.protocol == "5" || !connect.clean;
        self.broker.connects().into_iter().filter(carries).collect()
    }

    /// Waits for something about the newest connection.
    fn wait_newest(&self, what: &str, sessions: usize, is_so: impl Fn(&Connect) -> bool) {
        wait_for(what, PATIENCE, || {
            let all = self.sessions();
            (all.len() >= sessions && all.last().is_some_and(&is_so)).then_some(())
        });
    }

    /// Waits until every line told is acknowledged, and looks at how they came.
    fn everything_arrives(&self) {
        wait_for("every line to be acknowledged", PATIENCE, || {
            (acknowledged(&self.broker.connects()).len() == self.told).then_some(())
        });
        let connects = self.broker.connects();
        assert_eq!(acknowledged(&connects), (1..=self.told).collect());
        let mut highest = 0;
        for (number, connect) in connects.iter().enumerate() {
            let place = format!("MQTT {}, connection {number}", self.protocol);
            let lines = lines(connect);
            let lanes = lanes(&lines).unwrap_or_else(|| panic!("{place}: a line came twice or too early: {lines:?}"));
            let again = lines.iter().filter(|&&line| line <= highest).count();
            assert!(again <= self.window, "{place}: {again} lines came again");
            if lanes == 1 {
                for &line in &lines {
                    assert!(line <= highest + 1, "{place}: {line} came after {highest}");
                    highest = highest.max(line);
                }
            }
            highest = highest.max(lines.iter().copied().max().unwrap_or_default());
            // The goodbye of a stopping gateway does not wait for room, unless the broker set the bound.
            let goodbye = connect.publishes.last().is_some_and(|publish| publish.payload == "offline");
            let most = self.window + usize::from(goodbye && self.protocol == "3.1.1");
            assert!(connect.most_in_flight <= most, "{place}: {} in flight", connect.most_in_flight);
        }
    }

    /// Waits until the link takes commands.
    fn ready_for_commands(&mut self) {
        self.tell(1);
        self.everything_arrives();
        self.wait_log("link online");
        self.wait_newest("the subscription", 1, |connect| connect.subscribes == 1);
    }

    fn wait_log(&self, text: &str) {
        self.gateway.as_ref().expect("a running gateway").wait_log(text);
    }

    fn garden(&self) -> Vec<String> {
        self.garden.lock().unwrap().clone()
    }

    /// Waits until the node has got exactly these commands, and no more for a while.
    fn obeyed(&self, lines: &[&str]) {
        wait_for("the commands", PATIENCE, || (self.garden().len() >= lines.len()).then_some(()));
        sleep(A_WHILE);
        assert_eq!(self.garden(), lines, "MQTT {}", self.protocol);
    }

    /// The different answers to commands.
    fn answers(&self) -> BTreeSet<String> {
        let all = self.broker.connects().into_iter().flat_map(|connect| connect.publishes);
        all.filter(|publish| publish.topic == ANSWER).map(|publish| publish.payload).collect()
    }
}

/// Notes the set commands that reach the node.
fn listen(node: &TcpStream, garden: &Arc<Mutex<Vec<String>>>) {
    let (ear, garden) = (BufReader::new(node.try_clone().unwrap()), garden.clone());
    std::thread::spawn(move || {
        for line in ear.lines().map_while(Result::ok).filter(|line| line.split(';').nth(2) == Some("1")) {
            garden.lock().unwrap().push(line);
        }
    });
}

/// The lines of a connection in the order they came.
fn lines(connect: &Connect) -> Vec<usize> {
    let all = connect.publishes.iter().filter(|publish| publish.topic == "gw1-out/2/1/1/0/24");
    all.map(|publish| publish.payload.parse().unwrap()).collect()
}

/// In how many lanes the lines of a connection came, each in order and without repetitions: one, or
/// two if some had waited for so long that the newer ones went first.
fn lanes(lines: &[usize]) -> Option<usize> {
    let rises = |lines: &mut dyn Iterator<Item = &usize>| lines.is_sorted_by(|a, b| a < b);
    if rises(&mut lines.iter()) {
        return Some(1);
    }
    let split = |from: usize| {
        rises(&mut lines.iter().filter(|&&line| line < from)) && rises(&mut lines.iter().filter(|&&line| line >= from))
    };
    lines.iter().any(|&from| split(from)).then_some(2)
}

/// The lines that were acknowledged at least once.
fn acknowledged(connects: &[Connect]) -> BTreeSet<usize> {
    let publishes = connects.iter().flat_map(|connect| &connect.publishes).filter(|publish| publish.acked);
    publishes.filter(|publish| publish.topic == "gw1-out/2/1/1/0/24").map(|p| p.payload.parse().unwrap()).collect()
}

/// Runs a test in both versions of the protocol, side by side.
fn in_both(test: impl Fn(&'static str) + Sync) {
    std::thread::scope(|scope| {
        for protocol in ["5", "3.1.1"] {
            let test = &test;
            scope.spawn(move || test(protocol));
        }
    });
}

fn valve(id: u16, payload: &'static str) -> Command {
    Command { topic: VALVE, payload, id, duplicate: false, retained: false }
}

fn again(command: Command) -> Command {
    Command { duplicate: true, ..command }
}

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
