//! What the gateway says about itself: the health of links and devices, and what was lost.
//!
//! Birth and will (`gw1-sys/state`) are not here: they belong to an uplink's session.

mod losses;

pub use losses::watch_losses;

use std::time::SystemTime;

use tokio::sync::watch;
use tracing::info;
use wharf_contract::{DeviceId, Health, LinkId};

use crate::mapping::epoch_ms;
use crate::message::Message;
use crate::north::{North, To};
use crate::queue::Loss;
use crate::topics::{Topics, health_payload, state_payload};

/// Publishes a link's health whenever it changes, until the link is gone.
pub async fn watch_link(link: LinkId, mut health: watch::Receiver<Health>, to: To, north: North, topics: Topics) {
    loop {
        let now = health.borrow_and_update().clone();
        match &now {
            Health::Online => info!(%link, "link online"),
            Health::Degraded(reason) => info!(%link, reason, "link online, with trouble"),
            // The supervisor, or a driver that mends its link itself, has told of these with more to say.
            Health::Connecting | Health::Offline(_) | Health::Failed(_) => {}
        }
        let payload = health_payload(&now, epoch_ms(SystemTime::now()));
        north.publish(Message::new(topics.link(&link), payload).json().retained(), &to).await;
        if health.changed().await.is_err() {
            // A driver that had to be ended could not say goodbye itself.
            if now.is_up() {
                let gone = Health::Offline("the gateway is stopping".into());
                let payload = health_payload(&gone, epoch_ms(SystemTime::now()));
                north.publish(Message::new(topics.link(&link), payload).json().retained(), &to).await;
            }
            return;
        }
    }
}

/// A device's health as a message: whether it answers, and since when.
pub fn device_message(
    topics: &Topics,
    device: &DeviceId,
    (alive, since): (bool, SystemTime),
    reason: Option<&str>,
) -> Message {
    let state = if alive { "online" } else { "offline" };
    let payload = state_payload(state, epoch_ms(since), reason);
    Message::new(topics.device(device), payload).json().retained()
}

/// What is told of a loss.
pub fn loss_payload(uplink: &str, loss: &Loss) -> String {
    let mut payload = loss_facts(loss);
    payload["uplink"] = uplink.into();
    payload.to_string()
}

/// A loss as JSON, whichever queue it is of.
pub fn loss_facts(loss: &Loss) -> serde_json::Value {
    serde_json::json!({
        "count": loss.count,
        "reason": loss.reason.as_str(),
        "first": loss.first.get(),
        "last": loss.last.get(),
        "from": epoch_ms(loss.from),
        "to": epoch_ms(loss.to),
    })
}
