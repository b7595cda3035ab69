//! Commands on their way to the wire: understood, checked, and put together where one request can
//! do for several. Nothing here touches the line.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use wharf_contract::{Action, Answer, Command, CommandError, Port, Value};

use crate::link::{Link, Point, Table};
use crate::value::Raw;
use crate::value::decode::decode;
use crate::value::encode::{Mask, encode, mask};

/// The most bits and registers that one request writes (Modbus application protocol 1.1b3, 6.11, 6.12).
const MOST_BITS: u32 = 1968;
const MOST_REGISTERS: u32 = 123;
/// How many commands are put together at most.
const MOST_TOGETHER: usize = 64;
/// How long the rest of a request for several points may take to come; it stands right behind.
const FOLLOWS: Duration = Duration::from_millis(200);

/// What a session knows of its commands.
#[derive(Default)]
pub(crate) struct Orders {
    /// Ready to be carried out, each in one turn.
    ready: VecDeque<Run>,
    /// Taken out of the port, and not looked at yet.
    held: Option<Command>,
}

/// Orders that are carried out together: writes of points that lie side by side, by address; or
/// one order alone.
pub(crate) struct Run {
    pub(crate) orders: Vec<Order>,
    /// Whether they were together before, and the device did not take them so.
    alone: bool,
}

/// A command that was understood.
pub(crate) struct Order {
    command: Command,
    /// The indices of its device on the link, and of its point there.
    pub(crate) device: usize,
    pub(crate) point: usize,
    pub(crate) table: Table,
    pub(crate) start: u16,
    pub(crate) count: u16,
    /// The most bits or registers that one request to its device may write.
    most: u32,
    pub(crate) task: Task,
}

/// What is to be done.
#[derive(Clone)]
pub(crate) enum Task {
    Read,
    Write {
        what: What,
        /// The value after rounding to what the device can hold.
        written: Value,
        verify: bool,
    },
}

/// What is put on the wire.
#[derive(Clone)]
pub(crate) enum What {
    Whole(Raw),
    Part(Mask),
}

impl Order {
    /// Understands a command. One that cannot be carried out is answered here.
    fn new(command: Command, link: &Link) -> Option<Self> {
        match Self::understand(&command, link) {
            Ok((device, point, task)) => {
                let spec = &link.devices[device].points[point];
                let (table, start, count) = (spec.table, spec.address, spec.layout.width());
                let registers = u32::from(link.devices[device].max_registers);
                let most = if table.is_bits() { MOST_BITS.min(16 * registers) } else { MOST_REGISTERS.min(registers) };
                Some(Self { command, device, point, table, start, count, most, task })
            }
            Err(reason) => {
                command.answer(Err(CommandError::Refused(reason)));
                None
            }
        }
    }

    fn understand(command: &Command, link: &Link) -> Result<(usize, usize, Task), String> {
        let unknown = || format!("{}/{} is not known here", command.device, command.point);
        let device = link.devices.iter().position(|device| device.name == command.device).ok_or_else(unknown)?;
        let spec = &link.devices[device];
        let point = spec.points.iter().position(|point| point.name == command.point).ok_or_else(unknown)?;
        let task = match &command.action {
            Action::Read if spec.broadcast => return Err("a broadcast is never read".into()),
            Action::Read => Task::Read,
            Action::Raw(_) => return Err("a raw request has no point".into()),
            Action::Write { .. } if spec.points[point].write.is_none() => {
                return Err(format!("{}/{} is not open for writing", command.device, command.point));
            }
            Action::Write { value, verify } => write(&spec.points[point], value, *verify && !spec.broadcast)?,
        };
        Ok((device, point, task))
    }

    /// Whether its time is over.
    fn is_late(&self, now: Instant) -> bool {
        self.command.deadline <= now
    }

    /// Past this moment it must not reach the device any more.
    pub(crate) fn deadline(&self) -> Instant {
        self.command.deadline
    }

    pub(crate) fn answer(self, answer: Answer) {
        self.command.answer(answer);
    }

    fn end(&self) -> u32 {
        u32::from(self.start) + u32::from(self.count)
    }

    /// Whether it writes whole bits or registers, as those beside it might.
    fn may_join(&self) -> bool {
        matches!(self.task, Task::Write { what: What::Whole(_), .. })
    }
}

fn is_raw(command: &Command) -> bool {
    matches!(command.action, Action::Raw(_))
}

fn write(point: &Point, value: &Value, verify: bool) -> Result<Task, String> {
    if point.layout.form.is_partial() {
        let what = What::Part(mask(value, &point.layout)?);
        let held = match &what {
            What::Part(mask) => Raw::Registers(vec![mask.or & !mask.and]),
            What::Whole(raw) => raw.clone(),
        };
        let written = decode(&held, &point.layout)?;
        return Ok(Task::Write { what, written, verify });
    }
    let raw = encode(value, point.table, &point.layout)?;
    let written = decode(&raw, &point.layout)?;
    // Rounding may have moved the value past a limit that what was asked for kept.
    match point.write.as_ref().and_then(|rule| rule.refuse(&written)) {
        Some(reason) => Err(reason),
        None => Ok(Task::Write { what: What::Whole(raw), written, verify }),
    }
}

impl Run {
    fn alone(order: Order) -> Self {
        Self { orders: vec![order], alone: true }
    }

    /// Takes the order in, in front or behind, if one request can write all of it. Else gives it
    /// back.
    fn take_in(&mut self, order: Order) -> Option<Order> {
        let (Some(first), Some(last)) = (self.orders.first(), self.orders.last()) else {
            self.orders.push(order);
            return None;
        };
        let fits = !self.alone
            && self.orders.len() < MOST_TOGETHER
            && first.may_join()
            && order.may_join()
            && (first.device, first.table) == (order.device, order.table)
            && last.end().max(order.end()) - u32::from(first.start.min(order.start)) <= order.most;
        if fits && last.end() == u32::from(order.start) {
            self.orders.push(order);
            None
        } else if fits && order.end() == u32::from(first.start) {
            self.orders.insert(0, order);
            None
        } else {
            Some(order)
        }
    }

