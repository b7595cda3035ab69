//! A site whose way upstream is gone for an hour: twenty local clients notice nothing, and everything that is to
//! be upstream is there afterwards.
//!
//! A second stands for a minute. What the clients publish is scaled with it: a number each tenth of a second is
//! what one each six seconds would be, so each of them has as many messages to get through as in the whole hour;
//! the tank is read each quarter of a second, for each fifteen. So are the times between which clients come, go,
//! break off and send commands. What the products have as their own times is left as it is: a command may
//! wait for 10 s upstream (`command_age`), which is a sixth of this hour and nothing of a real one, and deadlines of
//! commands, keep-alives and sessions are minutes and days, which is more than a real one needs. What the absence of
//! the broker upstream costs the gateway while it lasts, which is to try it now and then, is not scaled either.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::lab::broker::Mosquitto;
use crate::lab::client::{Client, Heard};
use crate::lab::forwarder::Forwarder;
use crate::lab::gateway::{Gateway, Site};
use crate::lab::residents::{Chorus, FORBIDDEN, Lamp, REPEATED, TALKERS, Tablet, UNSURE};
use crate::lab::slave::Slave;
use crate::lab::tools::{Line, Sub, Who};
use crate::lab::{PATIENCE, free_port, wait_for};
use crate::passwd::passwd;

const OUTAGE: Duration = Duration::from_secs(60);
/// How often each client publishes, and the tank is read.
const EVERY: Duration = Duration::from_millis(100);
const POLLED: Duration = Duration::from_millis(250);
/// The most the gateway has under way upstream. What is when the way breaks is sent again.
const IN_FLIGHT: usize = 20;
/// Clients of the local broker, and the subscriptions they have.
const RESIDENTS: u64 = 20;
const SUBSCRIPTIONS: u64 = 8;

const READING: &str = "gw1-out/tank/count";
const GAUGE: &str = "state/level";
/// What is sent upstream while the gateway is away, and is not to arrive: to a plug, and to the tank in °C.
const STALE: (&str, f64) = ("stale", 77.0);

#[test]
fn a_site_without_upstream_for_an_hour_works_on_and_everything_is_upstream_afterwards() {
    let mut scene = Scene::start();
    scene.everybody_is_there();
    scene.upstream_commands("before");

    scene.way.close();
    scene.gateway.as_ref().unwrap().wait_log("uplink down");
    let gone = Instant::now();
    let first = scene.chorus.said() + 1;
    // What the broker said last still gets through.
    sleep(Duration::from_secs(1));
    let arrived = scene.arrived();
    scene.chorus.repeat();
    for step in 1.. {
        scene.a_local_command_is_obeyed(40.0 + f64::from(step));
        scene.what_is_retained_is_served();
        scene.somebody_upstream_commands_in_vain();
        if step == 2 {
            scene.lamp.take().unwrap().cut();
            wait_for("the lamp's will", PATIENCE, || {
                scene.panel.on("stat/lamp/LWT").iter().any(|heard| heard.payload == "Offline").then_some(())
            });
        }
        if gone.elapsed() > OUTAGE {
            break;
        }
        sleep(OUTAGE / 10);
    }
    // Whoever may hear something has heard it before there is a way again.
    let last = scene.chorus.said();
    scene.residents_hear_each_other(last);
    scene.readings_are_heard_locally();
    scene.all_of_it_waits(last - first);
    assert_eq!(scene.arrived(), arrived, "nothing gets upstream without a way");

    scene.way.open();
    wait_for("live numbers upstream", PATIENCE, || {
        let heard = scene.upstream.heard();
        let mut topics = TALKERS.iter().filter_map(|talker| talker.upstream);
        let is_live = |topic: &str| heard.iter().any(|heard| heard.topic == topic && number(&heard.payload) > last);
        topics.all(is_live).then_some(())
    });
    scene.upstream_commands("after");
    scene.everything_is_upstream(first);
}

