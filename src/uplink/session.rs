//! One connection to the broker, from the connect to the error that ends it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::client::{Cause, Connected, Connection, ConnectionError, Extras, Happening, Incoming, Refusal};
use super::down::Down;
use super::flow::{Farewell, Flow, UnderWay, closing};
use super::inflight::Sent;
use super::lanes::Recent;
use super::received::Received;
use super::records::Records;
use super::{Counters, Uplink, UplinkState, count};
use crate::downlink::Ask;
use crate::health::loss_payload;
use crate::message::Message;
use crate::queue::Loss;

/// How long a stopping gateway goes on publishing what waits.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long the broker has to take note of our farewell, and then of the end of the connection.
const FAREWELL: Duration = Duration::from_millis(300);
/// Breaks in a row with nothing under way but our state, or the report of a loss, after which the
/// broker is taken not to want it.
const UNWANTED: u32 = 5;
/// Acknowledgements that make a connection a useful one.
const USEFUL: u64 = 20;

/// What lasts from one connection of an uplink to the next.
pub(super) struct Session<'u> {
    uplink: &'u Uplink,
    state: &'u watch::Sender<UplinkState>,
    counters: &'u Arc<Counters>,
    records: Records<'u>,
    /// When the broker was last heard.
    last_heard: Option<Instant>,
    /// Whether the session that the broker keeps for us holds our subscription. It may begin
    /// without: the connection broke before the subscription arrived, or the broker refused it.
    subscribed: bool,
    received: Received,
    /// Breaks in a row with just our state under way, and with just the report of a loss.
    breaks_at_state: u32,
    breaks_at_loss: u32,
    /// The last connection broke with the report of a loss under way, whatever else was.
    loss_suspected: bool,
    /// Until then no loss is reported. The queue's ledger keeps them meanwhile.
    losses_rest_until: Option<Instant>,
    /// Our state was left out of this connection, and is told then if the connection lasts.
    state_rests_until: Option<Instant>,
    /// Whether the last connection was useful.
    useful: bool,
    /// What was said, and is not to be said again at every connection.
    said: BTreeSet<&'static str>,
}

impl<'u> Session<'u> {
    pub(super) fn new(
        uplink: &'u Uplink,
        state: &'u watch::Sender<UplinkState>,
        counters: &'u Arc<Counters>,
        recent: &'u Mutex<Recent>,
    ) -> Self {
        Self {
            uplink,
            state,
            counters,
            records: Records::new(uplink, counters, recent),
            last_heard: None,
            subscribed: false,
            received: Received::new(uplink.command_age),
            breaks_at_state: 0,
            breaks_at_loss: 0,
            loss_suspected: false,
            losses_rest_until: None,
            state_rests_until: None,
            useful: false,
            said: BTreeSet::new(),
        }
    }

    /// Whether the last connection brought a good many messages through, so that the next one need
    /// not wait for long.
    pub(super) fn was_useful(&self) -> bool {
        self.useful
    }

