//! The one file that names every driver.

use std::sync::Arc;

use wharf_contract::{Driver, LinkId};

use crate::config::Site;
use crate::mapping::LinkFacts;

/// Builds one driver per link of the site. Nothing is touched yet: that begins when it runs.
pub fn build(site: &Site) -> Vec<Arc<dyn Driver>> {
    let mut drivers: Vec<Arc<dyn Driver>> = Vec::new();
    for (name, settings) in site.modbus.iter() {
        drivers.push(Arc::new(wharf_modbus::Modbus::new(LinkId::from(name.as_str()), settings.clone())));
    }
    for (name, settings) in site.mysensors.iter() {
        drivers.push(Arc::new(wharf_mysensors::MySensors::new(LinkId::from(name.as_str()), settings.clone())));
    }
    drivers
}

/// The links of these drivers, as mapping rules see them.
pub fn links(drivers: &[Arc<dyn Driver>]) -> Vec<LinkFacts> {
    drivers
        .iter()
        .map(|driver| LinkFacts { link: driver.name().clone(), driver: driver.kind(), labels: driver.labels() })
        .collect()
}
