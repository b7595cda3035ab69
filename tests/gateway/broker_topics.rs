//! A hundred thousand topics: retained, subscribed to, deep and long. There are bounds, what is beyond them is
//! refused and counted, and the neighbours are served.

use std::collections::HashSet;
use std::time::Duration;

use crate::lab::client::Client;
use crate::lab::gateway::{Gateway, Site};
use crate::lab::process::memory;
use crate::lab::raw::{Heard, Raw, packet, string};
use crate::lab::{PATIENCE, free_port, wait_for};

const MANY: usize = 100_000;

struct Scene {
    gateway: Gateway,
    site: Site,
    port: u16,
    neighbour: Client,
    /// What it took before, in KiB.
    before: u64,
}

impl Scene {
    fn start(limits: &str) -> Self {
        let port = free_port();
        let limits = format!("broker: {{ listen: [127.0.0.1:{port}], limits: {{ {limits} }} }}");
        let site = Site::new(&format!("gateway: gw1\n{limits}\n"));
        let gateway = site.run();
        gateway.wait_log("local broker listening");
        let neighbour = Client::subscribe(port, &["fine/#"]);
        let before = memory(gateway.id(), "VmRSS");
        Self { gateway, site, port, neighbour, before }
    }

    /// A neighbour says something, and hears it.
    fn serves_a_neighbour(&self) {
        let said = fastrand::u64(..).to_string();
        self.neighbour.publish("fine/a", &said);
        self.neighbour.wait("its own words", |heard| heard.payload == said);
        self.neighbour.forget();
    }

    /// It never took more than so many MiB beyond what it took before.
    fn took_at_most(&self, mebibytes: u64) {
        let peak = memory(self.gateway.id(), "VmHWM");
        println!("{} KiB before, {peak} KiB at most", self.before);
        assert!(peak < self.before + mebibytes * 1024, "{} KiB before, {peak} KiB at most", self.before);
    }

    fn counted(&self, what: &str) -> u64 {
        let status = self.site.wharf(&["status"], &["--json"]).json();
        status["broker"][what].as_u64().unwrap_or_else(|| panic!("{what} of {status}"))
    }

    /// Has a client retain something on each of these topics.
    fn retain(&self, client: &str, topics: impl Iterator<Item = String>, payload: &[u8]) {
        let (mut raw, _) = Raw::v3(self.port, client, true);
        let topics: Vec<String> = topics.collect();
        for some in topics.chunks(100) {
            let retained =
                |(id, topic): (u16, &String)| packet(0x33, &[&string(topic)[..], &id.to_be_bytes(), payload].concat());
            raw.say(&(1_u16..).zip(some).flat_map(retained).collect::<Vec<u8>>());
            (1_u16..).zip(some).for_each(|(id, _)| raw.hears(0x40, &id.to_be_bytes()));
        }
    }
}

/// Has a client subscribe to each of these filters; which of them the broker grants, one by one.
fn subscribe(raw: &mut Raw, filters: &[String]) -> Vec<bool> {
    let mut granted = Vec::new();
    for some in filters.chunks(100) {
        let wanted: Vec<u8> = some.iter().flat_map(|filter| [string(filter), vec![0]].concat()).collect();
        raw.say(&packet(0x82, &[&[0, 1][..], &wanted].concat()));
        match raw.hear() {
            Heard::Packet(0x90, body) => granted.extend(body[2..].iter().map(|code| *code < 0x80)),
            other => panic!("{other:?} in answer to a SUBSCRIBE"),
        }
    }
    assert_eq!(granted.len(), filters.len());
    granted
}

