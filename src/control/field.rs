//! What a person at the machine has the gateway do in the field: read a point, write a point, or put
//! a request to a link as it is. Points go the way of every command, through the downlink, so the
//! rules of the site file hold and the answer is told on its topic too.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info, warn};
use wharf_contract::settings::{parse_duration, suggestion};
use wharf_contract::{Action, Command, CommandError, Driver, LinkId, Value};

use super::desk::no;
use crate::downlink::{Ask, Asker, Source};
use crate::topics::Topics;
use crate::uplink::Incoming;

/// How many of these may be under way at once, so that there is always room for other questions.
const AT_ONCE: usize = 4;

/// How long a command may wait for its turn on the link, unless it says otherwise. After that it is never carried out.
const DEADLINE: Duration = Duration::from_secs(10);

/// The longest a command may wait that says for how long: as one does for a device that sleeps.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How long after that its last exchange may still take.
const LAST_EXCHANGE: Duration = Duration::from_secs(11);

/// How long after that one may be answered that has waited for a device that sleeps: the downlink looks at these when
/// it has a reason to, and at least once a minute.
const LAST_LOOK: Duration = Duration::from_secs(61);

/// The longest that any of it takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(22);

/// The longest raw request, in bytes: a Modbus unit id and PDU.
const LONGEST_RAW: usize = 254;

/// The way into the field.
pub struct Field {
    topics: Topics,
    asks: mpsc::Sender<Ask>,
    links: HashMap<LinkId, mpsc::Sender<Command>>,
    listening: Vec<Arc<dyn Driver>>,
    room: Semaphore,
    /// The same for those that may take long, so that they keep nobody else out.
    waiting_room: Semaphore,
}

/// How long a request may take, from the question to the answer: longer if it says when it `expires`.
pub(super) fn patience(request: &Json) -> Duration {
    match wait(request) {
        Ok(Some(wait)) => wait + LAST_EXCHANGE + LAST_LOOK,
        _ => PATIENCE,
    }
}

/// For how long a command may wait, if it says so.
fn wait(request: &Json) -> Result<Option<Duration>, String> {
    let Some(expires) = request.get("expires") else { return Ok(None) };
    match expires.as_str().and_then(parse_duration) {
        Some(wait) if (DEADLINE..=LONGEST_WAIT).contains(&wait) => Ok(Some(wait)),
        _ => Err(format!(
            "`expires` is a time from {}s to {}h, such as 5m",
            DEADLINE.as_secs(),
            LONGEST_WAIT.as_secs() / 3600
        )),
    }
}

impl Field {
    /// The way through a gateway's downlink, and straight to its links.
    pub fn new(topics: Topics, asks: mpsc::Sender<Ask>, links: HashMap<LinkId, mpsc::Sender<Command>>) -> Self {
        let (room, waiting_room) = (Semaphore::new(AT_ONCE), Semaphore::new(AT_ONCE));
        Self { topics, asks, links, listening: Vec::new(), room, waiting_room }
    }

    /// The same, knowing what these drivers hear.
    #[must_use]
    pub fn listening(self, listening: Vec<Arc<dyn Driver>>) -> Self {
        Self { listening, ..self }
    }

    /// What the links hear, known or not: each that has ears, or the one that is asked for.
    pub(super) fn heard(&self, request: &Json) -> Json {
        let wanted = request["link"].as_str();
        let asked = self.listening.iter().filter(|driver| wanted.is_none_or(|name| driver.name().as_str() == name));
        let mut links = Vec::new();
        for driver in asked {
            let Some(mut heard) = driver.heard() else { continue };
            heard["link"] = driver.name().as_str().into();
            links.push(heard);
        }
        if links.is_empty() {
            return no("there is no link that hears more than its own devices");
        }
        json!({ "ok": true, "links": links })
    }

    /// Has the driver of a link do what only its protocol knows.
    pub(super) async fn of_protocol(&self, request: &Json) -> Json {
        let name = request["link"].as_str().unwrap_or_default();
        let Some(driver) = self.listening.iter().find(|driver| driver.name().as_str() == name) else {
            let known: Vec<&str> = self.listening.iter().map(|driver| driver.name().as_str()).collect();
            return no(&format!("there is no link `{name}`; {}", suggestion(name, &known)));
        };
        let Ok(_room) = self.room.try_acquire() else {
            return no(&format!("{AT_ONCE} such requests are under way already; ask again when one of them is done"));
        };
        match timeout(PATIENCE, driver.ask(request)).await {
            Ok(Some(Ok(answer))) => answer,
            Ok(Some(Err(reason))) => no(&reason),
            Ok(None) => no(&format!("{} knows no such thing", driver.kind())),
            Err(_) => no("there was no answer in time"),
        }
    }

    /// What is known of the nodes of the links that have some, or of the one that is asked for.
    pub(super) fn nodes(&self, request: &Json) -> Json {
        let wanted = request["link"].as_str();
        let asked = self.listening.iter().filter(|driver| wanted.is_none_or(|name| driver.name().as_str() == name));
        let links = asked.filter_map(|driver| {
            let mut known = driver.nodes()?;
            known["link"] = driver.name().as_str().into();
            Some(known)
        });
        json!({ "ok": true, "links": links.collect::<Vec<_>>() })
    }

