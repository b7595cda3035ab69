//! The one file that names every driver.

use std::path::Path;
use std::sync::Arc;

use wharf_contract::{Driver, LinkId};

use crate::config::Site;
use crate::mapping::LinkFacts;

/// Builds one driver per link of the site. Nothing is touched yet: that begins when it runs. What a
/// driver learns it keeps in the state directory, if it is given one.
pub fn build(site: &Site, state_dir: Option<&Path>) -> Vec<Arc<dyn Driver>> {
    let mut drivers: Vec<Arc<dyn Driver>> = Vec::new();
    for (name, settings) in site.modbus.iter() {
        let driver = wharf_modbus::Modbus::new(LinkId::from(name.as_str()), settings);
        drivers.push(Arc::new(match state_dir {
            Some(state) => driver
                .remembering(state.join("modbus").join(format!("{name}.holes")))
                .counting_in(state.join("modbus").join(format!("{name}.counters"))),
            None => driver,
        }));
    }
    #[cfg(feature = "ble")]
    let names = device_names(site);
    #[cfg(feature = "ble")]
    for (name, settings) in site.ble.iter() {
        let driver = wharf_ble::Ble::beside(LinkId::from(name.as_str()), settings, names.clone());
        drivers.push(Arc::new(match state_dir {
            Some(state) => driver.remembering(state.join("ble").join(format!("{name}.sensors"))),
            None => driver,
        }));
    }
    for (name, settings) in site.mysensors.iter() {
        drivers.push(Arc::new(wharf_mysensors::MySensors::new(LinkId::from(name.as_str()), settings.clone())));
    }
    drivers
}

/// What the devices in the site file are called, so that none of them is adopted twice.
#[cfg(feature = "ble")]
fn device_names(site: &Site) -> wharf_ble::Names {
    let modbus = site.modbus.iter().flat_map(|(_, link)| link.devices.iter().map(|(name, _)| name.as_str()));
    let mysensors = site.mysensors.iter().flat_map(|(_, link)| link.devices.iter().map(|(name, _)| name.as_str()));
    modbus.chain(mysensors).collect()
}

/// The links of these drivers, as mapping rules see them.
pub fn links(drivers: &[Arc<dyn Driver>]) -> Vec<LinkFacts> {
    drivers
        .iter()
        .map(|driver| LinkFacts { link: driver.name().clone(), driver: driver.kind(), labels: driver.labels() })
        .collect()
}
