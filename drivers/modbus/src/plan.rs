//! Points become few block reads. A request costs a turnaround however little it asks for, so
//! neighbours that are due together travel together. Pure: devices in, blocks out.

use std::time::Duration;

use crate::link::{Device, Table};

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
    /// How often.
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
}

/// What a request may cost and hold. The place for a finer model, should a link deserve one.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// The most a single answer can carry, by the protocol.
    largest: u32,
    /// How many unused items may be read over to save a request.
    gap: u32,
}

impl Limits {
    fn of(table: Table) -> Self {
        if table.is_bits() { Self { largest: 2000, gap: 64 } } else { Self { largest: 125, gap: 8 } }
    }
}

/// The blocks that read every point of every device, each point in exactly one of them.
pub(crate) fn plan(devices: &[Device]) -> Vec<Block> {
    devices.iter().enumerate().flat_map(|(index, device)| plan_device(index, device)).collect()
}

fn plan_device(index: usize, device: &Device) -> Vec<Block> {
    let mut order: Vec<usize> = (0..device.points.len()).collect();
    order.sort_by_key(|&point| {
        let point = &device.points[point];
        (point.table, point.every, point.address)
    });
    let mut blocks: Vec<Block> = Vec::new();
    for point in order {
        if !blocks.last_mut().is_some_and(|block| block.take_in(device, point)) {
            blocks.push(Block::alone(index, device, point));
        }
    }
    blocks
}

impl Block {
    /// The block that reads this point and nothing else.
    pub(crate) fn alone(index: usize, device: &Device, point: usize) -> Self {
        let spec = &device.points[point];
        let count = spec.layout.width();
        let slots = vec![Slot { point, at: 0, count }];
        Self { device: index, table: spec.table, start: spec.address, count, every: spec.every, slots }
    }

    /// Two blocks for the same points, or `None` for a single point.
    pub(crate) fn halves(&self) -> Option<(Self, Self)> {
        let (left, right) = self.slots.split_at(self.slots.len() / 2);
        Some((self.part(left)?, self.part(right)?))
    }

    /// The block for some of the points: slots in a row, by address.
    fn part(&self, slots: &[Slot]) -> Option<Self> {
        let first = slots.first()?.at;
        let count = slots.iter().map(|slot| slot.at - first + slot.count).max()?;
        let slots = slots.iter().map(|slot| Slot { at: slot.at - first, ..*slot }).collect();
        Some(Self { start: self.start + first, count, slots, ..self.clone() })
    }

