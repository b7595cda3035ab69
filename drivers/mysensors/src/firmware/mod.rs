//! Firmware over the air: which node gets which image, and the answers to what nodes ask for.
//!
//! A node that starts reports what it runs. If it is meant to run something else it is offered that,
//! and from then on the node leads: it asks for one block after the other, from the last to the first,
//! asks again for what did not arrive, checks the whole and starts anew. So nothing but the image is
//! needed to go on after a restart of the gateway. A node that runs is asked to restart right after
//! it said something, for then it listens, and again only if it did not.
//!
//! - [`image`], [`hex`]: the image and its file. [`wire`]: the messages, as bytes.
//! - [`node`]: how far one node is.
//! - [`keep`], [`store`]: what is kept over a restart, and where. [`settings`]: the part of the site file.
//!
//! All but the last two is pure: messages and the clock come in as arguments, and what is to be said waits in
//! [`Firmware::next`]. One answer waits for each node at most, and a newer one takes its place: the
//! library up to 2.3.1 takes whatever block arrives for the one it asked for last, so that a late
//! answer beside a newer one would spoil the image.

pub mod hex;
pub mod image;
pub mod keep;
pub mod node;
pub mod settings;
pub mod store;
pub mod wire;

use std::collections::{BTreeMap, HashMap, VecDeque};

use tokio::time::Instant;

use crate::message::{Command, GATEWAY, Message, SELF};
use crate::types;
use image::{BLANK, Image, Name};
use node::{Node, State};
use wire::{BlockRequest, Config, Report};

/// How many nodes may have an image that was given to them while the gateway ran.
pub const MOST_GIVEN: usize = 32;
/// How many bytes these images may have together; one that several nodes get counts once.
pub const MOST_BYTES: usize = 1 << 20;
/// After how many whole transfers a node that still runs something else is offered no more: each
/// wears its memory.
pub const MOST_SENT: u8 = 3;
/// After how many transfers, whole or not, it is offered no more.
pub const MOST_BEGUN: u8 = 20;

/// An image, and the conditions it is offered under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The image.
    pub image: Image,
    /// Whether it may go to a node that reports another type.
    pub may_change_type: bool,
    /// Whether blocks made of one byte may be told together, to nodes that can take it.
    pub may_repeat: bool,
}

/// What the site file offers.
#[derive(Clone, Debug, Default)]
pub struct Offers {
    /// To these nodes.
    pub by_node: HashMap<u8, Offer>,
    /// To each other node that reports this type.
    pub by_type: HashMap<u16, Offer>,
}

/// Why an image is not taken for a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Numbers that no node has.
    #[error("{0} is not the number of a node: 1 to 254")]
    NotANode(u8),
    /// Its firmware is settled.
    #[error("the site file says which firmware node {0} gets")]
    Settled(u8),
    /// It would turn into another thing.
    #[error("node {node} reports firmware of type {runs}, and the image is for type {offered}")]
    OtherType {
        /// The node.
        node: u8,
        /// What it reports.
        runs: u16,
        /// What the image is for.
        offered: u16,
    },
    /// Nothing to do.
    #[error("node {0} runs it already")]
    Installed(u8),
    /// Blocks of a size that cannot be made.
    #[error("node {0} takes blocks of {1} bytes, which this image cannot be cut into")]
    Blocks(u8, u8),
    /// Too many images are waiting for their nodes.
    #[error("there are images for {MOST_GIVEN} nodes or of {} KiB already; wait until some are installed", MOST_BYTES >> 10)]
    TooMany,
}

/// What has become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was for a controller that gives out firmware, and for this node that is us.
    Ours,
    /// It goes its usual way.
    Relayed,
}

/// What there is to tell about the firmware of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The node.
    pub node: u8,
    /// How it is, in words.
    pub state: String,
    /// How much of the image it has asked for, in percent.
    pub percent: u8,
    /// Whether it gets no more, although it does not run the image.
    pub has_failed: bool,
    /// Whether it has failed just now, or fails no longer.
    pub is_turn: bool,
    /// Whether it is otherwise than it was told to be last, and not only further on.
    pub is_other: bool,
}

/// The firmware of a network.
#[derive(Debug, Default)]
pub struct Firmware {
    offers: Offers,
    given: BTreeMap<u8, Offer>,
    nodes: BTreeMap<u8, Node>,
    /// The nodes an answer waits for, in turn.
    waiting: VecDeque<u8>,
    /// Whether something changed that is to be kept.
    is_changed: bool,
}

