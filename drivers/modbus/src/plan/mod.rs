//! Points become the cheapest block reads. A request costs its link something however little it
//! asks for, so neighbours travel together, and a gap is read over where that is cheaper than
//! another request. Pure: devices, costs and known holes in, blocks out.
//!
//! - [`cost`] says what a read costs; [`holes`] which places are never read over.
//! - [`load`] says how much of the link's time a plan takes.

pub(crate) mod cost;
pub(crate) mod holes;
pub(crate) mod load;
#[cfg(test)]
mod optimum;

use std::time::Duration;

use crate::link::{Device, Table};
pub(crate) use cost::Cost;
pub(crate) use holes::Holes;

/// The most registers and bits that one answer can carry, by the protocol.
const MOST_REGISTERS: u32 = 125;
const MOST_BITS: u32 = 2000;

/// One read request and the points it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The device's index on the link.
    pub(crate) device: usize,
    pub(crate) table: Table,
    /// The address of the first bit or register.
    pub(crate) start: u16,
    /// How many bits or registers to ask for; at least 1.
    pub(crate) count: u16,
    /// How often: as its fastest point asks for.
    pub(crate) every: Duration,
    /// The points inside, by address.
    pub(crate) slots: Vec<Slot>,
}

/// A point's place in a block's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The point's index on its device.
    pub(crate) point: usize,
    /// The first bit or register, counted from the block's start.
    pub(crate) at: u16,
    pub(crate) count: u16,
    /// A point that is asked for less often than its block is told on every so many-th turn.
    pub(crate) turns: u64,
}

/// The blocks that read every point of a device, each point in exactly one of them.
pub(crate) fn plan_device(index: usize, device: &Device, cost: &Cost, holes: &Holes) -> Vec<Block> {
    let mut blocks = Vec::new();
    // Nobody answers a broadcast.
    if device.broadcast {
        return blocks;
    }
    for table in [Table::Coil, Table::Discrete, Table::Holding, Table::Input] {
        let rules = Rules { table, largest: largest(device, table), cost, holes };
        let points = device.points.iter().enumerate().filter(|(_, point)| point.table == table);
        let mut spots: Vec<Spot> = points
            .map(|(index, point)| {
                let start = u32::from(point.address);
                Spot { point: index, start, end: start + u32::from(point.layout.width()), every: point.every }
            })
            .collect();
        spots.sort_by_key(|spot| (spot.start, spot.end, spot.every));
        // What stands in a hole is asked for alone: it might be answered some day.
        let (lost, whole): (Vec<Spot>, Vec<Spot>) =
            spots.into_iter().partition(|spot| holes.crossed(table, spot.start, spot.end));
        let mut groups: Vec<Vec<Spot>> = lost.into_iter().map(|spot| vec![spot]).collect();
        for stretch in rules.stretches(&whole) {
            groups.extend(rules.group(stretch));
        }
        let mut found: Vec<Block> = groups.iter().filter_map(|group| Block::of(index, table, group)).collect();
        found.sort_by_key(|block| (block.start, block.every));
        blocks.extend(found);
    }
    blocks
}

/// The most items that one request may ask of a device.
pub(crate) fn largest(device: &Device, table: Table) -> u32 {
    let registers = u32::from(device.max_registers).clamp(1, MOST_REGISTERS);
    if table.is_bits() { (registers * 16).min(MOST_BITS) } else { registers }
}

/// A point as the planner sees it: items from `start` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spot {
    point: usize,
    start: u32,
    end: u32,
    every: Duration,
}

/// What holds for the blocks of one table.
struct Rules<'a> {
    table: Table,
    largest: u32,
    cost: &'a Cost,
    holes: &'a Holes,
}