#[test]
fn of_a_hundred_thousand_topics_as_many_are_retained_as_there_may_be() {
    let scene = Scene::start("");
    scene.retain("one", (0..MANY).map(|n| format!("many/{n}")), &[b'x'; 100]);
    scene.serves_a_neighbour();
    assert_eq!(scene.counted("retained"), 10_000);
    assert!(scene.counted("not_retained") > 89_000);
    let metrics = scene.site.wharf(&["status"], &["--metrics"]).out;
    assert!(
        metrics.lines().any(|line| line.starts_with("wharf_broker_") && line.contains("not_retained")),
        "{metrics}"
    );
    scene.took_at_most(24);
    // What is retained already can still be changed, and what is cleared makes room.
    scene.retain("one", std::iter::once("many/7".to_owned()), b"new");
    scene.retain("one", std::iter::once("many/8".to_owned()), b"");
    scene.retain("one", std::iter::once("late".to_owned()), b"there");
    let late = Client::subscribe(scene.port, &["many/7", "late"]);
    assert_eq!((late.wait_on("many/7").payload, late.wait_on("late").payload), ("new".into(), "there".into()));
}

#[test]
fn a_hundred_thousand_topics_of_ten_clients_are_retained_and_survive_a_restart_where_they_may() {
    let scene = Scene::start("retained: 110000, retained_size: 64MiB");
    std::thread::scope(|scope| {
        for client in 0..10 {
            let topics = (0..MANY / 10).map(move |n| format!("many/{client}/{n}"));
            let scene = &scene;
            scope.spawn(move || scene.retain(&format!("client-{client}"), topics, &[b'x'; 50]));
        }
        for _ in 0..10 {
            scene.serves_a_neighbour();
        }
    });
    assert_eq!(scene.counted("not_retained"), 0);
    everything_is_there(&scene);
    scene.took_at_most(96);
    wait_for("all of it to be on disk", PATIENCE, || {
        let status = scene.site.wharf(&["status"], &["--json"]).json();
        (status["broker"]["store"]["pending_bytes"] == 0).then_some(())
    });
    let Scene { gateway, site, port, neighbour, before } = scene;
    assert!(gateway.terminate().0.success());
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    let scene = Scene { gateway, site, port, neighbour, before };
    everything_is_there(&scene);
    scene.took_at_most(96);
}

/// A new subscriber gets each of them once, and others are served meanwhile.
fn everything_is_there(scene: &Scene) {
    let (mut raw, _) = Raw::v3(scene.port, "late", true);
    raw.say(&packet(0x82, &[&[0, 1][..], &string("many/#"), &[0]].concat()));
    raw.hears(0x90, &[0, 1, 0]);
    let mut topics = HashSet::with_capacity(MANY);
    while topics.len() < MANY {
        match raw.hear() {
            Heard::Packet(0x31, body) => assert!(topics.insert(body[..body.len() - 50].to_vec())),
            other => panic!("{other:?} in place of what is retained"),
        }
        if topics.len() == MANY / 2 {
            scene.serves_a_neighbour();
        }
    }
    raw.hears_nothing();
}

#[test]
fn what_is_retained_under_long_and_deep_topics_stays_within_its_size() {
    let scene = Scene::start("");
    // 60,000 bytes in 61 levels.
    let level = "x".repeat(60_000 / 60 - 1);
    let long = |n: usize| format!("{n}/{}", vec![level.as_str(); 60].join("/"));
    scene.retain("long", (0..2_000).map(long), b"1");
    scene.serves_a_neighbour();
    let (retained, bytes) = (scene.counted("retained"), scene.counted("retained_bytes"));
    assert!((500..700).contains(&retained) && bytes <= 32 << 20, "{retained} retained, {bytes} bytes");
    assert!(scene.counted("not_retained") > 1_000);
    scene.took_at_most(96);
}

