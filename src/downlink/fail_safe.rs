//! What the gateway writes by itself when nobody upstream can command any more.
//!
//! A point's `write: { fail_safe: { after: 10m, write: 0 } }` is carried out when *every* uplink
//! has been away for that long, without a break. Local clients do not count: whether one of them
//! is there to supervise anything is not known. They may still command, before and after, and what
//! they write then is not undone.
//!
//! It is written once in an outage. If the device cannot be written it is tried again, until it is,
//! or until an uplink is back. Since when the uplinks are away is kept on disk, so a gateway that
//! is restarted in an outage does not begin to count anew; and as nobody knows what happened to
//! the devices meanwhile, it writes once more, when it has had a moment to reach its uplinks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use wharf_contract::{
    Action, Answer, Command, CommandError, DeviceId, Driver, FailSafe, LinkId, PointId, PortEnd, Recipient,
};

use super::answer::{Outcome, ReplyTo};
use super::{Downlink, LAST_EXCHANGE};
use crate::mapping::epoch_ms;
use crate::north::North;
use crate::topics::Topics;
use crate::uplink::UplinkState;

/// How long the uplinks have to come about after a start, whatever was before it.
const GRACE: Duration = Duration::from_secs(30);
/// How long after a vain try it is tried again.
const AGAIN: Duration = Duration::from_secs(15);

/// Watches the uplinks and writes what is to be written when all of them are away.
pub struct Guard {
    points: Vec<Point>,
    uplinks: Vec<watch::Receiver<UplinkState>>,
    file: PathBuf,
    deadline: Duration,
    topics: Topics,
    north: North,
}

struct Point {
    link: LinkId,
    end: PortEnd,
    driver: Arc<dyn Driver>,
    device: DeviceId,
    point: PointId,
    rule: FailSafe,
    verify: bool,
    state: State,
}

/// What became of it in this outage.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting,
    /// Tried in vain, to be tried again then.
    Again(Instant),
    Done,
}

impl Guard {
    /// The guard of every point with a fail-safe value; `None` if the site file has no such point.
    pub fn new(downlink: &Downlink, uplinks: Vec<watch::Receiver<UplinkState>>, state_dir: &Path) -> Option<Self> {
        let points = downlink.catalogue.iter().filter_map(|entry| {
            let rule = entry.info.write.as_ref()?;
            Some(Point {
                link: entry.link.clone(),
                end: downlink.links.get(&entry.link)?.clone(),
                driver: downlink.drivers.iter().find(|driver| *driver.name() == entry.link)?.clone(),
                device: entry.info.device.clone(),
                point: entry.info.point.clone(),
                rule: rule.fail_safe.clone()?,
                verify: rule.verify,
                state: State::Waiting,
            })
        });
        let points: Vec<_> = points.collect();
        (!points.is_empty() && !uplinks.is_empty()).then(|| Self {
            points,
            uplinks,
            file: state_dir.join("outage"),
            deadline: downlink.deadline,
            topics: downlink.topics.clone(),
            north: downlink.north.clone(),
        })
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let ready = Instant::now() + GRACE.min(self.shortest());
        let before = recall(self.file.clone()).await;
        let mut outage = Some(before.unwrap_or_else(Instant::now));
        if before.is_none() && !self.any_up() {
            remember(self.file.clone(), true).await;
        }
        loop {
            match (self.any_up(), outage) {
                (true, Some(_)) => {
                    outage = None;
                    self.end_of_outage();
                    remember(self.file.clone(), false).await;
                }
                (false, None) => {
                    outage = Some(Instant::now());
                    remember(self.file.clone(), true).await;
                }
                (false, Some(since)) => self.write_what_is_due(since, ready, &stop).await,
                (true, None) => {}
            }
            let due = outage.and_then(|since| self.next(since, ready));
            let any = self.uplinks.iter_mut().map(|uplink| Box::pin(uplink.changed()));
            tokio::select! {
                () = stop.cancelled() => return,
                // An uplink that has ended says nothing more; the gateway is stopping then.
                (changed, ..) = futures_util::future::select_all(any) => if changed.is_err() {
                    stop.cancelled().await;
                    return;
                },
                () = until(due) => {}
            }
        }
    }

    fn any_up(&mut self) -> bool {
        self.uplinks.iter_mut().any(|uplink| *uplink.borrow_and_update() == UplinkState::Up)
    }

    fn shortest(&self) -> Duration {
        self.points.iter().map(|point| point.rule.after).min().unwrap_or(GRACE)
    }

    fn next(&self, since: Instant, ready: Instant) -> Option<Instant> {
        self.points.iter().filter_map(|point| point.due(since, ready)).min()
    }

    fn end_of_outage(&mut self) {
        let written = self.points.iter().filter(|point| point.state == State::Done).count();
        if written > 0 {
            info!(written, "an uplink is back; fail-safe values stay until somebody writes others");
        }
        self.points.iter_mut().for_each(|point| point.state = State::Waiting);
    }

