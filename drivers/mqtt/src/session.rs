//! One stretch of being connected: messages in, readings out; commands become publications.
//!
//! Subscriptions are made piece by piece, so that no packet grows with the site. Every wait has its
//! timeout. A device's refusal of anything stays its own matter; only the connection ends a session.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};
use wharf_contract::plan::spell;
use wharf_contract::port::Outcome;
use wharf_contract::settings::node::clip;
use wharf_contract::{Action, Command, CommandError, DeviceId, DriverError, Event, Health, Port, Presence};

use crate::broker::{Broker, Publisher, Pump, Received};
use crate::config::LinkSettings;
use crate::device::{Point, Shape};
use crate::roster::{Heard, Message, Roster};
use crate::waiting::Waiting;

/// How many filters are subscribed to at once.
const FILTERS_AT_ONCE: usize = 50;

/// How long the broker may take to answer a subscription.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many messages may wait for the session.
const MESSAGES_WAITING: usize = 64;

/// How often at most something is said of messages that are no use.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// How long a device that has been asked is not asked again because it has come anew.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What outlives a session.
#[derive(Debug)]
pub struct Link {
    /// Where the devices are heard.
    pub broker: Broker,
    shapes: Arc<[Shape]>,
    roster: Mutex<Roster>,
}

impl Link {
    /// The link that the settings describe.
    pub fn new(settings: &LinkSettings) -> Self {
        let shapes: Arc<[Shape]> = settings.shapes().into();
        Self { broker: Broker::new(settings), roster: Mutex::new(Roster::new(Arc::clone(&shapes))), shapes }
    }

    /// The devices of the site file.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// Which devices there are.
    pub fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is subscribed to, each once.
    pub fn filters(&self) -> Vec<String> {
        let filters: BTreeSet<String> =
            self.shapes.iter().flat_map(Shape::topics).map(|topic| topic.filter()).collect();
        filters.into_iter().collect()
    }

    fn point(&self, command: &Command) -> Option<(usize, &Shape, &Point)> {
        let named = |(_, shape): &(usize, &Shape)| shape.name() == Some(&command.device);
        let (index, shape) = self.shapes.iter().enumerate().find(named)?;
        Some((index, shape, shape.points.iter().find(|point| point.id == command.point)?))
    }
}

/// Listens and obeys until the connection is lost or the port asks to stop.
///
/// # Errors
/// `Lost`, with what happened to the connection.
pub async fn run(link: &Link, connection: (Publisher, Pump), port: &mut Port) -> Result<(), DriverError> {
    let (publisher, pump) = connection;
    let (sender, mut received) = mpsc::channel(MESSAGES_WAITING);
    let mut session = Session::new(link, publisher, port);
    let ended = {
        let mut pump = pin!(pump.run(sender));
        let mut conversation = pin!(session.converse(&mut received, port));
        tokio::select! {
            ended = &mut conversation => ended,
            // What had come before was acknowledged, so it is still told; then there is nothing more to hear.
            why = &mut pump => conversation.await.map_err(|_| lost(link, &why)),
        }
    };
    let reason = match &ended {
        Err(error) => format!("the link is down: {error}"),
        Ok(()) => "the gateway is stopping".into(),
    };
    session.waiting.give_up(&reason);
    for device in session.presence.alive().cloned().collect::<Vec<_>>() {
        port.emit(Event::Device { device, alive: false, reason: Some(reason.clone()) }).await;
    }
    debug!(link = %port.link(), counted = ?port.counts().read(), "session ended");
    ended
}

fn lost(link: &Link, why: &str) -> DriverError {
    DriverError::lost(format!("{}: {why}", link.broker))
}

struct Session<'a> {
    link: &'a Link,
    publisher: Publisher,
    /// What is still to be subscribed to.
    to_subscribe: Vec<String>,
    /// What the broker was asked for, and until when it has to answer.
    asked_for: Option<(Vec<String>, Instant)>,
    refused_filters: Vec<String>,
    /// By shape: when it is asked next.
    asks: Vec<Option<Instant>>,
    /// By shape: when it was asked last.
    asked: Vec<Option<Instant>>,
    /// Ends when the broker has a publication: the number of the write it was for.
    sent: JoinSet<(u64, Result<(), String>)>,
    waiting: Waiting,
    presence: Presence,
    complaints: Complaints,
}

impl<'a> Session<'a> {
    fn new(link: &'a Link, publisher: Publisher, port: &Port) -> Self {
        let now = Instant::now();
        // The broker says anew what it has retained of who is there.
        link.roster().forget_who_is_there();
        let mut presence = Presence::default();
        for shape in link.shapes() {
            if let Some(name) = shape.name() {
                presence.expect(name.clone(), shape.quiet_after, now);
                port.expect(name);
            }
        }
        for what in ["messages", "retained", "unclaimed"] {
            port.counts().add(what, 0);
        }
        Self {
            link,
            publisher,
            to_subscribe: link.filters(),
            asked_for: None,
            refused_filters: Vec::new(),
            asks: link.shapes().iter().map(|shape| shape.ask.as_ref().map(|_| now)).collect(),
            asked: vec![None; link.shapes().len()],
            sent: JoinSet::new(),
            waiting: Waiting::default(),
            presence,
            complaints: Complaints::default(),
        }
    }

