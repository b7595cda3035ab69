//! How good the plans are: against all there are on small cases, and counted on layouts that
//! manufacturers publish.

#![cfg(test)]

use std::time::Duration;

use super::cost::Pace;
use super::cost::tests::serial;
use super::tests::{device, point};
use super::*;
use crate::link::Point;
use crate::value::layout::Form;

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// The load of a plan.
fn load(blocks: &[Block], cost: &Cost) -> f64 {
    let each = |block: &Block| cost.of(block.table, u32::from(block.count)).as_secs_f64() / block.every.as_secs_f64();
    blocks.iter().map(each).sum()
}

/// The least load of all ways to share the points out to requests.
fn least(points: &[Point], cost: &Cost, holes: &Holes) -> f64 {
    fn go(points: &[Point], groups: &mut Vec<Vec<usize>>, next: usize, cost: &Cost, holes: &Holes) -> f64 {
        if next == points.len() {
            return groups.iter().map(|group| price(points, group, cost, holes)).sum();
        }
        let mut best = f64::INFINITY;
        for index in 0..=groups.len() {
            if index == groups.len() {
                groups.push(Vec::new());
            }
            groups[index].push(next);
            best = best.min(go(points, groups, next + 1, cost, holes));
            groups[index].pop();
            if groups[index].is_empty() {
                groups.pop();
            }
        }
        best
    }
    go(points, &mut Vec::new(), 0, cost, holes)
}

fn price(points: &[Point], group: &[usize], cost: &Cost, holes: &Holes) -> f64 {
    let chosen = || group.iter().map(|&index| &points[index]);
    let start = chosen().map(|point| u32::from(point.address)).min().unwrap();
    let end = chosen().map(|point| u32::from(point.address + point.layout.width())).max().unwrap();
    let every = chosen().map(|point| point.every).min().unwrap();
    let fits = chosen().all(|point| point.every.as_nanos().is_multiple_of(every.as_nanos()));
    let allowed = group.len() == 1 || (end - start <= 125 && !holes.crossed(points[0].table, start, end));
    if fits && allowed {
        cost.of(points[0].table, end - start).as_secs_f64() / every.as_secs_f64()
    } else {
        f64::INFINITY
    }
}

fn some_points(dice: &mut Dice, rhythms: &[u64]) -> Vec<Point> {
    let reach = [12, 60, 300][dice.throw(3) as usize];
    (0..1 + dice.throw(7))
        .map(|_| {
            let form = [Form::U16, Form::F32, Form::I64, Form::Text { registers: 30 }][dice.throw(4) as usize];
            let seconds = rhythms[dice.throw(rhythms.len() as u64) as usize];
            point(Table::Holding, dice.throw(reach) as u16, form, seconds)
        })
        .collect()
}

fn some_holes(dice: &mut Dice) -> Holes {
    let mut holes = Holes::default();
    for _ in 0..dice.throw(3) {
        let start = dice.throw(60) as u32;
        let end = start + dice.throw(3) as u32;
        holes.add(holes::Hole { table: Table::Holding, start, end, found: 0 });
    }
    holes
}

fn costs() -> [Cost; 3] {
    let network = Pace::Network { round_trip: Duration::from_millis(2) }.cost();
    [serial(9_600, 10).cost(), serial(115_200, 11).cost(), network]
}

#[test]
fn no_plan_of_points_of_one_rhythm_is_cheaper() {
    let mut dice = Dice(1);
    for case in 0..600 {
        let cost = costs()[case % 3];
        let (points, holes) = (some_points(&mut dice, &[1]), some_holes(&mut dice));
        let found = load(&plan_device(0, &device(points.clone()), &cost, &holes), &cost);
        let best = least(&points, &cost, &holes);
        assert!(found <= best * (1.0 + 1e-9), "{found} where {best} is possible: {points:?} {holes:?}");
    }
}