/// A site with a tank, its residents, its broker upstream, and somebody who listens there. Twenty are at the local broker:
/// ten that publish numbers, one that says some again and one that tries what it may not, and the eight here.
struct Scene {
    chorus: Chorus,
    tablet: Tablet,
    lamp: Option<Lamp>,
    /// Hears everything.
    panel: Client,
    /// Sends commands and hears the answers.
    desk: Client,
    /// Hear what plugs say, and what doors say and devices measure.
    kitchen: Sub,
    hall: Sub,
    /// Asks for everything, and may hear how things are.
    guest: Sub,
    /// Obeys.
    plug7: Sub,
    upstream: Client,
    gateway: Option<Gateway>,
    site: Site,
    slave: Slave,
    way: Forwarder,
    broker: Mosquitto,
    local: u16,
}

impl Scene {
    fn start() -> Self {
        let broker = Mosquitto::start();
        let way = Forwarder::to(broker.port);
        let (slave, local) = (Slave::start(), free_port());
        let site = Site::new(&format!(
            r##"gateway: gw1
uplinks: {{ central: {{ url: "mqtt://127.0.0.1:{}", in_flight: {IN_FLIGHT} }} }}
broker:
  listen: [127.0.0.1:{local}]
  passwords: broker.passwd
  users:
    plug: {{ publish: ["tele/%c/#", "stat/%c/#"], subscribe: ["cmnd/%c/#"] }}
    door: {{ publish: ["by/%u/%c/#"] }}
    gauge: {{ publish: ["state/#", "inside/#"] }}
    panel: {{ subscribe: ["#"] }}
    desk: {{ publish: ["gw1-in/#"], subscribe: ["gw1-sys/answer/#"] }}
    guest: {{ subscribe: ["state/#"] }}
bridge:
  up:
    - {{ topic: "tele/{{plug}}/fast", to: "{{gateway}}-site/{{plug}}/fast" }}
    - {{ topic: "tele/{{plug}}/#", to: "{{gateway}}-site/{{plug}}/tele/#", qos: 1 }}
    - {{ topic: "stat/{{plug}}/LWT", to: "{{gateway}}-site/{{plug}}/LWT" }}
    - {{ topic: "by/{{user}}/{{door}}/#", to: "{{gateway}}-doors/{{door}}/{{user}}/#" }}
    - {{ topic: "state/#", to: "{{gateway}}-state/#", retain: always }}
  down:
    - {{ topic: "{{gateway}}-site/{{plug}}/cmnd/#", to: "cmnd/{{plug}}/#" }}
modbus:
  boiler-room:
    tcp: 127.0.0.1:{}
    every: {}ms
    devices:
      tank:
        unit: 7
        points:
          count: {{ holding: 120, type: u32 }}
          setpoint: {{ holding: 112, type: i16, scale: 0.1, every: 10s, write: {{ min: 5, max: 80, verify: true }} }}
"##,
            way.port,
            slave.port,
            POLLED.as_millis()
        ));
        let file = site.path().join("broker.passwd");
        for user in ["plug", "door", "gauge", "panel", "desk", "guest"] {
            assert_eq!(passwd(&["--file", file.to_str().unwrap(), user], user).code, 0);
        }
        let upstream = Client::subscribe(broker.port, &["#"]);
        let gateway = site.run();
        gateway.wait_log("local broker listening");
        let login = |user: &'static str| Some((user, user));
        let sub =
            |id, user, version, qos, filters: &[&str]| Sub::start(local, &Who { id, user, version, qos }, filters);
        let panel = Client::subscribe_as(local, &["#"], login("panel"));
        let desk = Client::subscribe_as(local, &["gw1-sys/answer/#"], login("desk"));
        let kitchen = sub("kitchen", "panel", "311", 2, &["tele/#"]);
        let hall = sub("hall", "panel", "5", 1, &["by/#", "gw1-out/#"]);
        let guest = sub("guest", "guest", "5", 2, &["#"]);
        let plug7 = sub("plug7", "plug", "311", 1, &["cmnd/plug7/#"]);
        let tablet = Tablet::start(local);
        wait_for("all subscriptions", PATIENCE, || {
            (status(&site)["broker"]["subscriptions"].as_u64()? == SUBSCRIPTIONS).then_some(())
        });
        upstream.wait_on(READING);
        let lamp = Some(Lamp::connect(local));
        let chorus = Chorus::start(local, EVERY);
        Self {
            chorus,
            tablet,
            lamp,
            panel,
            desk,
            kitchen,
            hall,
            guest,
            plug7,
            upstream,
            gateway: Some(gateway),
            site,
            slave,
            way,
            broker,
            local,
        }
    }

