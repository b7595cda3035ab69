//! `gw1-in/…` → command → driver → answer.
//!
//! Commands come from an uplink or from a local client; both are treated alike. Each is checked
//! against the site file before a driver hears of it, and each is answered exactly once on
//! `gw1-sys/answer/…`: carried out, refused, or given up at its deadline. It never reaches a
//! device late, from a retained message, outside its limits, or on a point without `write:`.

mod catalogue;
mod order;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::{Map, Value as Json, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use wharf_contract::command::PendingAnswer;
use wharf_contract::{Action, Command, CommandError, DeviceId, Done, LinkId, PointId, PortEnd, Value};

use crate::mapping::epoch_ms;
use crate::message::Message;
use crate::north::{North, To};
use crate::seldom::Seldom;
use crate::topics::{Address, Request, Topics};
use crate::uplink::Incoming;
pub use catalogue::{Catalogue, Entry};
use order::{Order, OrderError};

/// How many commands may wait to be looked at.
pub const ASKS_WAITING: usize = 256;
/// The most commands that may be under way; one more is refused as busy.
const UNDER_WAY: usize = 1024;
/// How long after its deadline a command that a driver has begun may still be answered by it.
const LAST_EXCHANGE: Duration = Duration::from_secs(10);

/// Who sent a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It came down an uplink.
    Uplink(Arc<str>),
    /// A client of the local broker sent it.
    Local,
}

/// A publication below `gw1-in/`, as it came.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who sent it.
    pub source: Source,
    /// What came.
    pub incoming: Incoming,
}

/// Turns asks into commands and answers.
pub struct Downlink {
    /// The gateway's topics.
    pub topics: Topics,
    /// Every point that the site file declares.
    pub catalogue: Catalogue,
    /// The drivers, by link.
    pub links: HashMap<LinkId, PortEnd>,
    /// Where answers go.
    pub north: North,
    /// How long a command may take that says nothing about it.
    pub deadline: Duration,
}

/// Where and how an answer is told.
struct ReplyTo {
    topic: String,
    source: Source,
    response_topic: Option<String>,
    correlation: Option<Bytes>,
    id: Option<Json>,
    requested: Option<Value>,
}

