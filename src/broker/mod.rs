//! The embedded broker: what local clients attach to, with or without an uplink.
//!
//! Local clients see every message under the same topics as upstream, and may send commands. MQTT 3.1.1 and 5, over
//! TCP, TLS and web sockets, or in process.
//!
//! A packet comes in through [`listen`], which has a task for each connection, and is read by [`packet`]. What it
//! publishes passes the client's [`rights`] and the [`gate`], where commands leave for the gateway, and what is bridged goes
//! upstream as well. Then it is routed by
//! the [`hub`], the pure core: sessions, subscriptions, retained messages, wills, windows. What survives a restart is
//! noted in a [journal](saved::Journal), which [`store`] keeps on disk. [`figures`] are counted all along, and told on `$SYS` by [`sys`].
//! All of it runs on [`threads`] of its own.

mod common;
mod figures;
mod gate;
mod hub;
mod inside;
mod limits;
mod listen;
mod packet;
mod publication;
pub mod rights;
mod saved;
pub mod store;
mod sys;
mod threads;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures_util::future::join_all;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::bridge::Up;
use crate::classic::feed::Feed;
use crate::downlink::Ask;
use crate::message::{self, Message};
use crate::topics::Topics;
use common::Common;
pub use figures::Figures;
use gate::Gate;
use hub::Hub;
pub use inside::Inside;
pub use limits::Limits;
use listen::{Bound, serve_guests};
pub use listen::{ClientCertificates, Dialer, Fault, Listener, Of, TlsFiles};
use packet::reason;
use publication::{Properties, Publication, Qos};
use rights::{Door, Rules};
use saved::{Forgetful, Journal, Saved};
use store::Store;
use threads::Threads;

/// How many of the gateway's own messages are routed at once.
const SHOWN_AT_ONCE: usize = 256;
/// Descriptors for everything but local clients.
const DESCRIPTORS: u64 = 512;
/// How long what clients do may wait before it is written to disk, together with what others do.
const COMMIT: Duration = Duration::from_secs(1);
/// How long clients have to take the last messages before they are sent away.
const LAST_DELIVERY: Duration = Duration::from_millis(100);
/// How long the disk has for the last commit beyond what it takes to send them away.
const LAST_COMMIT: Duration = Duration::from_millis(100);
/// How often wills and sessions are looked at, at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How a broker is to be.
pub struct Settings {
    /// Where it listens.
    pub listen: Vec<Listener>,
    /// How much of everything there may be.
    pub limits: Limits,
    /// Who may log in, and do what.
    pub rules: Rules,
    /// Where what survives a restart is kept. Without it nothing does.
    pub dir: Option<PathBuf>,
}

/// What can be told of a local broker from outside.
#[derive(Clone)]
pub struct Sight {
    /// Where it listens, such as `mqtts://127.0.0.1:8883`.
    pub listeners: Vec<Arc<str>>,
    /// How much of everything there may be.
    pub limits: Limits,
    /// What it counts.
    pub figures: Arc<Figures>,
    /// What keeps it over a restart, if anything does.
    pub store: Option<Arc<Store>>,
}

/// The running local broker.
pub struct LocalBroker {
    addresses: Vec<SocketAddr>,
    /// The same with how to speak there.
    listeners: Vec<Arc<str>>,
    common: Arc<Common>,
    dialer: Dialer,
    store: Option<Arc<Store>>,
    /// Stops those who let clients in.
    stop: CancellationToken,
    /// Stops what is done behind them.
    stop_keeping: CancellationToken,
    serving: JoinSet<()>,
    keeping: JoinSet<()>,
    showing: JoinSet<()>,
    /// What all of these run on.
    _threads: Threads,
}