    async fn write_what_is_due(&mut self, since: Instant, ready: Instant, stop: &CancellationToken) {
        let now = Instant::now();
        let due = |point: &Point| point.due(since, ready).is_some_and(|due| due <= now);
        let (topics, north, deadline) = (&self.topics, &self.north, now + self.deadline);
        let writes = self.points.iter_mut().filter(|point| due(point)).map(|point| async move {
            let away = now.saturating_duration_since(since).as_secs();
            let first = point.state == State::Waiting;
            if first {
                warn!(link = %point.link, device = %point.device, point = %point.point, value = %point.rule.write,
                    away_secs = away, "every uplink is away: writing the fail-safe value");
            }
            let answer = point.write(deadline).await;
            match &answer {
                Err(CommandError::Superseded) => {
                    info!(device = %point.device, point = %point.point, "another value took the place of the fail-safe one");
                }
                Err(error) if first => {
                    warn!(device = %point.device, point = %point.point, %error, again_secs = AGAIN.as_secs(),
                        "the fail-safe value could not be written; it is tried again and again");
                }
                Err(error) => debug!(device = %point.device, point = %point.point, %error, "the fail-safe value could not be written"),
                Ok(_) if !first => {
                    warn!(device = %point.device, point = %point.point, away_secs = away, "the fail-safe value is written at last");
                }
                Ok(_) => {}
            }
            // Whenever a device that sleeps wakes, its value is to be there.
            let again = if point.sleeps() { deadline.max(Instant::now()) } else { Instant::now() + AGAIN };
            point.state = match &answer {
                // Somebody has written another value to a device that sleeps, and that is not undone.
                Ok(_) | Err(CommandError::Superseded) => State::Done,
                Err(_) => State::Again(again),
            };
            // What fails over and over is told once.
            if answer.is_ok() || first {
                let topic = topics.answer(point.device.as_str(), point.point.as_str());
                let reply = ReplyTo::nobody(topic, &point.rule.write);
                let outcome = Outcome::one(&reply, &answer).with("fail_safe", true).with("away_s", away);
                outcome.tell(north, reply).await;
            }
        });
        tokio::select! {
            _ = join_all(writes) => {}
            () = stop.cancelled() => {}
        }
    }
}

impl Point {
    /// When it is to be written in an outage that began then; `None` if it was.
    fn due(&self, since: Instant, ready: Instant) -> Option<Instant> {
        match self.state {
            State::Waiting => Some((since + self.rule.after).max(ready)),
            State::Again(at) => Some(at),
            State::Done => None,
        }
    }

    fn sleeps(&self) -> bool {
        self.driver.hold(Recipient::Device(&self.device)).is_some()
    }

    async fn write(&self, deadline: Instant) -> Answer {
        let health = self.end.health.borrow().clone();
        if !health.is_up() {
            return Err(CommandError::Offline(health.reason().unwrap_or(health.as_str()).to_owned()));
        }
        let action = Action::Write { value: self.rule.write.clone(), verify: self.verify };
        let (command, answer) = Command::new(self.device.clone(), self.point.clone(), action, deadline);
        match self.end.commands.try_send(command) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Err(CommandError::NotSent("too many commands are waiting".into()));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(CommandError::Abandoned),
        }
        let answer = timeout_at(deadline + LAST_EXCHANGE, answer.wait()).await;
        answer.unwrap_or_else(|_| Err(CommandError::NoAnswer("its deadline has passed".into())))
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// When the outage began that an earlier run was in, as far as the clock can tell.
async fn recall(file: PathBuf) -> Option<Instant> {
    let text = tokio::task::spawn_blocking(move || fs::read_to_string(file)).await.ok()?.ok()?;
    let since: u64 = text.trim().parse().ok()?;
    let ago = Duration::from_millis(epoch_ms(SystemTime::now()).saturating_sub(since));
    // Longer ago than this machine has been running is as long as anybody may want to wait.
    Instant::now().checked_sub(ago).or_else(|| Instant::now().checked_sub(Duration::from_secs(7 * 86_400)))
}

/// Notes that an outage has begun, or that it is over.
async fn remember(file: PathBuf, away: bool) {
    let noted = tokio::task::spawn_blocking(move || if away { note(&file) } else { erase(&file) }).await;
    if let Ok(Err(error)) = noted {
        warn!(%error, "the outage is not known after a restart: fail-safe values would be written later");
    }
}

fn note(file: &Path) -> io::Result<()> {
    let fresh = file.with_extension("new");
    fs::write(&fresh, epoch_ms(SystemTime::now()).to_string())?;
    fs::File::open(&fresh)?.sync_all()?;
    fs::rename(&fresh, file)
}

fn erase(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
