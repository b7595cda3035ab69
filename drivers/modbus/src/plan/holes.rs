//! What a device refuses to have read: the places that no request may touch beside others. They
//! are found by halving a refused block until what is left answers, and kept, so that it happens
//! once. Pure: what was asked and what came of it goes in.

use std::collections::HashMap;
use std::time::Duration;

use super::Block;
use crate::link::{Device, Table};

/// The most that is kept of one device. Beyond it, what is learnt holds for a session only.
const MOST: usize = 256;

/// The most halves that wait for their answers. Beyond it, halves are read and nothing is learnt.
const MOST_SUSPECTS: usize = 256;

/// How long what was learnt holds: a device that was starting may have refused what it has.
const HOLDS: Duration = Duration::from_secs(30 * 86_400);

/// Addresses from `start` to before `end` that no block reads over. Where both are the same it is
/// a seam: nothing is refused there, but what stands on both sides is not read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) table: Table,
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// When it was found, in seconds since 1970.
    pub(crate) found: u64,
}

impl Hole {
    fn in_words(&self, device: &Device) -> String {
        let Self { table, start, end, .. } = *self;
        let points = device.points.iter().filter(|point| {
            let first = u32::from(point.address);
            point.table == table && first < end && start < first + u32::from(point.layout.width())
        });
        let names: Vec<&str> = points.map(|point| point.name.as_str()).collect();
        let table = table.key();
        match end.saturating_sub(start) {
            0 => format!("{table} {} and {start} in one request", start.saturating_sub(1)),
            1 if names.is_empty() => format!("{table} {start}"),
            1 => format!("{table} {start} ({})", names.join(", ")),
            _ if names.is_empty() => format!("{table} {start}–{}", end - 1),
            _ => format!("{table} {start}–{} ({})", end - 1, names.join(", ")),
        }
    }
}

/// The holes of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holes(Vec<Hole>);

impl Holes {
    /// Whether a read from `start` to before `end` would cross one.
    pub(crate) fn crossed(&self, table: Table, start: u32, end: u32) -> bool {
        self.0.iter().any(|hole| hole.table == table && start < hole.end && hole.start < end)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Hole> {
        self.0.iter()
    }

    /// One more. Returns whether that is news.
    pub(crate) fn add(&mut self, hole: Hole) -> bool {
        let known = |other: &Hole| (other.table, other.start, other.end) == (hole.table, hole.start, hole.end);
        if self.0.len() >= MOST || self.0.iter().any(known) {
            return false;
        }
        self.0.push(hole);
        true
    }

    /// Each of them for people, with the points that stand in it: `holding 17 (level)`, `input 40–43`,
    /// `coil 7 and 8 in one request`.
    pub(crate) fn in_words(&self, device: &Device) -> Vec<String> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by_key(|hole| (hole.table, hole.start, hole.end));
        sorted.iter().map(|hole| hole.in_words(device)).collect()
    }

    /// Something in this place was answered. Returns whether that is news.
    fn fill(&mut self, table: Table, start: u32, end: u32) -> bool {
        let before = self.0.len();
        self.0.retain(|hole| hole.table != table || start >= hole.end || hole.start >= end);
        self.0.len() != before
    }

    /// Drops what was found too long ago to be relied on.
    pub(crate) fn forget_before(&mut self, now: u64) {
        self.0.retain(|hole| hole.found.abs_diff(now) < HOLDS.as_secs());
    }
}

/// The search for the holes of one device.
#[derive(Debug, Default)]
pub(crate) struct Search {
    pub(crate) holes: Holes,
    suspects: Vec<Suspect>,
    news: bool,
}

/// A refused block in halves. When both are answered, it is what lies between them that is refused.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    table: Table,
    halves: [Half; 2],
}

/// One half: from, to before, and whether it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Half {
    start: u32,
    end: u32,
    answered: bool,
}

impl Search {
    /// A search that begins with what is known.
    pub(crate) fn new(holes: Holes) -> Self {
        Self { holes, ..Self::default() }
    }

    /// The device refused the block. Returns the halves to ask for instead, or `None` for a single
    /// place, which is a hole by itself.
    pub(crate) fn refused(&mut self, block: &Block, now: u64) -> Option<(Block, Block)> {
        let (table, span) = (block.table, block.span());
        self.suspects.retain(|suspect| !suspect.has(table, span));
        let Some((left, right)) = block.halves() else {
            self.news |= self.holes.add(Hole { table, start: span.0, end: span.1, found: now });
            return None;
        };
        let half = |block: &Block| Half { start: block.span().0, end: block.span().1, answered: false };
        let halves = [half(&left), half(&right)];
        // Halves that overlap have nothing between them that could be left out.
        if halves[0].end <= halves[1].start && self.suspects.len() < MOST_SUSPECTS {
            self.suspects.push(Suspect { table, halves });
        }
        Some((left, right))
    }