    /// Past this moment it must not reach the device as a whole.
    pub(crate) fn send_by(&self) -> Option<Instant> {
        self.orders.iter().map(Order::deadline).min()
    }

    /// The address of the first bit or register, and how many there are.
    pub(crate) fn span(&self) -> (u16, u16) {
        let start = self.orders.first().map_or(0, |order| order.start);
        (start, self.orders.iter().map(|order| order.count).sum())
    }

    /// All that is written, as one.
    pub(crate) fn raw(&self) -> Raw {
        let raws = self.orders.iter().filter_map(|order| match &order.task {
            Task::Write { what: What::Whole(raw), .. } => Some(raw),
            _ => None,
        });
        let (mut bits, mut registers) = (Vec::new(), Vec::new());
        for raw in raws {
            match raw {
                Raw::Bits(more) => bits.extend_from_slice(more),
                Raw::Registers(more) => registers.extend_from_slice(more),
            }
        }
        if bits.is_empty() { Raw::Registers(registers) } else { Raw::Bits(bits) }
    }
}

impl Orders {
    /// Whether something waits here that the port has handed out already.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.ready.is_empty() || self.held.is_some()
    }

    /// A request that is put as it is, if that comes next; else `first` is given back.
    pub(crate) fn take_raw(&mut self, first: Option<Command>) -> Result<Command, Option<Command>> {
        match first {
            Some(command) if is_raw(&command) => Ok(command),
            Some(command) => Err(Some(command)),
            None if self.ready.is_empty() => self.held.take_if(|command| is_raw(command)).ok_or(None),
            None => Err(None),
        }
    }

    /// What is to be carried out next: all that can be written in one request with the oldest
    /// command. `first` is the command that the port has just handed out.
    pub(crate) async fn next(&mut self, first: Option<Command>, link: &Link, port: &mut Port) -> Option<Run> {
        if self.ready.is_empty() {
            let first = first.or_else(|| self.held.take())?;
            if first.more_follow {
                self.take_group(first, link, port).await;
            } else if let Some(order) = Order::new(first, link) {
                self.take_waiting(order, link, port);
            }
        }
        self.still_in_time()
    }

    /// Commands that came as one request. Their order among themselves means nothing.
    async fn take_group(&mut self, first: Command, link: &Link, port: &mut Port) {
        let mut more_follow = first.more_follow;
        let mut orders: Vec<_> = Order::new(first, link).into_iter().collect();
        for _ in 1..MOST_TOGETHER {
            if !more_follow {
                break;
            }
            let Ok(command) = timeout(FOLLOWS, port.next_command()).await else { break };
            more_follow = command.more_follow;
            orders.extend(Order::new(command, link));
        }
        orders.sort_by_key(|order| (order.device, order.table, order.start));
        self.ready.extend(runs(orders));
    }

    /// Commands that wait and go with the first, up to the first that does not: they are obeyed in
    /// the order they came.
    fn take_waiting(&mut self, first: Order, link: &Link, port: &mut Port) {
        let mut run = Run { orders: vec![first], alone: false };
        while let Some(command) = port.waiting_command() {
            if command.more_follow || is_raw(&command) {
                self.held = Some(command);
                break;
            }
            let Some(order) = Order::new(command, link) else { continue };
            if let Some(order) = run.take_in(order) {
                self.held = Some(order.command);
                break;
            }
        }
        self.ready.push_back(run);
    }

    /// The next run, without what is too late for it.
    fn still_in_time(&mut self) -> Option<Run> {
        let now = Instant::now();
        if self.held.as_ref().is_some_and(|command| command.deadline <= now)
            && let Some(late) = self.held.take()
        {
            late.answer(Err(CommandError::Expired));
        }
        while let Some(run) = self.ready.pop_front() {
            let (late, orders): (Vec<_>, Vec<_>) = run.orders.into_iter().partition(|order| order.is_late(now));
            let whole = late.is_empty();
            late.into_iter().for_each(|order| order.answer(Err(CommandError::Expired)));
            if orders.is_empty() {
                continue;
            }
            if whole {
                return Some(Run { orders, alone: run.alone });
            }
            // What is left may have a gap now.
            for run in runs(orders).into_iter().rev() {
                self.ready.push_front(run);
            }
            return self.ready.pop_front();
        }
        None
    }

    /// Puts a run back in front. What is too late is answered when it is its turn.
    pub(crate) fn put_back(&mut self, run: Run) {
        self.ready.push_front(run);
    }

    /// Carries these out one by one, and before anything else: the device has refused them together.
    pub(crate) fn one_by_one(&mut self, run: Run) {
        for order in run.orders.into_iter().rev() {
            self.ready.push_front(Run::alone(order));
        }
    }
}

/// Orders by address, as few runs as possible.
fn runs(orders: Vec<Order>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for order in orders {
        let left = match runs.last_mut() {
            Some(run) => run.take_in(order),
            None => Some(order),
        };
        runs.extend(left.map(|order| Run { orders: vec![order], alone: false }));
    }
    runs
}

/// What was taken out of the port and never sent is not left without an answer when the session ends.
impl Drop for Orders {
    fn drop(&mut self) {
        let waiting = self.ready.drain(..).flat_map(|run| run.orders).map(|order| order.command);
        for command in waiting.chain(self.held.take()) {
            command.answer(Err(CommandError::Offline("the session ended before it was sent".into())));
        }
    }
}
