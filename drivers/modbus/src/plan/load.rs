//! How much of a link's time its plan takes, and the plan as people are shown it. Pure.

use std::borrow::Borrow;

use wharf_contract::plan::spell;
use wharf_contract::{DevicePlan, LinkPlan, RequestPlan};

use super::cost::{Cost, Pace};
use super::{Block, Holes, plan_device};
use crate::link::{Device, Link};

/// The share of the link's time that these blocks take: 1 is all of it.
pub(crate) fn of(blocks: impl IntoIterator<Item = impl Borrow<Block>>, cost: &Cost) -> f64 {
    let share = |block: &Block| cost.of(block.table, u32::from(block.count)).as_secs_f64() / block.every.as_secs_f64();
    blocks.into_iter().map(|block| share(block.borrow())).sum()
}

/// What is going to be asked for on this link, as far as its settings and the holes of its devices tell.
/// What else it learns may change that.
pub(crate) fn explain(link: &Link, holes: &[Holes]) -> LinkPlan {
    let cost = link.cost();
    let none = Holes::default();
    let devices = link.devices.iter().enumerate();
    let devices =
        devices.map(|(index, device)| explain_device(index, device, &cost, holes.get(index).unwrap_or(&none)));
    LinkPlan {
        place: link.transport.way.to_string(),
        pace: link.pace_in_words(),
        is_certain: matches!(link.pace(), Pace::Serial { .. }),
        settings: Vec::new(),
        devices: devices.collect(),
        forget: None,
    }
}

fn explain_device(index: usize, device: &Device, cost: &Cost, holes: &Holes) -> DevicePlan {
    let blocks = plan_device(index, device, cost, holes);
    let settings = vec![
        ("unit", device.unit_id.to_string()),
        ("timeout", spell(device.timeout)),
        ("retries", device.retries.to_string()),
        ("max_registers", device.max_registers.to_string()),
    ];
    let requests = blocks.iter().map(|block| explain_block(block, device, cost)).collect();
    DevicePlan { device: device.name.clone(), settings, requests, refuses: holes.in_words(device) }
}

fn explain_block(block: &Block, device: &Device, cost: &Cost) -> RequestPlan {
    let (start, end) = block.span();
    let what = match end - start {
        1 => format!("{} {start}", block.table.key()),
        _ => format!("{} {start}–{}", block.table.key(), end - 1),
    };
    let points = block.slots.iter().map(|slot| &device.points[slot.point]);
    RequestPlan {
        what,
        every: block.every,
        takes: cost.of(block.table, u32::from(block.count)),
        points: points.map(|point| (point.name.clone(), point.every)).collect(),
    }
}
