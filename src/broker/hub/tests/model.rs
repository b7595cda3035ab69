//! Subscribers over connections that lose things, held to what MQTT promises them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

const CLIENTS: usize = 3;
const TOPICS: [&str; 3] = ["a", "a/b", "c"];
/// What each client subscribes to, and how hard.
const FILTERS: [&[(&str, usize)]; CLIENTS] =
    [&[("#", 2)], &[("a", 1), ("a/+", 2)], &[("a/#", 1), ("c", 2), ("+/b", 2)]];

#[derive(Clone, Debug)]
enum Step {
    Publish { topic: usize, qos: usize },
    Deliver { client: usize, budget: usize },
    Read { client: usize, packets: usize },
    Hear { client: usize, packets: usize, out_of_order: bool },
    Break { client: usize },
    Connect { client: usize, receive_maximum: u16 },
    Restart,
}

/// A client at the far end of two pipes, both of which are empty when the connection is new.
#[derive(Default)]
struct Far {
    name: String,
    link: Option<Client>,
    to_client: VecDeque<Reply>,
    to_hub: VecDeque<Request>,
    receive_maximum: usize,
    /// Ids on this connection that it has not answered in the end.
    open: BTreeSet<u16>,
    /// QoS 2 ids that have not been released.
    received: BTreeSet<u16>,
    /// What it got, by topic and QoS.
    got: BTreeMap<(String, Qos), Vec<u32>>,
}

impl Far {
    fn connect(&mut self, site: &mut Site, receive_maximum: u16) {
        self.cut();
        let connect = Connect { receive_maximum, clean_start: false, session_expiry: 3600, ..connect(&self.name) };
        self.receive_maximum = receive_maximum.into();
        self.link = Some(site.connect(&connect));
    }

    fn cut(&mut self) {
        self.link = None;
        self.to_client.clear();
        self.to_hub.clear();
        self.open.clear();
    }

