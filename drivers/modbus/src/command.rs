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
        if !matches!(run.orders[0].task, Task::Read)
            && let Err(error) = self.make_ready(device).await
        {
            return answer_all(run, &error);
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
        // It may write, so it is sent once, and not over a connection that may have died of idleness.
        if self.line.may_be_stale() {
            self.reconnect().await.map_err(|error| CommandError::Offline(error.to_string()))?;
        }
        if Instant::now() >= deadline {
            return Err(CommandError::Expired);
        }
        self.line
            .exchange(unit_id, pdu, Limits { timeout: self.link.timeout, send_by: Some(deadline) })
            .await
            .map_err(|fault| in_answer(&fault))
    }

    /// Makes the line ready for a write. A write is never asked twice, so a connection that may have
    /// died of idleness is not trusted with it; and whatever the line has to wait for, it waits for
    /// now, before deadlines are looked at.
    async fn make_ready(&mut self, device: usize) -> Result<(), CommandError> {
        if self.line.may_be_stale() {
            self.reconnect().await.map_err(|error| CommandError::Offline(error.to_string()))?;
        }
        let (unit_id, timeout) = (self.link.devices[device].unit_id, self.timeout(device));
        self.line.make_ready(unit_id, timeout).await.map_err(|fault| CommandError::Offline(fault.reason().to_owned()))
    }

    /// How long a request to the device waits for its answer.
    fn timeout(&self, device: usize) -> Duration {
        self.link.devices[device].timeout
    }

    async fn carry_out(&mut self, mut run: Run, port: &Port) {
        let Some(first) = run.orders.first() else { return };
        let device = first.device;
        // Getting ready was quick or it was not: what is sent too late is not sent at all.
        let send_by = run.orders.iter().map(Order::deadline).min();
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
        if matches!(fault, Some(Fault::Expired)) {
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
        let spec = &self.link.devices[device];
        let begin = Instant::now();
        if spec.broadcast {
            // On a serial port nobody is waited for. Where a gateway in between answers, that is taken;
            // where nobody does, as it should be, everyone has had the time to act.
            return match self.line.write(spec.unit_id, start, raw, Limits { timeout: TURNAROUND, send_by }).await {
                Err(Fault::Silent(_)) => Ok(raw.clone()),
                outcome => outcome,
            };
        }
        let outcome =
            self.line.write(spec.unit_id, start, raw, Limits { timeout: self.timeout(device), send_by }).await;
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
        let (unit_id, timeout) = (self.link.devices[device].unit_id, self.timeout(device));
        if !self.obedience[device].without_mask {
            let request = Request::MaskWrite { address, and: mask.and, or: mask.or };
            let begin = Instant::now();
            let outcome = self.line.ask(unit_id, &request, Limits { timeout, send_by }).await;
            self.learn_of_command(device, outcome.as_ref().err(), begin, port).await;
            match outcome {
                Err(fault) if fault.is_unknown_function() => self.obedience[device].without_mask = true,
                outcome => return outcome.map(drop),
            }
        }
        let begin = Instant::now();
        let held = self.exchange(device, crate::link::Table::Holding, address, 1).await;
        self.learn_of_command(device, held.as_ref().err(), begin, port).await;
        let Raw::Registers(held) = held? else { return Err(Fault::Broken("bits came for a register".into())) };
        let Some(held) = held.first() else { return Err(Fault::Broken("nothing came for a register".into())) };
        let fresh = Raw::Registers(vec![mask.apply(*held)]);
        match self.write_whole(device, address, &fresh, send_by, port).await? {
            confirmed if confirmed == fresh => Ok(()),
            confirmed => Err(Fault::Refused { reason: format!("the device holds {confirmed:?}"), exception: None }),
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
                    Some((raw, taken_at)) => {
                        let raw = raw.part(order.start.saturating_sub(start), order.count);
                        self.take_note(&order, &raw.unwrap_or(Raw::Registers(Vec::new())), *taken_at, port).await
                    }
                    None => self.observe(&order, port).await,
                };
                match observed {
                    Ok(observed) if observed == written => done.observed = Some(observed),
                    Ok(observed) => {
                        order.answer(Err(CommandError::NotHeld { written, observed }));
                        continue;
                    }
                    Err(error) => {
                        // The write itself was confirmed, so whatever went wrong now is a missing answer.
                        let error = format!("written, but it could not be read back: {error}");
                        order.answer(Err(CommandError::NoAnswer(error)));
                        continue;
                    }
                }
            }
            order.answer(Ok(done));
        }
    }

    /// Reads what was written together together, where more than one point is to be verified.
    /// `None` if they are to be read one by one.
    async fn read_back(&mut self, orders: &[Order], port: &Port) -> Option<(Raw, SystemTime)> {
        let verified = orders.iter().filter(|order| matches!(order.task, Task::Write { verify: true, .. })).count();
        let first = orders.first()?;
        let count = orders.iter().map(|order| order.count).sum();
        if verified < 2 {
            return None;
        }
        let (device, begin) = (first.device, Instant::now());
        let outcome = self.exchange(device, first.table, first.start, count).await;
        self.learn_of_command(device, outcome.as_ref().err(), begin, port).await;
        outcome.ok().map(|raw| (raw, SystemTime::now()))
    }

    /// Reads one point now. The reading goes its usual way too.
    async fn observe(&mut self, order: &Order, port: &Port) -> Result<Value, CommandError> {
        let device = order.device;
        let begin = Instant::now();
        let outcome = self.exchange(device, order.table, order.start, order.count).await;
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