impl Firmware {
    /// This is what the site file offers.
    pub fn settle(&mut self, offers: Offers) {
        self.offers = offers;
    }

    /// Takes in a message from the network that is no echo.
    pub fn hear(&mut self, message: &Message, now: Instant) -> Verdict {
        let node = message.node;
        if node == GATEWAY || node == SELF {
            return Verdict::Relayed;
        }
        match (message.command, message.kind) {
            (Command::Stream, types::FIRMWARE_CONFIG_REQUEST) => self.started(node, &message.payload),
            (Command::Stream, types::FIRMWARE_REQUEST) => self.asked_for(node, &message.payload, now),
            (Command::Stream, _) => Verdict::Relayed,
            _ => {
                self.is_awake(message, now);
                Verdict::Relayed
            }
        }
    }

    /// Has a node get an image, from now on until it runs it.
    ///
    /// # Errors
    /// Says why it must not.
    pub fn give(&mut self, node: u8, offer: Offer) -> Result<(), Refusal> {
        if node == GATEWAY || node == SELF {
            return Err(Refusal::NotANode(node));
        }
        if self.is_settled(node) {
            return Err(Refusal::Settled(node));
        }
        let report = self.nodes.get(&node).and_then(|node| node.report);
        if let Some(report) = report
            && suits(node, &offer, &report)? == report.runs
        {
            return Err(Refusal::Installed(node));
        }
        let others = || self.given.iter().filter(|(number, _)| **number != node).map(|(_, offer)| &offer.image);
        let mut different: Vec<&Image> = Vec::new();
        for image in others().chain([&offer.image]) {
            if !different.contains(&image) {
                different.push(image);
            }
        }
        let bytes: usize = different.iter().map(|image| image.bytes().len()).sum();
        if others().count() >= MOST_GIVEN || bytes > MOST_BYTES {
            return Err(Refusal::TooMany);
        }
        self.given.insert(node, offer);
        self.is_changed = true;
        self.waiting.retain(|waiting| *waiting != node);
        self.nodes.insert(node, Node::with(report));
        self.tell(node, State::Waiting);
        Ok(())
    }

    /// The next answer, if there is one. Whoever sends them lets everything else go first.
    pub fn next_answer(&mut self) -> Option<Message> {
        while let Some(node) = self.waiting.pop_front() {
            let answer = self.nodes.get_mut(&node).and_then(|node| node.answer.take());
            if answer.is_some() {
                return answer;
            }
        }
        None
    }