    /// All residents are there, and heard upstream as far as they are to be.
    fn everybody_is_there(&self) {
        wait_for("twenty clients", PATIENCE, || {
            (status(&self.site)["broker"]["clients"].as_u64()? == RESIDENTS).then_some(())
        });
        for topic in bridged().map(|(_, topic)| topic) {
            self.upstream.wait(topic, |heard| heard.topic == topic && number(&heard.payload) > 10);
        }
    }

    /// Both ways down are there: that of the bridge, and that of commands.
    fn upstream_commands(&self, word: &str) {
        self.upstream.publish("gw1-site/plug7/cmnd/POWER", word);
        wait_for("the plug to obey", PATIENCE, || {
            self.plug7.heard().contains(&("cmnd/plug7/POWER".into(), word.into())).then_some(())
        });
        self.a_command_is_obeyed(&self.upstream, 30.5);
    }

    fn a_local_command_is_obeyed(&self, value: f64) {
        self.a_command_is_obeyed(&self.desk, value);
    }

    fn a_command_is_obeyed(&self, from: &Client, value: f64) {
        let id = format!("{value}-{}", fastrand::u32(..));
        from.publish("gw1-in/tank/setpoint", &json!({ "value": value, "id": id }).to_string());
        let answer = wait_for("the answer", PATIENCE, || {
            from.on("gw1-sys/answer/tank/setpoint").iter().map(Heard::json).find(|answer| answer["id"] == id.as_str())
        });
        assert!(answer["ok"] == true && answer["observed"].as_f64() == Some(value), "{answer}");
        let written = format!("write holding 112 {}", value * 10.0);
        assert!(self.slave.asked().iter().any(|(_, asked)| *asked == written), "{written}");
    }

    /// Whoever comes late is told what was last.
    fn what_is_retained_is_served(&self) {
        let said = self.chorus.said();
        self.panel.wait("the gauge", |heard| heard.topic == GAUGE && number(&heard.payload) >= said);
        let late = Client::subscribe_as(self.local, &[GAUGE, "gw1-sys/link/boiler-room"], Some(("panel", "panel")));
        let level = late.wait_on(GAUGE);
        assert!(level.retained && number(&level.payload) >= said, "{level:?}, and {said} was there already");
        let link = late.wait_on("gw1-sys/link/boiler-room");
        assert!(link.retained && link.json()["state"] == "online", "{link:?}");
    }

    /// The broker upstream takes it all for the gateway that is away.
    fn somebody_upstream_commands_in_vain(&self) {
        self.upstream.publish("gw1-site/plug7/cmnd/POWER", STALE.0);
        self.upstream.publish("gw1-in/tank/setpoint", &json!({ "value": STALE.1 }).to_string());
    }

    /// How many numbers and readings are upstream.
    fn arrived(&self) -> usize {
        let topics: BTreeSet<_> = bridged().map(|(_, topic)| topic).chain([READING]).collect();
        self.upstream.heard().iter().filter(|heard| topics.contains(heard.topic.as_str())).count()
    }

