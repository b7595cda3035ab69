//! The controller of a network: who it is, and what it answers.
//!
//! Two controllers on one network give the same number to two nodes, so the role is explicit. Pure:
//! a message, what is known of the network, and the time come in; what is to be said comes out.

mod inclusion;
mod rivals;

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::message::{Command, GATEWAY, Message, SELF};
use crate::registry::{Change, Registry, Version};
use crate::types;
use crate::zone::Zone;
use inclusion::Inclusion;
use rivals::Rivals;

/// How long after a node was asked to present itself it is asked again. Doubles up to the longest.
const ASKED_AGAIN: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// How long after one node was asked another one may be: a presentation takes several messages.
const BETWEEN_NODES: Duration = Duration::from_millis(500);
/// How often everybody is asked to answer. A gateway that keeps restarting says so each time.
const BETWEEN_DISCOVERS: Duration = Duration::from_secs(10);
/// How long a node of 2.4 that asks again with the same token gets the same number.
const SAME_TOKEN: Duration = Duration::from_secs(60);
/// 2026-01-01, since 1970. This program is younger, so a clock that shows less has not been set.
const CLOCK_WAS_SET: Duration = Duration::from_secs(1_767_225_600);
/// How many tokens are remembered.
const MOST_TOKENS: usize = 16;

wharf_contract::setting_enum! {
    /// Who answers the nodes' questions.
    pub enum Role {
        /// Nobody here: messages are relayed.
        None = "none",
        /// This gateway: numbers for new nodes, time, units, and the last values.
        Local = "local",
        /// A controller upstream, to which messages are relayed.
        Upstream = "upstream",
    }
}

wharf_contract::setting_enum! {
    /// The units that nodes are told to use.
    pub enum Units {
        /// °C, metres.
        Metric = "metric",
        /// °F, feet.
        Imperial = "imperial",
    }
}

wharf_contract::setting_enum! {
    /// When a node that asks for a number gets one.
    pub enum Numbers {
        /// Whenever it asks.
        Always = "always",
        /// While the network is open for new nodes.
        Inclusion = "inclusion",
        /// Never: every node has a number of its own.
        Never = "never",
    }
}

/// What the site file says of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Who answers.
    pub role: Role,
    /// Which units nodes are told to use.
    pub units: Units,
    /// Who gets a number.
    pub numbers: Numbers,
    /// How long the network stays open for new nodes.
    pub inclusion: Duration,
    /// How long everything upstream has to be away until this gateway answers in its place.
    pub take_over: Option<Duration>,
    /// How long a node that does not sleep may be silent until it is asked for a sign of life.
    pub heartbeat: Option<Duration>,
}

impl Rules {
    /// A role with everything else as usual.
    pub fn of(role: Role) -> Self {
        Self {
            role,
            units: Units::Metric,
            numbers: Numbers::Always,
            inclusion: Duration::from_secs(60),
            take_over: None,
            heartbeat: None,
        }
    }
}

/// The time: for waiting, and for telling.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For waiting.
    pub clock: Instant,
    /// For telling.
    pub time: SystemTime,
}

/// Something the controller has done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To be sent.
    Say(Message),
    /// To be sent when the registry is stored as it is now, and not before.
    SayWhenStored(Message),
    /// To be told north, as if the network had said it.
    Tell(Message),
}

/// The controller of one network.
#[derive(Debug)]
pub struct Controller {
    rules: Rules,
    zone: Zone,
    inclusion: Inclusion,
    rivals: Rivals,
    /// When each node may be asked for its presentation again, and how long the wait was.
    asked: Vec<Option<(Instant, Duration)>>,
    /// When any node may be.
    next_node: Option<Instant>,
    next_discover: Option<Instant>,
    /// When each node was heard or asked for a sign of life last.
    alive: Vec<Option<Instant>>,
    tokens: VecDeque<(u8, u8, Instant)>,
    /// Since when nobody is upstream.
    alone_since: Option<Instant>,
    /// Whether it answers in the place of the one upstream, as was said last.
    stands_in: bool,
}

