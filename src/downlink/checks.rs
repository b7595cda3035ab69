//! Whether a command may be carried out: every check there is, before anything is begun.

use std::time::{Duration, SystemTime};

use serde_json::Value as Json;
use tokio::time::Instant;
use tracing::{debug, info};
use wharf_contract::port::COMMANDS_WAITING;
use wharf_contract::{Action, Command, LinkId, PointId, PortEnd, Recipient, Value, WriteRate, topic};

use super::answer::{Outcome, ReplyTo};
use super::journal::Known;
use super::order::{ManyOrder, Order, OrderError, Worth};
use super::refusal::Refusal;
use super::relay::{self, EVERYBODY};
use super::{Ask, Downlink, Entry, HELD, Job, Part, Rates, UNDER_WAY, Verdict, Work};
use crate::topics::{Address, Classic, ClassicCommand, Request};
use crate::uplink::Incoming;

/// What a command is for.
pub enum Target<'c> {
    Read(&'c Entry),
    /// `classic`: the MySensors message that asks for it. In it the asker may want the node to confirm.
    Write {
        entry: &'c Entry,
        classic: Option<Classic>,
    },
    Many(&'c [Entry]),
    /// A MySensors message that goes to these links as it is.
    Relay {
        message: Classic,
        links: Vec<LinkId>,
    },
}

/// One point and what is to be done with it.
type Step<'c> = (&'c Entry, Action);

impl Downlink {
    /// Decides what becomes of a command. `ahead` were let through and not started yet.
    pub(super) fn look(&self, ask: &Ask, work: &mut Work, ahead: &[Job]) -> Verdict {
        let (mut reply, target) = self.locate(ask);
        let seen = target.and_then(|target| self.check(&ask.incoming, &mut reply, &target, work, ahead));
        match seen {
            Ok(Seen::New(job)) => Verdict::Go(job),
            Ok(Seen::Waits) => Verdict::Waits,
            Ok(Seen::Before(outcome)) => Verdict::Again(reply, outcome.with("duplicate", true)),
            Err(refusal) => Verdict::Refused(reply, refusal),
        }
    }

    /// Where the answer goes, and what the command is for.
    pub(super) fn locate(&self, ask: &Ask) -> (ReplyTo, Result<Target<'_>, Refusal>) {
        let incoming = &ask.incoming;
        let unknown = || self.topics.answer_to_unknown(&incoming.topic);
        let mut echo = None;
        let (topic, target) = match self.topics.parse_command(&incoming.topic) {
            Some(Request::WriteMany(device)) => {
                let points = self.catalogue.device(&device).ok_or_else(|| Refusal::NoDevice(device.clone()));
                (self.topics.answer_to_many(&device), points.map(Target::Many))
            }
            Some(Request::Read(address)) => (self.answer_topic(&address), self.find(&address).map(Target::Read)),
            Some(Request::Write(address)) => {
                let found = self.find(&address);
                (self.answer_topic(&address), found.map(|entry| Target::Write { entry, classic: None }))
            }
            Some(Request::Classic(message)) => {
                echo = message.echo.then(|| (self.topics.classic_echo(&message), incoming.payload.clone()));
                let target = self.classic(&message);
                let topic = match &target {
                    Ok(Target::Read(entry) | Target::Write { entry, .. }) => self.topics.answer_of(&entry.info),
                    _ => unknown(),
                };
                (topic, target)
            }
            None => (unknown(), Err(Refusal::NoSuchTopic(self.topics.gateway().to_owned()))),
        };
        let reply = ReplyTo {
            topic,
            source: ask.source.clone(),
            response_topic: incoming.response_topic.clone().filter(|topic| may_answer_on(topic)),
            correlation: incoming.correlation.clone(),
            id: None,
            requested: None,
            echo,
        };
        (reply, target)
    }

    fn answer_topic(&self, Address { device, point }: &Address) -> String {
        self.topics.answer(device, point)
    }

    fn find(&self, Address { device, point }: &Address) -> Result<&Entry, Refusal> {
        let Some(points) = self.catalogue.device(device) else {
            return Err(Refusal::NoDevice(device.clone()));
        };
        named(points, point).ok_or_else(|| Refusal::NoPoint(device.as_str().into(), point.clone()))
    }

