//! All clients of one field, by where they are and by what they are called, without any I/O. It lets
//! clients in, answers those who look for a gateway, and sees to it that nobody takes more than its share.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;
use wharf_contract::settings::Network;

use crate::client::topics;
use crate::client::{Action, Client, Connect, Rules};
use crate::message::{Message, Publish, Qos, Return, Topic};
use crate::upstream::{News, Request};

/// How many peers' datagrams are counted at once, to slow them down.
const MOST_PEERS: usize = 4096;

/// How many of those who took their leave are remembered, to answer them again.
const MOST_LEFT: usize = 64;

/// How long a client has been silent, without having said how long it may be, that makes room for a new one.
const GIVEN_UP: Duration = Duration::from_secs(3600);

/// The longest client id that is taken, in bytes. The specification allows 23 characters.
pub const LONGEST_ID: usize = 64;

/// The way a datagram came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// Over UDP, from there.
    Udp(SocketAddr),
    /// Over the serial line.
    Line,
}

/// Where a client is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The way to it.
    pub way: Way,
    /// Behind a forwarder: the node, as the forwarder knows it.
    pub node: Option<Bytes>,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.way {
            Way::Udp(address) => write!(f, "{address}")?,
            Way::Line => f.write_str("serial")?,
        }
        match &self.node {
            Some(node) => {
                f.write_str("/")?;
                node.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            None => Ok(()),
        }
    }
}

/// A client's number, for as long as it is one. 0 is the gateway's own.
pub type Key = u32;

/// The gateway itself, as a client of the broker.
pub const OWN: Key = 0;

/// Who may do what.
#[derive(Clone, Debug)]
pub struct Access {
    /// Which gateway this is.
    pub gateway: u8,
    /// The gateway's own id at the broker, which no client may have.
    pub own_id: String,
    /// From where clients may come; empty: from everywhere.
    pub networks: Vec<Network>,
    /// What clients may be called; empty: anything.
    pub ids: Vec<String>,
    /// How many there may be.
    pub clients: usize,
    /// Whether something may be published without connecting.
    pub qos_minus_one: bool,
    /// How many datagrams a peer may send in a second.
    pub rate: u32,
    /// How often the gateway says that it is there.
    pub advertise: Option<Duration>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Say this to somebody.
    Send(Peer, Message),
    /// Say it to everybody.
    Broadcast(Message),
    /// Ask the broker, as that client.
    Ask(Key, Request),
    /// That client is none any more. What was asked before still counts.
    Forget(Key),
    /// One more of these.
    Count(&'static str),
    /// Tell people about it.
    Complain(String),
}

#[derive(Debug)]
struct Entry {
    client: Client,
    peer: Peer,
}

/// The clients of one field.
#[derive(Debug)]
pub struct Gateway {
    access: Access,
    rules: Arc<Rules>,
    clients: HashMap<Key, Entry>,
    by_peer: HashMap<Peer, Key>,
    by_id: HashMap<String, Key>,
    last_key: Key,
    left: VecDeque<Peer>,
    /// How much has come from whom since when.
    rates: HashMap<Way, (Instant, u32)>,
    advertise_at: Option<Instant>,
}

impl Gateway {
    /// A gateway without clients.
    pub fn new(access: Access, rules: Arc<Rules>, now: Instant) -> Self {
        Self {
            advertise_at: access.advertise.map(|_| now),
            access,
            rules,
            clients: HashMap::new(),
            by_peer: HashMap::new(),
            by_id: HashMap::new(),
            last_key: OWN,
            left: VecDeque::new(),
            rates: HashMap::new(),
        }
    }