    /// Connects and carries messages until the connection fails. `Ok` only after a requested stop
    /// or leave.
    pub(super) async fn run(
        &mut self,
        connection: &mut Connection,
        stop: &CancellationToken,
    ) -> Result<(), ConnectionError> {
        // What a broker kept for us while we were away longer than this are stale commands.
        let stale = self.last_heard.is_none_or(|at| at.elapsed() > self.uplink.command_age);
        let connected = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            connected = tokio::time::timeout(self.uplink.options.connect_timeout * 2, connect(connection, stale)) => {
                connected.map_err(|_| ConnectionError::timeout())??
            }
        };
        count(&self.counters.connects);
        let mut flow = self.begin(connection, connected)?;
        info!(
            uplink = %self.uplink.name, url = %connection.url(),
            waiting = self.uplink.queue.counters().queued,
            "uplink connected"
        );
        self.last_heard = Some(Instant::now());
        let ended = self.carry(connection, &mut flow, stop).await;
        self.useful = flow.acknowledged >= USEFUL;
        match &ended {
            Ok(()) => self.records.left(),
            Err(why) => self.broke(&flow, why),
        }
        ended
    }

    fn begin(&mut self, connection: &Connection, connected: Connected) -> Result<Flow, ConnectionError> {
        if !connected.session_present {
            self.received = Received::new(self.uplink.command_age);
            self.subscribed = false;
        }
        let window = self.uplink.options.window;
        let mut flow = Flow::new(connection.sender(), connected, window, &self.uplink.delivery, self.records.lanes());
        if !self.subscribed {
            let for_controllers = self.uplink.options.for_controllers;
            let others = self.uplink.down.as_ref().map(Down::wanted).unwrap_or_default();
            flow.sender.subscribe(&self.uplink.topics.commands(), &others, for_controllers).map_err(|_| closing())?;
        }
        if !flow.retain_available {
            self.say_once("the broker keeps no retained messages: late subscribers do not see the last state");
        }
        let left_out = self.breaks_at_state >= UNWANTED;
        self.state_rests_until = left_out.then(|| Instant::now() + self.uplink.delivery.rest);
        if left_out {
            self.say_once("the broker closes the connection at our state: it is left out");
        }
        if left_out || !self.publish_state(&mut flow, &self.uplink.birth())? {
            self.state.send_replace(UplinkState::Up);
        }
        Ok(flow)
    }

    async fn carry(
        &mut self,
        connection: &mut Connection,
        flow: &mut Flow,
        stop: &CancellationToken,
    ) -> Result<(), ConnectionError> {
        let mut leaving: Option<Instant> = None;
        loop {
            let happened = {
                // The library must not be interrupted while it writes, so one call of `next` is
                // kept until it is done, whatever else happens meanwhile.
                let next = connection.next();
                tokio::pin!(next);
                loop {
                    if leaving.is_none() {
                        self.tell_state_again(flow)?;
                    }
                    self.records.make_room(flow, self.is_on_trial(flow));
                    self.report_loss(flow)?;
                    self.records.fill(flow)?;
                    self.counters.news.carries(flow.window.len());
                    flow.read_on(&self.uplink.queue);
                    let wake = self.records.wake_at(flow);
                    let wake = leaving.map_or(wake, |at| at.min(wake));
                    let mut queue_open = true;
                    tokio::select! {
                        happening = &mut next => break Some(happening?),
                        () = stop.cancelled(), if leaving.is_none() => {
                            let patience = if self.is_done(flow) { Duration::ZERO } else { LAST_WORDS };
                            leaving = Some(Instant::now() + patience);
                        }
                        read = some(&mut flow.live.reading) => queue_open = self.records.take_live(flow, read),
                        read = some(&mut flow.backlog.reading) => queue_open = self.records.take_backlog(flow, read),
                        read = some(&mut flow.again.reading) => queue_open = self.records.take_again(flow, read),
                        loss = some(&mut flow.loss_coming) => take_loss(flow, loss),
                        () = self.uplink.queue.mark(), if flow.is_held() => {}
                        () = tokio::time::sleep_until(wake) => {
                            let now = Instant::now();
                            match leaving {
                                Some(at) if at <= now => break None,
                                None if flow.stalls_at().is_some_and(|at| at <= now) => return Err(stalled()),
                                _ => {}
                            }
                        }
                    }
                    if !queue_open {
                        // Nothing more will come.
                        leaving = Some(Instant::now());
                    }
                }
            };
            let Some(happening) = happened else {
                return self.leave(connection, flow).await;
            };
            self.act(flow, happening).await;
            if leaving.is_some() && self.is_done(flow) {
                return self.leave(connection, flow).await;
            }
        }
    }

    /// Whether our state or the report of a loss is to be alone under way, because connections have
    /// broken at it: with others beside it nobody could tell whom the next break is to be blamed on.
    fn is_on_trial(&self, flow: &Flow) -> bool {
        let state = (1..UNWANTED).contains(&self.breaks_at_state);
        state || (self.loss_suspected && flow.loss.is_some() && !self.losses_rest())
    }

    fn losses_rest(&self) -> bool {
        self.losses_rest_until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether everything captured so far has been delivered.
    fn is_done(&self, flow: &Flow) -> bool {
        flow.window.is_empty() && self.uplink.queue.counters().queued == 0
    }

    async fn act(&mut self, flow: &mut Flow, happening: Happening) {
        if !matches!(happening, Happening::Sent(_)) {
            self.last_heard = Some(Instant::now());
        }
        match happening {
            Happening::Sent(id) => {
                let done = flow.window.sent_as(id);
                self.done(flow, done, None);
            }
            Happening::Acknowledged { id, refusal } => {
                let done = flow.window.acknowledged(id);
                self.done(flow, done, refusal);
            }
            Happening::Subscribed { commands: true, others: true } => self.subscribed = true,
            Happening::Subscribed { commands, .. } => {
                let missing = if commands { "something the bridge rules ask for" } else { "commands" };
                warn!(uplink = %self.uplink.name, "the broker refused our subscription: {missing} will not arrive");
            }
            Happening::Incoming(incoming) => self.receive(incoming).await,
            Happening::Connected(_) | Happening::Other => {}
        }
    }

    /// A publication needs no more attention: it was acknowledged, or it needs no acknowledgement.
    fn done(&mut self, flow: &mut Flow, done: Option<Sent<UnderWay>>, refusal: Option<Refusal>) {
        match (done, refusal) {
            (Some(Sent::Record(record)), None) => self.records.acknowledged(record),
            (Some(Sent::Record(record)), Some(refusal)) => self.records.refused(record, &refusal),
            (Some(Sent::State), refusal) => {
                self.breaks_at_state = 0;
                self.records.control_answered(refusal.as_ref());
                if let Some(reason) = refusal
                    && self.said.insert("state refused")
                {
                    warn!(uplink = %self.uplink.name, %reason, topic = self.uplink.topics.state(), "the broker refuses our state");
                }
                match flow.farewell {
                    Farewell::NotYet => {
                        self.state.send_replace(UplinkState::Up);
                    }
                    Farewell::Said | Farewell::Heard => flow.farewell = Farewell::Heard,
                }
            }
            (Some(Sent::Loss(_)), refusal) => self.loss_told(flow, refusal.map(|refusal| refusal.words)),
            (None, _) => return,
        }
        flow.made_progress();
    }

    /// Reports a loss, one at a time, as soon as there is room. The queue's ledger remembers it
    /// until the broker has it.
    fn report_loss(&mut self, flow: &mut Flow) -> Result<(), ConnectionError> {
        let ready = matches!(flow.loss, Some((_, false))) && flow.window.room() > 0 && !self.losses_rest();
        // Not beside our state, and a suspect beside nothing, or a break would have no one to blame.
        let beside = |sent: &Sent<UnderWay>| self.loss_suspected || matches!(sent, Sent::State);
        if !ready || flow.window.under_way().any(beside) {
            return Ok(());
        }
        if self.breaks_at_loss >= UNWANTED {
            warn!(
                uplink = %self.uplink.name, topic = self.uplink.topics.loss(),
                "the broker closes the connection at the report of a loss; it is tried again in an hour"
            );
            self.losses_rest_until = Some(Instant::now() + self.uplink.delivery.rest);
            // Then one more break is enough.
            self.breaks_at_loss = UNWANTED - 1;
            return Ok(());
        }
        let Some((loss, under_way)) = &mut flow.loss else { return Ok(()) };
        let payload = loss_payload(&self.uplink.name, loss);
        let mut message = Message::new(self.uplink.topics.loss(), payload);
        *under_way = true;
        let id = loss.id;
        flow.adapt(&mut message);
        if flow.too_large(&message, &Extras::default()).is_some() {
            self.loss_told(flow, Some("it is larger than the broker takes".into()));
            return Ok(());
        }
        flow.publish(&message, &Extras::default(), Sent::Loss(id))
    }

    /// The report of a loss needs no more attention.
    fn loss_told(&mut self, flow: &mut Flow, refusal: Option<String>) {
        self.breaks_at_loss = 0;
        self.loss_suspected = false;
        let Some((loss, _)) = flow.loss.take() else { return };
        self.uplink.queue.loss_told(loss.id);
        if let Some(reason) = refusal {
            warn!(
                uplink = %self.uplink.name, reason, count = loss.count, first = %loss.first, last = %loss.last,
                "a loss cannot be reported upstream"
            );
        }
    }

    /// The connection ended with whatever was under way.
    fn broke(&mut self, flow: &Flow, why: &ConnectionError) {
        self.loss_suspected |= flow.window.under_way().any(|sent| matches!(sent, Sent::Loss(_)));
        let left_out = self.breaks_at_state >= UNWANTED;
        let alone = flow.window.under_way().next().filter(|_| flow.window.len() == 1 && !why.is_blameless());
        match alone {
            Some(Sent::State) if flow.farewell == Farewell::NotYet => self.breaks_at_state += 1,
            Some(Sent::Loss(_)) => self.breaks_at_loss += 1,
            _ => {}
        }
        if left_out {
            // It has not helped: our state was not to blame. Or it has; then one more break will
            // do, for the broker may have changed its mind, and would call us gone for ever.
            self.breaks_at_state = if flow.acknowledged == 0 { 0 } else { UNWANTED - 1 };
        }
        self.records.broke(flow, why);
    }

    async fn receive(&mut self, incoming: Incoming) {
        if self.received.again("", &incoming, Instant::now()) {
            count(&self.counters.duplicates);
            debug!(uplink = %self.uplink.name, topic = incoming.topic, "delivered twice; taken once");
            return;
        }
        if !self.uplink.topics.is_command(&incoming.topic)
            && let Some(down) = &self.uplink.down
        {
            return down.pass(&incoming, self.counters);
        }
        let ask = Ask { source: self.uplink.source(), incoming };
        // The downlink decides quickly and waits for nothing but the disk.
        if self.uplink.asks.send(ask).await.is_err() {
            debug!(uplink = %self.uplink.name, "command ignored: the gateway is stopping");
        }
    }

    /// Publishes our state, if the broker takes it at all.
    fn publish_state(&mut self, flow: &mut Flow, state: &Message) -> Result<bool, ConnectionError> {
        let mut message = state.clone();
        flow.adapt(&mut message);
        if flow.too_large(&message, &Extras::default()).is_some() {
            self.say_once("our state is larger than the broker takes: it is left out");
            self.breaks_at_state = 0;
            return Ok(false);
        }
        flow.publish(&message, &Extras::default(), Sent::State)?;
        Ok(true)
    }

    /// Tells our state on a connection that it was left out of, or that takes nothing. With a
    /// connection that lasts for months we would be called gone for as long.
    fn tell_state_again(&mut self, flow: &mut Flow) -> Result<(), ConnectionError> {
        if self.state_rests_until.is_some_and(|until| until <= Instant::now()) {
            // It goes alone, and if the connection breaks at it, it is left out of the next again.
            self.breaks_at_state = UNWANTED - 1;
            if flow.window.is_empty() {
                self.state_rests_until = None;
                self.publish_state(flow, &self.uplink.birth())?;
            }
        } else if self.breaks_at_state == 0 && flow.window.room() > 0 && self.records.wants_control() {
            self.publish_state(flow, &self.uplink.birth())?;
        }
        Ok(())
    }

    /// Warns of something that is the same at every connection, once.
    fn say_once(&mut self, what: &'static str) {
        if self.said.insert(what) {
            warn!(uplink = %self.uplink.name, "{what}");
        }
    }

    /// Says that we are gone, and closes the connection. A broker that does not take our word for
    /// it in time gets no DISCONNECT either, and then says it by itself: that is what a will is for.
    async fn leave(&mut self, connection: &mut Connection, flow: &mut Flow) -> Result<(), ConnectionError> {
        let unwanted = self.breaks_at_state >= UNWANTED;
        flow.farewell = Farewell::Said;
        if unwanted || !self.publish_state(flow, &self.uplink.options.will)? {
            flow.farewell = Farewell::Heard;
        }
        let said = async {
            while flow.farewell != Farewell::Heard {
                let happening = connection.next().await?;
                self.act(flow, happening).await;
            }
            Ok::<_, ConnectionError>(())
        };
        if let Ok(Ok(())) = tokio::time::timeout(FAREWELL, said).await {
            flow.sender.disconnect();
            let goodbye = async { while connection.next().await.is_ok() {} };
            // The broker has our word already; what is left is politeness.
            let _ = tokio::time::timeout(FAREWELL, goodbye).await;
        }
        Ok(())
    }
}

/// Takes a loss that is to be reported. None: the queue is closed, and none will come.
fn take_loss(flow: &mut Flow, loss: Option<Loss>) {
    flow.loss_coming = match loss {
        Some(_) => None,
        None => Some(Box::pin(std::future::pending())),
    };
    flow.loss = loss.map(|loss| (loss, false));
}

async fn connect(connection: &mut Connection, clean: bool) -> Result<Connected, ConnectionError> {
    connection.start_over(clean).await?;
    loop {
        if let Happening::Connected(connected) = connection.next().await? {
            return Ok(connected);
        }
    }
}

/// The future, if there is one; without one, nothing, for ever.
async fn some<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

fn stalled() -> ConnectionError {
    ConnectionError::new(Cause::Timeout, "the broker stopped acknowledging")
}
