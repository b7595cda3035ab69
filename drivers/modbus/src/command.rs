//! What the gateway asks for: points read now, or points written. A write is sent once or not at
//! all, and is answered either way.
//!
//! Writes of points that lie side by side go in one request if they wait together. If the device
//! refuses them so, as it does when it lacks the function for several or dislikes one of the
//! values, each is tried alone and gets an answer of its own.

mod orders;

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use wharf_contract::{Action, Command, CommandError, Done, Port, Value};

use crate::commission::Content;
use crate::line::{Fault, Limits};
use crate::pdu::Request;
use crate::session::Session;
use crate::value::Raw;
use crate::value::decode::decode;
use crate::value::encode::Mask;
pub(crate) use orders::Orders;
use orders::{Order, Run, Task, What};

/// For one part of waiting in vain for a device that was silent before, this many parts in which
/// commands for it are answered without asking it.
const SHARE: u32 = 9;
/// The least of that, even where waiting was cheap.
const SHORTEST: Duration = Duration::from_secs(1);
/// How long a broadcast may take to reach everyone before the next request: the turnaround delay of
/// Modbus over serial line 1.02, 2.4.1.
const TURNAROUND: Duration = Duration::from_millis(200);

/// What is known about commands to one device.
#[derive(Debug, Default)]
pub(crate) struct Obedience {
    /// Until when commands are answered without asking it, because it is silent.
    unasked: Option<Instant>,
    /// Whether it said that it lacks function 22.
    without_mask: bool,
}