    /// A datagram has come.
    pub fn receive(&mut self, way: Way, datagram: &[u8], now: Instant, out: &mut Vec<Output>) {
        if let Way::Udp(address) = way
            && !self.access.networks.is_empty()
            && !self.access.networks.iter().any(|network| network.contains(address.ip()))
        {
            out.push(Output::Count("not_allowed"));
            return out.push(Output::Complain(format!("{address} is not in `allow`")));
        }
        if self.is_too_fast(way, now) {
            return out.push(Output::Count("too_fast"));
        }
        let read = match Message::read(datagram) {
            // What a forwarder passes on is no forwarder's.
            Ok(Message::Forwarded { node, message, .. }) => {
                let inner = Message::read(&message).map(|message| (Some(node), message));
                match inner {
                    Ok((_, Message::Forwarded { .. })) => return out.push(Output::Count("malformed")),
                    inner => inner,
                }
            }
            read => read.map(|message| (None, message)),
        };
        match read {
            Ok((node, message)) => {
                out.push(Output::Count("received"));
                self.message(Peer { way, node }, message, now, out);
            }
            Err(why) => {
                out.push(Output::Count("malformed"));
                out.push(Output::Complain(format!("{} sends what is no message: {why}", Peer { way, node: None })));
            }
        }
    }

    /// The broker has said something to a client's session.
    pub fn news(&mut self, key: Key, session: u32, news: News, now: Instant, out: &mut Vec<Output>) {
        self.with(key, out, |client, actions| client.news(session, news, now, actions));
    }

    /// When there is something to do if nothing comes.
    pub fn due(&self) -> Option<Instant> {
        self.clients.values().filter_map(|entry| entry.client.due()).chain(self.advertise_at).min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        if let (Some(at), Some(every)) = (self.advertise_at, self.access.advertise)
            && at <= now
        {
            self.advertise_at = now.checked_add(every);
            let duration = u16::try_from(every.as_secs()).unwrap_or(u16::MAX);
            out.push(Output::Broadcast(Message::Advertise { gateway: self.access.gateway, duration }));
        }
        let due = |entry: &Entry| entry.client.due().is_some_and(|due| due <= now);
        let keys: Vec<Key> = self.clients.iter().filter(|(_, entry)| due(entry)).map(|(key, _)| *key).collect();
        for key in keys {
            self.with(key, out, |client, actions| client.tick(now, actions));
        }
    }

    /// All clients are told that it is over.
    pub fn end(&mut self, out: &mut Vec<Output>) {
        let keys: Vec<Key> = self.clients.keys().copied().collect();
        for key in keys {
            self.with(key, out, Client::end);
        }
    }

    /// How many clients there are.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Which of its sessions a client is in.
    pub fn session_of(&self, key: Key) -> Option<u32> {
        self.clients.get(&key).map(|entry| entry.client.session())
    }

    /// What is known of the clients, by their ids.
    pub fn describe(&self, now: Instant) -> Value {
        let mut entries: Vec<_> = self.clients.values().collect();
        entries.sort_by(|a, b| a.client.id().cmp(b.client.id()));
        let described = entries.into_iter().map(|Entry { client, peer }| {
            json!({
                "id": client.id(),
                "at": peer.to_string(),
                "state": client.state().as_str(),
                "waiting": client.waiting(),
                "topics": client.topics(),
                "heard_s": now.saturating_duration_since(client.heard()).as_secs(),
            })
        });
        described.collect()
    }

    fn message(&mut self, peer: Peer, message: Message, now: Instant, out: &mut Vec<Output>) {
        match message {
            Message::SearchGw { .. } => {
                let answer = Message::GwInfo { gateway: self.access.gateway, address: Bytes::new() };
                out.push(Output::Send(peer, answer));
            }
            // Other gateways, or this one's own voice.
            Message::Advertise { .. } | Message::GwInfo { .. } => {}
            Message::Connect { will, clean, duration, client } => {
                self.connect(peer, client, Connect { will, clean, duration }, now, out);
            }
            Message::PingReq { client: Some(id) } if !self.by_peer.contains_key(&peer) => {
                self.wake(peer, &id, now, out)
            }
            message => match (self.by_peer.get(&peer).copied(), message) {
                (Some(key), message) => self.with(key, out, |client, actions| client.message(message, now, actions)),
                (None, Message::Publish(publish)) if publish.qos == Qos::Unconnected => {
                    self.publish_unconnected(publish, out);
                }
                (None, Message::Disconnect { .. }) if !self.left.contains(&peer) => {}
                (None, message) => {
                    if !matches!(message, Message::Disconnect { .. }) {
                        out.push(Output::Count("unknown_client"));
                    }
                    out.push(Output::Send(peer, Message::Disconnect { duration: None }));
                }
            },
        }
    }