impl Rules<'_> {
    /// Cuts the points where no request could reach from one to the next.
    fn stretches<'s>(&self, spots: &'s [Spot]) -> Vec<&'s [Spot]> {
        let mut end = 0;
        let mut cuts = vec![0];
        for (index, spot) in spots.iter().enumerate() {
            if index > 0 && spot.start >= end + self.largest {
                cuts.push(index);
            }
            end = end.max(spot.end);
        }
        cuts.push(spots.len());
        cuts.windows(2).map(|cut| &spots[cut[0]..cut[1]]).filter(|stretch| !stretch.is_empty()).collect()
    }

    /// The points that travel together. A stretch is planned twice, rhythm by rhythm and with all
    /// rhythms at once, and the cheaper plan is taken; of two that cost the same, the one with
    /// fewer requests.
    fn group(&self, spots: &[Spot]) -> Vec<Vec<Spot>> {
        let together = self.together(spots);
        if spots.iter().all(|spot| spot.every == spots[0].every) {
            return together;
        }
        let apart = self.rhythm_by_rhythm(spots);
        let best = |groups: &[Vec<Spot>]| {
            let load = groups.iter().map(|group| self.load(group)).sum();
            Best { load, requests: groups.len(), first: 0 }
        };
        if best(&apart).is_better_than(&best(&together)) { apart } else { together }
    }

    /// The cheapest way to cut the points, which come by address, into requests. For one rhythm
    /// it is the cheapest way of all.
    ///
    /// `best[n]` is the best way to read the first n points.
    fn together(&self, spots: &[Spot]) -> Vec<Vec<Spot>> {
        let mut best = vec![Best { load: 0.0, requests: 0, first: 0 }];
        for last in 0..spots.len() {
            let (mut end, mut every, mut common) = (0, Duration::MAX, 0);
            let mut least = Best { load: f64::INFINITY, requests: usize::MAX, first: last };
            for first in (0..=last).rev() {
                let spot = &spots[first];
                end = end.max(spot.end);
                every = every.min(spot.every);
                common = greatest_common_divisor(common, spot.every.as_nanos());
                // Points are never cut, so one alone may be larger than the device likes.
                let alone = first == last;
                if !alone && (end - spot.start > self.largest || self.holes.crossed(self.table, spot.start, end)) {
                    break;
                }
                // A slower point rides along on every n-th turn, so its rhythm has to be a multiple.
                if common != every.as_nanos() {
                    continue;
                }
                let load = best[first].load + self.span_load(spot.start, end, every);
                let found = Best { load, requests: best[first].requests + 1, first };
                if !least.is_better_than(&found) {
                    least = found;
                }
            }
            best.push(least);
        }
        let mut groups = Vec::new();
        let mut end = spots.len();
        while end > 0 {
            let start = best[end].first;
            groups.push(spots[start..end].to_vec());
            end = start;
        }
        groups
    }

    /// The fastest points first; what is slower rides along where it costs nothing.
    fn rhythm_by_rhythm(&self, spots: &[Spot]) -> Vec<Vec<Spot>> {
        let mut rhythms: Vec<Duration> = spots.iter().map(|spot| spot.every).collect();
        rhythms.sort_unstable();
        rhythms.dedup();
        let mut groups: Vec<Vec<Spot>> = Vec::new();
        // Whoever rides along leaves the extent of a group as it is, so it is reckoned once.
        let mut extents: Vec<Extent> = Vec::new();
        for rhythm in rhythms {
            let mut own = Vec::new();
            for spot in spots.iter().filter(|spot| spot.every == rhythm) {
                match extents.iter().position(|extent| takes_along(*extent, spot)) {
                    Some(group) => groups[group].push(*spot),
                    None => own.push(*spot),
                }
            }
            groups.extend(self.together(&own));
            extents.extend(groups[extents.len()..].iter().map(|group| extent(group)));
        }
        groups
    }

    /// The share of the link's time that these points take in one request.
    fn load(&self, group: &[Spot]) -> f64 {
        let (start, end, every) = extent(group);
        self.span_load(start, end, every)
    }

    fn span_load(&self, start: u32, end: u32, every: Duration) -> f64 {
        self.cost.of(self.table, end - start).as_secs_f64() / every.as_secs_f64()
    }
}

/// The best way to read the first points of a row.
#[derive(Clone, Copy, Debug)]
struct Best {
    load: f64,
    requests: usize,
    /// Where its last request begins.
    first: usize,
}

impl Best {
    /// Cheaper, or as cheap with fewer requests. What differs by less than sums of fractions do
    /// among themselves is the same.
    fn is_better_than(&self, other: &Self) -> bool {
        let near = other.load.min(self.load) * 1e-9;
        self.load < other.load - near || (self.load <= other.load + near && self.requests < other.requests)
    }
}

