//! The answer to a command: what it says, and where it goes.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::{Map, Value as Json};
use tracing::{debug, info};
use wharf_contract::{Answer, CommandError, PointId, Value};

use super::Source;
use crate::mapping::epoch_ms;
use crate::message::Message;
use crate::north::{North, To};

/// Where and how an answer is told.
#[derive(Clone, Debug)]
pub struct ReplyTo {
    /// The answer topic of what the command is for.
    pub topic: String,
    /// Who asked.
    pub source: Source,
    /// Where the asker wants the answer, too.
    pub response_topic: Option<String>,
    /// What the asker will know it by.
    pub correlation: Option<Bytes>,
    /// The asker's id.
    pub id: Option<Json>,
    /// What is to be written: a value, or values by point.
    pub requested: Option<Json>,
    /// Where the echo of a MySensors message is told, if it was asked for, and what it says.
    pub echo: Option<(String, Bytes)>,
}

/// What became of a command, as its answer says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome(Map<String, Json>);

impl Outcome {
    /// It was not carried out, or may not have been.
    pub fn error(reply: &ReplyTo, error: &str) -> Self {
        Self::new(reply, None, None, Some(error.to_owned()))
    }

    /// What a driver says of one point.
    pub fn one(reply: &ReplyTo, answer: &Answer) -> Self {
        match answer {
            Ok(done) => {
                let json = |value: &Option<Value>| value.as_ref().map(Value::to_json);
                Self::new(reply, json(&done.written), json(&done.observed), None).noted(done.note)
            }
            Err(error @ CommandError::NotHeld { written, observed }) => {
                Self::new(reply, Some(written.to_json()), Some(observed.to_json()), Some(error.to_string()))
            }
            Err(error) => Self::error(reply, &error.to_string()),
        }
    }

    /// What a driver says of several points.
    pub fn many(reply: &ReplyTo, answers: &[(PointId, Answer)]) -> Self {
        let (mut written, mut observed, mut errors) = (Map::new(), Map::new(), Vec::new());
        let note = answers.iter().find_map(|(_, answer)| answer.as_ref().ok()?.note);
        for (point, answer) in answers {
            errors.extend(answer.as_ref().err().map(|error| format!("{point}: {error}")));
            let (value, seen) = match answer {
                Ok(done) => (done.written.as_ref(), done.observed.as_ref()),
                Err(CommandError::NotHeld { written, observed }) => (Some(written), Some(observed)),
                Err(_) => (None, None),
            };
            written.extend(value.map(|value| (point.to_string(), value.to_json())));
            observed.extend(seen.map(|value| (point.to_string(), value.to_json())));
        }
        let some = |map: Map<String, Json>| (!map.is_empty()).then_some(Json::Object(map));
        let error = (!errors.is_empty()).then(|| errors.join("; "));
        Self::new(reply, some(written), some(observed), error).noted(note)
    }

    fn new(reply: &ReplyTo, written: Option<Json>, observed: Option<Json>, error: Option<String>) -> Self {
        let mut json = Map::new();
        json.insert("ok".into(), error.is_none().into());
        let id = reply.id.clone();
        let rest = [("id", id), ("requested", reply.requested.clone()), ("written", written), ("observed", observed)];
        json.extend(rest.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        json.extend(error.map(|error| ("error".to_owned(), error.into())));
        json.insert("ts".into(), epoch_ms(SystemTime::now()).into());
        Self(json)
    }

    fn noted(self, note: Option<&str>) -> Self {
        match note {
            Some(note) => self.with("note", note),
            None => self,
        }
    }

    /// The same, with one more thing to say.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    /// Why it came to nothing, if it did.
    pub fn why(&self) -> Option<&str> {
        self.0.get("error").and_then(Json::as_str)
    }

    /// As it is stored.
    pub fn to_json(&self) -> Json {
        Json::Object(self.0.clone())
    }

    /// As it was stored.
    pub fn from_json(json: Json) -> Option<Self> {
        match json {
            Json::Object(map) => Some(Self(map)),
            _ => None,
        }
    }

    /// Publishes it, on the answer topic and where else the asker wants it.
    pub async fn tell(&self, north: &North, reply: ReplyTo) {
        let payload = Bytes::from(Json::Object(self.0.clone()).to_string());
        match self.why() {
            None => info!(topic = reply.topic, "command carried out"),
            Some(error) => debug!(topic = reply.topic, error, "command answered"),
        }
        if let Source::Control(asker) | Source::Controller(_, asker) = &reply.source {
            asker.answer(self.to_json());
        }
        north.publish(Message::new(reply.topic, payload.clone()).json(), &To::Everyone).await;
        // A controller at a door is told its echo there.
        let is_at_a_door = matches!(reply.source, Source::Controller(..));
        let to = match reply.source {
            Source::Uplink(name) => To::Uplink(name),
            Source::Local | Source::Control(_) | Source::Controller(..) => To::Local,
        };
        let is_confirmed = self.0.contains_key("observed") && self.why().is_none();
        if let Some((topic, echo)) = reply.echo.filter(|_| is_confirmed && !is_at_a_door) {
            north.publish(Message::new(topic, echo), &to).await;
        }
        if let Some(topic) = reply.response_topic {
            north.publish(Message { correlation: reply.correlation, ..Message::new(topic, payload).json() }, &to).await;
        }
    }
}

impl ReplyTo {
    /// An answer that nobody asked for: it goes to its topic.
    pub fn nobody(topic: String, requested: &Value) -> Self {
        let source = Source::Uplink(Arc::from(""));
        let requested = Some(requested.to_json());
        Self { topic, source, response_topic: None, correlation: None, id: None, requested, echo: None }
    }
}