    fn connect(&mut self, peer: Peer, id: String, connect: Connect, now: Instant, out: &mut Vec<Output>) {
        let Access { ids, own_id, .. } = &self.access;
        if id.len() > LONGEST_ID || id == *own_id || (!ids.is_empty() && !ids.contains(&id)) {
            let shown: String = id.chars().take(LONGEST_ID).flat_map(char::escape_default).collect();
            out.push(Output::Count("not_allowed"));
            out.push(Output::Complain(format!(
                "{peer} calls itself {shown}, which is not in `allow`, or too long, or taken"
            )));
            return out.push(Output::Send(peer, Message::ConnAck(Return::NotSupported)));
        }
        // A peer is one client at a time.
        if let Some(other) = self.by_peer.get(&peer).copied()
            && self.by_id.get(&id) != Some(&other)
        {
            self.with(other, out, |client, actions| {
                client.message(Message::Disconnect { duration: None }, now, actions);
            });
        }
        if let Some(key) = self.by_id.get(&id).copied() {
            self.move_to(key, peer);
            return self.with(key, out, |client, actions| client.connect_again(connect, now, actions));
        }
        if self.clients.len() >= self.access.clients {
            self.make_room(now, out);
        }
        if self.clients.len() >= self.access.clients {
            out.push(Output::Count("clients_full"));
            out.push(Output::Complain(format!("there is no room for {peer}: `clients` is {}", self.access.clients)));
            return out.push(Output::Send(peer, Message::ConnAck(Return::Congestion)));
        }
        let key = self.free_key();
        let mut actions = Vec::new();
        let client = Client::new(id.clone(), Arc::clone(&self.rules), connect, now, &mut actions);
        self.left.retain(|left| *left != peer);
        self.by_peer.insert(peer.clone(), key);
        self.by_id.insert(id, key);
        self.clients.insert(key, Entry { client, peer });
        self.carry_out(key, actions, out);
    }

    /// Nothing ever says that a client is gone that may be silent for ever: one that has a new id at every start, or was
    /// taken down. When there are too many, the one that was heard longest ago goes.
    fn make_room(&mut self, now: Instant, out: &mut Vec<Output>) {
        let silence = |entry: &Entry| now.saturating_duration_since(entry.client.heard());
        let given_up =
            self.clients.iter().filter(|(_, entry)| entry.client.may_be_silent() && silence(entry) >= GIVEN_UP);
        if let Some((key, _)) = given_up.max_by_key(|(_, entry)| silence(entry)) {
            self.with(*key, out, Client::make_way);
        }
    }

    /// A client that slept may come from another address: from behind a router, mostly.
    fn wake(&mut self, peer: Peer, id: &str, now: Instant, out: &mut Vec<Output>) {
        match self.by_id.get(id).copied() {
            Some(key) => {
                self.move_to(key, peer);
                self.with(key, out, |client, actions| {
                    client.message(Message::PingReq { client: None }, now, actions);
                });
            }
            None => {
                out.push(Output::Count("unknown_client"));
                out.push(Output::Send(peer, Message::Disconnect { duration: None }));
            }
        }
    }

    fn publish_unconnected(&mut self, publish: Publish, out: &mut Vec<Output>) {
        let topic = match publish.topic {
            Topic::Predefined(number) => self.rules.predefined.name(number).map(str::to_owned),
            Topic::Short(name) => topics::short(name),
            Topic::Registered(_) => None,
        };
        // Where ids are listed, who says none is none of them.
        let allowed = self.access.qos_minus_one && self.access.ids.is_empty();
        match topic.filter(|_| allowed) {
            Some(topic) => {
                out.push(Output::Count("published"));
                let (payload, retain) = (publish.data, publish.retain);
                let request =
                    Request::Publish { topic, payload, qos: Qos::AtMostOnce, retain, tag: None, repeated: false };
                out.push(Output::Ask(OWN, request));
            }
            None => out.push(Output::Count("refused_unconnected")),
        }
    }

    fn move_to(&mut self, key: Key, peer: Peer) {
        let Some(entry) = self.clients.get_mut(&key) else { return };
        let before = std::mem::replace(&mut entry.peer, peer.clone());
        self.by_peer.remove(&before);
        self.by_peer.insert(peer, key);
    }