    /// What a message in classic form is for: a declared point, whose rules it keeps, or any node of a
    /// link that relays.
    fn classic(&self, message: &Classic) -> Result<Target<'_>, Refusal> {
        let Classic { node, child, command, kind, .. } = *message;
        let declared = match command {
            ClassicCommand::Set | ClassicCommand::Req => self.catalogue.classic(node, child, kind),
            _ => Vec::new(),
        };
        let entry = match *declared.as_slice() {
            [] => return Ok(Target::Relay { message: *message, links: self.relays_of(message)? }),
            [entry] => entry,
            _ => return Err(Refusal::Ambiguous { node, child, kind }),
        };
        if command == ClassicCommand::Req {
            return Ok(Target::Read(entry));
        }
        // A point that is declared for its name alone is as open as the rest of its network.
        match self.relays_of(message) {
            Ok(links) if entry.info.write.is_none() && links == [entry.link.clone()] => {
                Ok(Target::Relay { message: *message, links })
            }
            _ => Ok(Target::Write { entry, classic: Some(*message) }),
        }
    }

    fn check(
        &self,
        incoming: &Incoming,
        reply: &mut ReplyTo,
        target: &Target,
        work: &mut Work,
        ahead: &[Job],
    ) -> Result<Seen, Refusal> {
        if incoming.retained {
            self.check_retained(target, incoming).inspect_err(|_| self.count_retained(target))?;
        }
        let (order, values) = understand(target, incoming, reply)?;
        reply.id.clone_from(&order.id);
        let key = self.key(target, reply);
        // Before anything else: what was obeyed in time is not refused as late when it is sent again.
        if let (Some(journal), Some(key), Some(requested)) = (&self.journal, &key, &reply.requested)
            && let Some(known) = journal.look(key, requested, reply)
        {
            return seen_before(known, reply);
        }
        let steps = steps(target, &order, &values)?;
        let hold = self.hold(target);
        let worth = Worth { usually: self.deadline, broker: incoming.expires_in, hold };
        let time_left = order.time_left(SystemTime::now(), worth).ok_or(Refusal::Expired)?;
        let ends = self.ends(target)?;
        let (waiting, most) = match hold {
            Some(_) => (work.held.len(), HELD),
            None => (work.under_way.len(), UNDER_WAY),
        };
        if waiting + ahead.iter().filter(|job| job.held == hold.is_some()).count() >= most {
            return Err(Refusal::Busy);
        }
        let now = Instant::now();
        check_rates(&steps, &work.rates, now)?;
        let deadline = now + time_left;
        let parts = match target {
            Target::Relay { message, .. } => {
                let line = relay::line(message, &incoming.payload)?;
                ends.iter().map(|end| relayed(&line, end, deadline, reply)).collect::<Result<Vec<_>, _>>()?
            }
            _ => {
                let Some((_, end)) = ends.first() else { return Err(Refusal::Busy) };
                steps.iter().map(|step| part(step, end, deadline, reply)).collect::<Result<Vec<_>, _>>()?
            }
        };
        for ((entry, _), rate) in steps.iter().filter_map(|step| Some((step, rate(step)?))) {
            work.rates.count((entry.info.device.clone(), entry.info.point.clone()), rate, now);
        }
        if let (Some(journal), Some(key), Some(requested)) = (&self.journal, &key, &reply.requested) {
            journal.begin(key, requested, time_left);
        }
        let many = matches!(target, Target::Many(_)) || parts.len() > 1;
        let held = hold.is_some();
        Ok(Seen::New(Box::new(Job { reply: reply.clone(), key, deadline, many, held, parts })))
    }

    /// A retained command comes again at every reconnect, so none is obeyed but what the site file
    /// opens. An empty one is how a retained message is cleared.
    fn check_retained(&self, target: &Target, incoming: &Incoming) -> Result<(), Refusal> {
        let message = match target {
            Target::Write { classic, .. } => classic.as_ref(),
            Target::Relay { message, .. } => Some(message),
            Target::Read(_) | Target::Many(_) => None,
        };
        let is_value = |message: &Classic| matches!(message.command, ClassicCommand::Set | ClassicCommand::Req);
        if message.is_some_and(|message| !is_value(message)) {
            return Err(Refusal::RetainedInternal);
        }
        match message.filter(|_| self.retained_sets) {
            None => Err(Refusal::Retained),
            Some(message) if message.command != ClassicCommand::Set => Err(Refusal::RetainedOther),
            Some(_) if incoming.payload.is_empty() => Err(Refusal::Retained),
            Some(_) => Ok(()),
        }
    }

    /// Counts one that was not obeyed at each link it was for.
    fn count_retained(&self, target: &Target) {
        for link in links(target) {
            if let Some(end) = self.links.get(link) {
                end.counts.add("retained_commands", 1);
            }
        }
    }

    /// How long the command may wait for its device to wake, if that sleeps.
    fn hold(&self, target: &Target) -> Option<Duration> {
        match target {
            Target::Read(entry) | Target::Write { entry, .. } => self.hold_of(entry),
            Target::Many(points) => self.hold_of(points.first()?),
            Target::Relay { message, links } => match links.as_slice() {
                [link] if message.node != EVERYBODY => self.driver(link)?.hold(Recipient::Node(message.node)),
                _ => None,
            },
        }
    }

    fn hold_of(&self, entry: &Entry) -> Option<Duration> {
        self.driver(&entry.link)?.hold(Recipient::Device(&entry.info.device))
    }

    /// What the journal knows a write by: the id, and what it is for. Reads may be done twice.
    fn key(&self, target: &Target, reply: &ReplyTo) -> Option<String> {
        let id = self.journal.as_ref().and(reply.id.as_ref())?;
        match target {
            Target::Read(_) | Target::Relay { .. } => None,
            Target::Write { entry, .. } => Some(format!("{}/{} {id}", entry.info.device, entry.info.point)),
            Target::Many(points) => Some(format!("{} {id}", points.first()?.info.device)),
        }
    }

    /// The ways to the links that a command goes to. What is for everybody goes to those that are up.
    fn ends<'t>(&'t self, target: &'t Target) -> Result<Vec<(&'t LinkId, &'t PortEnd)>, Refusal> {
        let mut ends = Vec::new();
        let mut down = None;
        for link in links(target) {
            match self.link(link) {
                Ok(end) => ends.push((link, end)),
                Err(refusal) => down = Some(refusal),
            }
        }
        match down {
            Some(refusal) if ends.is_empty() => Err(refusal),
            _ => Ok(ends),
        }
    }

    fn link(&self, link: &LinkId) -> Result<&PortEnd, Refusal> {
        let down = |why: String| Refusal::LinkDown(link.clone(), why);
        let end = self.links.get(link).ok_or_else(|| down("not running".into()))?;
        let health = end.health.borrow().clone();
        if health.is_up() {
            return Ok(end);
        }
        Err(down(health.reason().map_or_else(|| health.as_str().to_owned(), |r| format!("{}: {r}", health.as_str()))))
    }
}

