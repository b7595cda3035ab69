//! What looks at a publication of a client before the hub does: commands go to the gateway, what is bridged goes
//! upstream as well, and the start of a controller is told to those whom it concerns.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{debug, warn};
use wharf_contract::settings::clip;

use super::figures::{Figures, count};
use super::publication::{Publication, Qos};
use super::rights::Door;
use crate::bridge::{Published, Up};
use crate::classic::feed::Feed;
use crate::downlink::{Ask, Source};
use crate::message;
use crate::queue::Closed;
use crate::topics::{self, Topics};
use crate::uplink::{Incoming, Received};

/// How long a command may wait for its turn before the client that sent it goes on.
const ASK_PATIENCE: Duration = Duration::from_secs(1);

/// The gate.
pub struct Gate {
    /// The gateway's topics.
    topics: Topics,
    /// Where commands go.
    asks: mpsc::Sender<Ask>,
    /// Whom a controller's start is of interest to.
    feed: Feed,
    /// What goes upstream.
    up: Up,
    /// Who keeps the log of commands.
    door: Arc<Door>,
    /// The commands of QoS 1 that came last. Those of QoS 2 the sessions know.
    received: Mutex<Received>,
    figures: Arc<Figures>,
}

impl Gate {
    /// A gate that lets commands out through `asks`.
    pub fn new(
        topics: Topics,
        asks: mpsc::Sender<Ask>,
        feed: Feed,
        up: Up,
        door: Arc<Door>,
        figures: Arc<Figures>,
    ) -> Self {
        Self { topics, asks, feed, up, door, received: Mutex::new(Received::new(Duration::ZERO)), figures }
    }

    /// Whether it has anything to do with that publication. The others need not [pass](Self::pass).
    pub fn concerns(&self, publication: &Publication) -> bool {
        self.topics.is_command(&publication.topic)
            || topics::is_birth_of_a_controller(&publication.topic, &publication.payload)
            || self.up.concerns(&publication.topic)
    }

    /// Lets a publication pass, with that packet id; `duplicate`: its client says that it sends it again. What comes
    /// out is for the hub: as a rule what went in. A command that finds no room within a second is answered in its
    /// own place. One that comes again is not obeyed again: its answer was published already.
    ///
    /// # Errors
    /// The gateway stops, and does not take upstream any more what is bridged.
    pub async fn pass(&self, publication: Publication, id: u16, duplicate: bool) -> Result<Publication, Closed> {
        if topics::is_birth_of_a_controller(&publication.topic, &publication.payload) {
            self.feed.birth();
        }
        if !self.topics.is_command(&publication.topic) {
            return self.up.pass(bridged(&publication)).await.map(|()| publication);
        }
        // Clients choose both, a line break in them as well.
        let (client, topic) = (publication.from.client().map_or("", |client| client), &publication.topic);
        let incoming = self.incoming(&publication, id, duplicate);
        let is_again = publication.qos == Qos::AtLeastOnce
            && self.received().again(client, &incoming, tokio::time::Instant::now());
        if is_again {
            count(&self.figures.repeated_commands);
            debug!(client = clip(client), topic = clip(topic), "command came again, and is not obeyed again");
            return Ok(publication);
        }
        self.door.audit.command(&publication.from, topic);
        if self.asks.send_timeout(Ask { source: Source::Local, incoming }, ASK_PATIENCE).await.is_ok() {
            return Ok(publication);
        }
        self.received().forget(client, id);
        warn!(client = clip(client), topic = clip(topic), "command not obeyed: the gateway is busy");
        // Nobody south of here has heard of it, so its answer takes its place.
        Ok(Publication {
            topic: self.topics.answer_to_unknown(&publication.topic).into(),
            payload: r#"{"ok":false,"error":"too many commands are waiting for the gateway"}"#.into(),
            retain: false,
            properties: None,
            expires: None,
            ..publication
        })
    }

    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn incoming(&self, publication: &Publication, id: u16, duplicate: bool) -> Incoming {
        let properties = publication.properties.as_deref();
        // What a client sends is never from a store. A MySensors controller wants it kept, and obeyed.
        let is_for_a_node = self.feed.is_for_controllers() && self.topics.is_classic_value(&publication.topic);
        Incoming {
            topic: publication.topic.to_string(),
            payload: publication.payload.clone(),
            retained: publication.retain && !is_for_a_node,
            duplicate,
            id,
            expires_in: publication.remaining(Instant::now()),
            response_topic: properties.and_then(|properties| properties.response_topic.clone()),
            correlation: properties.and_then(|properties| properties.correlation.clone()),
            properties: None,
        }
    }
}