impl Controller {
    /// A controller by these rules, for a site whose clocks show this zone's time. It outlives the sessions
    /// of its link.
    pub fn new(rules: Rules, zone: Zone) -> Self {
        Self {
            rules,
            zone,
            inclusion: Inclusion::new(rules.inclusion),
            rivals: Rivals::default(),
            asked: vec![None; 256],
            next_node: None,
            next_discover: None,
            alive: vec![None; 256],
            tokens: VecDeque::new(),
            alone_since: None,
            stands_in: false,
        }
    }

    /// The zone of the site, which may have changed since the last session.
    pub fn set_zone(&mut self, zone: Zone) {
        self.zone = zone;
    }

    /// The role the site file gives it.
    pub fn role(&self) -> Role {
        self.rules.role
    }

    /// Whether this gateway answers at the moment.
    pub fn is_acting(&self, now: Instant) -> bool {
        match (self.rules.role, self.rules.take_over, self.alone_since) {
            (Role::Local, ..) => true,
            (Role::Upstream, Some(take_over), Some(since)) => now.duration_since(since) >= take_over,
            _ => false,
        }
    }

    /// Whether anybody is upstream. Said as often as it likes.
    pub fn upstream(&mut self, is_there: bool, now: Instant) {
        self.alone_since = if is_there { None } else { self.alone_since.or(Some(now)) };
    }

    /// Whether this gateway answers in the place of the controller upstream, if that has changed since it was
    /// asked last.
    pub fn took_over(&mut self, now: Instant) -> Option<bool> {
        let stands_in = self.rules.role == Role::Upstream && self.is_acting(now);
        (std::mem::replace(&mut self.stands_in, stands_in) != stands_in).then_some(stands_in)
    }

    /// Why it looks as if somebody else answered too, if it does.
    pub fn rival(&self, now: Instant) -> Option<&str> {
        self.rivals.words(now)
    }

    /// How often it looked as if somebody else answered too.
    pub fn rivals_seen(&self) -> u64 {
        self.rivals.count()
    }

    /// Whether the network is open for new nodes.
    pub fn is_open(&self, now: Instant) -> bool {
        self.inclusion.is_open(now)
    }

    /// Opens the network for new nodes, or closes it. Says so to the gateway, whose lamp may show it.
    pub fn open(&mut self, open: bool, registry: &mut Registry, now: Now) -> Vec<Step> {
        if open {
            registry.accept();
        }
        self.inclusion.set(open, now.clock);
        let state = inclusion_state(open);
        vec![Step::Say(state.clone()), Step::Tell(state)]
    }

    /// What comes of a message, which the registry has heard already. `was_known`: whether its node was
    /// known before.
    pub fn hear(&mut self, message: &Message, was_known: bool, registry: &mut Registry, now: Now) -> Vec<Step> {
        self.note_alive(message.node, now.clock);
        if message.command == Command::Internal && message.kind == types::INCLUSION && message.node == GATEWAY {
            self.button_pressed(message, registry, now);
        }
        if !self.is_acting(now.clock) {
            return Vec::new();
        }
        self.rivals.heard(message, was_known, now.clock);
        let answer = match message.command {
            Command::Internal => self.internal(message, registry, now),
            Command::Req => requested(message, registry),
            Command::Presentation | Command::Set | Command::Stream => None,
        };
        let question = self.ask_what_it_is(message, registry, now.clock);
        answer.into_iter().chain(question.map(Step::Say)).collect()
    }