impl Session<'_> {
    /// Carries out what waits first, and answers it: `first` is what the port has just handed out.
    pub(crate) async fn obey(&mut self, first: Option<Command>, port: &mut Port) {
        let first = match self.orders.take_raw(first) {
            Ok(command) => return self.relay(command).await,
            Err(first) => first,
        };
        let mut orders = std::mem::take(&mut self.orders);
        let run = orders.next(first, self.link, port).await;
        self.orders = orders;
        let Some(run) = run else { return };
        let Some(device) = run.orders.first().map(|order| order.device) else { return };
        if let Some(reason) = self.is_unasked(device) {
            return answer_all(run, &CommandError::NotSent(reason));
        }
        if !matches!(run.orders[0].task, Task::Read) {
            match self.make_ready(&run, port).await {
                // Whose time is over is looked at below.
                Ok(()) | Err(CommandError::Expired) => {}
                Err(error) => return answer_all(run, &error),
            }
        }
        if run.orders.iter().any(|order| order.deadline() <= Instant::now()) {
            // Some have waited too long by now. They are answered when it is their turn, at once.
            self.orders.put_back(run);
            return;
        }
        self.carry_out(run, port).await;
    }

    /// Puts a person's request to a unit, whatever it says, and brings the answer, whatever that says.
    /// What it tells of the unit is the person's to know: the device may not be in the site file.
    async fn relay(&mut self, command: Command) {
        let Action::Raw(request) = &command.action else { return };
        let answer = match request.split_first() {
            Some((unit_id, pdu)) if !pdu.is_empty() => self.relay_to(*unit_id, pdu, command.deadline).await,
            _ => Err(CommandError::Refused("a raw request is a unit id and a PDU".into())),
        };
        let hex = |pdu: Vec<u8>| pdu.iter().map(|byte| format!("{byte:02x}")).collect();
        command.answer(answer.map(|pdu| Done { observed: Some(Value::Text(hex(pdu))), ..Done::default() }));
    }

    async fn relay_to(&mut self, unit_id: u8, pdu: &[u8], deadline: Instant) -> Result<Vec<u8>, CommandError> {
        let limits = Limits { timeout: self.link.timeout, send_by: Some(deadline), broadcast: false };
        // It may write, so it is sent once, and not over a connection that may have died of idleness.
        self.refresh(limits).await?;
        self.line.exchange(unit_id, pdu, limits).await.map_err(|fault| in_answer(&fault))
    }

    /// Makes the line ready for a write. A write is never asked twice, so a connection that may have
    /// died of idleness is not trusted with it; and whatever the line has to wait for, it waits for
    /// now, before deadlines are looked at.
    async fn make_ready(&mut self, run: &Run, port: &Port) -> Result<(), CommandError> {
        let Some(order) = run.orders.first() else { return Ok(()) };
        let device = order.device;
        let limits = self.limits(device, run.send_by());
        self.refresh(limits).await?;
        let (unit_id, timeout) = (self.link.devices[device].unit_id, self.timeout(device));
        let ready = limits.in_time(self.line.make_ready(unit_id, timeout)).await.ok_or(CommandError::Expired)?;
        ready.map_err(|fault| CommandError::Offline(fault.reason().to_owned()))?;
        if !self.line.knows_echo() && !self.link.devices[device].broadcast {
            // Only the answer to a read can tell whether the line has an echo. Until then nobody knows what
            // became of a write of one register, so a read goes before the first one.
            let begin = Instant::now();
            let outcome = self.exchange(device, order.table, order.start, order.count, limits.send_by, port).await;
            self.learn_of_command(device, outcome.as_ref().err(), begin, port).await;
        }
        Ok(())
    }

    /// A fresh connection in the place of one that may have died of idleness.
    async fn refresh(&mut self, limits: Limits) -> Result<(), CommandError> {
        if !self.line.may_be_stale() {
            return Ok(());
        }
        let fresh = limits.in_time(self.reconnect()).await.ok_or(CommandError::Expired)?;
        fresh.map_err(|error| CommandError::Offline(error.to_string()))
    }

    /// How long a request to the device waits for its answer.
    fn timeout(&self, device: usize) -> Duration {
        self.link.devices[device].timeout
    }

    /// The times of a write. After a broadcast everyone gets the time to act. Where a device or a gateway
    /// answers it all the same, that is taken.
    fn limits(&self, device: usize, send_by: Option<Instant>) -> Limits {
        let broadcast = self.link.devices[device].broadcast;
        Limits { timeout: if broadcast { TURNAROUND } else { self.timeout(device) }, send_by, broadcast }
    }

    async fn carry_out(&mut self, mut run: Run, port: &Port) {
        let Some(first) = run.orders.first() else { return };
        let device = first.device;
        // Getting ready was quick or it was not: what is sent too late is not sent at all.
        let send_by = run.send_by();
        match &first.task {
            Task::Read => {
                for order in run.orders {
                    let observed = self.observe(&order, port).await;
                    order.answer(observed.map(|value| Done { observed: Some(value), ..Done::default() }));
                }
            }
            Task::Write { what: What::Part(mask), .. } => {
                let (mask, address) = (*mask, first.start);
                let outcome = self.write_part(device, address, mask, send_by, port).await;
                self.answer_writes(run.orders, outcome.map(|()| None), port).await;
            }
            Task::Write { .. } => {
                let (start, raw) = (run.span().0, run.raw());
                let outcome = self.write_whole(device, start, &raw, send_by, port).await;
                match outcome {
                    Err(fault) if run.orders.len() > 1 && (fault.is_about_request() || fault.is_unknown_function()) => {
                        self.orders.one_by_one(run);
                    }
                    outcome => {
                        let orders = std::mem::take(&mut run.orders);
                        self.answer_writes(orders, outcome.map(Some), port).await;
                    }
                }
            }
        }
    }

    /// Why the device is not asked now, if it is not.
    fn is_unasked(&self, device: usize) -> Option<String> {
        let silent = self.states[device].told.is_silent();
        let until = self.obedience[device].unasked.filter(|until| silent && *until > Instant::now())?;
        let left = until.saturating_duration_since(Instant::now()).as_secs() + 1;
        Some(format!("the device does not answer ({}); it is asked again in {left} s", self.states[device].reason))
    }

    /// Notes what an exchange for a command says about the device. If it is silent, those who wait
    /// behind are answered without asking it, so that it does not cost its neighbours a timeout each.
    ///
    /// What a command takes is not counted as its device's share of the link: commands have every other
    /// turn at most, and whoever is commanded is to be seen obeying, so it is read as often as the others.
    async fn learn_of_command(&mut self, device: usize, fault: Option<&Fault>, begin: Instant, port: &Port) {
        // Nobody has spoken or been silent.
        if matches!(fault, Some(Fault::Expired)) || self.link.devices[device].broadcast {
            return;
        }
        self.learn(device, fault, begin, port).await;
        let now = Instant::now();
        let in_vain = matches!(fault, Some(Fault::Silent(_) | Fault::Absent(_)));
        self.obedience[device].unasked = in_vain.then(|| now + ((now - begin) * SHARE).max(SHORTEST));
    }

    /// One request for whole bits or registers. Returns what the device confirmed.
    async fn write_whole(
        &mut self,
        device: usize,
        start: u16,
        raw: &Raw,
        send_by: Option<Instant>,
        port: &Port,
    ) -> Result<Raw, Fault> {
        let (unit_id, limits) = (self.link.devices[device].unit_id, self.limits(device, send_by));
        let begin = Instant::now();
        let outcome = self.line_to(device).write(unit_id, start, raw, limits).await;
        self.learn_of_command(device, outcome.as_ref().err(), begin, port).await;
        outcome
    }

    /// Changes a part of a register: by function 22, or by reading and writing it where the device
    /// lacks that. Then what changes in the register between the two is lost.
    async fn write_part(
        &mut self,
        device: usize,
        address: u16,
        mask: Mask,
        send_by: Option<Instant>,
        port: &Port,
    ) -> Result<(), Fault> {
        let (unit_id, limits) = (self.link.devices[device].unit_id, self.limits(device, send_by));
        if !self.obedience[device].without_mask {
            let request = Request::MaskWrite { address, and: mask.and, or: mask.or };
            let begin = Instant::now();
            let outcome = self.line_to(device).ask(unit_id, &request, limits).await;
            self.learn_of_command(device, outcome.as_ref().err(), begin, port).await;
            match outcome {
                Err(fault) if fault.is_unknown_function() && !limits.broadcast => {
                    self.obedience[device].without_mask = true;
                }
                outcome => return outcome.map(drop),
            }
        }
        let begin = Instant::now();
        let held = self.exchange(device, crate::link::Table::Holding, address, 1, send_by, port).await;
        self.learn_of_command(device, held.as_ref().err(), begin, port).await;
        let Raw::Registers(held) = held? else { return Err(Fault::Broken("bits came for a register".into())) };
        let Some(held) = held.first() else { return Err(Fault::Broken("nothing came for a register".into())) };
        let fresh = Raw::Registers(vec![mask.apply(*held)]);
        match self.write_whole(device, address, &fresh, send_by, port).await? {
            confirmed if confirmed == fresh => Ok(()),
            confirmed => {
                let reason = format!("the device holds {}", Content::from(confirmed));
                Err(Fault::Refused { reason, exception: None })
            }
        }
    }

    /// Answers writes that went in one request. `confirmed` is what the device said it holds, where
    /// it said so.
    async fn answer_writes(&mut self, orders: Vec<Order>, confirmed: Result<Option<Raw>, Fault>, port: &Port) {
        let confirmed = match confirmed {
            Ok(confirmed) => confirmed,
            Err(fault) => {
                let error = in_answer(&fault);
                return orders.into_iter().for_each(|order| order.answer(Err(error.clone())));
            }
        };
        let start = orders.first().map_or(0, |order| order.start);
        let read_back = self.read_back(&orders, port).await;
        for order in orders {
            let Task::Write { what, written, verify } = order.task.clone() else { continue };
            let layout = &self.link.devices[order.device].points[order.point].layout;
            let held = confirmed.as_ref().and_then(|raw| raw.part(order.start.saturating_sub(start), order.count));
            let mistaken = held.filter(|held| matches!(&what, What::Whole(raw) if raw != held));
            if let Some(held) = mistaken {
                let observed = decode(&held, layout).unwrap_or_else(Value::Text);
                order.answer(Err(CommandError::NotHeld { written, observed }));
                continue;
            }
            let note = self.link.devices[order.device].broadcast.then_some("sent to every device; nobody confirms");
            let mut done = Done { written: Some(written.clone()), observed: None, note };
            if verify {
                let observed = match &read_back {
                    Ok(Some((raw, taken_at))) => {
                        let raw = raw.part(order.start.saturating_sub(start), order.count);
                        self.take_note(&order, &raw.unwrap_or(Raw::Registers(Vec::new())), *taken_at, port).await
                    }
                    Ok(None) => self.observe(&order, port).await,
                    Err(fault) => Err(in_answer(fault)),
                };
                match observed {
                    Ok(observed) if observed == written => done.observed = Some(observed),
                    Ok(observed) => {
                        order.answer(Err(CommandError::NotHeld { written, observed }));
                        continue;
                    }
                    Err(error) => {
                        // The write itself was confirmed, so whatever went wrong now is a missing answer.
                        let error = match error {
                            CommandError::Expired => "written, but not read back: its deadline has passed".to_owned(),
                            error => format!("written, but it could not be read back: {error}"),
                        };
                        order.answer(Err(CommandError::NoAnswer(error)));
                        continue;
                    }
                }
            }
            order.answer(Ok(done));
        }
    }

    /// Reads what was written together together, where more than one point is to be verified.
    /// `None` if they are to be read one by one: it is a single one, or the device refuses this.
    ///
    /// # Errors
    /// There is no answer, so none is to be had for each of them either.
    async fn read_back(&mut self, orders: &[Order], port: &Port) -> Result<Option<(Raw, SystemTime)>, Fault> {
        let verified = orders.iter().filter(|order| matches!(order.task, Task::Write { verify: true, .. })).count();
        let Some(first) = orders.first().filter(|_| verified > 1) else { return Ok(None) };
        let count = orders.iter().map(|order| order.count).sum();
        let (device, begin) = (first.device, Instant::now());
        let send_by = orders.iter().map(Order::deadline).min();
        let outcome = self.exchange(device, first.table, first.start, count, send_by, port).await;
        self.learn_of_command(device, outcome.as_ref().err(), begin, port).await;
        match outcome {
            Ok(raw) => Ok(Some((raw, SystemTime::now()))),
            Err(Fault::Refused { .. }) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Reads one point now. The reading goes its usual way too.
    async fn observe(&mut self, order: &Order, port: &Port) -> Result<Value, CommandError> {
        let device = order.device;
        let begin = Instant::now();
        let outcome = self.exchange(device, order.table, order.start, order.count, Some(order.deadline()), port).await;
        let taken_at = SystemTime::now();
        self.learn_of_command(device, outcome.as_ref().err(), begin, port).await;
        let raw = outcome.map_err(|fault| in_answer(&fault))?;
        self.take_note(order, &raw, taken_at, port).await
    }

    /// Hands over what was read of an order's point, and gives it to the asker.
    async fn take_note(
        &mut self,
        order: &Order,
        raw: &Raw,
        taken_at: SystemTime,
        port: &Port,
    ) -> Result<Value, CommandError> {
        self.tell_reading(order.device, order.point, raw, taken_at, port).await;
        self.link.devices[order.device].points[order.point].value(raw).map_err(CommandError::Refused)
    }
}

fn answer_all(run: Run, error: &CommandError) {
    run.orders.into_iter().for_each(|order| order.answer(Err(error.clone())));
}

fn in_answer(fault: &Fault) -> CommandError {
    let reason = fault.reason().to_owned();
    match fault {
        Fault::Refused { .. } => CommandError::Refused(reason),
        Fault::Unsent(_) => CommandError::NotSent(reason),
        Fault::Expired => CommandError::Expired,
        Fault::Absent(_) | Fault::Silent(_) | Fault::Broken(_) => CommandError::NoAnswer(reason),
    }
}
