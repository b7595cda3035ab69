//! Connections by themselves, and listeners with clients of other makers.

mod connections;
mod sockets;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::broker::figures::Figures;
use crate::broker::gate::Gate;
use crate::broker::hub::Hub;
use crate::broker::limits::Limits;
use crate::broker::rights::{Door, Rules};
use crate::broker::saved::Forgetful;

/// A broker with these bounds, without listeners.
fn common(limits: Limits) -> Arc<Common> {
    with_rules(limits, Rules::open())
}

/// The same, with rules.
fn with_rules(limits: Limits, rules: Rules) -> Arc<Common> {
    let figures = Arc::new(Figures::default());
    let hub = Hub::new(limits.clone(), figures.clone(), Box::new(Forgetful));
    let door = Door::new(rules, figures.clone()).unwrap();
    Arc::new(Common::new(hub, figures, limits, Arc::new(door), Gate::for_tests()))
}

fn counted(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
