//! The registry and the controller at work: what is known of the network, and what is answered here.

use std::time::SystemTime;

use tokio::time::Instant;
use tracing::{debug, info, warn};
use wharf_contract::{Event, Port};

use super::Session;
use crate::controller::{Now, Step};
use crate::message::{Command, Message};
use crate::{reading, types};

/// How many answers may wait for the disk. The nodes ask again.
const MOST_HELD: usize = 16;

impl Session<'_> {
    /// Shows a message of the network to the registry and to the controller.
    pub(super) async fn govern(&mut self, message: &Message, taken_at: SystemTime, port: &Port) {
        let now = Now { clock: Instant::now(), time: taken_at };
        let (steps, why_none) = {
            let (mut registry, mut controller) = (self.link.store.registry(), self.link.controller());
            match controller.took_over(now.clock) {
                Some(true) => {
                    warn!(link = %port.link(), "everything upstream has been away for long: nodes are answered here")
                }
                Some(false) => info!(link = %port.link(), "upstream is back, and answers the nodes again"),
                None => {}
            }
            let (was_known, was_open) = (registry.node(message.node).is_some(), controller.is_open(now.clock));
            self.link.store.note(registry.hear(message, taken_at));
            if self.link.outbox().was_seen_asleep(message.node) {
                self.link.store.note(registry.found_asleep(message.node));
            }
            let steps = controller.hear(message, was_known, &mut registry, now);
            let is_open = controller.is_open(now.clock);
            if is_open != was_open {
                say_open(is_open, port);
            }
            let asks = message.command == Command::Internal && message.kind == types::ID_REQUEST;
            let in_vain = asks && !steps.iter().any(|step| matches!(step, Step::SayWhenStored(_)));
            (steps, in_vain.then(|| controller.why_no_number(&registry, now.clock)).flatten())
        };
        if let Some(why) = why_none
            && let Some(count) = self.without_number.one_more(now.clock)
        {
            warn!(link = %port.link(), why, count, "a new node asks for a number and gets none");
        }
        self.take_steps(steps, taken_at, port).await;
    }

    /// Shows the controller what somebody else sends through here.
    pub(super) fn govern_relayed(&self, message: &Message) {
        let now = Now { clock: Instant::now(), time: SystemTime::now() };
        let (mut registry, mut controller) = (self.link.store.registry(), self.link.controller());
        self.link.store.note(controller.relayed(message, &mut registry, now));
    }

    /// Opens the network for new nodes, or closes it.
    pub(super) async fn open(&mut self, open: bool, port: &Port) {
        let now = Now { clock: Instant::now(), time: SystemTime::now() };
        let steps = {
            let (mut registry, mut controller) = (self.link.store.registry(), self.link.controller());
            controller.open(open, &mut registry, now)
        };
        self.take_steps(steps, now.time, port).await;
    }

    /// Does what is due for the controller.
    pub(super) async fn tick_controller(&mut self, now: Instant, port: &Port) {
        let steps = {
            let (registry, mut controller) = (self.link.store.registry(), self.link.controller());
            controller.tick(&registry, now)
        };
        self.take_steps(steps, SystemTime::now(), port).await;
    }

    /// When something is due for the controller.
    pub(super) fn controller_until(&self) -> Option<Instant> {
        let (registry, controller) = (self.link.store.registry(), self.link.controller());
        controller.until(&registry, Instant::now())
    }

    /// Whether anybody is upstream has changed, or is said for the first time.
    pub(super) fn upstream(&self, is_there: bool, port: &Port) {
        self.link.controller().upstream(is_there, Instant::now());
        debug!(link = %port.link(), is_there, "whether anybody is upstream");
    }

    /// The answer that has waited longest is to be said now.
    pub(super) fn let_go(&mut self) {
        self.say.extend(self.held.pop_front().map(|(_, message)| message));
    }

    async fn take_steps(&mut self, steps: Vec<Step>, at: SystemTime, port: &Port) {
        for step in steps {
            match step {
                // What was written to the node since is sent to it with the next, and is the answer.
                Step::Say(message)
                    if message.command == Command::Set && self.link.outbox().is_about_to_set(&message) => {}
                Step::Say(message) => self.say.push(message),
                Step::SayWhenStored(message) => {
                    if self.held.len() >= MOST_HELD {
                        warn!(link = %port.link(), "the disk does not take the numbers of new nodes; they are not given away");
                        self.held.pop_front();
                    }
                    info!(link = %port.link(), number = message.payload, "a new node is given a number");
                    let revision = self.link.store.registry().revision();
                    self.held.push_back((revision, message));
                    self.link.store.note_now();
                }
                Step::Tell(message) => {
                    if message.kind == types::INCLUSION {
                        say_open(message.payload == "1", port);
                    }
                    let reading = reading::reading(&self.link.nodes, &self.link.store.registry(), &message, at);
                    port.emit(Event::Reading(reading)).await;
                }
            }
        }
    }
}

fn say_open(open: bool, port: &Port) {
    let what = if open { "the network is open for new nodes" } else { "the network is closed for new nodes" };
    info!(link = %port.link(), "{what}");
}