/// Whether a group reads the point's place anyway, at a rhythm that suits it.
fn takes_along((start, end, every): Extent, spot: &Spot) -> bool {
    start <= spot.start && spot.end <= end && spot.every.as_nanos().is_multiple_of(every.as_nanos().max(1))
}

/// From where to before where a group reaches, and its fastest rhythm.
type Extent = (u32, u32, Duration);

fn extent(group: &[Spot]) -> Extent {
    group.iter().fold((u32::MAX, 0, Duration::MAX), |(start, end, every), spot| {
        (start.min(spot.start), end.max(spot.end), every.min(spot.every))
    })
}

fn greatest_common_divisor(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

impl Block {
    /// The block for these points, or `None` for none.
    fn of(device: usize, table: Table, group: &[Spot]) -> Option<Self> {
        let (start, end, every) = extent(group);
        let mut spots = group.to_vec();
        spots.sort_by_key(|spot| (spot.start, spot.end, spot.point));
        let slot = |spot: &Spot| {
            let turns = spot.every.as_nanos() / every.as_nanos().max(1);
            Some(Slot {
                point: spot.point,
                at: u16::try_from(spot.start - start).ok()?,
                count: u16::try_from(spot.end - spot.start).ok()?,
                turns: u64::try_from(turns).unwrap_or(u64::MAX).max(1),
            })
        };
        let slots = spots.iter().map(slot).collect::<Option<Vec<_>>>()?;
        let count = u16::try_from(end.checked_sub(start)?).ok()?;
        Some(Self { device, table, start: u16::try_from(start).ok()?, count, every, slots })
    }

    /// From where to before where it reaches.
    pub(crate) fn span(&self) -> (u32, u32) {
        (u32::from(self.start), u32::from(self.start) + u32::from(self.count))
    }

    /// Two blocks for the same points, or `None` for points that stand in one place.
    pub(crate) fn halves(&self) -> Option<(Self, Self)> {
        let middle = self.slots.len() / 2;
        // Points in one place, such as the bits of one register, are in one request or in none.
        let place = |index: usize| (self.slots[index].at, self.slots[index].count);
        let cut = (middle..self.slots.len()).find(|&cut| cut > 0 && place(cut) != place(cut - 1));
        let cut = cut.or_else(|| (1..middle).rev().find(|&cut| place(cut) != place(cut - 1)))?;
        let (left, right) = self.slots.split_at(cut);
        Some((self.part(left)?, self.part(right)?))
    }

    /// The block for some of the points: slots in a row, by address. Its rhythm is that of the
    /// fastest point in it.
    fn part(&self, slots: &[Slot]) -> Option<Self> {
        let first = slots.first()?.at;
        let count = slots.iter().map(|slot| slot.at - first + slot.count).max()?;
        let fastest = slots.iter().map(|slot| slot.turns).min()?;
        let common = slots.iter().all(|slot| slot.turns.is_multiple_of(fastest));
        let turns = if common { fastest } else { 1 };
        let every = self.every.saturating_mul(u32::try_from(turns).unwrap_or(u32::MAX));
        let slots = slots.iter().map(|slot| Slot { at: slot.at - first, turns: slot.turns / turns, ..*slot }).collect();
        Some(Self { start: self.start + first, count, every, slots, ..self.clone() })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::link::{Layout, Point};
    use crate::value::layout::Form;

    /// Another request costs as much as reading over eight registers.
    const COST: Cost = Cost { request: Duration::from_millis(16), byte: Duration::from_millis(1) };

    pub(crate) fn point(table: Table, address: u16, form: Form, seconds: u64) -> Point {
        Point {
            name: format!("{table}-{address}").into(),
            table,
            address,
            layout: Layout::new(form),
            every: Duration::from_secs(seconds),
            unit: None,
            write: None,
            memory: Default::default(),
        }
    }

    pub(crate) fn device(points: Vec<Point>) -> Device {
        Device {
            name: "tank".into(),
            broadcast: false,
            unit_id: 7,
            timeout: Duration::from_secs(1),
            retries: 1,
            max_registers: 125,
            points,
        }
    }

    fn blocks_of(points: Vec<Point>) -> Vec<Block> {
        plan_device(0, &device(points), &COST, &Holes::default())
    }

    fn spans(blocks: &[Block]) -> Vec<(u16, u16)> {
        blocks.iter().map(|block| (block.start, block.count)).collect()
    }

    #[track_caller]
    fn check(points: Vec<Point>, expected: &[(u16, u16)]) {
        assert_eq!(spans(&blocks_of(points)), expected);
    }

    fn word(address: u16) -> Point {
        point(Table::Holding, address, Form::U16, 10)
    }

    #[test]
    fn neighbours_travel_together_whatever_their_order_in_the_file() {
        let holding = |address| point(Table::Holding, address, Form::F32, 10);
        check(vec![holding(104), holding(100), holding(102)], &[(100, 6)]);
    }

    #[test]
    fn a_gap_is_read_over_while_that_is_no_dearer_than_another_request() {
        check(vec![word(0), word(9)], &[(0, 10)]);
        check(vec![word(0), word(10)], &[(0, 1), (10, 1)]);
        let coil = |address| point(Table::Coil, address, Form::Bool, 10);
        check(vec![coil(0), coil(129)], &[(0, 130)]);
        check(vec![coil(0), coil(300)], &[(0, 1), (300, 1)]);
    }

    #[test]
    fn the_cheapest_cut_is_not_always_the_first_gap_that_is_large() {
        // All in one go does not fit into 125. Cut at the smaller gap, both parts read less.
        check(vec![word(0), word(8), word(60), word(61), word(66), word(124), word(125)], &[(0, 9), (60, 7), (124, 2)]);
        let all: Vec<Point> = (0..=62).chain(66..=130).map(word).collect();
        check(all, &[(0, 63), (66, 65)]);
    }

    #[test]
    fn tables_keep_apart() {
        check(vec![point(Table::Holding, 0, Form::U16, 1), point(Table::Input, 1, Form::U16, 1)], &[(0, 1), (1, 1)]);
    }

    #[test]
    fn a_slow_point_inside_a_fast_block_rides_along_and_is_told_at_its_own_rhythm() {
        let at = |address, seconds| point(Table::Holding, address, Form::U16, seconds);
        let blocks = blocks_of(vec![at(0, 1), at(1, 10), at(2, 1)]);
        assert_eq!(spans(&blocks), [(0, 3)]);
        assert_eq!(blocks[0].every, Duration::from_secs(1));
        assert_eq!(blocks[0].slots.iter().map(|slot| slot.turns).collect::<Vec<_>>(), [1, 10, 1]);
        // Right beside it a slow point costs less than a request of its own; further off it does not.
        assert_eq!(spans(&blocks_of(vec![at(0, 1), at(1, 5)])), [(0, 2)]);
        assert_eq!(spans(&blocks_of(vec![at(0, 1), at(8, 10)])), [(0, 1), (8, 1)]);
    }

    #[test]
    fn a_rhythm_that_is_no_multiple_of_the_other_has_requests_of_its_own() {
        let at = |address, seconds| point(Table::Holding, address, Form::U16, seconds);
        check(vec![at(0, 2), at(1, 3), at(2, 2)], &[(0, 3), (1, 1)]);
    }

    #[test]
    fn a_request_never_asks_for_more_than_an_answer_can_carry() {
        check((0..126).map(word).collect(), &[(0, 1), (1, 125)]);
        let wide: Vec<_> = (0..63).map(|n| point(Table::Input, 2 * n, Form::F32, 1)).collect();
        assert!(blocks_of(wide).iter().all(|block| block.count % 2 == 0 && block.count <= 124));
    }

    #[test]
    fn a_device_that_takes_few_registers_is_asked_for_few_and_a_point_is_never_cut() {
        let mut small = device((0..10).map(word).collect());
        small.max_registers = 4;
        let blocks = plan_device(0, &small, &COST, &Holes::default());
        assert_eq!(blocks.len(), 3);
        assert!(blocks.iter().all(|block| block.count <= 4));
        small.points = vec![word(0), point(Table::Holding, 1, Form::Text { registers: 9 }, 10), word(10)];
        assert_eq!(spans(&plan_device(0, &small, &COST, &Holes::default())), [(0, 1), (1, 9), (10, 1)]);
        small.points = (0..70).map(|address| point(Table::Coil, address, Form::Bool, 1)).collect();
        assert!(plan_device(0, &small, &COST, &Holes::default()).iter().all(|block| block.count <= 64));
    }

    #[test]
    fn a_known_hole_is_never_read_over() {
        let mut holes = Holes::default();
        holes.add(holes::Hole { table: Table::Holding, start: 2, end: 4, found: 0 });
        holes.add(holes::Hole { table: Table::Holding, start: 7, end: 7, found: 0 });
        let blocks = |addresses: &[u16]| {
            let device = device(addresses.iter().copied().map(word).collect());
            spans(&plan_device(0, &device, &COST, &holes))
        };
        assert_eq!(blocks(&[0, 1, 4, 5, 6, 7, 8]), [(0, 2), (4, 3), (7, 2)]);
        assert_eq!(blocks(&[0, 1, 3, 4]), [(0, 2), (3, 1), (4, 1)], "what stands in it is asked for alone");
    }

    #[test]
    fn the_last_address_of_a_table_can_be_read() {
        let last = |address, form| point(Table::Holding, address, form, 1);
        check(vec![last(65_534, Form::F32), last(65_535, Form::U16)], &[(65_534, 2)]);
    }

    #[test]
    fn points_in_one_place_are_halved_from_their_neighbours_and_not_from_each_other() {
        let [block] = &blocks_of(vec![word(5), word(5), word(5), word(6)])[..] else { panic!("one block") };
        let (left, right) = block.halves().unwrap();
        assert_eq!(spans(&[left.clone(), right]), [(5, 1), (6, 1)]);
        assert!(left.halves().is_none());
    }

    fn any_point() -> impl Strategy<Value = Point> {
        let table = prop::sample::select(vec![Table::Coil, Table::Discrete, Table::Holding, Table::Input]);
        let form = prop_oneof![
            Just(Form::U16),
            Just(Form::F32),
            Just(Form::I64),
            (1..=125_u16).prop_map(|registers| Form::Text { registers }),
        ];
        let address = prop_oneof![0..300_u16, any::<u16>()];
        (table, address, form, 1..5_u64).prop_map(|(table, address, form, seconds)| {
            let form = if table.is_bits() { Form::Bool } else { form };
            let mut point = point(table, address, form, seconds);
            point.address = point.address.min(u16::MAX - (point.layout.width() - 1));
            point
        })
    }

    proptest! {
        #[test]
        fn every_point_is_whole_in_exactly_one_block_at_its_own_rhythm(
            points in prop::collection::vec(any_point(), 0..200),
        ) {
            let blocks = blocks_of(points.clone());
            let mut seen = vec![0; points.len()];
            for block in &blocks {
                let largest = if block.table.is_bits() { 2000 } else { 125 };
                prop_assert!((1..=largest).contains(&block.count));
                prop_assert!(u32::from(block.start) + u32::from(block.count) <= 65_536);
                for slot in &block.slots {
                    let point = &points[slot.point];
                    seen[slot.point] += 1;
                    prop_assert_eq!(block.table, point.table);
                    prop_assert_eq!(block.every * u32::try_from(slot.turns).unwrap(), point.every);
                    prop_assert_eq!(u32::from(block.start) + u32::from(slot.at), u32::from(point.address));
                    prop_assert_eq!(slot.count, point.layout.width());
                    prop_assert!(slot.at + slot.count <= block.count);
                }
            }
            prop_assert!(seen.iter().all(|&times| times == 1), "{seen:?}");
            for block in &blocks {
                let Some((left, right)) = block.halves() else {
                    prop_assert!(block.slots.windows(2).all(|two| (two[0].at, two[0].count) == (two[1].at, two[1].count)));
                    continue;
                };
                let place = |block: &Block| -> Vec<_> {
                    let every = |slot: &Slot| block.every * u32::try_from(slot.turns).unwrap();
                    block.slots.iter().map(|slot| (slot.point, block.start + slot.at, slot.count, every(slot))).collect()
                };
                prop_assert_eq!([place(&left), place(&right)].concat(), place(block));
                prop_assert!(left.slots.iter().chain(&right.slots).all(|slot| slot.count <= 125));
            }
        }
    }
}