    /// Somebody else, upstream or attached, sends this to the network through here. How soon what it changes
    /// in the registry should be on disk.
    pub fn relayed(&mut self, message: &Message, registry: &mut Registry, now: Now) -> Change {
        if message.command == Command::Internal && message.kind == types::INCLUSION && message.node == GATEWAY {
            self.button_pressed(message, registry, now);
        }
        if self.is_acting(now.clock) {
            self.rivals.relayed(message, now.clock);
        }
        let gives = message.command == Command::Internal && message.kind == types::ID_RESPONSE;
        let number = gives.then(|| message.payload.trim().parse().ok()).flatten();
        number.map_or(Change::Whenever, |number| registry.given_by_another(number, now.time))
    }

    /// When there is something to do although nothing is heard.
    pub fn until(&self, registry: &Registry, now: Instant) -> Option<Instant> {
        let silent = self.silent_nodes(registry, now).map(|(_, due)| due).min();
        // The next one is not asked at once.
        let silent = silent.map(|due| self.next_node.map_or(due, |next| due.max(next)));
        [self.inclusion.ends(), silent].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn tick(&mut self, registry: &Registry, now: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.inclusion.has_ended(now) {
            let closed = inclusion_state(false);
            steps.extend([Step::Say(closed.clone()), Step::Tell(closed)]);
        }
        let due = self.silent_nodes(registry, now).find(|(_, due)| *due <= now).map(|(node, _)| node);
        if let Some(node) = due.filter(|_| self.next_node.is_none_or(|next| next <= now)) {
            self.next_node = Some(now + BETWEEN_NODES);
            self.note_alive(node, now);
            steps.push(Step::Say(internal(node, types::HEARTBEAT_REQUEST, "")));
        }
        steps
    }

    fn internal(&mut self, message: &Message, registry: &mut Registry, now: Now) -> Option<Step> {
        let answer = |kind, payload: &str| Message { kind, ack: false, payload: payload.to_owned(), ..message.clone() };
        match message.kind {
            types::ID_REQUEST => {
                let number = self.number_for(message, registry, now)?;
                Some(Step::SayWhenStored(answer(types::ID_RESPONSE, &number.to_string())))
            }
            types::CONFIG => {
                let units = if self.rules.units == Units::Metric { "M" } else { "I" };
                Some(Step::Say(answer(types::CONFIG, units)))
            }
            // A node that gets no answer asks again.
            types::TIME if now.time >= UNIX_EPOCH + CLOCK_WAS_SET => {
                Some(Step::Say(answer(types::TIME, &self.zone.wall_clock(now.time).to_string())))
            }
            types::READY => self.discover(registry, now.clock),
            _ => None,
        }
    }

    /// The number for a node that asks for one. A node of 2.4 that asks twice, because the answer got
    /// lost, is known by its token; once somebody speaks under the number, the token is another node's.
    fn number_for(&mut self, message: &Message, registry: &mut Registry, now: Now) -> Option<u8> {
        let may = match self.rules.numbers {
            Numbers::Always => !registry.is_incomplete(),
            Numbers::Inclusion => self.is_open(now.clock),
            Numbers::Never => false,
        };
        if !may {
            return None;
        }
        let token = message.child;
        self.tokens.retain(|(_, _, at)| now.clock.duration_since(*at) < SAME_TOKEN);
        let before = self.tokens.iter().find(|(known, ..)| *known == token && token != SELF);
        let is_unused = |number: &u8| registry.node(*number).is_some_and(|node| node.last_seen.is_none());
        if let Some(number) = before.map(|(_, number, _)| *number).filter(is_unused) {
            return Some(number);
        }
        let number = registry.give_number(now.time)?;
        self.rivals.gave(number, now.clock);
        self.tokens.truncate(MOST_TOKENS - 1);
        self.tokens.push_front((token, number, now.clock));
        Some(number)
    }

    /// Why a node that has just asked for a number got none, if this gateway is the one to give it.
    pub fn why_no_number(&self, registry: &Registry, now: Instant) -> Option<&'static str> {
        self.is_acting(now).then_some(match self.rules.numbers {
            Numbers::Never => "`ids` is `never`",
            Numbers::Inclusion if !self.is_open(now) => "the network is not open for new nodes",
            Numbers::Always if registry.is_incomplete() => {
                "the numbers in use are not known after a loss; open the network to begin anew"
            }
            Numbers::Inclusion | Numbers::Always => "all numbers are taken",
        })
    }

