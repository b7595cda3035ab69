//! When each block is due, and whose turn it is. Owns no clock.
//!
//! The rhythm is fixed: it does not drift by what a read takes, and after a stall it goes on where
//! it would have been, without a burst of what was missed. Blocks of one rhythm are spread evenly
//! over it. Each device has a lane of its own: among devices whose blocks are due, the one that has
//! had least of the link's time goes first ("start-time fair queueing", Goyal et al. 1996), so one
//! that takes long holds up itself. A device that is silent is probed when nobody else needs the
//! link, or when it has waited long enough.
//!
//! Every step takes time that grows with the logarithm of the number of blocks, at most.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

/// First reads are spread over no more than this, so that a slow rhythm starts soon all the same.
const SPREAD: Duration = Duration::from_secs(10);

/// A probe that finds the link busy waits for this part of its device's wait.
const GRACE: u32 = 4;

/// How much a device's newest exchange counts in its mean cost.
const NEWEST: f64 = 0.125;

/// The due times of a link's blocks.
#[derive(Debug)]
pub(crate) struct Schedule {
    lanes: Vec<Lane>,
    /// When each lane that has something to read may next be chosen.
    ahead: BTreeSet<(Instant, usize)>,
    /// Lanes whose time has come, by how much of the link's time they have had.
    waiting: BTreeSet<(Duration, Instant, usize)>,
    /// Silent lanes whose time has come, by when it came.
    probes: BTreeSet<(Instant, usize)>,
    /// The link's time as the fairness counts it: that of the lane in service.
    served: Duration,
    /// The shortest rhythm and its lane, and the shortest of another lane.
    shortest: [Option<(Duration, usize)>; 2],
    /// The share of the link's time that all lanes take, by what their exchanges took.
    load: f64,
}

/// One device.
#[derive(Debug, Default)]
struct Lane {
    entries: Vec<Entry>,
    /// The blocks by when they are due. One whose due time has changed is in it more than once.
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    /// A silent device is left alone until then; with how long its wait was and what a probe may cost.
    silent: Option<Silence>,
    /// A slow device rests until then.
    rest: Option<Instant>,
    /// How much of the link's time it has had, as the fairness counts it.
    used: Duration,
    /// Where it stands in the sets above.
    place: Option<Place>,
    /// Requests a second, and seconds a request.
    rate: f64,
    mean: f64,
}

#[derive(Clone, Copy, Debug)]
struct Silence {
    until: Instant,
    grace: Duration,
    cost: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Ahead(Instant),
    Waiting(Duration, Instant),
    Probe(Instant),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    every: Duration,
    due: Instant,
    /// Its due times are this one and what follows at its rhythm.
    anchor: Instant,
    turn: u64,
}

/// What to read next, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) lane: usize,
    /// The block that has waited longest; `None` for a probe, which any block will do for.
    pub(crate) block: Option<usize>,
    pub(crate) at: Instant,
}

/// What a block's turn is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Counts the block's turns, the missed ones too.
    pub(crate) number: u64,
    /// How many were missed before this one.
    pub(crate) missed: u64,
}

impl Schedule {
    /// Starts now, with the rhythms of each lane's blocks.
    pub(crate) fn new(lanes: &[Vec<Duration>], now: Instant) -> Self {
        let mut schedule = Self {
            lanes: lanes.iter().map(|_| Lane::default()).collect(),
            ahead: BTreeSet::new(),
            waiting: BTreeSet::new(),
            probes: BTreeSet::new(),
            served: Duration::ZERO,
            shortest: [None; 2],
            load: 0.0,
        };
        let mut phases = Phases::new(lanes.iter().flatten().copied());
        for (lane, rhythms) in lanes.iter().enumerate() {
            for &every in rhythms {
                let phase = phases.next(every);
                let soon = phase.mul_f64(SPREAD.as_secs_f64() / every.max(SPREAD).as_secs_f64());
                let entry = Entry { every, due: now + soon, anchor: now + phase, turn: 0 };
                schedule.lanes[lane].push(entry);
            }
            schedule.note_shortest(lane, rhythms.iter().min().copied());
            schedule.place(lane);
        }
        schedule
    }