#[test]
fn a_plan_of_points_of_several_rhythms_is_seldom_dearer_than_the_best_and_never_by_much() {
    let mut dice = Dice(2);
    let (mut dearer, mut worst) = (0, 1.0_f64);
    for case in 0..600 {
        let cost = costs()[case % 3];
        let (points, holes) = (some_points(&mut dice, &[1, 2, 10, 15]), some_holes(&mut dice));
        let found = load(&plan_device(0, &device(points.clone()), &cost, &holes), &cost);
        let ratio = found / least(&points, &cost, &holes);
        dearer += usize::from(ratio > 1.0 + 1e-9);
        worst = worst.max(ratio);
    }
    assert!(dearer <= 30 && worst < 1.25, "{dearer} of 600 plans are dearer than the best, one by {worst:.2}");
}

fn requests(points: Vec<Point>, cost: &Cost) -> usize {
    plan_device(0, &device(points), cost, &Holes::default()).len()
}

/// Eastron SDM630 Modbus: the input registers of its protocol document, 37 values of 32 bits.
fn sdm630() -> Vec<Point> {
    let addresses = [
        0, 2, 4, 6, 8, 10, 12, 14, 16, 48, 52, 56, 60, 62, 70, 72, 74, 76, 78, 80, 84, 86, 100, 104, 106, 224, 342,
        344, 346, 348, 350, 352, 354, 356, 358, 360, 362,
    ];
    addresses.map(|address| point(Table::Input, address, Form::F32, 10)).to_vec()
}

/// A SunSpec three-phase inverter at 40000: the common model (1) and model 103, with the lengths
/// their public definitions give.
fn sunspec_inverter() -> Vec<Point> {
    let text = |address, registers| point(Table::Holding, address, Form::Text { registers }, 10);
    let word = |address| point(Table::Holding, address, Form::U16, 10);
    let wide = |address| point(Table::Holding, address, Form::U32, 10);
    let common = [text(40_004, 16), text(40_020, 16), text(40_036, 8), text(40_044, 8), text(40_052, 16), word(40_068)];
    let mut points = common.to_vec();
    points.extend((40_072..40_094).map(word));
    points.push(wide(40_094));
    points.extend((40_096..40_110).map(word));
    points.extend([40_110, 40_112, 40_114, 40_116, 40_118, 40_120].map(wide));
    points
}

#[test]
fn published_layouts_take_as_few_requests_as_they_can() {
    let [slow, fast, network] = costs();
    // On a serial line a request costs as much as reading over ten registers: cuts after 18, 88,
    // 108 and 226, and none in gaps of two, six or eight.
    assert_eq!(requests(sdm630(), &slow), 5);
    // At 115200 baud it costs as much as 26 registers: the gap of twelve is read over.
    assert_eq!(requests(sdm630(), &fast), 4);
    assert_eq!(requests(sdm630(), &network), 3);
    // 118 registers in one go.
    assert_eq!(requests(sunspec_inverter(), &slow), 1);
    assert_eq!(requests(sunspec_inverter(), &fast), 1);
    assert_eq!(requests(sunspec_inverter(), &network), 1);
}

#[test]
fn two_hundred_points_scattered_over_four_thousand_registers_are_joined_as_far_as_that_pays() {
    let mut dice = Dice(3);
    let points: Vec<Point> = (0..200).map(|_| point(Table::Holding, dice.throw(4_000) as u16, Form::U16, 10)).collect();
    let [slow, fast, network] = costs();
    let found = [slow, fast, network].map(|cost| requests(points.clone(), &cost));
    assert_eq!(found, [108, 58, 34], "at 9600 baud, at 115200 baud, over a network");
}

#[test]
fn a_plan_for_ten_thousand_points_is_made_in_no_time_to_speak_of() {
    // Bits of registers: sixteen points in each place, the hardest case for the planner.
    let points: Vec<Point> = (0..10_000).map(|n| point(Table::Holding, n / 16, Form::U16, 10)).collect();
    assert_eq!(requests(points, &costs()[0]), 5);
}
