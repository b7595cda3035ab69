//! What is on its way to the nodes: sent when it is due, and told of while it waits.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use wharf_contract::{DriverError, Event, Port};

use super::Session;
use crate::message;

/// How long changes gather before they are told: a queue empties a message at a time.
const GATHER: Duration = Duration::from_millis(500);

/// How many commands wait for each node to wake, as it was told last.
#[derive(Debug, Default)]
pub(super) struct Depths {
    told: BTreeMap<u8, usize>,
    changed: BTreeMap<u8, usize>,
    due: Option<Instant>,
}

impl Session<'_> {
    /// Sends what is due.
    pub(super) async fn deliver(&mut self) -> Result<(), DriverError> {
        loop {
            let Some(message) = self.link.outbox().next(Instant::now()) else { break };
            self.send(&message).await?;
            self.link.outbox().left(Instant::now());
            if message.command == message::Command::Set {
                let (node, child, kind) = (message.node, message.child, message.kind);
                let change = self.link.store.registry().wrote(node, child, kind, &message.payload);
                self.link.store.note(change);
            }
        }
        self.note_depths();
        Ok(())
    }

    /// When something is due although nothing comes in.
    pub(super) fn deliver_until(&self) -> Option<Instant> {
        [self.link.outbox().until(), self.depths.due].into_iter().flatten().min()
    }

    /// Why a node that is heard may not do what it was told: commands wait for it to wake.
    pub(super) fn why_late(&self, node: u8) -> Option<String> {
        in_words(self.link.outbox().depth(node))
    }

    fn note_depths(&mut self) {
        let mut outbox = self.link.outbox();
        for node in outbox.changed() {
            self.depths.changed.insert(node, outbox.depth(node));
        }
        if !self.depths.changed.is_empty() && self.depths.due.is_none() {
            self.depths.due = Some(Instant::now() + GATHER);
        }
    }

    /// Tells of each node that is heard how many commands wait for it, if that is due.
    pub(super) async fn tell_depths(&mut self, now: Instant, port: &Port) {
        if self.depths.due.is_none_or(|due| now < due) {
            return;
        }
        self.depths.due = None;
        for (node, depth) in std::mem::take(&mut self.depths.changed) {
            let Some(device) = self.seen.get(usize::from(node)).cloned().flatten() else { continue };
            if self.depths.told.insert(node, depth) != Some(depth) {
                port.emit(Event::Device { device, alive: true, reason: in_words(depth) }).await;
            }
        }
    }
}

fn in_words(depth: usize) -> Option<String> {
    match depth {
        0 => None,
        1 => Some("1 command waits until it wakes".to_owned()),
        depth => Some(format!("{depth} commands wait until it wakes")),
    }
}