    /// Each hears what it may hear: each number up to this once, in order.
    fn residents_hear_each_other(&self, last: u64) {
        let panel = || self.panel.heard().into_iter().map(|heard| (heard.topic, heard.payload)).collect::<Vec<_>>();
        let ears: [Ear<'_>; 4] = [
            ("panel", &panel, &["tele/", "by/", "state/", "inside/"]),
            ("kitchen", &|| self.kitchen.heard(), &["tele/"]),
            ("hall", &|| self.hall.heard(), &["by/"]),
            ("guest", &|| self.guest.heard(), &["state/"]),
        ];
        for (name, heard, kinds) in ears {
            let topics = TALKERS.iter().map(|talker| talker.topic).chain([REPEATED.0]);
            for topic in topics.filter(|topic| kinds.iter().any(|kind| topic.starts_with(kind))) {
                let numbers = wait_for(&format!("{name} to hear {last} on {topic}"), PATIENCE, || {
                    sleep(Duration::from_millis(100));
                    let heard = heard().into_iter().filter(|(there, _)| there == topic);
                    let numbers: Vec<u64> = heard.map(|(_, payload)| number(&payload)).collect();
                    numbers.contains(&last).then_some(numbers)
                });
                let twice = all_in_order(numbers.into_iter().filter(|number| *number <= last), 1..=last)
                    .unwrap_or_else(|wrong| panic!("{name} on {topic}: {wrong}"));
                assert!(
                    twice.iter().all(|n| topic == REPEATED.0 && self.chorus.may_be_repeated(*n)),
                    "{name} on {topic}: {twice:?} twice"
                );
            }
        }
        let elsewhere: Vec<_> = self.guest.heard().into_iter().filter(|(topic, _)| topic != GAUGE).collect();
        assert!(elsewhere.is_empty(), "the guest hears what it may not: {elsewhere:?}");
    }

    /// Each time the tank was read local clients were told.
    fn readings_are_heard_locally(&self) {
        let asked = self.slave.asked();
        let polls = asked.iter().filter(|(_, asked)| {
            let registers = asked.strip_prefix("read holding ").and_then(|registers| registers.split_once(' '));
            registers.is_some_and(|(from, count)| {
                let (from, count): (u64, u64) = (from.parse().unwrap(), count.parse().unwrap());
                from <= 120 && from + count >= 122
            })
        });
        let polls = polls.count() as u64;
        self.panel.wait("the latest reading", |heard| heard.topic == READING && reading(heard) >= polls);
        let heard: Vec<u64> = self.panel.on(READING).iter().map(reading).collect();
        let twice = all_in_order(heard.iter().copied(), heard[0]..=polls);
        assert!(twice.is_ok_and(|twice| twice.is_empty()), "{polls} polls, and heard {heard:?}");
    }

    /// The queue has all of it, and says so.
    fn all_of_it_waits(&self, numbers: u64) {
        let uplink = &status(&self.site)["uplinks"][0];
        let (queue, wanted) = (&uplink["queue"], numbers * bridged().count() as u64);
        println!("after the outage {} wait, {wanted} of them numbers", queue["waiting"]);
        assert!(uplink["state"] == "down" && queue["waiting"].as_u64().unwrap() >= wanted, "{uplink}");
        balanced(queue);
    }

    /// One that was away half of the time was sent everything all the same; twice only what it may have taken.
    fn the_tablet_misses_nothing(&mut self, end: u64) {
        let (taken, visits) = self.tablet.finish();
        assert!(visits >= 5, "it came {visits} times");
        let kept = TALKERS.iter().filter(|talker| talker.who.qos > 0).map(|talker| talker.topic);
        for topic in kept.chain([REPEATED.0]).filter(|topic| topic.starts_with("tele/")) {
            let taken: Vec<_> = taken.iter().filter(|taken| taken.topic == topic).collect();
            let twice = all_in_order(taken.iter().map(|taken| number(&taken.payload)), 1..=end)
                .unwrap_or_else(|wrong| panic!("the tablet on {topic}: {wrong}"));
            let again = taken.iter().filter(|taken| taken.again).map(|taken| number(&taken.payload));
            let mut again: Vec<u64> = again.collect();
            again.retain(|number| twice.contains(number));
            for number in twice {
                assert!(
                    again.contains(&number) || self.chorus.may_be_repeated(number),
                    "the tablet on {topic}: {number} twice"
                );
            }
        }
    }