    /// Lets a client do something, and carries out what comes of it.
    fn with(&mut self, key: Key, out: &mut Vec<Output>, what: impl FnOnce(&mut Client, &mut Vec<Action>)) {
        let Some(entry) = self.clients.get_mut(&key) else { return };
        let mut actions = Vec::new();
        what(&mut entry.client, &mut actions);
        self.carry_out(key, actions, out);
    }

    fn carry_out(&mut self, key: Key, actions: Vec<Action>, out: &mut Vec<Output>) {
        let Some(peer) = self.clients.get(&key).map(|entry| entry.peer.clone()) else { return };
        for action in actions {
            match action {
                Action::Send(message) => out.push(Output::Send(peer.clone(), message)),
                Action::Ask(request) => out.push(Output::Ask(key, request)),
                Action::Count(what) => out.push(Output::Count(what)),
                Action::End => {
                    if let Some(entry) = self.clients.remove(&key) {
                        self.by_id.remove(entry.client.id());
                        self.by_peer.remove(&entry.peer);
                        self.left.truncate(MOST_LEFT - 1);
                        self.left.push_front(entry.peer);
                    }
                    out.push(Output::Forget(key));
                }
            }
        }
    }

    fn free_key(&mut self) -> Key {
        loop {
            self.last_key = self.last_key.checked_add(1).unwrap_or(OWN + 1);
            if !self.clients.contains_key(&self.last_key) {
                return self.last_key;
            }
        }
    }

    fn is_too_fast(&mut self, way: Way, now: Instant) -> bool {
        // A serial line is as fast as it is.
        if way == Way::Line {
            return false;
        }
        if self.rates.len() >= MOST_PEERS && !self.rates.contains_key(&way) {
            self.rates.clear();
        }
        let (since, count) = self.rates.entry(way).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count > self.access.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::topics::Predefined;
    use crate::upstream::News;

    const HOUR: Duration = Duration::from_secs(3600);

    struct Field {
        gateway: Gateway,
        now: Instant,
    }

    impl Field {
        fn new(clients: usize) -> Self {
            let access = Access {
                gateway: 1,
                own_id: "own".into(),
                networks: Vec::new(),
                ids: Vec::new(),
                clients,
                qos_minus_one: false,
                rate: 100,
                advertise: None,
            };
            let second = Duration::from_secs(1);
            let rules = Rules {
                retry: second,
                tries: 3,
                wait: second,
                topics: 9,
                buffer: 9,
                predefined: Predefined::default(),
            };
            let now = Instant::now();
            Self { gateway: Gateway::new(access, Arc::new(rules), now), now }
        }

        /// Whether a client is let in.
        fn connect(&mut self, port: u16, id: &str, duration: u16) -> bool {
            let way = Way::Udp(SocketAddr::from(([127, 0, 0, 1], port)));
            let connect = Message::Connect { will: false, clean: true, duration, client: id.into() }.write().unwrap();
            let mut out = Vec::new();
            self.gateway.receive(way, &connect, self.now, &mut out);
            let asked = out.iter().find_map(|output| match output {
                Output::Ask(key, Request::Connect { session, .. }) => Some((*key, *session)),
                _ => None,
            });
            let Some((key, session)) = asked else { return false };
            self.gateway.news(key, session, News::Connected, self.now, &mut out);
            true
        }
    }

    #[test]
    fn a_client_that_may_be_silent_for_ever_makes_room_after_an_hour() {
        let mut field = Field::new(2);
        assert!(field.connect(1, "first", 0));
        field.now += Duration::from_secs(1);
        assert!(field.connect(2, "second", 0));
        assert!(!field.connect(3, "third", 0));
        field.now += HOUR;
        assert!(field.connect(3, "third", 0));
        assert!(field.gateway.by_id.contains_key("second") && !field.gateway.by_id.contains_key("first"));
        assert_eq!(field.gateway.len(), 2);
    }

    #[test]
    fn a_client_that_has_said_how_long_it_may_be_silent_keeps_its_place_until_then() {
        let mut field = Field::new(1);
        assert!(field.connect(1, "first", 60_000));
        field.now += HOUR;
        assert!(!field.connect(2, "second", 0));
    }
}