    /// Whether an answer waits.
    pub fn has_answer(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The link is lost. An answer that waits is too late when it is back: its node asks again, and one that
    /// was to be asked to restart is asked when it is heard again.
    pub fn lost(&mut self) {
        for number in self.waiting.drain(..) {
            let Some(node) = self.nodes.get_mut(&number) else { continue };
            if node.answer.take().is_some_and(|answer| answer.command == Command::Internal) {
                self.is_changed |= node.was_not_asked();
            }
        }
    }

    /// What there is to tell since it was asked for last: the latest of each node.
    pub fn news(&mut self) -> Vec<News> {
        let news = self.nodes.iter_mut().filter_map(|(number, node)| node.news(*number));
        news.collect()
    }

    /// How every node is that is meant to get firmware or got some.
    pub fn states(&self) -> Vec<News> {
        self.nodes.iter().filter_map(|(number, node)| node.told(*number)).collect()
    }

    /// Whether something changed since this was asked last that is to be kept.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// A node has started, and reports what it runs.
    fn started(&mut self, number: u8, payload: &str) -> Verdict {
        let Some(report) = Report::parse(payload) else { return self.damaged(number) };
        let node = self.nodes.entry(number).or_default();
        self.is_changed |= node.report != Some(report);
        node.report = Some(report);
        let Some(offer) = self.offer(number) else { return Verdict::Relayed };
        let config = match suits(number, &offer, &report) {
            Ok(config) => config,
            Err(refusal) => {
                self.tell(number, State::Failed(refusal.to_string()));
                return Verdict::Ours;
            }
        };
        if report.runs == config {
            self.is_changed |= self.given.remove(&number).is_some();
            self.tell(number, State::Installed);
        } else if let Some(node) = self.nodes.get(&number)
            && let Some(reason) = node.has_tried_enough()
        {
            self.tell(number, State::Failed(reason));
            return Verdict::Ours;
        }
        // What it runs already lets the node go on at once.
        self.answer(number, types::FIRMWARE_CONFIG_RESPONSE, config.payload());
        Verdict::Ours
    }

    /// A request that makes no sense; the node will ask again.
    fn damaged(&self, number: u8) -> Verdict {
        if self.offer(number).is_some() { Verdict::Ours } else { Verdict::Relayed }
    }

    /// A node asks for a block.
    fn asked_for(&mut self, number: u8, payload: &str, now: Instant) -> Verdict {
        let Some(offer) = self.offer(number) else { return Verdict::Relayed };
        let Some(request) = BlockRequest::parse(payload) else { return Verdict::Ours };
        if request.name != offer.image.name() {
            return Verdict::Relayed;
        }
        let Some(node) = self.nodes.get_mut(&number) else { return Verdict::Ours };
        // Without its report the size of its blocks is not known. A node that gets no answer starts anew,
        // with a report.
        let Some(report) = node.report else { return Verdict::Ours };
        let Some(config) = offer.image.config(report.block_size) else { return Verdict::Ours };
        let Some(data) = offer.image.block(request.block, report.block_size) else { return Verdict::Ours };
        if node.advance(&request, &config, now) {
            self.is_changed = true;
        }
        match offer.image.run(request.block, report.block_size) {
            Some((count, byte)) if count > 1 && offer.may_repeat && report.is_extended => {
                self.answer(number, types::FIRMWARE_RESPONSE_RLE, request.repeated(count, byte));
            }
            _ => self.answer(number, types::FIRMWARE_RESPONSE, request.payload(data)),
        }
        Verdict::Ours
    }

    /// A node said something else, so it runs and listens: the moment to ask it to restart, if it has to.
    fn is_awake(&mut self, message: &Message, now: Instant) {
        let number = message.node;
        let Some(offer) = self.offer(number) else { return };
        let node = self.nodes.entry(number).or_default();
        let wanted = (offer.image.name(), offer.image.crc());
        let runs = node.report.map(|report| (report.runs.name, report.runs.crc));
        if message.command == Command::Presentation && message.child == SELF {
            self.is_changed |= node.has_restarted(wanted);
        }
        if runs == Some(wanted) || !node.may_be_asked(wanted, now) {
            return;
        }
        self.is_changed |= node.ask(wanted, now);
        let reboot = Message {
            node: number,
            child: SELF,
            command: Command::Internal,
            ack: false,
            kind: types::REBOOT,
            payload: String::new(),
        };
        self.put(number, reboot);
        self.tell(number, State::Asked);
    }

    /// Whether the site file says what a node is to run.
    fn is_settled(&self, number: u8) -> bool {
        let report = || self.nodes.get(&number)?.report;
        self.offers.by_node.contains_key(&number)
            || report().is_some_and(|report| self.offers.by_type.contains_key(&report.runs.name.kind))
    }

    /// What a node is to run, if that is for us to say.
    fn offer(&self, number: u8) -> Option<Offer> {
        let by_type = || {
            let report = self.nodes.get(&number)?.report?;
            self.offers.by_type.get(&report.runs.name.kind)
        };
        self.given.get(&number).or_else(|| self.offers.by_node.get(&number)).or_else(by_type).cloned()
    }

    fn tell(&mut self, number: u8, state: State) {
        self.nodes.entry(number).or_default().set(state);
    }

    fn answer(&mut self, number: u8, kind: u8, payload: String) {
        let stream = Message { node: number, child: SELF, command: Command::Stream, ack: false, kind, payload };
        self.put(number, stream);
    }

    fn put(&mut self, number: u8, message: Message) {
        if self.nodes.entry(number).or_default().answer.replace(message).is_none() {
            self.waiting.push_back(number);
        }
    }
}

/// How an image is offered to a node with this report.
///
/// # Errors
/// It is not for this node.
fn suits(node: u8, offer: &Offer, report: &Report) -> Result<Config, Refusal> {
    let (runs, offered) = (report.runs.name.kind, offer.image.name().kind);
    if runs != offered && runs != BLANK && !offer.may_change_type {
        return Err(Refusal::OtherType { node, runs, offered });
    }
    offer.image.config(report.block_size).ok_or(Refusal::Blocks(node, report.block_size))
}

/// What an image is known by where its size does not matter.
type Identity = (Name, u16);

#[cfg(test)]
mod tests;