    /// Everything that is to be upstream is there, in order, and nothing else; the ledger knows of it. `first` was said
    /// in the outage.
    fn everything_is_upstream(&mut self, first: u64) {
        let end = self.chorus.finish();
        self.residents_hear_each_other(end);
        self.the_tablet_misses_nothing(end);
        let figures = wait_for("an empty queue", PATIENCE * 2, || {
            Some(status(&self.site)).filter(|status| status["uplinks"][0]["queue"]["waiting"] == 0)
        });
        let (ended, _) = self.gateway.take().unwrap().terminate();
        assert!(ended.success(), "{ended}");
        let readings = self.panel.on(READING).iter().map(reading).max().unwrap();
        let told = wait_for("the last reading", PATIENCE, || {
            Some(self.told())
                .filter(|told| told.iter().any(|heard| heard.topic == READING && reading(heard) == readings))
        });

        let mut unsure = BTreeSet::new();
        for (local, topic) in bridged() {
            let missing = missing(&told, topic, |heard| number(&heard.payload), end);
            match local {
                UNSURE => unsure = missing,
                _ => assert!(missing.is_empty(), "{topic}: {missing:?} missing"),
            }
        }
        assert!(missing(&told, READING, reading, readings).is_empty());
        assert!(unsure.iter().all(|number| *number < first), "{unsure:?}, of which from {first} on none was under way");

        let (twice, said_twice) = self.sent_twice(&told);
        let audit = self.site.wharf(&["queue", "audit"], &["--json"]);
        assert_eq!(audit.code, 0, "{audit:?}");
        let ledger = &audit.json()["queues"][0];
        println!("{end} numbers of each, the outage from {first} on; {readings} readings; {ledger}");
        println!("{twice} sent twice, {said_twice} published twice, {} gone with the way at QoS 0", unsure.len());
        balanced(ledger);
        assert!(twice <= IN_FLIGHT, "{twice} came twice");
        // What came and what was sent in vain is what the ledger has as sent.
        assert_eq!(ledger["acknowledged"], told.len() - twice + unsure.len());
        self.figures_agree(&figures, end);
        self.nothing_stale_was_done();
    }

    /// What the gateway has said upstream, but for its birth and its will, which are not from the queue.
    fn told(&self) -> Vec<Heard> {
        let mut told = self.upstream.heard();
        told.retain(|heard| heard.topic != "gw1-sys/state");
        // Not what was said to it.
        told.retain(|heard| !heard.topic.starts_with("gw1-in/") && !heard.topic.contains("/cmnd/"));
        let kinds = ["gw1-out/tank/", "gw1-sys/", "gw1-site/", "gw1-doors/", "gw1-state/"];
        for Heard { topic, .. } in &told {
            assert!(kinds.iter().any(|kind| topic.starts_with(kind)), "{topic} was to stay at the site");
        }
        told
    }

