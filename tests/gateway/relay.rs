//! A controller upstream that runs a MySensors network through the gateway: whatever it says in classic
//! form reaches the network, through a real Mosquitto, and nothing that is old.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::lab::broker::Mosquitto;
use crate::lab::client::Client;
use crate::lab::gateway::{Gateway, Site};
use crate::lab::line::Line;
use crate::lab::{PATIENCE, accept, free_port, wait_for};

const STARTED: &str = "0;255;3;0;14;Gateway startup complete.";

/// A radio network on a socket: remembers what it is told, and echoes what asks for it.
struct Network {
    heard: Arc<Mutex<Vec<String>>>,
    mouth: TcpStream,
}

impl Network {
    fn join(listener: &TcpListener) -> Self {
        let stream = accept(listener);
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let (mouth, mut echo) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
        std::thread::spawn({
            let heard = heard.clone();
            move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if line.split(';').nth(3) == Some("1") {
                        writeln!(echo, "{line}").unwrap();
                    }
                    heard.lock().unwrap().push(line);
                }
            }
        });
        let mut network = Self { heard, mouth };
        network.say(STARTED);
        network
    }

    fn say(&mut self, line: &str) {
        writeln!(self.mouth, "{line}").unwrap();
    }

    /// What it was told, but for the question every gateway is asked.
    fn told(&self) -> Vec<String> {
        self.heard.lock().unwrap().iter().filter(|line| !line.starts_with("0;255;3;0;2;")).cloned().collect()
    }

    fn is_told(&self, line: &str) {
        wait_for(line, PATIENCE, || self.told().iter().any(|told| told == line).then_some(()));
    }
}

/// A gateway with these links, each on a socket of the test's.
fn gateway(broker: &Mosquitto, commands: &str, links: &[(&str, &str)]) -> (Client, Gateway, Site, Vec<Network>) {
    let upstream = Client::subscribe(broker.port, &["#"]);
    let mut text = format!(
        "gateway: gw1\nuplinks:\n  central: {{ url: \"mqtt://127.0.0.1:{}\" }}\nbroker: {{ listen: [] }}\n\
         commands: {{ deadline: 20s{commands} }}\nmysensors:\n",
        broker.port
    );
    let listeners: Vec<_> = links.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    for ((link, settings), listener) in links.iter().zip(&listeners) {
        text += &format!("  {link}: {{ tcp: {}, {settings} }}\n", listener.local_addr().unwrap());
    }
    let site = Site::new(&text);
    let running = site.run();
    let networks = listeners.iter().map(Network::join).collect();
    for (link, _) in links {
        let topic = format!("gw1-sys/link/{link}");
        upstream.wait(link, |heard| heard.topic == topic && heard.payload.contains("online"));
    }
    (upstream, running, site, networks)
}

/// Publishes, and gives what is answered: whether it went well, and why not.
fn answer(upstream: &Client, topic: &str, payload: &str) -> Result<serde_json::Value, String> {
    upstream.forget();
    upstream.publish(&format!("gw1-in/{topic}"), payload);
    let answer = upstream.wait_on(&format!("gw1-sys/answer/{topic}")).json();
    match answer["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(answer),
    }
}