    /// Gives a lane other blocks: each with its rhythm, and when it is first due.
    pub(crate) fn replace(&mut self, lane: usize, blocks: impl IntoIterator<Item = (Duration, Instant)>) {
        let Some(own) = self.lanes.get_mut(lane) else { return };
        self.load -= own.rate * own.mean;
        own.entries.clear();
        own.heap.clear();
        own.rate = 0.0;
        for (every, due) in blocks {
            own.push(Entry { every, due, anchor: due, turn: 0 });
        }
        self.load += own.rate * own.mean;
        self.place(lane);
    }

    /// One more block for a lane, due now.
    pub(crate) fn add(&mut self, lane: usize, every: Duration, now: Instant) {
        let Some(own) = self.lanes.get_mut(lane) else { return };
        own.push(Entry { every, due: now, anchor: now, turn: 0 });
        self.load += own.mean / every.as_secs_f64();
        self.place(lane);
    }

    /// Gives one of a lane's blocks another rhythm; it is due now.
    pub(crate) fn replace_one(&mut self, lane: usize, block: usize, every: Duration, now: Instant) {
        let Some(own) = self.lanes.get_mut(lane) else { return };
        let Some(entry) = own.entries.get_mut(block) else { return };
        let rate = 1.0 / every.as_secs_f64() - 1.0 / entry.every.as_secs_f64();
        own.rate += rate;
        self.load += rate * own.mean;
        *entry = Entry { every, due: now, anchor: now, turn: 0 };
        own.heap.push(Reverse((now, block)));
        self.place(lane);
    }

    /// When the block is due.
    pub(crate) fn due(&self, lane: usize, block: usize) -> Option<Instant> {
        Some(self.lanes.get(lane)?.entries.get(block)?.due)
    }

