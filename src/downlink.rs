//! `gw1-in/…` → command → driver → answer.
//!
//! Commands come from an uplink, from a local client, or through the control socket from a person on
//! this machine; all are treated alike. Each is checked
//! against the site file before a driver hears of it, and each is answered exactly once on
//! `gw1-sys/answer/…`: carried out, refused, or given up at its deadline. It never reaches a
//! device late, from a retained message, outside its limits, more often than its rate allows, or on
//! a point without `write:`. Messages in MySensors classic form for which there is no such point are
//! [relayed](relay), if a link does that. One with an id is put down in the [journal] first, so it is executed
//! once, however often it is sent, and whatever becomes of the gateway.
//!
//! [`fail_safe`] writes by itself what the site file wants when every uplink is away.

mod answer;
mod catalogue;
mod checks;
pub mod fail_safe;
mod journal;
mod order;
mod rates;
mod refusal;
mod relay;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value as Json;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};
use wharf_contract::command::PendingAnswer;
use wharf_contract::{Answer, Command, CommandError, Driver, LinkId, PointId, PortEnd};

use crate::north::North;
use crate::seldom::Seldom;
use crate::topics::Topics;
use crate::uplink::Incoming;
use answer::{Outcome, ReplyTo};
pub use catalogue::{Catalogue, Entry};
pub use journal::Journal;
use rates::Rates;
use refusal::Refusal;

/// How many commands may wait to be looked at.
pub const ASKS_WAITING: usize = 256;
/// How many are looked at together; those of them that have an id cost one wait for the disk.
const ASKS_AT_ONCE: usize = 64;
/// The most commands that may be under way; one more is refused as busy.
const UNDER_WAY: usize = 1024;
/// The most commands that may wait for devices that sleep, beside those under way.
const HELD: usize = 1024;
/// How long after its deadline a command that a driver has begun may still be answered by it.
const LAST_EXCHANGE: Duration = Duration::from_secs(10);
/// How long after its deadline one may be answered that waited for a device that sleeps: its link may be
/// down, and is looked at twice a minute then.
const LAST_LOOK: Duration = Duration::from_secs(60);

/// Who sent a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It came down an uplink.
    Uplink(Arc<str>),
    /// A client of the local broker sent it.
    Local,
    /// A person on this machine sent it, through the control socket.
    Control(Asker),
    /// A MySensors controller sent it that is attached to the gateway, or a node that is none passes it on.
    Controller(Arc<str>, Asker),
}

/// For people: `uplink central`.
impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uplink(name) => write!(f, "uplink {name}"),
            Self::Local => f.write_str("local broker"),
            Self::Control(_) => f.write_str("this machine"),
            Self::Controller(name, _) => f.write_str(name),
        }
    }
}

/// Someone who waits for one answer, and gets it as it is published.
#[derive(Clone)]
pub struct Asker {
    answer: mpsc::Sender<Json>,
    place: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Asker {
    /// An asker, and where its answer will be. It gets nothing if the gateway stops first.
    pub fn new() -> (Self, mpsc::Receiver<Json>) {
        let (answer, answered) = mpsc::channel(1);
        (Self { answer, place: Arc::default() }, answered)
    }

    /// The same, of one who asks several things at a time and no more than it has places for. This one is
    /// free again when the answer is given, or the command waits for a device that sleeps: such a one has
    /// a place of its own here.
    #[must_use]
    pub fn at(self, place: OwnedSemaphorePermit) -> Self {
        Self { place: Arc::new(Mutex::new(Some(place))), ..self }
    }

    fn answer(&self, outcome: Json) {
        // Who has gone away meanwhile can read it on the answer topic.
        let _ = self.answer.try_send(outcome);
    }

    fn is_held(&self) {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asker")
    }
}

impl PartialEq for Asker {
    fn eq(&self, other: &Self) -> bool {
        self.answer.same_channel(&other.answer)
    }
}

impl Eq for Asker {}

/// A publication below `gw1-in/`, as it came, or what would be one.
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
    /// The ways to the drivers, by link.
    pub links: HashMap<LinkId, PortEnd>,
    /// The drivers themselves, which say what they relay and which devices sleep.
    pub drivers: Vec<Arc<dyn Driver>>,
    /// Where answers go.
    pub north: North,
    /// How long a command may take that says nothing about it.
    pub deadline: Duration,
    /// Whether set messages in classic form are obeyed although they are retained.
    pub retained_sets: bool,
    /// The writes that have an id; `None` if the site file wants none remembered.
    pub journal: Option<Journal>,
}

/// What is known only while it runs.
#[derive(Default)]
struct Work {
    under_way: JoinSet<()>,
    /// Those that wait for a device that sleeps, maybe for days: they take no place from the others.
    held: JoinSet<()>,
    rates: Rates,
    refusals: Seldom,
}

/// A command that passed every check and has its place at its driver.
struct Job {
    reply: ReplyTo,
    /// What the journal knows it by.
    key: Option<String>,
    deadline: Instant,
    /// Whether it is for several points; then its answer is, too.
    many: bool,
    /// Whether it may wait for a device that sleeps.
    held: bool,
    parts: Vec<Part>,
}

/// A job's command for one point.
struct Part {
    point: PointId,
    place: mpsc::OwnedPermit<Command>,
    command: Command,
    answer: PendingAnswer,
}

