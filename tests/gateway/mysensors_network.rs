//! A MySensors network that this gateway controls: new nodes, names, and what is known of it from outside.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::Value as Json;

use crate::lab::accept;
use crate::lab::broker::Mosquitto;
use crate::lab::client::Client;
use crate::lab::gateway::{Gateway, Site};

/// The radio's end of the link.
struct Radio {
    says: TcpStream,
    hears: BufReader<TcpStream>,
}

impl Radio {
    fn of(listener: &TcpListener) -> Self {
        let says = accept(listener);
        let hears = BufReader::new(says.try_clone().unwrap());
        Self { says, hears }
    }

    fn say(&mut self, lines: &[&str]) {
        lines.iter().for_each(|line| writeln!(self.says, "{line}").unwrap());
    }

    /// What the gateway says to that line, its own questions for the version aside.
    fn ask(&mut self, line: &str) -> String {
        self.say(&[line]);
        loop {
            let mut answer = String::new();
            assert!(self.hears.read_line(&mut answer).unwrap() > 0, "the link has ended");
            if answer.trim_end() != "0;255;3;0;2;" {
                return answer.trim_end().to_owned();
            }
        }
    }
}

struct Network {
    site: Site,
    listener: TcpListener,
    upstream: Client,
    _broker: Mosquitto,
}

impl Network {
    fn new() -> Self {
        let broker = Mosquitto::start();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let site = Site::new(&format!(
            "gateway: gw1
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}
broker: {{ listen: [] }}
mysensors:
  garden:
    tcp: {}
    controller: local
    names: presentation
    devices: {{ soil: {{ node: 2 }} }}
mapping:
  - match: {{ link: garden }}
    topic: [\"{{gateway}}-out/{{node}}/{{child}}/{{command}}/{{ack}}/{{type}}\", \"{{gateway}}-out/{{device}}/{{point}}\"]
    payload: [raw, json]
",
            broker.port,
            listener.local_addr().unwrap()
        ));
        let upstream = Client::subscribe(broker.port, &["#"]);
        Self { site, listener, upstream, _broker: broker }
    }

    fn run(&self) -> (Gateway, Radio) {
        let gateway = self.site.run();
        (gateway, Radio::of(&self.listener))
    }

    /// What `wharf nodes` says of a node, if it knows it.
    fn node(&self, number: u64) -> Option<Json> {
        let answer = self.site.wharf(&["nodes"], &[]);
        assert_eq!(answer.code, 0, "{answer:?}");
        answer.lines().into_iter().find(|node| node["node"] == number)
    }
}

#[test]
fn a_number_given_away_is_never_given_again_although_the_gateway_is_killed_at_once() {
    let network = Network::new();
    let mut given = Vec::new();
    for _ in 0..3 {
        let (gateway, mut radio) = network.run();
        given.push(radio.ask("255;255;3;0;3;"));
        gateway.kill();
    }
    // The site file has named node 2.
    assert_eq!(given, ["255;255;3;0;4;1", "255;255;3;0;4;3", "255;255;3;0;4;4"]);
}

#[test]
fn a_network_goes_north_in_both_forms_and_is_known_from_outside_before_and_after_a_restart() {
    let network = Network::new();
    let (gateway, mut radio) = network.run();
    radio.say(&[
        "7;255;0;0;17;2.3.2",
        "7;255;3;0;11;Flower bed",
        "7;255;3;0;12;1.1",
        "7;1;0;0;35;Roses",
        "7;255;3;0;0;87",
    ]);
    assert_eq!(radio.ask("7;255;3;0;6;0"), "7;255;3;0;6;M");
    radio.say(&["7;1;1;0;37;80"]);
    assert_eq!(network.upstream.wait_on("gw1-out/7/1/1/0/37").payload, "80");
    let named = network.upstream.wait_on("gw1-out/garden-flower-bed/roses").json();
    assert_eq!((&named["value"], &named["quality"]), (&80.into(), &"good".into()));
    radio.say(&["7;1;1;0;3;300"]);
    assert_eq!(network.upstream.wait_on("gw1-out/7/1/1/0/3").payload, "300", "the payload is kept");
    let absurd = network.upstream.wait_on("gw1-out/garden-flower-bed/roses-percentage").json();
    assert_eq!((&absurd["value"], &absurd["quality"]), (&Json::Null, &"bad".into()), "{absurd}");

    let live = network.node(7).unwrap();
    let told = |key: &str| live[key].clone();
    assert_eq!((told("device"), told("sketch")), ("garden-flower-bed".into(), "Flower bed".into()), "{live}");
    assert_eq!((told("library"), told("battery")), ("2.3.2".into(), 87.into()), "{live}");
    assert_eq!((told("link"), told("sleeping")), ("garden".into(), false.into()), "{live}");
    assert_eq!(live["children"][0]["sensor"], "moisture", "{live}");

    gateway.terminate();
    let kept = network.node(7).unwrap();
    assert_eq!((&kept["device"], &kept["battery"]), (&live["device"], &live["battery"]), "{kept}");

    let (_gateway, mut radio) = network.run();
    network.upstream.forget();
    assert_eq!(radio.ask("7;1;2;0;37;"), "7;1;1;0;37;80", "the last value is the answer");
    radio.say(&["7;1;1;0;37;81"]);
    let named = network.upstream.wait_on("gw1-out/garden-flower-bed/roses").json();
    assert_eq!(named["value"], 81);
}

#[test]
fn inclusion_is_opened_from_the_command_line() {
    let network = Network::new();
    let (_gateway, mut radio) = network.run();
    radio.say(&["0;255;3;0;2;2.3.2"]);
    let answer = network.site.wharf(&["write"], &["garden-0/inclusion", "1"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(radio.ask("0;255;3;0;9;a line for the log"), "0;255;3;0;5;1");
    assert_eq!(network.upstream.wait_on("gw1-out/0/255/3/0/5").payload, "1");
    assert_eq!(network.upstream.wait_on("gw1-out/garden-0/inclusion").json()["value"], true);
}