    /// Carries out `read`, `write` or `raw`.
    pub(super) async fn answer(&self, what: &str, request: &Json) -> Json {
        let wait = match wait(request) {
            Ok(wait) => wait,
            Err(why) => return no(&why),
        };
        let room = if wait.is_some() { &self.waiting_room } else { &self.room };
        let Ok(_room) = room.try_acquire() else {
            return no(&format!("{AT_ONCE} such requests are under way already; ask again when one of them is done"));
        };
        match what {
            "raw" => self.raw(request).await,
            _ => self.command(what, request, wait).await,
        }
    }

    /// Sends a command as if it had come down, and waits for the answer it gets.
    async fn command(&self, what: &str, request: &Json, wait: Option<Duration>) -> Json {
        let level = |key: &str| request[key].as_str().filter(|name| !name.is_empty() && !name.contains('/'));
        let (Some(device), Some(point)) = (level("device"), level("point")) else {
            return no("`device` and `point` say what is meant");
        };
        let topic = format!("{}-in/{device}/{point}", self.topics.gateway());
        let expires = format!("{}s", wait.unwrap_or(DEADLINE).as_secs());
        let (topic, payload) = match what {
            "write" if request["value"].is_null() => return no("`value` is missing: what is to be written"),
            "write" => (topic, json!({ "value": request["value"], "expires": expires })),
            _ => (topic + "/get", json!({ "expires": expires })),
        };
        let (asker, mut answer) = Asker::new();
        let incoming = Incoming::new(topic, payload.to_string());
        info!(topic = incoming.topic, "{what}, as somebody at this machine asked");
        if self.asks.try_send(Ask { source: Source::Control(asker), incoming }).is_err() {
            return no("too many commands are waiting, or the gateway is stopping");
        }
        match timeout(wait.map_or(DEADLINE, |wait| wait + LAST_LOOK) + LAST_EXCHANGE, answer.recv()).await {
            Ok(Some(answer)) => answer,
            Ok(None) => no("the gateway is stopping"),
            Err(_) => no("there was no answer in time; it may have been carried out or not"),
        }
    }

    /// Puts a request to a link as it is. What could change something has to be meant.
    async fn raw(&self, request: &Json) -> Json {
        let name = request["link"].as_str().unwrap_or_default();
        let Some(link) = self.links.get(name) else {
            let mut known: Vec<&str> = self.links.keys().map(LinkId::as_str).collect();
            known.sort_unstable();
            return no(&format!("there is no link `{name}`; {}", suggestion(name, &known)));
        };
        let text = request["request"].as_str().unwrap_or_default();
        let Some(bytes) = unhex(text).filter(|bytes| (2..=LONGEST_RAW).contains(&bytes.len())) else {
            return no("`request` is a unit id and a PDU, in hexadecimal");
        };
        if only_reads(&bytes) {
            debug!(link = name, request = text, "raw request, as somebody at this machine asked");
        } else if request["write"] == true {
            warn!(link = name, request = text, "raw request that writes, as somebody at this machine asked");
        } else {
            return no("this request may change something, and `write` does not say that this is meant");
        }
        let deadline = Instant::now() + DEADLINE;
        let (command, answer) = Command::new("".into(), "".into(), Action::Raw(bytes), deadline);
        if link.try_send(command).is_err() {
            return no("too many commands are waiting for this link");
        }
        let answer = timeout_at(deadline + LAST_EXCHANGE, answer.wait()).await;
        let outcome = |outcome: &str, reason: &str| json!({ "ok": true, "outcome": outcome, "reason": reason });
        match answer.unwrap_or_else(|_| Err(CommandError::NoAnswer("its deadline has passed".into()))) {
            Ok(done) => match done.observed {
                Some(Value::Text(answer)) => json!({ "ok": true, "outcome": "answer", "answer": answer }),
                _ => outcome("broken", "the driver gave no answer"),
            },
            Err(CommandError::NoAnswer(reason)) => outcome("silent", &reason),
            Err(CommandError::Refused(reason)) => outcome("refused", &reason),
            Err(error) => outcome("broken", &error.to_string()),
        }
    }
}

/// Whether a raw Modbus request can change nothing: functions 1 to 4, and 43/14.
fn only_reads(request: &[u8]) -> bool {
    matches!(request, [_, 1..=4, ..] | [_, 43, 14, ..])
}