    /// Takes the point in, if it belongs here and is near enough. Points of one table come by
    /// address, so among them the block never starts later than the point.
    fn take_in(&mut self, device: &Device, point: usize) -> bool {
        let spec = &device.points[point];
        if (self.table, self.every) != (spec.table, spec.every) || spec.address < self.start {
            return false;
        }
        let limits = Limits::of(self.table);
        let at = spec.address - self.start;
        let width = spec.layout.width();
        let count = u32::from(self.count).max(u32::from(at) + u32::from(width));
        if u32::from(at) > u32::from(self.count) + limits.gap || count > limits.largest {
            return false;
        }
        let Ok(count) = u16::try_from(count) else { return false };
        self.count = count;
        self.slots.push(Slot { point, at, count: width });
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::link::{ByteOrder, Form, Layout, Point, WordOrder};

    fn point(table: Table, address: u16, form: Form, seconds: u64) -> Point {
        Point {
            name: format!("{table}-{address}").into(),
            table,
            address,
            layout: Layout { form, word_order: WordOrder::HighFirst, byte_order: ByteOrder::Big, scaling: None },
            every: Duration::from_secs(seconds),
            unit: None,
            write: None,
        }
    }

    fn blocks_of(points: Vec<Point>) -> Vec<Block> {
        plan(&[Device { name: "tank".into(), unit_id: 7, points }])
    }

    fn check(points: Vec<Point>, expected: &[(u16, u16)]) {
        let spans: Vec<_> = blocks_of(points).iter().map(|block| (block.start, block.count)).collect();
        assert_eq!(spans, expected);
    }

    #[test]
    fn neighbours_travel_together_whatever_their_order_in_the_file() {
        let holding = |address| point(Table::Holding, address, Form::F32, 10);
        check(vec![holding(104), holding(100), holding(102)], &[(100, 6)]);
    }

    #[test]
    fn a_small_gap_is_read_over_and_a_large_one_is_not() {
        let holding = |address| point(Table::Holding, address, Form::U16, 10);
        check(vec![holding(0), holding(9)], &[(0, 10)]);
        check(vec![holding(0), holding(10)], &[(0, 1), (10, 1)]);
        let coil = |address| point(Table::Coil, address, Form::Bool, 10);
        check(vec![coil(0), coil(65)], &[(0, 66)]);
        check(vec![coil(0), coil(66)], &[(0, 1), (66, 1)]);
    }

    #[test]
    fn tables_intervals_and_devices_keep_apart() {
        check(vec![point(Table::Holding, 0, Form::U16, 1), point(Table::Input, 1, Form::U16, 1)], &[(0, 1), (1, 1)]);
        check(vec![point(Table::Holding, 0, Form::U16, 1), point(Table::Holding, 1, Form::U16, 9)], &[(0, 1), (1, 1)]);
        let device =
            |name: &str| Device { name: name.into(), unit_id: 1, points: vec![point(Table::Holding, 0, Form::U16, 1)] };
        let devices: Vec<_> = plan(&[device("a"), device("b")]).iter().map(|block| block.device).collect();
        assert_eq!(devices, [0, 1]);
    }

    #[test]
    fn a_request_never_asks_for_more_than_an_answer_can_carry() {
        let words = (0..126).map(|address| point(Table::Holding, address, Form::U16, 1)).collect();
        check(words, &[(0, 125), (125, 1)]);
        let wide = (0..63).map(|n| point(Table::Input, 2 * n, Form::F32, 1)).collect();
        check(wide, &[(0, 124), (124, 2)]);
    }

    #[test]
    fn the_last_address_of_a_table_can_be_read() {
        let last = |address, form| point(Table::Holding, address, form, 1);
        check(vec![last(65_534, Form::F32), last(65_535, Form::U16)], &[(65_534, 2)]);
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
        (table, address, form, 1..3_u64).prop_map(|(table, address, form, seconds)| {
            let form = if table.is_bits() { Form::Bool } else { form };
            let mut point = point(table, address, form, seconds);
            point.address = point.address.min(u16::MAX - (point.layout.width() - 1));
            point
        })
    }

    proptest! {
        #[test]
        fn every_point_is_whole_in_exactly_one_block(points in prop::collection::vec(any_point(), 0..200)) {
            let blocks = blocks_of(points.clone());
            let mut seen = vec![0; points.len()];
            for block in &blocks {
                let largest = if block.table.is_bits() { 2000 } else { 125 };
                prop_assert!((1..=largest).contains(&block.count));
                prop_assert!(u32::from(block.start) + u32::from(block.count) <= 65_536);
                for slot in &block.slots {
                    let point = &points[slot.point];
                    seen[slot.point] += 1;
                    prop_assert_eq!((block.table, block.every), (point.table, point.every));
                    prop_assert_eq!(u32::from(block.start) + u32::from(slot.at), u32::from(point.address));
                    prop_assert_eq!(slot.count, point.layout.width());
                    prop_assert!(slot.at + slot.count <= block.count);
                }
            }
            prop_assert!(seen.iter().all(|&times| times == 1), "{seen:?}");
            for block in &blocks {
                let Some((left, right)) = block.halves() else {
                    prop_assert_eq!(block.slots.len(), 1);
                    continue;
                };
                let place = |block: &Block| -> Vec<_> {
                    block.slots.iter().map(|slot| (slot.point, block.start + slot.at, slot.count)).collect()
                };
                prop_assert_eq!([place(&left), place(&right)].concat(), place(block));
                prop_assert!(left.slots.iter().chain(&right.slots).all(|slot| slot.count <= 125));
            }
        }
    }
}