impl LocalBroker {
    /// Listens. Messages to show come in through `messages`, commands go out through `asks`.
    ///
    /// # Errors
    /// An address that is taken or is not this machine's; certificates that cannot be used.
    pub async fn start(
        settings: Settings,
        topics: &Topics,
        messages: mpsc::Receiver<Message>,
        asks: mpsc::Sender<Ask>,
        feed: Feed,
        up: Up,
    ) -> anyhow::Result<Self> {
        let Settings { listen, limits, rules, dir } = settings;
        make_room(limits.clients);
        let threads = Threads::start().context("starting the local broker's threads")?;
        let bound = threads.wait_for(bind(listen)).await??;
        let figures = Arc::new(Figures::default());
        let (saved, store) = match dir {
            Some(dir) => open(dir).await.map(|(saved, store)| (saved, Some(Arc::new(store))))?,
            None => (Saved::default(), None),
        };
        let journal = store.as_ref().map_or_else(|| Box::new(Forgetful) as Box<dyn Journal>, |store| store.journal());
        let mut hub = Hub::new(limits.clone(), figures.clone(), journal);
        hub.restore(saved, Instant::now().into_std());
        let door =
            Arc::new(Door::new(rules, figures.clone()).map_err(|why| anyhow!("the local broker's users: {why}"))?);
        let gate = Gate::new(topics.clone(), asks, feed, up, door.clone(), figures.clone());
        let common = Arc::new(Common::new(hub, figures, limits, door, gate));
        // Sessions of an earlier run come without rights.
        let judge = common.door.judge();
        common.hub().judge_again(&|client, user| judge.allowed(client, user));

        let (stop, stop_keeping) = (CancellationToken::new(), CancellationToken::new());
        let addresses = bound.iter().map(Bound::address).collect();
        let listeners = bound.iter().map(|bound| bound.name().into()).collect();
        let (dialer, guests) = Dialer::new();
        let mut serving = JoinSet::new();
        for listener in bound {
            info!(address = %listener.address(), listener = listener.name(), "local broker listening");
            threads.run(listener.run(common.clone(), stop.clone()), &mut serving);
        }
        threads.run(serve_guests(guests, common.clone(), stop.clone()), &mut serving);
        let mut keeping = JoinSet::new();
        threads.run(keep_time(common.clone(), stop_keeping.clone()), &mut keeping);
        threads.run(sys::tell(common.clone(), store.clone(), stop_keeping.clone()), &mut keeping);
        let mut showing = JoinSet::new();
        threads.run(show(common.clone(), messages), &mut showing);
        Ok(Self {
            addresses,
            listeners,
            common,
            dialer,
            store,
            stop,
            stop_keeping,
            serving,
            keeping,
            showing,
            _threads: threads,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How those attach who are inside the gateway and speak MQTT themselves.
    pub fn dialer(&self) -> Dialer {
        self.dialer.clone()
    }

    /// What can be told of it from outside.
    pub fn sight(&self) -> Sight {
        Sight {
            listeners: self.listeners.clone(),
            limits: self.common.limits.clone(),
            figures: self.common.figures.clone(),
            store: self.store.clone(),
        }
    }

    /// Goes by other rules from now on. Those who are in keep their connections, unless they may not be here any more, or
    /// have logged in by a password or certificate that is not the user's any more.
    ///
    /// # Errors
    /// The system gives no random numbers; the old rules stay.
    pub fn go_by(&self, rules: Rules) -> anyhow::Result<()> {
        let judge = self.common.door.replace(rules).map_err(|why| anyhow!("the local broker's users: {why}"))?;
        let mut hub = self.common.hub();
        hub.judge_again(&|client, user| judge.allowed(client, user));
        hub.send_away(&|user| judge.has_to_log_in_again(user));
        self.common.judged.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Waits until the broker ends, which it does not by itself.
    pub async fn ended(&mut self) {
        tokio::select! {
            _ = self.serving.join_next() => {}
            _ = self.keeping.join_next() => {}
            _ = self.showing.join_next() => {}
        }
    }

    /// Shows what is still waiting, then says farewell to everyone and ends. Every sender of messages has to be gone by now. Takes
    /// twice as long as `patience` and 200 ms at most.
    pub async fn stop(mut self, patience: Duration) {
        let shown = async { while self.showing.join_next().await.is_some() {} };
        if timeout(patience, shown).await.is_err() {
            warn!("local clients did not get the last messages in time");
            self.showing.shutdown().await;
        }
        // Not every client looks at what came together with the farewell.
        sleep(LAST_DELIVERY).await;
        self.stop.cancel();
        self.stop_keeping.cancel();
        let deadline = Instant::now() + patience;
        let served = async {
            // Who is just being let in hears of it a moment later.
            while !self.serving.is_empty() {
                self.common.hub().close_all(reason::SERVER_SHUTTING_DOWN);
                let _ = timeout(patience / 8, self.serving.join_next()).await;
            }
            // Wills that are due already are published first.
            while self.keeping.join_next().await.is_some() {}
        };
        if timeout_at(deadline, served).await.is_err() {
            info!(clients = self.serving.len(), "not every local client took the last messages in time");
        }
        join_all([self.serving.shutdown(), self.keeping.shutdown()]).await;
        self.publish_last_wills();
        if let Some(store) = self.store {
            let closing = tokio::task::spawn_blocking(move || store.close());
            match timeout_at(deadline + LAST_COMMIT, closing).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => error!(%error, "what the local broker's clients did last is not on disk"),
                Ok(Err(_)) | Err(_) => error!("the disk did not take in time what the local broker's clients did last"),
            }
        }
    }

    /// Those of clients that were sent away are due, and nobody looks after wills any more. They are retained, and wait
    /// for those who are away; upstream and in the gateway nobody hears of them now.
    fn publish_last_wills(&self) {
        let now = Instant::now().into_std();
        let mut hub = self.common.hub();
        let (wills, _) = hub.due(now);
        for will in wills {
            hub.publish(will, now);
        }
    }
}

/// Takes all of these addresses.
async fn bind(listen: Vec<Listener>) -> anyhow::Result<Vec<Bound>> {
    let mut bound = Vec::with_capacity(listen.len());
    for listener in &listen {
        bound.push(Bound::bind(listener).await?);
    }
    Ok(bound)
}

/// What an earlier run has left, and what keeps it from now on.
async fn open(dir: PathBuf) -> anyhow::Result<(Saved, Store)> {
    let opening = {
        let dir = dir.clone();
        move || Store::open(&dir, COMMIT)
    };
    let opened = tokio::task::spawn_blocking(opening).await.context("opening the local broker's store")?;
    opened.with_context(|| format!("opening the local broker's store in {}", dir.display()))
}

/// Has the system give this process as many descriptors as there may be clients; the usual bound is below a thousand.
fn make_room(clients: usize) {
    let wanted = clients as u64 + DESCRIPTORS;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        let is_enough = limit.current.is_some_and(|current| current >= wanted);
        if setrlimit(Resource::Nofile, limit).is_err() || !is_enough {
            warn!(wanted, "the system allows too few open files for as many local clients as are allowed");
        }
    }
}

/// Publishes the gateway's own messages, as many at once as there are.
async fn show(common: Arc<Common>, mut messages: mpsc::Receiver<Message>) {
    let mut waiting = Vec::with_capacity(SHOWN_AT_ONCE);
    while messages.recv_many(&mut waiting, SHOWN_AT_ONCE).await > 0 {
        common.publish_all(waiting.drain(..).map(publication)).await;
    }
}

/// Publishes wills when they are due, and ends sessions whose time is over.
async fn keep_time(common: Arc<Common>, stop: CancellationToken) {
    let clock = common.hub().clock();
    loop {
        common.door.audit.look();
        let not_retained = common.hub().take_not_retained();
        if let Some((topic, bytes)) = not_retained {
            common.door.audit.not_kept(&topic, bytes);
        }
        let now = Instant::now();
        let (wills, next) = common.hub().due(now.into_std());
        for will in wills {
            let passed = async {
                match common.gate.concerns(&will) {
                    true => common.gate.pass(will.clone(), 0, false).await.ok(),
                    false => None,
                }
            };
            // At the end nobody upstream is waited for, or those who are here would not hear of it either.
            let passed = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                passed = passed => passed,
            };
            common.hub().publish(passed.unwrap_or(will), Instant::now().into_std());
        }
        let pause = next.map_or(LOOK_EVERY, |next| next.saturating_duration_since(now.into_std()).min(LOOK_EVERY));
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.heard() => {}
            () = sleep(pause) => {}
        }
    }
}

fn publication(message: Message) -> Publication {
    let qos = match message.qos {
        message::Qos::AtMostOnce => Qos::AtMostOnce,
        message::Qos::AtLeastOnce => Qos::AtLeastOnce,
    };
    let said = message.properties.map(|said| *said).unwrap_or_default();
    let message::Properties { is_text, content_type, response_topic, expires_in, user } = said;
    let properties = Properties { is_text, content_type, response_topic, correlation: message.correlation, user };
    let properties = (properties != Properties::default()).then(|| Box::new(properties));
    let expires = expires_in.and_then(|time| Instant::now().into_std().checked_add(time));
    let publication = Publication::new(message.topic, message.payload);
    Publication { qos, retain: message.retain, properties, expires, ..publication }
}