    async fn converse(&mut self, received: &mut mpsc::Receiver<Received>, port: &mut Port) -> Result<(), DriverError> {
        let stop = port.stop();
        self.subscribe(port).await?;
        loop {
            let wake = self.wake();
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                message = received.recv() => match message {
                    Some(message) => self.take(message, port).await?,
                    None => return Err(lost(self.link, "the connection has ended")),
                },
                Some(sent) = self.sent.join_next(), if !self.sent.is_empty() => {
                    // None of them is aborted, and none panics.
                    if let Ok((number, result)) = sent {
                        self.waiting.acknowledged(number, result);
                    }
                }
                command = port.next_command(), if self.is_subscribed() => self.obey(command, port).await?,
                () = sleep_until(wake) => self.mind(Instant::now(), port).await?,
            }
        }
    }

    fn is_subscribed(&self) -> bool {
        self.asked_for.is_none() && self.to_subscribe.is_empty()
    }

    /// When there is something to do if nothing comes.
    fn wake(&self) -> Instant {
        let subscribed = self.asked_for.as_ref().map(|(_, until)| *until);
        let ask = self.asks.iter().flatten().min().copied().filter(|_| self.is_subscribed());
        let all = [subscribed, ask, self.waiting.until(), self.presence.until()];
        all.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }

    /// Asks for the next piece of the subscriptions; with all of them made, the link is up.
    async fn subscribe(&mut self, port: &Port) -> Result<(), DriverError> {
        if self.to_subscribe.is_empty() {
            let health = match self.refused_filters.as_slice() {
                [] => Health::Online,
                refused => Health::Degraded(format!("the broker does not let us subscribe to {}", refused.join(", "))),
            };
            port.report(health);
            return Ok(());
        }
        let rest = self.to_subscribe.split_off(self.to_subscribe.len().min(FILTERS_AT_ONCE));
        let piece = std::mem::replace(&mut self.to_subscribe, rest);
        self.publisher.subscribe(&piece).await.map_err(|why| lost(self.link, &why))?;
        self.asked_for = Some((piece, Instant::now() + SUBSCRIBE_TIMEOUT));
        Ok(())
    }

    async fn take(&mut self, received: Received, port: &Port) -> Result<(), DriverError> {
        match received {
            Received::Subscribed(accepted) => {
                let (asked_for, _) = self.asked_for.take().unwrap_or((Vec::new(), Instant::now()));
                let refused = asked_for.into_iter().zip(accepted).filter(|(_, is_accepted)| !is_accepted);
                self.refused_filters.extend(refused.map(|(filter, _)| filter));
                self.subscribe(port).await
            }
            Received::TooLarge { topic, size } => {
                port.counts().add("messages", 1);
                port.counts().add("too_large", 1);
                if let Some(count) = self.complaints.one_more(Instant::now()) {
                    warn!(link = %port.link(), topic, size, count, "a message is too large to be of use");
                }
                Ok(())
            }
            Received::Message { topic, payload, retained } => {
                self.hear(Message { topic: &topic, payload: &payload, retained }, port).await;
                Ok(())
            }
        }
    }

    async fn hear(&mut self, message: Message<'_>, port: &Port) {
        port.counts().add("messages", 1);
        if message.retained {
            port.counts().add("retained", 1);
        }
        let (before, taken, after) = {
            let mut roster = self.link.roster();
            let before = roster.found();
            (before, roster.take(message, SystemTime::now()), roster.found())
        };
        if after > before {
            info!(link = %port.link(), topic = message.topic, known = after, "a device was discovered");
        }
        if taken.heard.is_empty() && taken.refused.is_empty() {
            port.counts().add("unclaimed", 1);
        }
        for (what, device, why) in taken.refused {
            port.counts().add(what, 1);
            if let Some(device) = device {
                port.refused(&device, what, Some(&why));
            }
            if let Some(count) = self.complaints.one_more(Instant::now()) {
                warn!(link = %port.link(), topic = message.topic, count, "{why}");
            }
        }
        for heard in taken.heard {
            self.pass_on(heard, message, port).await;
        }
    }

    async fn pass_on(&mut self, heard: Heard, message: Message<'_>, port: &Port) {
        let Heard { shape, device, alive, readings } = heard;
        let quiet_after = self.link.shapes().get(shape).and_then(|shape| shape.quiet_after);
        if let Some(alive) = alive
            && self.presence.tell(&device, alive, quiet_after, Instant::now())
        {
            let reason = (!alive).then(|| format!("{} says so", clip(message.topic)));
            port.emit(Event::Device { device: device.clone(), alive, reason }).await;
            // When the gateway connected it was not there to be asked.
            if alive && !message.retained {
                self.ask_soon(shape, Instant::now());
            }
        }
        for reading in readings {
            // What was kept says nothing of what a command has done.
            if !message.retained {
                self.waiting.reading(&reading);
            }
            port.emit(Event::Reading(reading)).await;
        }
    }

    /// Something is due.
    async fn mind(&mut self, now: Instant, port: &Port) -> Result<(), DriverError> {
        if self.asked_for.as_ref().is_some_and(|(_, until)| *until <= now) {
            return Err(lost(self.link, "it does not answer a subscription"));
        }
        self.waiting.expire(now);
        for (device, silence) in self.presence.quiet(now) {
            let reason = Some(format!("nothing was heard of it for {}", spell(silence)));
            port.emit(Event::Device { device, alive: false, reason }).await;
        }
        if self.is_subscribed() {
            for index in 0..self.asks.len() {
                if self.asks[index].is_some_and(|at| at <= now) {
                    self.ask(index, now).await?;
                }
            }
        }
        Ok(())
    }

    /// Has a device asked that has just come; not more often than it can mean anything.
    fn ask_soon(&mut self, index: usize, now: Instant) {
        let is_asked = self.link.shapes().get(index).is_some_and(|shape| shape.ask.is_some());
        let (Some(at), Some(asked)) = (self.asks.get_mut(index), self.asked.get(index)) else { return };
        if is_asked {
            let soon = asked.map_or(now, |asked| now.max(asked + ASK_AGAIN));
            *at = Some(at.map_or(soon, |at| at.min(soon)));
        }
    }

    /// Makes a device tell its values.
    async fn ask(&mut self, index: usize, now: Instant) -> Result<(), DriverError> {
        let Some(ask) = self.link.shapes().get(index).and_then(|shape| shape.ask.as_ref()) else { return Ok(()) };
        if let Some(at) = self.asks.get_mut(index) {
            *at = ask.every.map(|every| now + every);
        }
        if let Some(asked) = self.asked.get_mut(index) {
            *asked = Some(now);
        }
        let payload = ask.payload.render(&serde_json::Value::Null).unwrap_or_default();
        // Nobody waits for the broker to have it.
        self.publisher.publish(&ask.topic, payload, false).await.map(drop).map_err(|why| lost(self.link, &why))
    }

    /// Takes a command in.
    async fn obey(&mut self, command: Command, port: &Port) -> Result<(), DriverError> {
        let (device, point) = (command.device.clone(), command.point.clone());
        let refuse = |command: Command, reason: String| command.answer(Err(CommandError::Refused(reason)));
        let Some((index, shape, found)) = self.link.point(&command) else {
            refuse(command, format!("{device}/{point} is not declared in the site file"));
            return Ok(());
        };
        if self.presence.is_gone(&device) {
            // A broker may keep it for the device, which would then act late.
            port.traffic().count(Outcome::Unsent);
            command.answer(Err(CommandError::NotSent(format!("{device} is not there"))));
            return Ok(());
        }
        if !self.waiting.has_room() {
            refuse(command, "too many commands are under way on this link".into());
            return Ok(());
        }
        match command.action.clone() {
            Action::Raw(_) => refuse(command, "devices that speak MQTT know no raw requests".into()),
            Action::Read if found.topics.is_empty() => refuse(command, format!("{device} tells nothing of {point}")),
            Action::Read => {
                self.waiting.read(command);
                if shape.ask.is_some() {
                    self.ask(index, Instant::now()).await?;
                }
            }
            Action::Write { value, verify } => {
                let Some(write) = &found.write else {
                    refuse(command, format!("{device}/{point} is not open for writing"));
                    return Ok(());
                };
                match write.prepare(&found.meaning, &value) {
                    Err(reason) => refuse(command, reason),
                    Ok(_) if verify && found.topics.is_empty() => {
                        refuse(command, format!("{device} tells nothing of {point}, so nothing could confirm it"));
                    }
                    Ok((payload, written)) => {
                        let until = command.deadline.min(Instant::now() + write.timeout);
                        let published = self.publisher.publish(&write.topic, payload, write.retain).await;
                        let published = match published {
                            Ok(published) => published,
                            Err(why) => {
                                command.answer(Err(CommandError::NoAnswer(why.clone())));
                                return Err(lost(self.link, &why));
                            }
                        };
                        let number = self.waiting.write(command, written, verify, until);
                        self.sent.spawn(async move { (number, published.await) });
                        count(port, &device);
                    }
                }
            }
        }
        Ok(())
    }
}

/// What was published is counted as such: the answer, if there is one, comes as any other message.
fn count(port: &Port, device: &DeviceId) {
    port.traffic().count(Outcome::Untold);
    port.expect(device).count(Outcome::Untold);
}

/// Of many messages that are no use, one is spoken of now and then.
#[derive(Debug, Default)]
struct Complaints {
    last: Option<Instant>,
    since: u64,
}

impl Complaints {
    /// One more. Says how many there were since the last that was spoken of, if this one is to be.
    fn one_more(&mut self, now: Instant) -> Option<u64> {
        self.since += 1;
        if self.last.is_some_and(|last| now < last + COMPLAIN_EVERY) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}
