//! One session on one link: connect, read what is due, obey commands, notice who is silent. All
//! requests go through here one after the other, so devices on a shared line take turns.

mod ask;
mod replan;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use wharf_contract::port::Traffic;
use wharf_contract::{Command, DriverError, Port};

use crate::breaker::{self, Breaker};
use crate::command::{Obedience, Orders};
use crate::decode::Raw;
use crate::line::{Fault, Line, ended};
use crate::link::Link;
use crate::memory::{Memory, seconds_now};
use crate::plan::cost::{Gauge, bytes};
use crate::plan::holes::Search;
use crate::plan::{Block, plan_device};
use crate::schedule::{Next, Schedule, Turn};
use crate::told::Told;

/// How often an overloaded link is logged.
const OVERLOAD_LOG: Duration = Duration::from_secs(60);

/// When the plan is first looked at again with what reads were measured to cost. Later looks come
/// after twice the time each, up to the longest.
const FIRST_REVIEW: Duration = Duration::from_secs(60);
const LONGEST_REVIEW: Duration = Duration::from_secs(3600);

/// A plan has to be this much cheaper to be worth a change.
const WORTH_IT: f64 = 0.9;

/// A place that was refused so often in a row is asked for no more than this often.
const REFUSALS: u32 = 3;
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// A device counts as slow until it had no need to rest for this long.
const SLOW: Duration = Duration::from_secs(60);

/// Runs until the connection cannot be made any more, or the gateway stops.
pub(crate) async fn run(link: &Link, memory: &Memory, port: &mut Port) -> Result<(), DriverError> {
    let stop = port.stop();
    let mut session = Session::new(link, memory, port).await;
    session.connect(port).await?;
    session.report(port);
    let mut obeyed_last = false;
    loop {
        let next = session.schedule.next(Instant::now());
        session.line.rest(next.map(|next| next.at));
        // A command goes first, but after each of them one block that is due has its turn. So a
        // flood of commands leaves polling every other turn, and a command waits for one block only.
        let block_first = obeyed_last && next.is_some_and(|next| next.at <= Instant::now());
        // Arms only choose what to do next. The exchange itself runs after the choice, so a stop
        // or a command never cuts a request off from its answer.
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            // A command that has to wait stays in the port, which looks at its deadline when it
            // hands it out.
            command = next_command(session.orders.is_waiting(), port), if !block_first => {
                session.obey(command, port).await;
                obeyed_last = true;
            }
            () = due(next) => {
                // Whose turn it is is decided when it has come: meanwhile others are due as well.
                let now = Instant::now();
                if let Some(next) = session.schedule.next(now).filter(|next| next.at <= now) {
                    session.poll(next, port).await;
                }
                obeyed_last = false;
            }
        }
        if !session.line.is_connected() {
            session.connect(port).await?;
            session.report(port);
        }
    }
}

/// The next command, or `None` at once if some wait already that the port has handed out.
async fn next_command(waiting: bool, port: &mut Port) -> Option<Command> {
    if waiting { None } else { Some(port.next_command().await) }
}

/// Waits until the block's time has come; for ever, if there is none.
async fn due(next: Option<Next>) {
    match next {
        // The timer would wait for its next millisecond, and what is overdue has waited already.
        Some(next) if next.at <= Instant::now() => {}
        Some(next) => sleep_until(next.at).await,
        None => std::future::pending().await,
    }
}

/// What a session knows beyond its settings. What outlives it is in the link's memory.
pub(crate) struct Session<'a> {
    pub(crate) link: &'a Link,
    pub(crate) line: Line,
    stop: CancellationToken,
    /// Whether the devices may still be said to be as a session before this one, or the gateway before a
    /// crash, has left them.
    inherits: bool,
    memory: &'a Memory,
    schedule: Schedule,
    pub(crate) states: Vec<State>,
    pub(crate) orders: Orders,
    pub(crate) obedience: Vec<Obedience>,
    /// Until when a line without numbered answers is quiet after a request without one.
    quiet_until: Instant,
    /// How many devices and blocks cost the link time in vain.
    in_vain: usize,
    /// Whether the last read was not asked again because a command waits.
    gave_way: bool,
    gauge: Gauge,
    review: Review,
    overload: Overload,
}

