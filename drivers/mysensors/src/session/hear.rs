//! What becomes of a message from the network.

use std::time::SystemTime;

use tokio::time::Instant;
use tracing::{debug, info};
use wharf_contract::{Event, Health, Port};

use super::Session;
use crate::message::{self, GATEWAY, Message};
use crate::{reading, types};

impl Session<'_> {
    /// Takes in one message. What is to be said to it is added to what is said next.
    pub(super) async fn hear(&mut self, message: &Message, taken_at: SystemTime, port: &Port) {
        let now = Instant::now();
        self.pulse.heard(now);
        self.only_noise = false;
        let rival = self.link.controller().rival(now).map(str::to_owned);
        port.report(rival.map_or(Health::Online, Health::Degraded));
        self.link.outbox().hear(message, now);
        if message.ack {
            // It confirms a command and is never a reading: the node only repeats what it was told.
            port.counts().add("echoes", 1);
            return;
        }
        self.govern(message, taken_at, port).await;
        if self.is_about_the_gateway(message, port) {
            return;
        }
        self.meet(message, port).await;
        if self.is_about_firmware(message, taken_at, port).await {
            return;
        }
        let reading = reading::reading(&self.link.nodes, &self.link.store.registry(), message, taken_at);
        port.emit(Event::Reading(reading)).await;
    }

    /// Keeps back what the gateway says for the log, and what it says about itself.
    fn is_about_the_gateway(&self, message: &Message, port: &Port) -> bool {
        if message.command != message::Command::Internal {
            return false;
        }
        let (link, payload) = (port.link(), message.payload.as_str());
        match message.kind {
            types::LOG => {
                port.counts().add("logs", 1);
                debug!(%link, node = message.node, payload, "gateway log");
            }
            types::READY => info!(%link, payload, "gateway ready"),
            types::VERSION if message.node == GATEWAY => debug!(%link, version = payload, "gateway version"),
            _ => return false,
        }
        true
    }

    /// Says so when a node is heard for the first time in this session, or has got another name.
    async fn meet(&mut self, message: &Message, port: &Port) {
        // 255 is a node that has no number yet.
        let Some(known) = self.seen.get_mut(usize::from(message.node)).filter(|_| message.node != message::SELF) else {
            return;
        };
        let may_be_renamed = message.command == message::Command::Internal && message.kind == types::SKETCH_NAME;
        if known.is_none() || may_be_renamed {
            let device = self.link.nodes.device(message.node, &self.link.store.registry());
            if *known != Some(device.clone()) {
                if let Some(before) = known.replace(device.clone()) {
                    let reason = Some(format!("it is called {device} now"));
                    port.emit(Event::Device { device: before, alive: false, reason }).await;
                }
                let reason = self.why_late(message.node);
                port.emit(Event::Device { device, alive: true, reason }).await;
            }
        }
        if message.command == message::Command::Presentation {
            let sensor = types::sensor_name(message.kind).unwrap_or("unknown");
            debug!(link = %port.link(), node = message.node, child = message.child, sensor, "presented");
        }
    }
}