/// The bytes that a text in hexadecimal stands for.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field() -> (Field, mpsc::Receiver<Ask>, mpsc::Receiver<Command>) {
        let (asks, asked) = mpsc::channel(1);
        let (commands, commanded) = mpsc::channel(8);
        let links = HashMap::from([("bus".into(), commands)]);
        (Field::new(Topics::new("gw1"), asks, links), asked, commanded)
    }

    #[tokio::test]
    async fn a_write_goes_down_as_a_command_that_expires_soon() {
        let (field, mut asked, _) = field();
        let request = json!({ "device": "tank", "point": "valve", "value": true });
        let (answer, ()) = tokio::join!(field.answer("write", &request), async {
            let Ask { source, incoming } = asked.recv().await.unwrap();
            assert_eq!(incoming.topic, "gw1-in/tank/valve");
            assert_eq!(incoming.payload, r#"{"value":true,"expires":"10s"}"#);
            assert!(matches!(source, Source::Control(_)), "{source:?}");
        });
        // The asker was dropped unanswered, as by a gateway that stops.
        assert_eq!(answer, json!({ "ok": false, "error": "the gateway is stopping" }));
    }

    #[tokio::test]
    async fn a_write_may_wait_for_as_long_as_it_says_within_bounds() {
        let (field, mut asked, _) = field();
        let write = |expires: &str| json!({ "device": "tank", "point": "valve", "value": 1, "expires": expires });
        let request = write("5m");
        let (_, ()) = tokio::join!(field.answer("write", &request), async {
            let incoming = asked.recv().await.unwrap().incoming;
            assert_eq!(incoming.payload, r#"{"value":1,"expires":"300s"}"#);
        });
        assert!(patience(&request) > Duration::from_secs(300));
        for wrong in ["9s", "61m", "soon", ""] {
            let answer = field.answer("write", &write(wrong)).await;
            assert!(answer["error"].as_str().unwrap().contains("from 10s to 1h"), "{wrong}: {answer}");
        }
    }

    #[tokio::test]
    async fn those_that_wait_long_keep_nobody_else_out() {
        let (asks, mut asked) = mpsc::channel(8);
        let field = Field::new(Topics::new("gw1"), asks, HashMap::new());
        let patient = json!({ "device": "tank", "point": "valve", "value": 1, "expires": "1h" });
        let quick = json!({ "device": "tank", "point": "valve", "value": 1 });
        let ask = || field.answer("write", &patient);
        let others = async {
            let mut held = Vec::new();
            for _ in 0..AT_ONCE {
                held.push(asked.recv().await.unwrap());
            }
            let one_too_many = field.answer("write", &patient).await;
            let (quick, _) = tokio::join!(field.answer("write", &quick), async { drop(asked.recv().await) });
            (one_too_many, quick)
        };
        let (_, _, _, _, (one_too_many, quick)) = tokio::join!(ask(), ask(), ask(), ask(), others);
        assert!(one_too_many["error"].as_str().unwrap().contains("under way"), "{one_too_many}");
        assert_eq!(quick["error"], "the gateway is stopping");
    }

    #[tokio::test]
    async fn a_raw_request_that_may_change_something_has_to_be_meant() {
        let (field, _, mut commanded) = field();
        for harmless in ["0701000000ff", "0703", "072b0e0100"] {
            let request = json!({ "link": "bus", "request": harmless });
            // The command is dropped as soon as it comes, as by a session that ends.
            let abandon = async { drop(commanded.recv().await) };
            let (answer, ()) = tokio::join!(field.answer("raw", &request), abandon);
            assert_eq!(answer["outcome"], "broken", "{harmless}: {answer}");
        }
        for harmful in ["0705000aff00", "0706000a0001", "0717", "072b0d01", "0708"] {
            let answer = field.answer("raw", &json!({ "link": "bus", "request": harmful })).await;
            assert!(answer["error"].as_str().unwrap().contains("may change something"), "{harmful}: {answer}");
        }
        assert!(commanded.try_recv().is_err(), "nothing of it reached the link");
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_answered_in_words() {
        let (field, ..) = field();
        for (what, request, words) in [
            ("read", json!({ "device": "tank" }), "`device` and `point`"),
            ("read", json!({ "device": "a/b", "point": "c" }), "`device` and `point`"),
            ("write", json!({ "device": "a", "point": "c" }), "`value` is missing"),
            ("raw", json!({ "link": "buss", "request": "0703" }), "did you mean `bus`?"),
            ("raw", json!({ "link": "bus", "request": "07ä3" }), "in hexadecimal"),
            ("raw", json!({ "link": "bus", "request": "07" }), "in hexadecimal"),
            ("raw", json!({ "link": "bus", "request": "07".repeat(255) }), "in hexadecimal"),
        ] {
            let answer = field.answer(what, &request).await;
            assert!(answer["error"].as_str().unwrap().contains(words), "{request}: {answer}");
        }
    }

    #[tokio::test]
    async fn a_few_slow_requests_leave_room_for_other_questions() {
        let (field, _asked, mut commanded) = field();
        let request = json!({ "link": "bus", "request": "0703" });
        let one_too_many = async {
            let mut held = Vec::new();
            for _ in 0..AT_ONCE {
                held.push(commanded.recv().await.unwrap());
            }
            field.answer("raw", &request).await
        };
        let ask = || field.answer("raw", &request);
        let (_, _, _, _, refused) = tokio::join!(ask(), ask(), ask(), ask(), one_too_many);
        assert!(refused["error"].as_str().unwrap().contains("under way"), "{refused}");
    }
}