/// What is known of one device.
pub(crate) struct State {
    breaker: Breaker,
    pub(crate) told: Told,
    /// Why it does not answer; empty while it does.
    pub(crate) reason: String,
    blocks: Vec<Work>,
    search: Search,
    /// The points that the log has said to be refused.
    refused: String,
    /// How often in a row it was asked again.
    retried: u8,
    /// The block that was answered last: what a probe asks for.
    answered: Option<usize>,
    /// When it last had to rest because it is slow, if that was told.
    pub(crate) rested: Option<Instant>,
    traffic: Traffic,
}

/// One block and what is known of it.
struct Work {
    block: Arc<Block>,
    /// Whether its last read was in vain.
    unanswered: bool,
    /// Open when the device answers everything but this.
    deaf: Breaker,
    /// How often in a row it was refused.
    refusals: u32,
    /// The turn on which its points were last told.
    told: Option<u64>,
}

/// When to look at the plan again.
struct Review {
    at: Instant,
    wait: Duration,
}

/// Turns that were missed because the link is slower than its schedule.
#[derive(Default)]
struct Overload {
    missed: u64,
    logged: Option<Instant>,
}

impl<'a> Session<'a> {
    async fn new(link: &'a Link, memory: &'a Memory, port: &Port) -> Self {
        let kept = memory.recall(link).await;
        let cost = kept.gauge.cost(link.cost());
        let mut holes = kept.holes.into_iter();
        let mut states = Vec::with_capacity(link.devices.len());
        for (index, device) in link.devices.iter().enumerate() {
            let search = Search::new(holes.next().unwrap_or_default());
            let blocks = plan_device(index, device, &cost, &search.holes);
            // One that is never asked by itself will never be heard.
            let traffic = if blocks.is_empty() { Traffic::default() } else { port.expect(&device.name) };
            states.push(State {
                breaker: Breaker::default(),
                told: Told::new(device.points.len()),
                reason: String::new(),
                blocks: blocks.into_iter().map(Work::new).collect(),
                search,
                refused: String::new(),
                retried: 0,
                answered: None,
                rested: None,
                traffic,
            });
            // A large plan takes a while, and others share the thread.
            tokio::task::yield_now().await;
        }
        let rhythms = |state: &State| state.blocks.iter().map(|work| work.block.every).collect();
        let now = Instant::now();
        Self {
            link,
            line: Line::new(link).counting(port.traffic()),
            stop: port.stop(),
            inherits: !memory.took_leave(),
            memory,
            schedule: Schedule::new(&states.iter().map(rhythms).collect::<Vec<_>>(), now),
            states,
            quiet_until: now,
            in_vain: 0,
            gave_way: false,
            gauge: kept.gauge,
            review: Review { at: now + FIRST_REVIEW, wait: FIRST_REVIEW },
            orders: Orders::default(),
            obedience: link.devices.iter().map(|_| Obedience::default()).collect(),
            overload: Overload::default(),
        }
    }

    /// Connects. When that fails, nobody on the link can be read any more, and the session ends.
    async fn connect(&mut self, port: &Port) -> Result<(), DriverError> {
        if let Err(error) = self.reconnect().await {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            for device in 0..self.states.len() {
                // Of a broadcast there is nothing to tell: nobody answers it, so nobody is ever back.
                let is_somebody = !self.link.devices[device].broadcast;
                // A device that was never heard has nothing to lose: the link's own health tells.
                if is_somebody && (self.inherits || self.states[device].told.was_told()) {
                    self.tell_silence(device, &error.to_string(), port).await;
                }
            }
            self.memory.take_leave(true);
            return Err(ended(error));
        }
        self.memory.take_leave(false);
        Ok(())
    }