    /// What to read next and when, if there is anything.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Next> {
        self.wake(now);
        if let Some(&(at, lane)) = self.probes.first() {
            let silence = self.lanes[lane].silence();
            let free =
                self.waiting.is_empty() && self.ahead.first().is_none_or(|(next, _)| *next >= now + silence.cost);
            if free || now >= at + silence.grace {
                return Some(Next { lane, block: None, at: now });
            }
        }
        if let Some(&(_, _, lane)) = self.waiting.first() {
            return Some(Next { lane, block: self.lanes[lane].first(), at: now });
        }
        // Nothing is due, though a probe may wait for a longer gap than this one.
        let ahead = self.ahead.first().map(|&(at, lane)| {
            let block = if self.lanes[lane].silent.is_some() { None } else { self.lanes[lane].first() };
            Next { lane, block, at }
        });
        let probe = self.probes.first().map(|&(at, lane)| Next {
            lane,
            block: None,
            at: at + self.lanes[lane].silence().grace,
        });
        [ahead, probe].into_iter().flatten().min_by_key(|next| next.at)
    }

    /// Says that the block is being read now.
    pub(crate) fn taken(&mut self, lane: usize, block: usize, now: Instant) -> Turn {
        if let Some(Place::Waiting(tag, _)) = self.lanes.get(lane).and_then(|lane| lane.place) {
            self.served = self.served.max(tag);
        }
        let Some(own) = self.lanes.get_mut(lane) else { return Turn { number: 0, missed: 0 } };
        let Some(entry) = own.entries.get_mut(block) else { return Turn { number: 0, missed: 0 } };
        if now < entry.due {
            // A probe comes as an extra and leaves the rhythm as it is.
            return Turn { number: entry.turn, missed: 0 };
        }
        let turn = entry.take(now);
        own.heap.push(Reverse((entry.due, block)));
        self.place(lane);
        turn
    }

    /// Says what a read took of the link's time.
    pub(crate) fn cost(&mut self, lane: usize, cost: Duration) {
        let Some(own) = self.lanes.get_mut(lane) else { return };
        own.used = own.used.max(self.served) + cost;
        self.load -= own.rate * own.mean;
        let newest = cost.as_secs_f64();
        own.mean = if own.mean == 0.0 { newest } else { own.mean + (newest - own.mean) * NEWEST };
        self.load += own.rate * own.mean;
        self.place(lane);
    }

    /// What an exchange with this lane takes on average, with the newest ones counting most.
    pub(crate) fn mean_cost(&self, lane: usize) -> Duration {
        let mean = self.lanes.get(lane).map_or(0.0, |lane| lane.mean);
        Duration::try_from_secs_f64(mean).unwrap_or_default()
    }

    /// The others on the link: their shortest rhythm, and the share of its time they take.
    pub(crate) fn others(&self, lane: usize) -> (Option<Duration>, f64) {
        let shortest = self.shortest.iter().flatten().find(|(_, owner)| *owner != lane);
        let own = self.lanes.get(lane).map_or(0.0, |lane| lane.rate * lane.mean);
        (shortest.map(|(every, _)| *every), (self.load - own).max(0.0))
    }

    /// The shortest rhythm of a lane; a second for one without blocks.
    pub(crate) fn fastest(&self, lane: usize) -> Duration {
        let rhythms = self.lanes.get(lane).into_iter().flat_map(|lane| lane.entries.iter().map(|entry| entry.every));
        rhythms.min().unwrap_or(Duration::from_secs(1))
    }

    /// Leaves a silent lane alone until then; then it is probed, which may take `cost`.
    pub(crate) fn silence(&mut self, lane: usize, until: Instant, cost: Duration, now: Instant) {
        let Some(own) = self.lanes.get_mut(lane) else { return };
        let grace = until.saturating_duration_since(now) / GRACE;
        own.silent = Some(Silence { until, grace, cost });
        self.place(lane);
    }

    /// Lets a slow lane rest until then.
    pub(crate) fn rest(&mut self, lane: usize, until: Instant) {
        let Some(own) = self.lanes.get_mut(lane) else { return };
        own.rest = Some(until);
        self.place(lane);
    }

    /// The lane is no longer silent. All of its blocks are due soon: the slow rhythms within
    /// their own, and within ten seconds.
    pub(crate) fn recovered(&mut self, lane: usize, now: Instant) {
        let Some(own) = self.lanes.get_mut(lane) else { return };
        own.silent = None;
        let blocks = own.entries.len();
        for (index, entry) in own.entries.iter_mut().enumerate() {
            let share = index as f64 / blocks as f64;
            let soon = now + entry.every.min(SPREAD).mul_f64(share / 2.0);
            if soon < entry.due {
                entry.due = soon;
                own.heap.push(Reverse((soon, index)));
            }
        }
        self.place(lane);
    }

    /// Does not ask for the block before then, but at its rhythm.
    pub(crate) fn postpone(&mut self, lane: usize, block: usize, until: Instant) {
        let Some(own) = self.lanes.get_mut(lane) else { return };
        let Some(entry) = own.entries.get_mut(block) else { return };
        if entry.due < until {
            entry.due = entry.at_or_after(until);
            own.heap.push(Reverse((entry.due, block)));
            self.place(lane);
        }
    }

    /// Asks for the block once more, not before then; the lane rests until then.
    pub(crate) fn again(&mut self, lane: usize, block: usize, at: Instant) {
        let Some(own) = self.lanes.get_mut(lane) else { return };
        let Some(entry) = own.entries.get_mut(block) else { return };
        entry.due = at;
        own.heap.push(Reverse((at, block)));
        own.rest = Some(at);
        self.place(lane);
    }

    /// Moves lanes whose time has come to where they are chosen from.
    fn wake(&mut self, now: Instant) {
        while let Some(&(at, lane)) = self.ahead.first().filter(|(at, _)| *at <= now) {
            self.ahead.remove(&(at, lane));
            let own = &mut self.lanes[lane];
            if own.silent.is_some() {
                own.place = Some(Place::Probe(at));
                self.probes.insert((at, lane));
            } else {
                let tag = own.used.max(self.served);
                own.place = Some(Place::Waiting(tag, at));
                self.waiting.insert((tag, at, lane));
            }
        }
    }

    /// Puts the lane where it belongs after something about it has changed.
    fn place(&mut self, lane: usize) {
        let own = &mut self.lanes[lane];
        match own.place.take() {
            Some(Place::Ahead(at)) => drop(self.ahead.remove(&(at, lane))),
            Some(Place::Waiting(tag, at)) => drop(self.waiting.remove(&(tag, at, lane))),
            Some(Place::Probe(at)) => drop(self.probes.remove(&(at, lane))),
            None => {}
        }
        own.settle();
        let due = own.heap.peek().map(|Reverse((due, _))| *due);
        let at = match (own.silent, due) {
            (_, None) => return,
            (Some(silence), Some(_)) => silence.until,
            (None, Some(due)) => own.rest.map_or(due, |rest| rest.max(due)),
        };
        own.place = Some(Place::Ahead(at));
        self.ahead.insert((at, lane));
    }

    fn note_shortest(&mut self, lane: usize, every: Option<Duration>) {
        let Some(every) = every else { return };
        let mut known: Vec<_> = self.shortest.iter().flatten().copied().chain([(every, lane)]).collect();
        known.sort_unstable();
        self.shortest = [known.first().copied(), known.get(1).copied()];
    }
}