    /// The device answered the block.
    pub(crate) fn answered(&mut self, block: &Block, now: u64) {
        let (table, span) = (block.table, block.span());
        self.news |= self.holes.fill(table, span.0, span.1);
        for suspect in self.suspects.iter_mut().filter(|suspect| suspect.has(table, span)) {
            suspect.halves.iter_mut().filter(|half| half.span() == span).for_each(|half| half.answered = true);
        }
        let holes = &mut self.holes;
        let mut news = false;
        self.suspects.retain(|suspect| {
            let [left, right] = suspect.halves;
            let done = left.answered && right.answered;
            if done {
                news |= holes.add(Hole { table: suspect.table, start: left.end, end: right.start, found: now });
            }
            !done
        });
        self.news |= news;
    }

    /// Whether a refused block is being halved.
    pub(crate) fn is_searching(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Whether something was learnt and nothing is being looked for any more. Says so once.
    pub(crate) fn take_news(&mut self) -> bool {
        self.suspects.is_empty() && std::mem::take(&mut self.news)
    }
}

impl Suspect {
    fn has(&self, table: Table, span: (u32, u32)) -> bool {
        self.table == table && self.halves.iter().any(|half| half.span() == span)
    }
}

impl Half {
    fn span(&self) -> (u32, u32) {
        (self.start, self.end)
    }
}

/// A number that changes when what there is to read of a device does: its unit id, its limit, the
/// places of its points. (FNV-1a: it has to be the same in every version of wharf.)
pub(crate) fn fingerprint(device: &Device) -> u64 {
    let mut places: Vec<_> =
        device.points.iter().map(|point| (point.table, point.address, point.layout.width())).collect();
    places.sort_unstable();
    let numbers = places.iter().flat_map(|&(table, address, width)| [table as u16, address, width]);
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for number in [u16::from(device.unit_id), device.max_registers].into_iter().chain(numbers) {
        for byte in number.to_be_bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// The holes of a link's devices as the lines of a file.
pub(crate) fn render<'a>(devices: impl Iterator<Item = (&'a Device, &'a Holes)>) -> String {
    let mut text = format!("{FIRST_LINE}\n");
    for (device, holes) in devices {
        let print = fingerprint(device);
        for Hole { table, start, end, found } in holes.iter() {
            text += &format!("{} {print:016x} {} {start} {end} {found}\n", device.name, table.key());
        }
    }
    text
}

/// The holes that a file's lines tell, by device, without those of another layout or of long ago.
pub(crate) fn parse(text: &str, devices: &[Device], now: u64) -> Vec<Holes> {
    let mut lines = text.lines();
    let ours = lines.next() == Some(FIRST_LINE);
    let mut all: Vec<Holes> = devices.iter().map(|_| Holes::default()).collect();
    // Once for each device, for a file may have many lines.
    let names = devices.iter().enumerate().map(|(index, device)| (device.name.as_str(), index));
    let names: HashMap<&str, usize> = names.collect();
    let prints: Vec<String> = devices.iter().map(|device| format!("{:016x}", fingerprint(device))).collect();
    for line in lines.filter(|_| ours) {
        let mut words = line.split(' ');
        let Some((name, print)) = words.next().zip(words.next()) else { continue };
        let index = names.get(name).copied().filter(|index| prints[*index] == print);
        let Some(index) = index else { continue };
        if let Some(hole) = parse_hole(&devices[index], &mut words) {
            all[index].add(hole);
        }
    }
    all.iter_mut().for_each(|holes| holes.forget_before(now));
    all
}

const FIRST_LINE: &str = "# What the devices of this link refuse to have read, as wharf found out. May be deleted.";

fn parse_hole<'a>(device: &Device, words: &mut impl Iterator<Item = &'a str>) -> Option<Hole> {
    let table = words.next()?;
    let table = device.points.iter().map(|point| point.table).find(|known| known.key() == table)?;
    let mut number = || words.next()?.parse::<u64>().ok();
    let (start, end, found) = (number()?, number()?, number()?);
    let (start, end) = (u32::try_from(start).ok()?, u32::try_from(end).ok()?);
    (start <= end && end <= 65_536).then_some(Hole { table, start, end, found })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{device, point};
    use super::super::{Cost, plan_device};
    use super::*;
    use crate::value::layout::Form;

    const COST: Cost = Cost { request: Duration::from_millis(20), byte: Duration::from_micros(10) };
    const NOW: u64 = 1_795_219_869;

    /// Plans, asks a device that refuses what touches `refused` or is longer than `longest`, and
    /// learns, until there is nothing new. Returns the final spans and how many requests it took.
    fn learn(device: &Device, refused: &[u32], longest: u32) -> (Vec<(u16, u16)>, usize) {
        let mut search = Search::default();
        let mut blocks = plan_device(0, device, &COST, &search.holes);
        let mut asked = 0;
        let mut turns = 0;
        loop {
            turns += 1;
            assert!(turns < 100, "it comes to an end");
            let mut next = Vec::new();
            while let Some(block) = blocks.pop() {
                asked += 1;
                let (start, end) = block.span();
                if end - start > longest || refused.iter().any(|address| (start..end).contains(address)) {
                    match search.refused(&block, NOW) {
                        Some((left, right)) => blocks.extend([right, left]),
                        None => next.push(block),
                    }
                } else {
                    search.answered(&block, NOW);
                    next.push(block);
                }
            }
            if !search.take_news() {
                let mut spans: Vec<_> = next.iter().map(|block| (block.start, block.count)).collect();
                spans.sort_unstable();
                return (spans, asked);
            }
            blocks = plan_device(0, device, &COST, &search.holes);
        }
    }

    fn words(addresses: impl IntoIterator<Item = u16>) -> Device {
        device(addresses.into_iter().map(|address| point(Table::Holding, address, Form::U16, 1)).collect())
    }

    #[test]
    fn one_wrong_address_is_found_and_the_others_travel_together_again() {
        let (spans, asked) = learn(&words(0..64), &[17], 125);
        assert_eq!(spans, [(0, 17), (17, 1), (18, 46)]);
        // Halving 64 places takes two reads for each of six steps, and one to begin with; then the
        // plan that follows from it is read.
        assert_eq!(asked, 13 + 3);
    }

    #[test]
    fn a_gap_that_cannot_be_read_over_is_found_and_left_out() {
        let device = words((0..10).chain(15..25));
        assert_eq!(learn(&device, &[12], 125).0, [(0, 10), (15, 10)]);
    }

    #[test]
    fn a_device_that_takes_less_at_once_than_it_was_asked_for_is_read_in_parts() {
        let (spans, _) = learn(&words(0..100), &[], 30);
        assert_eq!(spans, [(0, 25), (25, 25), (50, 25), (75, 25)]);
    }

    #[test]
    fn a_device_that_refuses_everything_is_read_point_by_point_until_it_answers() {
        let device = words(0..8);
        let mut search = Search::default();
        let all: Vec<u32> = (0..8).collect();
        let (spans, _) = learn(&device, &all, 125);
        assert_eq!(spans.len(), 8);
        // Had it only been starting: an answer fills its hole.
        for address in 0..8 {
            search.holes.add(Hole { table: Table::Holding, start: address, end: address + 1, found: NOW });
        }
        for block in plan_device(0, &device, &COST, &search.holes) {
            search.answered(&block, NOW);
        }
        assert!(search.take_news());
        assert_eq!(plan_device(0, &device, &COST, &search.holes).len(), 1);
    }

    #[test]
    fn what_was_learnt_outlives_a_restart_but_not_another_layout_nor_a_month() {
        let devices = [device(vec![point(Table::Holding, 7, Form::F32, 1), point(Table::Coil, 3, Form::Bool, 1)])];
        let mut holes = Holes::default();
        holes.add(Hole { table: Table::Holding, start: 9, end: 12, found: NOW });
        holes.add(Hole { table: Table::Coil, start: 3, end: 3, found: NOW });
        let text = render(devices.iter().zip([&holes]));
        assert_eq!(parse(&text, &devices, NOW + 86_400), [holes]);
        assert_eq!(parse(&text, &devices, NOW + 31 * 86_400), [Holes::default()]);
        let mut other = devices.clone();
        other[0].points[0].address = 8;
        assert_eq!(parse(&text, &other, NOW), [Holes::default()]);
    }

    #[test]
    fn people_are_told_of_holes_with_the_points_in_them() {
        let points = [(Table::Holding, 7, Form::F32), (Table::Holding, 17, Form::U16), (Table::Coil, 3, Form::Bool)];
        let named = |(index, (table, address, form)): (usize, (Table, u16, Form))| crate::link::Point {
            name: format!("p{index}").as_str().into(),
            ..point(table, address, form, 1)
        };
        let device = device(points.into_iter().enumerate().map(named).collect());
        let mut holes = Holes::default();
        for (table, start, end) in [
            (Table::Holding, 17, 18),
            (Table::Holding, 7, 9),
            (Table::Holding, 9, 17),
            (Table::Holding, 40, 41),
            (Table::Coil, 3, 3),
        ] {
            holes.add(Hole { table, start, end, found: NOW });
        }
        let expected =
            ["coil 2 and 3 in one request", "holding 7–8 (p0)", "holding 9–16", "holding 17 (p1)", "holding 40"];
        assert_eq!(holes.in_words(&device), expected);
    }

    #[test]
    fn a_damaged_file_tells_nothing_and_does_no_harm() {
        let devices = [device(vec![point(Table::Holding, 7, Form::F32, 1)])];
        let print = fingerprint(&devices[0]);
        for line in [
            "tank",
            "tank x",
            &format!("tank {print:016x} holding 5"),
            &format!("tank {print:016x} holding 9 5 {NOW}"),
            &format!("tank {print:016x} holding 9 99999999999 {NOW}"),
            &format!("tank {print:016x} attic 9 10 {NOW}"),
        ] {
            let found = parse(&format!("{FIRST_LINE}\n{line}\n"), &devices, NOW);
            assert_eq!(found, [Holes::default()], "{line}");
        }
        assert_eq!(parse("\u{0}\u{1}", &devices, NOW), [Holes::default()]);
    }
}
