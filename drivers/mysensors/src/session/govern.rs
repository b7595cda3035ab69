//! The registry and the controller at work: what is known of the network, and what is answered here.

use std::time::SystemTime;

use tokio::time::Instant;
use tracing::{debug, info, warn};
use wharf_contract::{Event, Port};

use super::Session;
use crate::controller::{Now, Step};
use crate::message::{Command, Message};
use crate::reading;

/// How many answers may wait for the disk. The nodes ask again.
const MOST_HELD: usize = 16;

impl Session<'_> {
    /// Shows a message of the network to the registry and to the controller.
    pub(super) async fn govern(&mut self, message: &Message, taken_at: SystemTime, port: &Port) {
        let now = Now { clock: Instant::now(), time: taken_at };
        let steps = {
            let (mut registry, mut controller) = (self.link.store.registry(), self.link.controller());
            match controller.took_over(now.clock) {
                Some(true) => {
                    warn!(link = %port.link(), "everything upstream has been away for long: nodes are answered here")
                }
                Some(false) => info!(link = %port.link(), "upstream is back, and answers the nodes again"),
                None => {}
            }
            let was_known = registry.node(message.node).is_some();
            self.link.store.note(registry.hear(message, taken_at));
            if self.link.outbox().was_seen_asleep(message.node) {
                self.link.store.note(registry.found_asleep(message.node));
            }
            controller.hear(message, was_known, &mut registry, now)
        };
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
        let what = if open { "the network is open for new nodes" } else { "the network is closed for new nodes" };
        info!(link = %port.link(), "{what}");
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
                    let revision = self.link.store.registry().revision();
                    self.held.push_back((revision, message));
                    self.link.store.note_now();
                }
                Step::Tell(message) => {
                    let reading = reading::reading(&self.link.nodes, &self.link.store.registry(), &message, at);
                    port.emit(Event::Reading(reading)).await;
                }
            }
        }
    }
}