    /// A fresh connection, unless the gateway stops before it has come about.
    pub(crate) async fn reconnect(&mut self) -> io::Result<()> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(io::Error::other("the gateway is stopping")),
            connected = self.line.connect() => connected,
        }
    }

    /// Reads one block and hands its readings over.
    async fn poll(&mut self, next: Next, port: &Port) {
        let device = next.lane;
        let state = &self.states[device];
        // A probe asks for what was answered last: a device must not be judged by a block it does
        // not answer anyway.
        let index = next.block.or(state.answered).unwrap_or(0).min(state.blocks.len().saturating_sub(1));
        let Some(work) = state.blocks.get(index) else { return };
        let block = Arc::clone(&work.block);
        if next.block.is_none() && state.answered.is_none() && block.slots.len() > 1 {
            return self.knock(&block, port).await;
        }
        let turn = self.schedule.taken(device, index, Instant::now());
        if next.block.is_some() && !state.told.is_silent() {
            self.overload.count(turn.missed, self.in_vain > 0, self.link);
        }
        // That the line had to stay quiet was another device's doing.
        let begin = Instant::now().max(self.quiet_until);
        let outcome = self.exchange(device, block.table, block.start, block.count, None, port).await;
        let (taken_at, took) = (SystemTime::now(), begin.elapsed());
        self.schedule.cost(device, took.max(self.quiet_until.saturating_duration_since(begin)));
        if self.is_asked_again(device, index, outcome.as_ref().err()) {
            return;
        }
        if self.is_deaf(device, index, outcome.as_ref().err()) {
            let reason = format!("no answer to a read of {} from {}", block.count, block.start);
            self.leave_block_alone(device, index, took);
            if block.slots.len() > 1 {
                // The search for what is not answered has its part of the link's time, too.
                self.schedule.rest(device, Instant::now() + breaker::fair(took).min(breaker::LONGEST));
            }
            self.refused(device, index, &reason, port).await;
            return;
        }
        self.learn(device, outcome.as_ref().err(), begin, port).await;
        match outcome {
            Ok(raw) => {
                self.gauge.note(bytes(block.table, u32::from(block.count)), took);
                self.answered(device, index, took, port).await;
                self.tell_block(&block, index, turn, &raw, taken_at, port).await;
                self.look_again(device).await;
            }
            Err(fault) if fault.is_about_request() => self.refused(device, index, fault.reason(), port).await,
            Err(Fault::Refused { reason, .. }) => self.tell_block_bad(&block, &reason, port).await,
            // The device's silence was told when it was noticed.
            Err(Fault::Absent(_) | Fault::Silent(_) | Fault::Broken(_) | Fault::Unsent(_) | Fault::Expired) => {}
        }
    }

    /// Probes a device that was never heard for one point, another one each time: some say nothing
    /// at all about a block that reaches over an address they do not have.
    async fn knock(&mut self, block: &Block, port: &Port) {
        let device = block.device;
        let turn = self.states[device].breaker.failures() as usize % block.slots.len();
        let Some(slot) = block.slots.get(turn) else { return };
        let begin = Instant::now();
        let outcome = self.exchange(device, block.table, block.start + slot.at, slot.count, None, port).await;
        let taken_at = SystemTime::now();
        self.schedule.cost(device, begin.elapsed());
        self.learn(device, outcome.as_ref().err(), begin, port).await;
        if let Ok(raw) = outcome {
            self.tell_reading(device, slot.point, &raw, taken_at, port).await;
        }
    }

    /// Hands over the readings of a block: of every point whose turn has come, and of those that
    /// had no good value.
    async fn tell_block(
        &mut self,
        block: &Block,
        index: usize,
        turn: Turn,
        raw: &Raw,
        taken_at: SystemTime,
        port: &Port,
    ) {
        let Some(work) = self.states[block.device].blocks.get_mut(index) else { return };
        let before = work.told.replace(turn.number);
        for slot in &block.slots {
            let has_turn = slot.turns == 1 || before.is_none_or(|told| told / slot.turns != turn.number / slot.turns);
            if has_turn || !self.states[block.device].told.is_good(slot.point) {
                let value = raw.part(slot.at, slot.count).unwrap_or(Raw::Registers(Vec::new()));
                self.tell_reading(block.device, slot.point, &value, taken_at, port).await;
            }
        }
    }

    /// The block was answered.
    async fn answered(&mut self, device: usize, index: usize, took: Duration, port: &Port) {
        let state = &mut self.states[device];
        state.answered = Some(index);
        if let Some(work) = state.blocks.get_mut(index) {
            work.refusals = 0;
            state.search.answered(&work.block, seconds_now());
        }
        let (shortest, load) = self.schedule.others(device);
        if let Some(rest) = breaker::rest(self.schedule.mean_cost(device), shortest, load) {
            self.schedule.rest(device, Instant::now() + rest);
            if state.rested.replace(Instant::now()).is_none() {
                self.tell_slow(device, took, rest, port).await;
            }
        } else if state.rested.is_some_and(|rested| rested.elapsed() >= SLOW) {
            state.rested = None;
            self.tell_quick(device, port).await;
        }
    }

    /// The block was refused: it is read in halves from now on, so that one wrong address, or a
    /// gap the device does not let anyone read over, costs no other point its readings.
    async fn refused(&mut self, device: usize, index: usize, reason: &str, port: &Port) {
        let now = Instant::now();
        let state = &mut self.states[device];
        let Some(work) = state.blocks.get_mut(index) else { return };
        let block = Arc::clone(&work.block);
        if let Some((left, right)) = state.search.refused(&block, seconds_now()) {
            debug!(link = %self.link.name, start = block.start, count = block.count, reason, "block split");
            self.schedule.replace_one(device, index, left.every, now);
            self.schedule.add(device, right.every, now);
            // A half of what was not answered need not fail twice before it is known to be at fault.
            let (unanswered, deaf) = (work.unanswered, work.deaf.is_open());
            *work = Work { unanswered, ..Work::new(left) };
            state.blocks.push(Work { unanswered, ..Work::new(right) });
            self.in_vain -= usize::from(deaf);
            return;
        }
        work.refusals = work.refusals.saturating_add(1);
        if work.refusals >= REFUSALS {
            self.schedule.postpone(device, index, now + REFUSED_PAUSE);
        }
        self.tell_block_bad(&block, reason, port).await;
        self.look_again(device).await;
    }

    /// Whether a device that speaks leaves this block unanswered time and again, as some do with
    /// an address they do not have. Then the block is at fault and not the device.
    fn is_deaf(&mut self, device: usize, index: usize, fault: Option<&Fault>) -> bool {
        let state = &mut self.states[device];
        let Some(work) = state.blocks.get_mut(index) else { return false };
        if !matches!(fault, Some(Fault::Silent(_))) {
            work.unanswered = false;
            self.in_vain -= usize::from(work.deaf.heard());
            return false;
        }
        let again = std::mem::replace(&mut work.unanswered, true);
        again && state.told.is_alive() && !state.breaker.is_open()
    }

    fn leave_block_alone(&mut self, device: usize, index: usize, cost: Duration) {
        let Some(work) = self.states[device].blocks.get_mut(index) else { return };
        self.in_vain += usize::from(!work.deaf.is_open());
        let until = work.deaf.failed(cost, self.in_vain, breaker::LONGEST, Instant::now());
        self.schedule.postpone(device, index, until);
    }

    /// The line, for a request to this device.
    pub(crate) fn line_to(&mut self, device: usize) -> &mut Line {
        self.line.asking(&self.states[device].traffic)
    }

    /// Notes what an exchange says about the device: it spoke, or it did not.
    pub(crate) async fn learn(&mut self, device: usize, fault: Option<&Fault>, begin: Instant, port: &Port) {
        let now = Instant::now();
        match fault {
            None | Some(Fault::Refused { .. }) => {
                if self.states[device].breaker.heard() {
                    self.in_vain -= 1;
                    self.schedule.recovered(device, now);
                }
                self.tell_alive(device, port).await;
            }
            // A stop kept the broken exchange from being asked again, so nothing is known.
            Some(Fault::Broken(_)) if self.stop.is_cancelled() => {}
            // The device was never asked.
            Some(Fault::Expired) => {}
            Some(Fault::Absent(reason) | Fault::Silent(reason) | Fault::Broken(reason) | Fault::Unsent(reason)) => {
                let every = self.schedule.fastest(device);
                let state = &mut self.states[device];
                self.in_vain += usize::from(!state.breaker.is_open());
                // The quiet that follows is the device's doing as well.
                let cost = self.quiet_until.max(now).saturating_duration_since(begin);
                let until = state.breaker.failed(cost, self.in_vain, every, now);
                let probe = self.link.devices[device].timeout * if self.link.is_rtu() { 2 } else { 1 };
                self.schedule.silence(device, until, probe, now);
                // Once may be an accident: what was read before is the last that is known. What
                // had no value has nothing to go stale.
                if state.told.is_alive() && state.breaker.failures() == 1 {
                    self.tell_stale(device, reason, port).await;
                } else {
                    self.tell_silence(device, reason, port).await;
                }
            }
        }
    }
}

impl Work {
    fn new(block: Block) -> Self {
        Self { block: Arc::new(block), unanswered: false, deaf: Breaker::default(), refusals: 0, told: None }
    }
}

impl Overload {
    fn count(&mut self, missed: u64, in_vain: bool, link: &Link) {
        self.missed += missed;
        let quiet = self.logged.is_none_or(|logged| logged.elapsed() >= OVERLOAD_LOG);
        if missed > 0 && quiet {
            self.logged = Some(Instant::now());
            if in_vain {
                warn!(link = %link.name, missed = self.missed, "silent devices were waited for, and others missed turns meanwhile");
            } else {
                warn!(link = %link.name, missed = self.missed, "the link is slower than its schedule, turns were missed");
            }
        }
    }
}