/// Why a command was refused before any driver heard of it.
#[derive(Debug, PartialEq, thiserror::Error)]
enum Refusal {
    #[error("retained commands are not obeyed: publish it without the retain flag")]
    Retained,
    #[error("no such topic below {0}-in/")]
    NoSuchTopic(String),
    #[error("no device `{0}` in the site file")]
    NoDevice(String),
    #[error("`{0}` has no point `{1}`")]
    NoPoint(DeviceId, String),
    #[error("no point is declared for node {node}, child {child}, type {kind}")]
    NoClassic { node: u8, child: u8, kind: u8 },
    #[error("more than one link has a point for node {node}, child {child}, type {kind}")]
    Ambiguous { node: u8, child: u8, kind: u8 },
    #[error("`{0}/{1}` is read-only: the site file has no `write:` for it")]
    ReadOnly(DeviceId, PointId),
    #[error("{0}")]
    OutOfLimits(String),
    #[error("{0}")]
    Order(#[from] OrderError),
    #[error("the command has expired")]
    Expired,
    #[error("the link `{0}` is {1}")]
    LinkDown(LinkId, String),
    #[error("too many commands are waiting for this link")]
    Busy,
    #[error("the gateway is stopping")]
    Stopping,
}

impl Downlink {
    /// Handles commands until `stop` or until every source of them is gone, then answers what is
    /// still under way.
    pub async fn run(self, mut asks: mpsc::Receiver<Ask>, stop: CancellationToken) {
        let mut under_way = JoinSet::new();
        let mut refusals = Seldom::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                ask = asks.recv() => match ask {
                    Some(ask) => self.handle(ask, &mut under_way, &mut refusals).await,
                    None => break,
                },
                Some(_) = under_way.join_next() => {}
            }
        }
        // What still waits was acknowledged to its sender, so it is owed an answer.
        asks.close();
        while let Ok(ask) = asks.try_recv() {
            let (reply, _) = self.locate(&ask);
            tell(&self.north, reply, Err(Refusal::Stopping.to_string())).await;
        }
        // Each of these ends by itself, at the latest some seconds after its deadline; a stopping
        // gateway bounds the wait from outside.
        while under_way.join_next().await.is_some() {}
    }

    async fn handle(&self, ask: Ask, under_way: &mut JoinSet<()>, refusals: &mut Seldom) {
        let (mut reply, found) = self.locate(&ask);
        let sent = found
            .and_then(|(entry, request)| self.dispatch(&ask.incoming, &mut reply, entry, &request, under_way.len()));
        match sent {
            Ok((deadline, pending)) => {
                let north = self.north.clone();
                under_way.spawn(async move {
                    let answer = match tokio::time::timeout_at(deadline + LAST_EXCHANGE, pending.wait()).await {
                        Ok(answer) => answer,
                        Err(_) => Err(CommandError::NoAnswer("its deadline has passed".into())),
                    };
                    tell(&north, reply, answer.map_err(|error| error.to_string())).await;
                });
            }
            Err(refusal) => {
                let (topic, from) = (&ask.incoming.topic, &ask.source);
                match refusals.note(1) {
                    Some(line) => warn!(topic, ?from, %refusal, held_back = line.count - 1, "command refused"),
                    None => debug!(topic, ?from, %refusal, "command refused"),
                }
                tell(&self.north, reply, Err(refusal.to_string())).await;
            }
        }
    }

    /// Where the answer goes, and the point the command is for.
    fn locate(&self, ask: &Ask) -> (ReplyTo, Result<(&Entry, Request), Refusal>) {
        let incoming = &ask.incoming;
        let (topic, found) = match self.topics.parse_command(&incoming.topic) {
            Some(request) => {
                let found = self.find(request.address());
                let topic = match (&found, request.address()) {
                    (Ok(entry), _) => self.topics.answer(entry.info.device.as_str(), entry.info.point.as_str()),
                    (Err(_), Address::Named { device, point }) => self.topics.answer(device, point),
                    (Err(_), Address::Classic { .. }) => self.topics.answer_to_unknown(&incoming.topic),
                };
                (topic, found.map(|entry| (entry, request)))
            }
            None => {
                let refusal = Refusal::NoSuchTopic(self.topics.gateway().to_owned());
                (self.topics.answer_to_unknown(&incoming.topic), Err(refusal))
            }
        };
        let reply = ReplyTo {
            topic,
            source: ask.source.clone(),
            response_topic: incoming.response_topic.clone().filter(|topic| self.may_answer_on(topic)),
            correlation: incoming.correlation.clone(),
            id: None,
            requested: None,
        };
        (reply, found)
    }

    fn find(&self, address: &Address) -> Result<&Entry, Refusal> {
        match address {
            Address::Named { device, point } => {
                let Some(points) = self.catalogue.device(device) else {
                    return Err(Refusal::NoDevice(device.clone()));
                };
                let found = points.iter().find(|entry| entry.info.point.as_str() == point);
                found.ok_or_else(|| Refusal::NoPoint(device.as_str().into(), point.clone()))
            }
            Address::Classic { node, child, kind, .. } => {
                let (node, child, kind) = (*node, *child, *kind);
                match *self.catalogue.classic(node, child, kind).as_slice() {
                    [] => Err(Refusal::NoClassic { node, child, kind }),
                    [entry] => Ok(entry),
                    _ => Err(Refusal::Ambiguous { node, child, kind }),
                }
            }
        }
    }

    /// Checks a command and hands it to its driver.
    fn dispatch(
        &self,
        incoming: &Incoming,
        reply: &mut ReplyTo,
        entry: &Entry,
        request: &Request,
        under_way: usize,
    ) -> Result<(Instant, PendingAnswer), Refusal> {
        if incoming.retained {
            return Err(Refusal::Retained);
        }
        let order = match request {
            Request::Read(_) => Order::read(&incoming.payload),
            _ => Order::write(&incoming.payload)?,
        };
        reply.id.clone_from(&order.id);
        reply.requested.clone_from(&order.value);
        let info = &entry.info;
        let action = match order.value.clone() {
            None => Action::Read,
            Some(value) => {
                let Some(rule) = &info.write else {
                    return Err(Refusal::ReadOnly(info.device.clone(), info.point.clone()));
                };
                if let Some(why) = rule.refuse(&value) {
                    return Err(Refusal::OutOfLimits(why));
                }
                let echo = matches!(request, Request::Write(Address::Classic { echo: true, .. }));
                Action::Write { value, verify: rule.verify || echo }
            }
        };
        let time_left =
            order.time_left(SystemTime::now(), incoming.expires_in, self.deadline).ok_or(Refusal::Expired)?;
        let Some(end) = self.links.get(&entry.link) else {
            return Err(Refusal::LinkDown(entry.link.clone(), "not running".into()));
        };
        let health = end.health.borrow().clone();
        if !health.is_up() {
            let why =
                health.reason().map_or_else(|| health.as_str().to_owned(), |r| format!("{}: {r}", health.as_str()));
            return Err(Refusal::LinkDown(entry.link.clone(), why));
        }
        if under_way >= UNDER_WAY {
            return Err(Refusal::Busy);
        }
        let deadline = Instant::now() + time_left;
        info!(device = %info.device, point = %info.point, ?action, from = ?reply.source, "command");
        let (command, pending) = Command::new(info.device.clone(), info.point.clone(), action, deadline);
        end.commands.try_send(command).map_err(|_| Refusal::Busy)?;
        Ok((deadline, pending))
    }

    /// An answer goes where its asker listens. It must not become a command, nor be taken for a
    /// reading or for what a gateway says of itself, this one's or another's.
    fn may_answer_on(&self, topic: &str) -> bool {
        let first = topic.split('/').next().unwrap_or_default();
        let fine = !topic.is_empty()
            && topic.len() <= 1024
            && !topic.starts_with('$')
            && !topic.contains(['+', '#', '\0'])
            && !["-in", "-out", "-sys"].iter().any(|end| first.ends_with(end));
        if !fine {
            debug!(topic, "response topic ignored");
        }
        fine
    }
}