/// The links that a command goes to.
fn links<'t>(target: &'t Target) -> &'t [LinkId] {
    match target {
        Target::Read(entry) | Target::Write { entry, .. } => std::slice::from_ref(&entry.link),
        Target::Many(points) => points.first().map(|entry| std::slice::from_ref(&entry.link)).unwrap_or_default(),
        Target::Relay { links, .. } => links,
    }
}

/// What the payload says: an order, and the values where it is for several points. What is to be
/// written is repeated in the answer.
fn understand(
    target: &Target,
    incoming: &Incoming,
    reply: &mut ReplyTo,
) -> Result<(Order, Vec<(String, Value)>), Refusal> {
    let payload = &incoming.payload;
    match target {
        Target::Read(_) => Ok((Order::read(payload), Vec::new())),
        Target::Write { .. } => {
            let order = Order::write(payload).inspect_err(|_| reply.id = Order::id_in(payload))?;
            reply.requested = order.value.as_ref().map(Value::to_json);
            Ok((order, Vec::new()))
        }
        Target::Many(_) => {
            let ManyOrder { values, order } =
                ManyOrder::parse(payload).inspect_err(|_| reply.id = Order::id_in(payload))?;
            let object = values.iter().map(|(point, value)| (point.clone(), value.to_json())).collect();
            reply.requested = Some(Json::Object(object));
            Ok((order, values))
        }
        Target::Relay { message, .. } => {
            relay::line(message, payload)?;
            reply.requested = std::str::from_utf8(payload).ok().map(Json::from);
            Ok((Order::default(), Vec::new()))
        }
    }
}

/// What a check comes to, if it does not refuse.
enum Seen {
    New(Box<Job>),
    Before(Outcome),
    Waits,
}

fn seen_before(known: Known, reply: &ReplyTo) -> Result<Seen, Refusal> {
    match known {
        Known::Answered(outcome) => Ok(Seen::Before(outcome)),
        Known::UnderWay => Ok(Seen::Waits),
        Known::Crowded => Err(Refusal::Busy),
        Known::Unknown => {
            let error = "it may have been executed: the gateway was killed before the device's answer was put down";
            Ok(Seen::Before(Outcome::error(reply, error)))
        }
        Known::Other => Err(Refusal::IdUsed(reply.id.as_ref().map(Json::to_string).unwrap_or_default())),
    }
}

