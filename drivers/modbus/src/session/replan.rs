//! A session makes another plan when it has learnt something: what a device refuses to have read, or
//! what requests really cost.

use tokio::time::Instant;
use tracing::{info, warn};

use super::{LONGEST_REVIEW, Session, WORTH_IT, Work};
use crate::link::Device;
use crate::plan::{Block, Cost, Holes, load, plan_device};

impl Session<'_> {
    /// Makes a new plan where there is reason to: holes were found or filled, or reads have been
    /// measured to cost something else than was assumed.
    pub(super) async fn look_again(&mut self, device: usize) {
        let state = &mut self.states[device];
        if state.search.take_news() {
            let cost = self.cost();
            let (link, search) = (self.link, &self.states[device].search);
            let blocks = plan_device(device, &link.devices[device], &cost, &search.holes);
            let refused = refused_points(&link.devices[device], &search.holes);
            let told = std::mem::replace(&mut self.states[device].refused, refused.clone());
            if refused.is_empty() || refused == told {
                info!(link = %link.name, device = %link.devices[device].name, "the device refuses to have some places between its points read; they are left out");
            } else {
                warn!(link = %link.name, device = %link.devices[device].name, points = %refused, "the device refuses to have these points read: are address, table and type right?");
            }
            self.adopt(device, blocks);
            let holes = self.states.iter().map(|state| state.search.holes.clone()).collect();
            self.memory.keep_holes(holes);
        }
        if Instant::now() >= self.review.at {
            self.review.wait = (self.review.wait * 2).min(LONGEST_REVIEW);
            self.review.at = Instant::now() + self.review.wait;
            self.memory.keep_gauge(self.gauge);
            self.review_plan().await;
        }
    }

    /// What reads cost, as far as it was measured.
    fn cost(&self) -> Cost {
        self.gauge.cost(self.link.cost())
    }

    async fn review_plan(&mut self) {
        let cost = self.cost();
        for (device, settings) in self.link.devices.iter().enumerate() {
            let state = &self.states[device];
            if state.search.is_searching() {
                continue;
            }
            let blocks = plan_device(device, settings, &cost, &state.search.holes);
            let before = load::of(state.blocks.iter().map(|work| &*work.block), &cost);
            let after = load::of(&blocks, &cost);
            if after < before * WORTH_IT {
                info!(link = %self.link.name, device = %settings.name, requests = blocks.len(), was = state.blocks.len(), "a cheaper plan, by what requests were measured to cost");
                self.adopt(device, blocks);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Reads the device by another plan from now on. Each block is due when the first of its
    /// points would have been.
    fn adopt(&mut self, device: usize, blocks: Vec<Block>) {
        let now = Instant::now();
        let state = &mut self.states[device];
        let mut due = vec![now; self.link.devices[device].points.len()];
        let mut known: Vec<Option<usize>> = vec![None; due.len()];
        for (index, work) in state.blocks.iter().enumerate() {
            for slot in &work.block.slots {
                due[slot.point] = self.schedule.due(device, index).unwrap_or(now);
                known[slot.point] = Some(index);
            }
        }
        let first_due = |block: &Block| block.slots.iter().map(|slot| due[slot.point]).min().unwrap_or(now);
        let rhythms: Vec<_> = blocks.iter().map(|block| (block.every, first_due(block))).collect();
        let mut old: Vec<Option<Work>> = std::mem::take(&mut state.blocks).into_iter().map(Some).collect();
        state.answered = None;
        state.blocks = blocks
            .into_iter()
            .map(|block| {
                // A block that stays as it was keeps what is known of it.
                let same = block.slots.first().and_then(|slot| known[slot.point]).and_then(|index| old.get_mut(index));
                match same.and_then(|work| work.take_if(|work| *work.block == block)) {
                    Some(work) => Work { told: None, ..work },
                    None => Work::new(block),
                }
            })
            .collect();
        self.in_vain -= old.iter().flatten().filter(|work| work.deaf.is_open()).count();
        self.schedule.replace(device, rhythms);
    }
}

/// The names of the points that stand where nothing can be read.
fn refused_points(device: &Device, holes: &Holes) -> String {
    let refused = device.points.iter().filter(|point| {
        let start = u32::from(point.address);
        holes.crossed(point.table, start, start + u32::from(point.layout.width()))
    });
    refused.map(|point| point.name.as_str()).collect::<Vec<_>>().join(", ")
}