/// Publishes the outcome of a command, on its answer topic and where else the asker wants it.
async fn tell(north: &North, reply: ReplyTo, outcome: Result<Done, String>) {
    let payload = Bytes::from(outcome_json(&reply, &outcome));
    match &outcome {
        Ok(_) => info!(topic = reply.topic, "command carried out"),
        Err(error) => debug!(topic = reply.topic, error, "command answered"),
    }
    north.publish(Message::new(reply.topic, payload.clone()).json(), &To::Everyone).await;
    if let Some(topic) = reply.response_topic {
        let to = match reply.source {
            Source::Uplink(name) => To::Uplink(name),
            Source::Local => To::Local,
        };
        north.publish(Message { correlation: reply.correlation, ..Message::new(topic, payload).json() }, &to).await;
    }
}

fn outcome_json(reply: &ReplyTo, outcome: &Result<Done, String>) -> String {
    let mut json = Map::new();
    json.insert("ok".into(), outcome.is_ok().into());
    if let Some(id) = &reply.id {
        json.insert("id".into(), id.clone());
    }
    let mut add = |key: &str, value: Option<&Value>| {
        if let Some(value) = value {
            json.insert(key.into(), json_value(value));
        }
    };
    add("requested", reply.requested.as_ref());
    match outcome {
        Ok(done) => {
            add("written", done.written.as_ref());
            add("observed", done.observed.as_ref());
        }
        Err(error) => {
            json.insert("error".into(), error.as_str().into());
        }
    }
    json.insert("ts".into(), epoch_ms(SystemTime::now()).into());
    Json::Object(json).to_string()
}

fn json_value(value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Float(value) => json!(value),
        Value::Text(value) => json!(value),
    }
}
