//! The site as MySensors controllers see it.
//!
//! A controller (Home Assistant, Domoticz, MyController) speaks to a MySensors gateway and knows nodes,
//! children and types. To one, wharf is such a gateway, over MQTT in the classic form, over TCP and over a
//! serial port alike:
//!
//! - [`presented`]: devices of other drivers, shown as nodes of a network. A mapping rule with
//!   `present_as: mysensors` says which. [`nodes`] is what is known of them, pure; [`kinds`] says what a
//!   point is in the protocol's words.
//! - [`doors`]: where controllers attach that do not speak MQTT.
//! - [`feed`]: what both are told of: the readings, as the mapping sees them pass.
//!
//! What a controller sends is an ask to the [downlink](crate::downlink) like any other, so each is checked,
//! answered and logged alike.

pub mod doors;
pub mod feed;
pub mod kinds;
pub mod nodes;
pub mod presented;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::time::timeout;
use wharf_contract::Driver;
use wharf_mysensors::controller::Role;

use crate::config::Site;
use crate::config::rules::Presents;
use crate::downlink::{Ask, Asker, Source};
use crate::mapping::LinkFacts;
use crate::topics::Topics;
use crate::uplink::Incoming;
use feed::Feed;
use presented::Presented;

/// The driver of virtual nodes, and the name of the one link it has.
pub const KIND: &str = "presented";

/// How long an answer of the downlink is waited for at most: it comes at the latest some seconds after the
/// command's own deadline, which is seven days at most where a node sleeps.
const ANSWERED_BY: Duration = Duration::from_secs(7 * 86_400 + 100);

/// The virtual nodes of a site, if one of its rules asks for them. `drivers` are the site's own.
pub fn presented(
    site: &Site,
    drivers: &[Arc<dyn Driver>],
    state_dir: &Path,
    way: Way,
) -> Option<(Arc<Presented>, mpsc::Sender<presented::News>)> {
    let shows = Presents::of(site);
    shows.any().then(|| Presented::new(shows, drivers, &state_dir.join(KIND).join("nodes.json"), way))
}

/// The link of virtual nodes as mapping rules see it, if the site has any.
pub fn link(site: &Site) -> Option<LinkFacts> {
    let facts = LinkFacts { link: KIND.into(), driver: KIND, labels: &wharf_mysensors::LABELS };
    Presents::of(site).any().then_some(facts)
}

/// Whether MySensors controllers may command nodes of this site over MQTT.
pub fn is_for_controllers(site: &Site) -> bool {
    let runs_a_network = |link: &wharf_mysensors::LinkSettings| link.controller == Role::Upstream;
    Presents::of(site).any() || site.mysensors.iter().any(|(_, link)| runs_a_network(link))
}

/// What the mapping feeds: the virtual nodes, and the controllers at the doors.
pub fn feed(site: &Site, presented: Option<(Arc<Presented>, mpsc::Sender<presented::News>)>) -> Feed {
    Feed::new(presented, site.controllers.is_some(), is_for_controllers(site))
}

/// The way to the downlink, for what controllers want.
#[derive(Clone, Debug)]
pub struct Way {
    topics: Topics,
    asks: mpsc::Sender<Ask>,
}

impl Way {
    /// To the downlink that receives these asks.
    pub fn new(topics: Topics, asks: mpsc::Sender<Ask>) -> Self {
        Self { topics, asks }
    }

    /// Asks as a controller would over MQTT: `below` is the topic below `gw1-in/`. Gives the answer, or why
    /// there is none. `from` is said in logs and answers.
    async fn ask(&self, from: &Arc<str>, below: &str, payload: impl Into<Bytes>) -> Result<Json, String> {
        self.ask_as(Asker::new(), from, below, payload).await
    }

    /// The same, for someone who is known already.
    async fn ask_as(
        &self,
        (asker, mut answer): (Asker, mpsc::Receiver<Json>),
        from: &Arc<str>,
        below: &str,
        payload: impl Into<Bytes>,
    ) -> Result<Json, String> {
        let incoming = Incoming::new(format!("{}-in/{below}", self.topics.gateway()), payload);
        let ask = Ask { source: Source::Controller(from.clone(), asker), incoming };
        self.asks.try_send(ask).map_err(|_| "too many commands are waiting for the gateway".to_owned())?;
        match timeout(ANSWERED_BY, answer.recv()).await {
            Ok(Some(answer)) if answer["ok"] == true => Ok(answer),
            Ok(Some(answer)) => Err(answer["error"].as_str().unwrap_or_default().to_owned()),
            Ok(None) | Err(_) => Err("the gateway gave no answer".into()),
        }
    }
}