    /// How many messages came more often than they were published, and how many were published twice.
    fn sent_twice(&self, told: &[Heard]) -> (usize, usize) {
        let mut copies: BTreeMap<(&str, String), usize> = BTreeMap::new();
        for Heard { topic, payload, .. } in told {
            *copies.entry((topic, payload.replace(r#","replay":true"#, ""))).or_default() += 1;
        }
        // It may have broken off before local clients got the first one; then it was under way upstream already.
        let said = self.panel.on(REPEATED.0);
        let mut said_twice = 0;
        for ((_, payload), times) in copies.iter().filter(|((topic, _), _)| *topic == REPEATED.1) {
            let here = said.iter().filter(|heard| heard.payload == *payload).count();
            assert!(here <= *times, "{payload} came {here} times to local clients, and {times} times upstream");
            if self.chorus.may_be_repeated(number(payload)) {
                assert!(*times <= 2, "{payload} came {times} times upstream");
                said_twice += times - 1;
            }
        }
        (told.len() - copies.len() - said_twice, said_twice)
    }

    /// The figures at the end: nobody local missed anything, and who may not command was refused each time.
    fn figures_agree(&self, status: &Json, end: u64) {
        let (broker, uplink) = (&status["broker"], &status["uplinks"][0]);
        balanced(&uplink["queue"]);
        for dropped in ["missed", "dropped_slow", "dropped_full", "dropped_large", "expired", "not_retained", "stalled"]
        {
            assert_eq!(broker[dropped], 0, "{dropped}: {broker}");
        }
        assert_eq!(broker["refused_publications"], end, "{broker}");
        assert!(broker["withheld"].as_u64().unwrap() > 0, "{broker}");
        let down = &status["bridge"]["down"][0];
        assert_eq!((&down["passed"], &down["dropped"]["no_room"]), (&json!(2), &json!(0)), "{down}");
        assert_eq!(uplink["connects"], 2, "{uplink}");
    }

    /// The tank and the plug have done what they were told in time, and nothing else. What is retained upstream is the latest.
    fn nothing_stale_was_done(&self) {
        let asked = self.slave.asked();
        for never in [STALE.1, FORBIDDEN.parse().unwrap()] {
            let write = format!("write holding 112 {}", never * 10.0);
            assert!(!asked.iter().any(|(_, asked)| *asked == write), "{write}");
        }
        let heard = self.plug7.heard().into_iter().map(|(_, payload)| payload);
        assert_eq!(heard.collect::<Vec<_>>(), ["before", "after"]);
        let late = Client::subscribe(self.broker.port, &["gw1-state/#", "gw1-site/#"]);
        let level = late.wait_on("gw1-state/level");
        let last = self.panel.on(GAUGE).last().unwrap().payload.clone();
        assert!(level.retained && level.payload == last, "{level:?}, not {last}");
        let lamp = late.wait_on("gw1-site/lamp/LWT");
        assert!(lamp.retained && lamp.payload == "Offline", "{lamp:?}");
        assert_eq!(late.heard().len(), 2, "{:?}", late.heard());
    }
}

/// One who listens: its name, what it has heard, and the kinds of topics it may hear.
type Ear<'a> = (&'a str, &'a dyn Fn() -> Vec<Line>, &'a [&'a str]);

/// The topics that are to be upstream, and what they are called there.
fn bridged() -> impl Iterator<Item = (&'static str, &'static str)> {
    TALKERS.iter().filter_map(|talker| Some((talker.topic, talker.upstream?))).chain([REPEATED])
}

fn status(site: &Site) -> Json {
    site.wharf(&["status"], &["--json"]).json()
}

/// Each number that was given is acknowledged or waits, and none was dropped.
fn balanced(ledger: &Json) {
    let count = |of: &str| ledger[of].as_u64().unwrap();
    assert_eq!(count("captured"), count("acknowledged") + count("waiting"), "{ledger}");
    assert!(ledger["dropped"].as_object().unwrap().values().all(|dropped| *dropped == 0), "{ledger}");
}

fn number(payload: &str) -> u64 {
    payload.parse().unwrap()
}

fn reading(heard: &Heard) -> u64 {
    heard.json()["value"].as_u64().unwrap()
}

/// The numbers up to the last that were not heard upstream on a topic. What was replayed and what was not have come in order
/// each.
fn missing(told: &[Heard], topic: &str, number: impl Fn(&Heard) -> u64, last: u64) -> BTreeSet<u64> {
    let lane =
        |replayed| told.iter().filter(move |heard| heard.topic == topic && heard.replayed == replayed).map(&number);
    for replayed in [false, true] {
        let twice = rising(lane(replayed));
        twice.unwrap_or_else(|wrong| panic!("{topic}, {}replayed: {wrong}", if replayed { "" } else { "not " }));
    }
    assert!(lane(true).count() > 0, "{topic}: what waited says so");
    let there: BTreeSet<u64> = lane(false).chain(lane(true)).collect();
    (1..=last).filter(|number| !there.contains(number)).collect()
}

/// Numbers of which none comes for the first time after a higher one: those that came more than once.
fn rising(numbers: impl Iterator<Item = u64>) -> Result<Vec<u64>, String> {
    let (mut seen, mut twice) = (BTreeSet::new(), Vec::new());
    for number in numbers {
        let highest = seen.last().copied().unwrap_or_default();
        match seen.insert(number) {
            true if number < highest => return Err(format!("{number} came after {highest}")),
            true => {}
            false => twice.push(number),
        }
    }
    Ok(twice)
}

/// The same, and all of these have to be there.
fn all_in_order(numbers: impl Iterator<Item = u64>, all: RangeInclusive<u64>) -> Result<Vec<u64>, String> {
    let numbers: Vec<u64> = numbers.collect();
    let there: BTreeSet<u64> = numbers.iter().copied().collect();
    let missing: Vec<u64> = all.filter(|number| !there.contains(number)).collect();
    if missing.is_empty() { rising(numbers.into_iter()) } else { Err(format!("{missing:?} missing")) }
}