/// A publication as the bridge sees it.
fn bridged(publication: &Publication) -> Published<'_> {
    let Publication { topic, payload, qos, retain, .. } = publication;
    let qos = if *qos == Qos::AtMostOnce { message::Qos::AtMostOnce } else { message::Qos::AtLeastOnce };
    let said = publication.properties.as_deref();
    let properties = message::Properties {
        is_text: said.and_then(|said| said.is_text),
        content_type: said.and_then(|said| said.content_type.clone()),
        response_topic: said.and_then(|said| said.response_topic.clone()),
        expires_in: publication.remaining(Instant::now()),
        user: said.map(|said| said.user.clone()).unwrap_or_default(),
    };
    let correlation = said.and_then(|said| said.correlation.clone());
    Published { topic, payload, qos, retain: *retain, correlation, properties: properties.boxed() }
}

#[cfg(test)]
impl Gate {
    /// A gate that commands do not come through.
    pub fn for_tests() -> Self {
        Self::with(mpsc::channel(1).0)
    }

    fn with(asks: mpsc::Sender<Ask>) -> Self {
        let door = Door::new(super::rights::Rules::open(), Arc::default()).unwrap();
        let topics = Topics::new("gw1");
        let north = crate::north::North::new(Vec::new(), None, None);
        let up = Up::new(Arc::default(), topics.clone(), north);
        Self::new(topics, asks, Feed::new(None, false, false), up, Arc::new(door), Arc::default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::publication::Origin;
    use super::*;

    fn command(topic: &str) -> Publication {
        let from = Origin::Client { client: Arc::from("panel"), user: None };
        Publication { from, qos: Qos::ExactlyOnce, ..Publication::new(topic, "1") }
    }

    fn gate(room: usize) -> (Gate, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(room);
        (Gate::with(asks), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_finds_no_room_is_answered_in_its_own_place() {
        let (gate, _asked) = gate(1);
        let taken = gate.pass(command("gw1-in/tank/valve"), 7, false).await.unwrap();
        assert_eq!(taken, command("gw1-in/tank/valve"));
        let answer = gate.pass(command("gw1-in/tank/valve"), 8, false).await.unwrap();
        assert_eq!((&*answer.topic, answer.qos), ("gw1-sys/answer/tank/valve", Qos::ExactlyOnce));
        let payload: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(payload["ok"], false);
    }

    #[tokio::test]
    async fn a_command_takes_its_expiry_and_its_asker_with_it() {
        let (gate, mut asked) = gate(1);
        let properties = super::super::publication::Properties {
            response_topic: Some("panel/answers".into()),
            correlation: Some(bytes::Bytes::from_static(b"42")),
            ..Default::default()
        };
        let expires = Some(Instant::now() + Duration::from_secs(60));
        let sent =
            Publication { properties: Some(Box::new(properties)), expires, retain: true, ..command("gw1-in/a/b") };
        gate.pass(sent, 7, false).await.unwrap();
        let incoming = asked.recv().await.unwrap().incoming;
        assert!(
            incoming.expires_in.is_some_and(|left| left > Duration::from_secs(30) && left <= Duration::from_secs(60))
        );
        assert_eq!(incoming.response_topic.as_deref(), Some("panel/answers"));
        assert_eq!((incoming.correlation.as_deref(), incoming.id, incoming.retained), (Some(&b"42"[..]), 7, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_its_client_sends_again_is_obeyed_once_unless_nothing_became_of_the_first() {
        let (gate, mut asked) = gate(1);
        let sent = || Publication { qos: Qos::AtLeastOnce, ..command("gw1-in/tank/valve") };
        gate.pass(sent(), 7, false).await.unwrap();
        assert_eq!(gate.pass(sent(), 7, true).await.unwrap(), sent(), "others may hear of it twice");
        assert_eq!(gate.figures.repeated_commands.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert_ne!(gate.pass(sent(), 8, false).await.unwrap(), sent(), "there is no room for it");
        assert!(asked.try_recv().is_ok() && asked.try_recv().is_err());
        gate.pass(sent(), 8, true).await.unwrap();
        assert!(asked.try_recv().is_ok(), "the first was not obeyed");
        let other = Publication { from: Origin::Client { client: "phone".into(), user: None }, ..sent() };
        gate.pass(other, 7, true).await.unwrap();
        assert!(asked.try_recv().is_ok(), "another client has packet ids of its own");
        tokio::time::advance(Duration::from_secs(61)).await;
        gate.pass(sent(), 8, true).await.unwrap();
        assert!(asked.try_recv().is_ok(), "after so long it is another");
    }

    #[test]
    fn most_of_what_is_published_is_none_of_its_business() {
        let (gate, _asked) = gate(1);
        assert!(gate.concerns(&command("gw1-in/tank/valve")));
        assert!(gate.concerns(&Publication::new("homeassistant/status", "online")));
        assert!(!gate.concerns(&Publication::new("homeassistant/status", "offline")));
        assert!(!gate.concerns(&Publication::new("gw2-in/tank/valve", "1")));
    }
}
