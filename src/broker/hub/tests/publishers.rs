//! Publishers over connections that lose things: what they publish is taken at least once, or exactly once.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Publish { is_exact: bool },
    Hear,
    Read,
    Reconnect,
    Restart,
}

/// A publisher, and what it has under way: the packet id, the number, and whether the broker has said that it got it.
struct Publisher {
    link: Client,
    under_way: Vec<(u16, u32, Qos, bool)>,
    to_hub: VecDeque<Request>,
    to_client: VecDeque<Reply>,
    last_id: u16,
}

impl Publisher {
    fn request(id: u16, number: u32, qos: Qos, was_received: bool, duplicate: bool) -> Request {
        match was_received {
            true => Request::PubRel { id },
            false => Request::Publish(Publish { id, duplicate, ..publish("a", &number.to_string(), qos) }),
        }
    }

    fn publish(&mut self, number: u32, qos: Qos) {
        self.last_id = self.last_id % 20 + 1;
        if self.under_way.iter().any(|(id, ..)| *id == self.last_id) {
            return;
        }
        self.under_way.push((self.last_id, number, qos, false));
        self.to_hub.push_back(Self::request(self.last_id, number, qos, false, false));
    }

    fn reconnect(&mut self, site: &mut Site) {
        self.link = site.resident("s");
        self.to_client.clear();
        self.to_hub = self
            .under_way
            .iter()
            .map(|(id, number, qos, was_received)| Self::request(*id, *number, *qos, *was_received, true))
            .collect();
    }

    fn hear(&mut self, site: &mut Site) {
        if let Some(request) = self.to_hub.pop_front() {
            self.to_client.extend(site.say(&self.link, request));
        }
    }

    fn read(&mut self) {
        match self.to_client.pop_front() {
            Some(Reply::PubAck { id, .. } | Reply::PubComp { id, .. }) => {
                self.under_way.retain(|(other, ..)| *other != id)
            }
            Some(Reply::PubRec { id, .. }) => {
                if let Some(entry) = self.under_way.iter_mut().find(|(other, ..)| *other == id) {
                    entry.3 = true;
                }
                self.to_hub.push_back(Request::PubRel { id });
            }
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }
}

proptest! {
    #[test]
    fn what_is_said_again_is_taken_as_often_as_was_promised(
        steps in prop::collection::vec(
            prop_oneof![
                4 => any::<bool>().prop_map(|is_exact| Step::Publish { is_exact }),
                6 => Just(Step::Hear),
                6 => Just(Step::Read),
                1 => Just(Step::Reconnect),
                1 => Just(Step::Restart),
            ],
            1..150,
        )
    ) {
        let mut site = Site::new();
        let sink = site.resident("sink");
        site.subscribe(&sink, "#", Qos::ExactlyOnce);
        let link = site.resident("s");
        let mut publisher =
            Publisher { link, under_way: Vec::new(), to_hub: VecDeque::new(), to_client: VecDeque::new(), last_id: 0 };
        let mut published = Vec::new();
        for (number, step) in (0..).zip(steps) {
            match step {
                Step::Publish { is_exact } => {
                    let qos = if is_exact { Qos::ExactlyOnce } else { Qos::AtLeastOnce };
                    let before = publisher.under_way.len();
                    publisher.publish(number, qos);
                    if publisher.under_way.len() > before {
                        published.push((number, qos));
                    }
                }
                Step::Hear => publisher.hear(&mut site),
                Step::Read => publisher.read(),
                Step::Reconnect => publisher.reconnect(&mut site),
                Step::Restart => {
                    let saved = site.hub.save(site.now);
                    site = Site::new();
                    site.hub.restore(saved, site.now);
                    publisher.reconnect(&mut site);
                }
            }
        }
        publisher.reconnect(&mut site);
        while !publisher.to_hub.is_empty() || !publisher.to_client.is_empty() {
            publisher.hear(&mut site);
            publisher.read();
        }
        prop_assert!(publisher.under_way.is_empty());
        let sink = site.resident("sink");
        let got: Vec<u32> = site.read(&sink).iter().map(|text| text.parse().unwrap()).collect();
        for kind in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let of_kind = |number: &u32| published.contains(&(*number, kind));
            let expected: Vec<u32> = published.iter().map(|(number, _)| *number).filter(of_kind).collect();
            let mut got: Vec<u32> = got.iter().copied().filter(of_kind).collect();
            if kind == Qos::AtLeastOnce {
                let mut seen = std::collections::BTreeSet::new();
                got.retain(|number| seen.insert(*number));
            }
            prop_assert_eq!(got, expected);
        }
    }
}