#[test]
fn a_topic_deeper_than_it_may_be_is_refused_and_nobody_minds() {
    let scene = Scene::start("");
    let deep = |levels: usize| vec!["d"; levels].join("/");
    let (mut raw, _) = Raw::v5(scene.port, "deep", true, &[]);
    for (levels, expected) in [(64, 0), (65, 0x90), (30_000, 0x90)] {
        raw.say(&packet(0x32, &[&string(deep(levels))[..], &[0, 9, 0], b"x"].concat()));
        // Nobody has subscribed to it (0x10), or it is no name for a topic here (0x90).
        let expected = if expected == 0 { 0x10 } else { expected };
        match raw.hear() {
            Heard::Packet(0x40, body) => {
                assert_eq!((&body[..2], body.get(2)), (&[0, 9][..], Some(&expected)), "{levels}")
            }
            other => panic!("{other:?} in answer to a PUBLISH"),
        }
    }
    let filters = |levels| format!("{}/#", deep(levels));
    let (mut raw, _) = Raw::v3(scene.port, "deep", true);
    assert_eq!(subscribe(&mut raw, &[filters(63), filters(64), filters(20_000)]), [true, false, false]);
    assert!(scene.counted("refused_publications") >= 2 && scene.counted("refused_subscriptions") >= 2);
    scene.serves_a_neighbour();
    scene.took_at_most(8);
}

#[test]
fn of_a_hundred_thousand_subscriptions_of_one_client_it_gets_as_many_as_it_may_have() {
    let scene = Scene::start("");
    let (mut raw, _) = Raw::v3(scene.port, "greedy", true);
    let filters: Vec<String> = (0..MANY).map(|n| format!("many/{n}/+")).collect();
    let granted = subscribe(&mut raw, &filters);
    assert_eq!(granted.iter().filter(|granted| **granted).count(), 200);
    assert_eq!(scene.counted("refused_subscriptions"), MANY as u64 - 200);
    scene.serves_a_neighbour();
    scene.took_at_most(16);
}

#[test]
fn a_hundred_thousand_subscriptions_of_one_client_work_where_they_may() {
    let scene = Scene::start("subscriptions: 100000");
    let (mut raw, _) = Raw::v3(scene.port, "collector", true);
    let filters: Vec<String> = (0..MANY).map(|n| format!("many/{n}")).collect();
    assert!(subscribe(&mut raw, &filters).into_iter().all(|granted| granted));
    works_beside(&scene, &mut raw);
    scene.took_at_most(96);
}

#[test]
fn a_hundred_thousand_subscriptions_of_five_hundred_clients_stay_within_what_all_may_have() {
    let scene = Scene::start("");
    let mut clients: Vec<Raw> = (0..500).map(|n| Raw::v3(scene.port, &format!("client-{n}"), true).0).collect();
    let mut granted = 0;
    for (client, raw) in clients.iter_mut().enumerate() {
        let filters: Vec<String> = (0..200).map(|n| format!("many/{}/+/#", client * 200 + n)).collect();
        granted += subscribe(raw, &filters).into_iter().filter(|granted| *granted).count();
    }
    println!("{granted} granted");
    assert!((20_000..MANY).contains(&granted), "{granted}");
    assert_eq!(scene.counted("refused_subscriptions"), (MANY - granted) as u64);
    scene.serves_a_neighbour();
    scene.took_at_most(128);
    // Who has one is served, and whoever goes makes room.
    scene.neighbour.publish("many/7/b/c", "x");
    clients[0].hears(0x30, &[&string("many/7/b/c")[..], b"x"].concat());
    clients.truncate(250);
    wait_for("half of them to be gone", PATIENCE, || (scene.counted("clients") == 251).then_some(()));
    let (mut late, _) = Raw::v3(scene.port, "late", true);
    assert_eq!(subscribe(&mut late, &["many/1/+/#".into()]), [true]);
}

/// What is published on one of many topics comes once, and the neighbours are served.
fn works_beside(scene: &Scene, raw: &mut Raw) {
    for n in [0, 1, MANY / 2, MANY - 1] {
        scene.neighbour.publish(&format!("many/{n}"), "x");
        raw.hears(0x30, &[&string(format!("many/{n}"))[..], b"x"].concat());
    }
    raw.waits(Duration::from_secs(5));
    raw.hears_nothing();
    scene.serves_a_neighbour();
}