    fn read(&mut self) {
        let Some(reply) = self.to_client.pop_front() else { return };
        match reply {
            Reply::Publish(delivery) => {
                let number: u32 = text(&delivery).parse().unwrap();
                let is_new = match delivery.qos {
                    Qos::AtMostOnce => true,
                    Qos::AtLeastOnce => {
                        self.open.insert(delivery.id);
                        self.to_hub.push_back(Request::PubAck { id: delivery.id, reason: 0 });
                        true
                    }
                    Qos::ExactlyOnce => {
                        self.open.insert(delivery.id);
                        self.to_hub.push_back(Request::PubRec { id: delivery.id, reason: 0 });
                        self.received.insert(delivery.id)
                    }
                };
                assert!(self.open.len() <= self.receive_maximum, "more than the client takes at once");
                if is_new {
                    let key = (delivery.publication.topic.to_string(), delivery.qos);
                    self.got.entry(key).or_default().push(number);
                }
            }
            Reply::PubRel { id, .. } => {
                self.received.remove(&id);
                self.to_hub.push_back(Request::PubComp { id });
            }
            Reply::SubAck { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn hear(&mut self, site: &mut Site, out_of_order: bool) {
        let Some(link) = &self.link else { return };
        let next = if out_of_order { self.to_hub.pop_back() } else { self.to_hub.pop_front() };
        let Some(request) = next else { return };
        if let Request::PubAck { id, .. } | Request::PubComp { id } = request {
            self.open.remove(&id);
        }
        self.to_client.extend(site.say(&link.clone(), request));
    }

    fn deliver(&mut self, site: &mut Site, budget: usize) -> bool {
        let Some(link) = &self.link else { return false };
        let mut replies = Vec::new();
        let has_more = site.hub.deliver(link.name, budget, site.now, &mut replies);
        self.to_client.extend(replies);
        has_more
    }

    fn drain(&mut self, site: &mut Site) {
        loop {
            while self.deliver(site, 1 << 16) {}
            if self.to_client.is_empty() && self.to_hub.is_empty() {
                return;
            }
            while !self.to_client.is_empty() {
                self.read();
            }
            while !self.to_hub.is_empty() {
                self.hear(site, false);
            }
        }
    }
}

/// As far as it matters, in an order of its own.
fn sorted(mut saved: Saved) -> Saved {
    saved.sessions.sort_by(|a, b| a.client.cmp(&b.client));
    for session in &mut saved.sessions {
        session.subscriptions.sort_by(|(a, _), (b, _)| a.filter.cmp(&b.filter));
        session.away_since = None;
    }
    saved
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = 0..CLIENTS;
    let step = prop_oneof![
        6 => (0..TOPICS.len(), 0..3usize).prop_map(|(topic, qos)| Step::Publish { topic, qos }),
        5 => (client.clone(), 1..200usize).prop_map(|(client, budget)| Step::Deliver { client, budget }),
        5 => (client.clone(), 1..6usize).prop_map(|(client, packets)| Step::Read { client, packets }),
        5 => (client.clone(), 1..6usize, any::<bool>())
            .prop_map(|(client, packets, out_of_order)| Step::Hear { client, packets, out_of_order }),
        1 => client.clone().prop_map(|client| Step::Break { client }),
        2 => (client, 1..5u16).prop_map(|(client, receive_maximum)| Step::Connect { client, receive_maximum }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..150)
}

proptest! {
    #[test]
    fn qos_1_comes_at_least_once_and_qos_2_exactly_once_and_each_topic_in_order(steps in steps()) {
        let mut site = Site::new();
        let mut far: Vec<Far> =
            (0..CLIENTS).map(|client| Far { name: format!("c{client}"), ..Far::default() }).collect();
        for (far, filters) in far.iter_mut().zip(FILTERS) {
            far.connect(&mut site, 3);
            let link = far.link.clone().unwrap();
            for (filter, qos) in filters {
                site.subscribe(&link, filter, QOS[*qos]);
            }
        }
        let mut published: BTreeMap<(usize, usize), Vec<u32>> = BTreeMap::new();
        for (number, step) in (0..).zip(steps) {
            match step {
                Step::Publish { topic, qos } => {
                    published.entry((topic, qos)).or_default().push(number);
                    let publication = Publication::new(TOPICS[topic], number.to_string());
                    site.hub.publish(Publication { qos: QOS[qos], ..publication }, site.now);
                }
                Step::Deliver { client, budget } => {
                    far[client].deliver(&mut site, budget);
                }
                Step::Read { client, packets } => (0..packets).for_each(|_| far[client].read()),
                Step::Hear { client, packets, out_of_order } => {
                    (0..packets).for_each(|_| far[client].hear(&mut site, out_of_order));
                }
                Step::Break { client } => {
                    if let Some(link) = far[client].link.clone() {
                        site.break_off(&link);
                    }
                    far[client].cut();
                }
                Step::Connect { client, receive_maximum } => far[client].connect(&mut site, receive_maximum),
                Step::Restart => {
                    let saved = site.hub.save(site.now);
                    site = Site::new();
                    site.hub.restore(saved.clone(), site.now);
                    prop_assert_eq!(sorted(site.hub.save(site.now)), sorted(saved));
                    far.iter_mut().for_each(Far::cut);
                }
            }
        }
        for far in &mut far {
            far.connect(&mut site, 2);
            far.drain(&mut site);
        }
        prop_assert_eq!((site.hub.tally.messages(), site.hub.tally.bytes()), (0, 0));
        for (far, filters) in far.iter().zip(FILTERS) {
            for ((topic, qos), numbers) in &published {
                let wanted = filters.iter().filter(|(filter, _)| filter::matches(filter, TOPICS[*topic]));
                let Some(wanted) = wanted.map(|(_, qos)| *qos).max() else { continue };
                let got = far.got.get(&(TOPICS[*topic].to_owned(), QOS[wanted.min(*qos)]));
                let mut got = got.cloned().unwrap_or_default();
                // With a lower QoS of its own a client gets two kinds as one: each is looked at for itself.
                got.retain(|number| numbers.contains(number));
                match QOS[wanted.min(*qos)] {
                    Qos::AtMostOnce => {
                        let mut expected = numbers.iter();
                        prop_assert!(got.iter().all(|number| expected.any(|expected| expected == number)));
                    }
                    Qos::AtLeastOnce => {
                        let mut first = Vec::new();
                        for number in got {
                            if !first.contains(&number) {
                                first.push(number);
                            }
                        }
                        prop_assert_eq!(&first, numbers);
                    }
                    Qos::ExactlyOnce => prop_assert_eq!(&got, numbers),
                }
            }
        }
    }
}