    fn discover(&mut self, registry: &Registry, now: Instant) -> Option<Step> {
        if !knows_2_0(registry) || self.next_discover.is_some_and(|next| now < next) {
            return None;
        }
        self.next_discover = Some(now + BETWEEN_DISCOVERS);
        Some(Step::Say(internal(SELF, types::DISCOVER, "")))
    }

    /// Asks a node what it is that was never presented, or that speaks of a child that was not.
    fn ask_what_it_is(&mut self, message: &Message, registry: &Registry, now: Instant) -> Option<Message> {
        let Message { node, child, .. } = *message;
        let is_about_child = matches!(message.command, Command::Set | Command::Req) && child != SELF;
        let is_presented = registry.is_presented(node) && (!is_about_child || registry.is_child_presented(node, child));
        let is_presenting = message.command == Command::Presentation && child == SELF;
        if matches!(node, GATEWAY | SELF) || is_presented || is_presenting || !knows_2_0(registry) {
            return None;
        }
        let asked = self.asked.get_mut(usize::from(node))?;
        if asked.is_some_and(|(next, _)| now < next) || self.next_node.is_some_and(|next| now < next) {
            return None;
        }
        let wait = asked.map_or(ASKED_AGAIN, |(_, wait)| (wait * 2).min(LONGEST_WAIT));
        *asked = Some((now + wait, wait));
        self.next_node = Some(now + BETWEEN_NODES);
        Some(internal(node, types::PRESENT, ""))
    }

    fn button_pressed(&mut self, message: &Message, registry: &mut Registry, now: Now) {
        let open = match message.payload.trim() {
            "1" => true,
            "0" => false,
            _ => return,
        };
        if open {
            registry.accept();
        }
        self.inclusion.set(open, now.clock);
    }

    fn note_alive(&mut self, node: u8, now: Instant) {
        if let Some(alive) = self.alive.get_mut(usize::from(node)) {
            *alive = Some(now);
        }
    }

    /// The nodes that are to be asked for a sign of life, and when.
    fn silent_nodes(&self, registry: &Registry, now: Instant) -> impl Iterator<Item = (u8, Instant)> {
        let period = self.rules.heartbeat.filter(|_| self.is_acting(now));
        let asked = period.into_iter().flat_map(|period| registry.nodes().map(move |(number, _)| (number, period)));
        asked.filter_map(|(number, period)| {
            let heard = self.alive.get(usize::from(number)).copied().flatten()?;
            let understands = registry.version(number).is_some_and(|version| version >= Version { major: 2, minor: 0 });
            (number != GATEWAY && !registry.sleeps(number) && understands).then(|| (number, heard + period))
        })
    }
}

/// The last value is the answer; without one there is none, and the node goes on by itself.
fn requested(message: &Message, registry: &Registry) -> Option<Step> {
    let payload = registry.value(message.node, message.child, message.kind)?.to_owned();
    Some(Step::Say(Message { command: Command::Set, ack: false, payload, ..message.clone() }))
}

/// Whether the gateway understands what came with version 2.0. One that has not said its version is
/// taken for one of today.
fn knows_2_0(registry: &Registry) -> bool {
    registry.version(GATEWAY).is_none_or(|version| version >= Version { major: 2, minor: 0 })
}

fn inclusion_state(open: bool) -> Message {
    internal(GATEWAY, types::INCLUSION, if open { "1" } else { "0" })
}

fn internal(node: u8, kind: u8, payload: &str) -> Message {
    Message { node, child: SELF, command: Command::Internal, ack: false, kind, payload: payload.to_owned() }
}

#[cfg(test)]
mod tests;