/// What becomes of a command.
enum Verdict {
    Go(Box<Job>),
    /// It is not obeyed, and this is why.
    Refused(ReplyTo, Refusal),
    /// It was sent before, and this became of it.
    Again(ReplyTo, Outcome),
    /// It was sent before, and is answered together with the first one.
    Waits,
}

impl Downlink {
    /// Handles commands until `stop` or until every source of them is gone, then answers what is
    /// still under way.
    pub async fn run(self, mut asks: mpsc::Receiver<Ask>, stop: CancellationToken) {
        let mut work = Work::default();
        let mut batch = Vec::with_capacity(ASKS_AT_ONCE);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                count = asks.recv_many(&mut batch, ASKS_AT_ONCE) => match count {
                    0 => break,
                    _ => self.handle(batch.drain(..), &mut work).await,
                },
                Some(_) = work.under_way.join_next() => {}
                Some(_) = work.held.join_next() => {}
            }
        }
        // What still waits was acknowledged to its sender, so it is owed an answer.
        asks.close();
        while let Ok(ask) = asks.try_recv() {
            let (reply, _) = self.locate(&ask);
            Outcome::error(&reply, &Refusal::Stopping.to_string()).tell(&self.north, reply).await;
        }
        // Each of these ends by itself, at the latest some seconds after its deadline; a stopping
        // gateway bounds the wait from outside.
        while work.under_way.join_next().await.is_some() || work.held.join_next().await.is_some() {}
    }

    /// Looks at commands in the order they came, and starts them in that order.
    async fn handle(&self, asks: impl Iterator<Item = Ask>, work: &mut Work) {
        let mut jobs: Vec<Job> = Vec::new();
        for ask in asks {
            match self.look(&ask, work, &jobs) {
                Verdict::Go(job) => jobs.push(*job),
                Verdict::Waits => {}
                Verdict::Again(reply, outcome) => outcome.tell(&self.north, reply).await,
                Verdict::Refused(reply, refusal) => {
                    let (topic, from) = (&ask.incoming.topic, &ask.source);
                    match work.refusals.note(1) {
                        Some(line) => warn!(topic, %from, %refusal, held_back = line.count - 1, "command refused"),
                        None => debug!(topic, %from, %refusal, "command refused"),
                    }
                    Outcome::error(&reply, &refusal.to_string()).tell(&self.north, reply).await;
                }
            }
        }
        for job in self.put_down(jobs).await {
            self.start(job, work);
        }
    }

    /// Makes the journal safe on disk before anything is begun. Gives those that may be begun.
    async fn put_down(&self, mut jobs: Vec<Job>) -> Vec<Job> {
        let Some(journal) = self.journal.as_ref().filter(|_| jobs.iter().any(|job| job.key.is_some())) else {
            return jobs;
        };
        let Err(failure) = journal.sync().await else { return jobs };
        error!(error = %failure, "commands with an id are refused: they cannot be put down on disk");
        let refusal = Refusal::NoJournal(failure.to_string()).to_string();
        for job in jobs.extract_if(.., |job| job.key.is_some()) {
            let waiting = job.key.map(|key| journal.take_back(&key)).unwrap_or_default();
            for reply in std::iter::once(job.reply).chain(waiting) {
                Outcome::error(&reply, &refusal).tell(&self.north, reply).await;
            }
        }
        jobs
    }

    /// Hands a job to its driver, and sees to its answer.
    fn start(&self, job: Job, work: &mut Work) {
        let Job { reply, key, deadline, many, held, parts } = job;
        let last = parts.len().saturating_sub(1);
        let mut answers = Vec::with_capacity(parts.len());
        for (index, mut part) in parts.into_iter().enumerate() {
            part.command.more_follow = index < last;
            part.place.send(part.command);
            let patience = if held { LAST_LOOK } else { LAST_EXCHANGE };
            answers.push(wait(part.point, part.answer, deadline + patience));
        }
        let (north, journal) = (self.north.clone(), self.journal.clone());
        let tasks = if held { &mut work.held } else { &mut work.under_way };
        if held && let Source::Controller(_, asker) = &reply.source {
            asker.is_held();
        }
        tasks.spawn(async move {
            let answers = join_all(answers).await;
            let outcome = match answers.as_slice() {
                [(_, answer)] if !many => Outcome::one(&reply, answer),
                answers => Outcome::many(&reply, answers),
            };
            if let Some(error) = outcome.why() {
                warn!(topic = reply.topic, error, "command failed");
            }
            let unsent = |(_, answer): &(PointId, Answer)| answer.as_ref().is_err_and(CommandError::is_unsent);
            let stays = (!answers.iter().all(unsent)).then_some(&outcome);
            let waiting = match (&journal, &key) {
                (Some(journal), Some(key)) => journal.end(key, stays).await,
                _ => Vec::new(),
            };
            outcome.tell(&north, reply).await;
            for other in waiting {
                outcome.clone().with("duplicate", true).tell(&north, other).await;
            }
        });
    }
}

/// The answer to a job's part. It comes in any case.
async fn wait(point: PointId, answer: PendingAnswer, until: Instant) -> (PointId, Answer) {
    let answer = timeout_at(until, answer.wait()).await;
    (point, answer.unwrap_or_else(|_| Err(CommandError::NoAnswer("its deadline has passed".into()))))
}
