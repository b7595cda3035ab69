//! Firmware over the air, between everything else that is said on the link.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::info;
use wharf_contract::{DriverError, Event, Labels, Port, Quality, Reading, Unit, Value};

use super::Session;
use crate::firmware::{News, Verdict};
use crate::message::Message;

/// How far apart two pieces of firmware are sent. A line of one takes as long at 115200 baud, so no
/// command finds more than one of them before it in the gateway's queue, however many nodes load.
const BLOCKS_APART: Duration = Duration::from_millis(5);

impl Session<'_> {
    /// Shows a message to the firmware, and tells what has come of it. Whether it was only about that: then
    /// it is no reading, lest another controller answers it too.
    pub(super) async fn is_about_firmware(&mut self, message: &Message, taken_at: SystemTime, port: &Port) -> bool {
        let store = &self.link.firmware;
        let (verdict, news) = {
            let mut firmware = store.firmware();
            (firmware.hear(message, Instant::now()), firmware.news())
        };
        store.note();
        for news in news {
            self.tell_firmware(news, taken_at, port).await;
        }
        verdict == Verdict::Ours
    }

    /// Says the next piece of firmware.
    pub(super) async fn say_block(&mut self) -> Result<(), DriverError> {
        // Asked for by itself, so that nothing is locked while it is sent.
        let next = self.link.firmware.firmware().next_answer();
        if let Some(message) = next {
            self.send(&message).await?;
            self.next_block = Instant::now() + BLOCKS_APART;
        }
        Ok(())
    }

    /// Two readings, and where it has failed a word beside the device for those who look at a status.
    async fn tell_firmware(&mut self, news: News, taken_at: SystemTime, port: &Port) {
        let device = self.link.nodes.device(news.node, &self.link.store.registry());
        let is_seen = self.seen.get(usize::from(news.node)).is_some_and(Option::is_some);
        if news.is_other {
            info!(link = %port.link(), %device, node = news.node, state = news.state, "firmware");
        }
        if is_seen && news.is_turn {
            let reason = news.has_failed.then(|| format!("firmware {}", news.state));
            port.emit(Event::Device { device: device.clone(), alive: true, reason }).await;
        }
        let reading = |point: &str, value: Value, unit: Option<&str>| Reading {
            device: device.clone(),
            point: point.into(),
            value: Some(value),
            verbatim: None,
            unit: unit.map(Unit::from),
            quality: Quality::Good,
            reason: None,
            taken_at,
            // It is no message of the network, so it has no topic in the classic form.
            labels: Labels::default(),
        };
        let percent = reading("firmware-progress", Value::Int(news.percent.into()), Some("%"));
        port.emit(Event::Reading(percent)).await;
        port.emit(Event::Reading(reading("firmware", Value::Text(news.state), None))).await;
    }
}