/// What is to be done with each point, if all of it may be.
fn steps<'c>(target: &Target<'c>, order: &Order, values: &[(String, Value)]) -> Result<Vec<Step<'c>>, Refusal> {
    match target {
        Target::Read(entry) => Ok(vec![(entry, Action::Read)]),
        Target::Write { entry, classic } => {
            let value = order.value.clone().ok_or(OrderError::NoValue)?;
            Ok(vec![write(entry, value, classic.is_some_and(|message| message.echo))?])
        }
        Target::Relay { .. } => Ok(Vec::new()),
        Target::Many(_) if values.len() > COMMANDS_WAITING => {
            Err(Refusal::TooMany { count: values.len(), most: COMMANDS_WAITING })
        }
        Target::Many(points) => {
            let step = |(name, value): &(String, Value)| {
                let device = || points.first().map_or("".into(), |entry| entry.info.device.clone());
                let entry = named(points, name).ok_or_else(|| Refusal::NoPoint(device(), name.clone()));
                let step = entry.and_then(|entry| write(entry, value.clone(), false));
                step.map_err(|why| one_of_many(name, why))
            };
            values.iter().map(step).collect()
        }
    }
}

fn write(entry: &Entry, value: Value, echo: bool) -> Result<Step<'_>, Refusal> {
    let info = &entry.info;
    let Some(rule) = &info.write else {
        return Err(Refusal::ReadOnly(info.device.clone(), info.point.clone()));
    };
    match rule.refuse(&value) {
        Some(why) => Err(Refusal::OutOfLimits(why)),
        None => Ok((entry, Action::Write { value, verify: rule.verify || echo })),
    }
}

fn check_rates(steps: &[Step], rates: &Rates, now: Instant) -> Result<(), Refusal> {
    for ((entry, _), rate) in steps.iter().filter_map(|step| Some((step, rate(step)?))) {
        let point = (entry.info.device.clone(), entry.info.point.clone());
        if let Err(left) = rates.check(&point, rate, now) {
            let refusal = Refusal::TooOften { rate, left };
            return Err(if steps.len() > 1 { one_of_many(entry.info.point.as_str(), refusal) } else { refusal });
        }
    }
    Ok(())
}

/// How often the point may be written, if this is a write.
fn rate((entry, action): &Step) -> Option<WriteRate> {
    entry.info.write.as_ref().filter(|_| matches!(action, Action::Write { .. }))?.rate
}

/// A command with its place in the driver's queue.
fn part((entry, action): &Step, end: &PortEnd, deadline: Instant, reply: &ReplyTo) -> Result<Part, Refusal> {
    let info = &entry.info;
    let place = end.commands.clone().try_reserve_owned().map_err(|_| Refusal::Busy)?;
    info!(device = %info.device, point = %info.point, %action, from = %reply.source, "command");
    let (command, answer) = Command::new(info.device.clone(), info.point.clone(), action.clone(), deadline);
    Ok(Part { point: info.point.clone(), place, command, answer })
}

/// A message with its place in the queue of one link. Where there are several, the link's name stands
/// for the point in the answer.
fn relayed(line: &str, (link, end): &(&LinkId, &PortEnd), deadline: Instant, reply: &ReplyTo) -> Result<Part, Refusal> {
    let place = end.commands.clone().try_reserve_owned().map_err(|_| Refusal::Busy)?;
    info!(%link, line, from = %reply.source, "message relayed");
    let (command, answer) = Command::new("".into(), "".into(), Action::Raw(line.as_bytes().to_vec()), deadline);
    Ok(Part { point: PointId::from(link.as_str()), place, command, answer })
}

fn one_of_many(point: &str, why: Refusal) -> Refusal {
    Refusal::OneOfMany(point.to_owned(), Box::new(why))
}

fn named<'c>(points: &'c [Entry], name: &str) -> Option<&'c Entry> {
    points.iter().find(|entry| entry.info.point.as_str() == name)
}

/// An answer goes where its asker listens. It must not become a command, nor be taken for a
/// reading or for what a gateway says of itself, this one's or another's.
fn may_answer_on(topic: &str) -> bool {
    let first = topic.split('/').next().unwrap_or_default();
    let fine = topic::is_topic(topic)
        && topic.len() <= 1024
        && !topic::is_system(topic)
        && !["-in", "-out", "-sys"].iter().any(|end| first.ends_with(end));
    if !fine {
        debug!(topic, "response topic ignored");
    }
    fine
}