#[test]
fn whatever_a_controller_upstream_says_reaches_its_network_as_it_is() {
    let broker = Mosquitto::start();
    let (upstream, _gateway, _site, networks) = gateway(&broker, "", &[("garden", "controller: upstream")]);
    let messages = [
        ("2/255/3/0/19", "", "2;255;3;0;19;"),
        ("2/255/3/0/13", "", "2;255;3;0;13;"),
        ("255/255/3/0/4", "7", "255;255;3;0;4;7"),
        ("9/4/1/0/47", "{\"no\": json", "9;4;1;0;47;{\"no\": json"),
        ("9/4/1/0/0", " 021.50", "9;4;1;0;0; 021.50"),
        ("9/4/2/0/0", "", "9;4;2;0;0;"),
        ("2/255/4/0/3", "0100010000000c94ac030c9491240c94b8240c94d403", {
            "2;255;4;0;3;0100010000000c94ac030c9491240c94b8240c94d403"
        }),
    ];
    for (topic, payload, line) in messages {
        answer(&upstream, topic, payload).unwrap_or_else(|error| panic!("{topic}: {error}"));
        networks[0].is_told(line);
    }
    assert_eq!(networks[0].told().len(), messages.len(), "each once: {:?}", networks[0].told());
    for (topic, payload, why) in [
        ("9/4/1/0/47", "abcdefghijklmnopqrstuvwxyz", "at most 25"),
        ("9/4/1/0/47", "a\n2;255;3;0;13;", "plain text of one line"),
    ] {
        let refused = answer(&upstream, topic, payload).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
    assert_eq!(networks[0].told().len(), messages.len(), "nothing of it was sent");
}

/// Home Assistant asks for an echo in the topic, and publishes with QoS 1 then.
#[test]
fn an_echo_that_is_asked_for_is_told_where_the_network_s_own_messages_are() {
    let broker = Mosquitto::start();
    let (upstream, _gateway, _site, networks) = gateway(&broker, "", &[("garden", "controller: upstream")]);
    let answer = answer(&upstream, "9/4/1/1/2", "1").unwrap();
    assert_eq!((&answer["written"], &answer["observed"]), (&true.into(), &true.into()), "{answer}");
    assert_eq!(networks[0].told(), ["9;4;1;1;2;1"]);
    assert_eq!(upstream.wait_on("gw1-out/9/4/1/1/2").payload, "1");
}

#[test]
fn a_network_without_a_controller_upstream_takes_no_messages_as_they_are() {
    let broker = Mosquitto::start();
    let links = [("garden", "controller: local"), ("shed", "controller: none")];
    let (upstream, _gateway, _site, networks) = gateway(&broker, "", &links);
    let refused = answer(&upstream, "2/255/3/0/13", "").unwrap_err();
    assert!(refused.contains("`controller: upstream`"), "{refused}");
    let refused = answer(&upstream, "2/4/1/0/2", "1").unwrap_err();
    assert!(refused.contains("no point is declared"), "{refused}");
    for network in networks {
        assert!(!network.told().iter().any(|line| line.starts_with("2;")), "{:?}", network.told());
    }
}

#[test]
fn a_message_goes_to_the_network_that_has_the_node_and_one_for_everybody_to_all() {
    let broker = Mosquitto::start();
    let links = [("garden", "controller: upstream"), ("shed", "controller: upstream")];
    let (upstream, _gateway, _site, mut networks) = gateway(&broker, "", &links);
    let refused = answer(&upstream, "5/1/1/0/2", "1").unwrap_err();
    assert!(refused.contains("more than one link") && refused.contains("garden, shed"), "{refused}");

    networks[1].say("5;1;1;0;2;0");
    upstream.wait_on("gw1-out/5/1/1/0/2");
    answer(&upstream, "5/1/1/0/2", "1").unwrap();
    networks[1].is_told("5;1;1;0;2;1");
    answer(&upstream, "255/255/3/0/20", "").unwrap();
    networks.iter().for_each(|network| network.is_told("255;255;3;0;20;"));
    assert_eq!(networks[0].told(), ["255;255;3;0;20;"]);
}

#[test]
fn of_retained_messages_only_sets_are_taken_and_those_only_if_the_site_says_so() {
    let broker = Mosquitto::start();
    let before = Client::subscribe(broker.port, &["gw1-sys/#"]);
    let topics = ["2/4/1/0/2", "2/255/3/0/13", "2/255/4/0/1", "2/4/2/0/2"];
    for topic in topics {
        before.publish_retained(&format!("gw1-in/{topic}"), "1");
    }
    let told = |topic: &str| before.wait_on(&format!("gw1-sys/answer/{topic}")).json();
    {
        let (_upstream, _gateway, _site, networks) = gateway(&broker, "", &[("garden", "controller: upstream")]);
        for topic in topics {
            assert!(told(topic)["error"].as_str().unwrap().contains("retained"), "{topic}");
        }
        assert_eq!(networks[0].told(), [""; 0]);
    }
    before.forget();
    let links = [("garden", "controller: upstream")];
    let (_upstream, _gateway, _site, networks) = gateway(&broker, ", retained_sets: true", &links);
    for topic in &topics[1..] {
        assert!(told(topic)["error"].as_str().unwrap().contains("retained"), "{topic}");
    }
    // The link may not have been up when the message came; what counts is that it was not refused as old.
    let set = told(topics[0]);
    assert!(!set["error"].as_str().unwrap_or_default().contains("retained"), "{set}");
    before.publish_retained("gw1-in/2/5/1/0/2", "1");
    networks[0].is_told("2;5;1;0;2;1");
    before.publish_retained("gw1-in/2/5/1/0/2", "");
    before.wait("the end of the retained message", |heard| {
        heard.topic == "gw1-sys/answer/2/5/1/0/2" && heard.payload.contains("takes a retained message back")
    });
    let others = |line: &&String| !["2;4;1;0;2;1", "2;5;1;0;2;1"].contains(&line.as_str());
    assert_eq!(networks[0].told().iter().filter(others).count(), 0);
}

#[test]
fn a_command_for_a_node_that_sleeps_waits_over_a_pulled_cable_until_it_listens() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let site = Site::new(&format!(
        "gateway: gw1\nuplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}\nbroker: {{ listen: [] }}\n\
         commands: {{ deadline: 2s }}\nmysensors:\n  garden:\n    serial: ./ttyGarden\n    devices:\n      soil: \
         {{ node: 2, points: {{ valve: {{ child: 3, type: status, write: {{ verify: true }} }}, \
         pump: {{ child: 4, type: status, write: {{ }} }} }} }}\n",
        broker.port
    ));
    let port = site.path().join("ttyGarden");
    let online = || {
        upstream.wait("the link", |heard| heard.topic == "gw1-sys/link/garden" && heard.payload.contains("online"));
    };
    let mut line = Line::plug(&port);
    let _gateway = site.run();
    upstream.wait_on("gw1-sys/link/garden");
    line.say(STARTED);
    online();
    line.say("2;255;3;0;32;1");
    upstream.wait_on("gw1-out/2/255/3/0/32");
    upstream.publish("gw1-in/soil/valve", "1");
    upstream.publish("gw1-in/soil/pump", r#"{"value": true, "expires": "3s"}"#);
    upstream.wait("how many wait", |heard| {
        heard.topic == "gw1-sys/device/soil" && heard.payload.contains("2 commands wait until it wakes")
    });

    drop(line);
    upstream.wait("the loss", |heard| heard.topic == "gw1-sys/link/garden" && heard.payload.contains("offline"));
    upstream.forget();
    let mut line = Line::plug(&port);
    let mut ear = line.ear();
    let told: Arc<Mutex<Vec<(Instant, String)>>> = Arc::default();
    std::thread::spawn({
        let told = told.clone();
        move || {
            while let Some(line) = ear.line() {
                told.lock().unwrap().push((Instant::now(), line.clone()));
                if line.split(';').nth(3) == Some("1") {
                    ear.say(&line);
                }
            }
        }
    });
    let sets = || told.lock().unwrap().iter().filter(|(_, line)| line.starts_with("2;")).cloned().collect::<Vec<_>>();
    wait_for("the port to be opened again", PATIENCE, || (!told.lock().unwrap().is_empty()).then_some(()));
    line.say(STARTED);
    online();
    // It comes back and says something, but does not say that it listens.
    line.say("2;3;1;0;2;0");
    let expired = upstream.wait_on("gw1-sys/answer/soil/pump").json();
    assert!(expired["error"].as_str().unwrap().contains("did not wake"), "{expired}");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(sets().len(), 0, "{:?}", sets());
    assert!(upstream.on("gw1-sys/answer/soil/valve").is_empty(), "it outlives the usual deadline");

    // Longer than usual, for machines that are slow.
    let listens = Instant::now();
    line.say("2;255;3;0;32;20000");
    let answer = upstream.wait_on("gw1-sys/answer/soil/valve").json();
    assert_eq!((&answer["ok"], &answer["observed"]), (&true.into(), &true.into()), "{answer}");
    let sent = sets();
    assert_eq!(sent.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>(), ["2;3;1;1;2;1"]);
    assert!(sent.iter().all(|(at, _)| *at >= listens));
}

#[test]
fn a_fail_safe_value_is_there_whenever_the_node_wakes_in_an_outage() {
    let local_port = free_port();
    let site = Site::new(&format!(
        "gateway: gw1\nuplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}\n\
         broker: {{ listen: [127.0.0.1:{local_port}] }}\ncommands: {{ deadline: 2s }}\nmysensors:\n  garden:\n    \
         serial: ./ttyGarden\n    devices:\n      soil: {{ node: 2, sleeps: true, points: {{ pump: {{ child: 4, \
         type: status, write: {{ fail_safe: {{ after: 1s, write: false }} }} }} }} }}\n",
        free_port()
    ));
    let mut line = Line::plug(&site.path().join("ttyGarden"));
    let mut ear = line.ear();
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    let local = Client::subscribe(local_port, &["#"]);
    line.say(STARTED);
    let vain = local.wait_on("gw1-sys/answer/soil/pump").json();
    assert!(vain["error"].as_str().unwrap().contains("did not wake"), "{vain}");
    local.forget();
    std::thread::sleep(Duration::from_secs(1));
    // It is tried again by now, and not only a good while later.
    line.say("2;255;3;0;32;8000");
    let answer = local.wait_on("gw1-sys/answer/soil/pump").json();
    assert_eq!((&answer["ok"], &answer["written"], &answer["fail_safe"]), (&true.into(), &false.into(), &true.into()));
    let told = wait_for("the value", PATIENCE, || ear.line().filter(|line| line.starts_with("2;")));
    assert_eq!(told, "2;4;1;0;2;0");
}