impl Lane {
    fn push(&mut self, entry: Entry) {
        self.heap.push(Reverse((entry.due, self.entries.len())));
        self.rate += 1.0 / entry.every.as_secs_f64();
        self.entries.push(entry);
    }

    /// The block that has waited longest.
    fn first(&self) -> Option<usize> {
        self.heap.peek().map(|Reverse((_, block))| *block)
    }

    /// Drops what has become wrong at the head of the heap, and all of it when it has become much.
    fn settle(&mut self) {
        if self.heap.len() > 4 * self.entries.len() + 16 {
            self.heap = self.entries.iter().enumerate().map(|(block, entry)| Reverse((entry.due, block))).collect();
        }
        while let Some(Reverse((due, block))) = self.heap.peek() {
            if self.entries.get(*block).is_some_and(|entry| entry.due == *due) {
                return;
            }
            self.heap.pop();
        }
    }

    fn silence(&self) -> Silence {
        let zero = Duration::ZERO;
        self.silent.unwrap_or(Silence { until: Instant::now(), grace: zero, cost: zero })
    }
}

impl Entry {
    /// One turn: on to the next due time after now.
    fn take(&mut self, now: Instant) -> Turn {
        let late = now.saturating_duration_since(self.due);
        let missed = u64::try_from(late.as_nanos() / self.every.as_nanos().max(1)).unwrap_or(u64::MAX);
        self.turn = self.turn.saturating_add(missed).saturating_add(1);
        let turn = Turn { number: self.turn - 1, missed };
        // A first read may have come before its place in the rhythm. What follows keeps to it, but
        // is not so soon that it would tell nothing new.
        self.due = self.at_or_after(
            self.due.max(now) + if self.is_on_its_place() { Duration::from_nanos(1) } else { self.every / 2 },
        );
        turn
    }

    fn is_on_its_place(&self) -> bool {
        self.due >= self.anchor && (self.due - self.anchor).as_nanos().is_multiple_of(self.every.as_nanos().max(1))
    }

    /// The first due time of its rhythm from then on.
    fn at_or_after(&self, when: Instant) -> Instant {
        let every = self.every.as_nanos().max(1);
        let turns = when.saturating_duration_since(self.anchor).as_nanos().div_ceil(every);
        let turns = u32::try_from(turns).unwrap_or(u32::MAX);
        self.every.checked_mul(turns).and_then(|ahead| self.anchor.checked_add(ahead)).unwrap_or(when)
    }
}

/// The places of blocks within their rhythms: as many, evenly spread, as share one.
struct Phases {
    /// How many share a rhythm, how many of them have their place, and where the first has it.
    rhythms: HashMap<Duration, (u32, u32, f64)>,
}

impl Phases {
    fn new(rhythms: impl Iterator<Item = Duration>) -> Self {
        let mut known: HashMap<Duration, (u32, u32, f64)> = HashMap::new();
        for every in rhythms {
            // Each rhythm starts a little later than the one before it, so that they do not meet
            // at every turn. Parts of the golden ratio never come close to each other.
            let shift = (known.len() as f64 * 0.618_034).fract();
            known.entry(every).or_insert((0, 0, shift)).0 += 1;
        }
        Self { rhythms: known }
    }

    fn next(&mut self, every: Duration) -> Duration {
        let Some((peers, placed, shift)) = self.rhythms.get_mut(&every) else { return Duration::ZERO };
        let place = (f64::from(*placed) + *shift) / f64::from(*peers);
        *placed += 1;
        every.mul_f64(place.min(1.0))
    }
}

#[cfg(test)]
mod tests;
