//! Whether a command may be carried out: every check there is, before anything is begun.

use std::time::SystemTime;

use serde_json::Value as Json;
use tokio::time::Instant;
use tracing::{debug, info};
use wharf_contract::port::COMMANDS_WAITING;
use wharf_contract::{Action, Command, PortEnd, Value, WriteRate};

use super::answer::{Outcome, ReplyTo};
use super::journal::Known;
use super::order::{ManyOrder, Order};
use super::refusal::Refusal;
use super::{Ask, Downlink, Entry, Job, Part, Rates, UNDER_WAY, Verdict, Work};
use crate::topics::{Address, Request};
use crate::uplink::Incoming;

/// Which points a command is for.
pub enum Target<'c> {
    Read(&'c Entry),
    /// `echo`: the asker wants the node to confirm.
    Write {
        entry: &'c Entry,
        echo: bool,
    },
    Many(&'c [Entry]),
}

/// One point and what is to be done with it.
type Step<'c> = (&'c Entry, Action);

impl Downlink {
    /// Decides what becomes of a command. `ahead` others were let through and not started yet.
    pub(super) fn look(&self, ask: &Ask, work: &mut Work, ahead: usize) -> Verdict {
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
        let (topic, target) = match self.topics.parse_command(&incoming.topic) {
            Some(Request::WriteMany(device)) => {
                let points = self.catalogue.device(&device).ok_or_else(|| Refusal::NoDevice(device.clone()));
                (self.topics.answer_to_many(&device), points.map(Target::Many))
            }
            Some(Request::Read(address)) => {
                let found = self.find(&address);
                (self.answer_topic(&address, &found).unwrap_or_else(unknown), found.map(Target::Read))
            }
            Some(Request::Write(address)) => {
                let found = self.find(&address);
                let echo = matches!(address, Address::Classic { echo: true, .. });
                let topic = self.answer_topic(&address, &found).unwrap_or_else(unknown);
                (topic, found.map(|entry| Target::Write { entry, echo }))
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
        };
        (reply, target)
    }

    fn answer_topic(&self, address: &Address, found: &Result<&Entry, Refusal>) -> Option<String> {
        match (found, address) {
            (Ok(entry), _) => Some(self.topics.answer(entry.info.device.as_str(), entry.info.point.as_str())),
            (Err(_), Address::Named { device, point }) => Some(self.topics.answer(device, point)),
            (Err(_), Address::Classic { .. }) => None,
        }
    }

    fn find(&self, address: &Address) -> Result<&Entry, Refusal> {
        match address {
            Address::Named { device, point } => {
                let Some(points) = self.catalogue.device(device) else {
                    return Err(Refusal::NoDevice(device.clone()));
                };
                named(points, point).ok_or_else(|| Refusal::NoPoint(device.as_str().into(), point.clone()))
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

    fn check(
        &self,
        incoming: &Incoming,
        reply: &mut ReplyTo,
        target: &Target,
        work: &mut Work,
        ahead: usize,
    ) -> Result<Seen, Refusal> {
        if incoming.retained {
            return Err(Refusal::Retained);
        }
        let (order, values) = match target {
            Target::Read(_) => (Order::read(&incoming.payload), Vec::new()),
            Target::Write { .. } => {
                let order =
                    Order::write(&incoming.payload).inspect_err(|_| reply.id = Order::id_in(&incoming.payload))?;
                reply.requested = order.value.as_ref().map(Value::to_json);
                (order, Vec::new())
            }
            Target::Many(_) => {
                let ManyOrder { values, order } =
                    ManyOrder::parse(&incoming.payload).inspect_err(|_| reply.id = Order::id_in(&incoming.payload))?;
                let object = values.iter().map(|(point, value)| (point.clone(), value.to_json())).collect();
                reply.requested = Some(Json::Object(object));
                (order, values)
            }
        };
        reply.id.clone_from(&order.id);
        let key = self.key(target, reply);
        // Before anything else: what was obeyed in time is not refused as late when it is sent again.
        if let (Some(journal), Some(key), Some(requested)) = (&self.journal, &key, &reply.requested)
            && let Some(known) = journal.look(key, requested, reply)
        {
            return seen_before(known, reply);
        }
        let steps = steps(target, &order, &values)?;
        let Some((first, _)) = steps.first() else { return Err(Refusal::Order(super::order::OrderError::Empty)) };
        let time_left =
            order.time_left(SystemTime::now(), incoming.expires_in, self.deadline).ok_or(Refusal::Expired)?;
        let end = self.link(first)?;
        if work.under_way.len() + ahead >= UNDER_WAY {
            return Err(Refusal::Busy);
        }
        let now = Instant::now();
        check_rates(&steps, &work.rates, now)?;
        let deadline = now + time_left;
        let many = matches!(target, Target::Many(_));
        let parts = steps.iter().map(|step| part(step, end, deadline, reply)).collect::<Result<Vec<_>, _>>()?;
        for ((entry, _), rate) in steps.iter().filter_map(|step| Some((step, rate(step)?))) {
            work.rates.count((entry.info.device.clone(), entry.info.point.clone()), rate, now);
        }
        if let (Some(journal), Some(key), Some(requested)) = (&self.journal, &key, &reply.requested) {
            journal.begin(key, requested);
        }
        Ok(Seen::New(Box::new(Job { reply: reply.clone(), key, deadline, many, parts })))
    }

    /// What the journal knows a write by: the id, and what it is for. Reads may be done twice.
    fn key(&self, target: &Target, reply: &ReplyTo) -> Option<String> {
        let id = self.journal.as_ref().and(reply.id.as_ref())?;
        match target {
            Target::Read(_) => None,
            Target::Write { entry, .. } => Some(format!("{}/{} {id}", entry.info.device, entry.info.point)),
            Target::Many(points) => Some(format!("{} {id}", points.first()?.info.device)),
        }
    }

    fn link(&self, entry: &Entry) -> Result<&PortEnd, Refusal> {
        let down = |why: String| Refusal::LinkDown(entry.link.clone(), why);
        let end = self.links.get(&entry.link).ok_or_else(|| down("not running".into()))?;
        let health = end.health.borrow().clone();
        if health.is_up() {
            return Ok(end);
        }
        Err(down(health.reason().map_or_else(|| health.as_str().to_owned(), |r| format!("{}: {r}", health.as_str()))))
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
        Target::Write { entry, echo } => {
            let value = order.value.clone().ok_or(super::order::OrderError::NoValue)?;
            Ok(vec![write(entry, value, *echo)?])
        }
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
