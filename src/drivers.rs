//! The one file that names every driver.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wharf_contract::{Driver, LinkId};

use crate::broker::Inside;
use crate::config::Site;
use crate::config::rules::Presents;
use crate::mapping::LinkFacts;

/// Builds one driver per link of the site. Nothing is touched yet: that begins when it runs. What a
/// driver learns it keeps in the state directory, if it is given one.
pub fn build(site: &Site, state_dir: Option<&Path>) -> Vec<Arc<dyn Driver>> {
    build_beside(site, state_dir, &Inside::default())
}

/// The same, where those that use the gateway's own broker reach it by that.
pub fn build_beside(site: &Site, state_dir: Option<&Path>, inside: &Inside) -> Vec<Arc<dyn Driver>> {
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
    let names = listed(site).collect::<wharf_ble::Names>();
    #[cfg(feature = "ble")]
    for (name, settings) in site.ble.iter() {
        let driver = wharf_ble::Ble::beside(LinkId::from(name.as_str()), settings, names.clone());
        drivers.push(Arc::new(match state_dir {
            Some(state) => driver.remembering(state.join("ble").join(format!("{name}.sensors"))),
            None => driver,
        }));
    }
    for (name, settings) in site.mysensors.iter() {
        let driver = wharf_mysensors::MySensors::new(LinkId::from(name.as_str()), settings.clone());
        let driver = driver.beside(inside.part(&format!("{}/{name}", wharf_mysensors::KIND)));
        let driver = driver.avoiding(taken_names(site, name.as_str())).sparing(stated_elsewhere(site, name.as_str()));
        drivers.push(Arc::new(match state_dir {
            Some(state) => driver
                .remembering(nodes_file(state, name.as_str()))
                .keeping_firmware_in(state.join("mysensors").join(format!("{name}.firmware"))),
            None => driver,
        }));
    }
    for (name, settings) in site.lines.iter() {
        drivers.push(Arc::new(wharf_lines::Lines::new(LinkId::from(name.as_str()), settings)));
    }
    for (name, settings) in site.mqtt.iter() {
        let driver = wharf_mqtt::Mqtt::new(LinkId::from(name.as_str()), settings);
        let driver = driver.beside(inside.part(&format!("{}/{name}", wharf_mqtt::KIND)));
        drivers.push(Arc::new(driver.belonging_to(site.gateway.as_str()).avoiding(all_names(site))));
    }
    for (name, settings) in site.mqttsn.iter() {
        let own = wharf_mqttsn::Own {
            clients: inside.clients(name.as_str(), settings.username.as_ref().map(|user| user.value.as_str())),
            link: inside.part(&format!("{}/{name}", wharf_mqttsn::KIND)),
        };
        drivers.push(Arc::new(wharf_mqttsn::MqttSn::new(LinkId::from(name.as_str()), settings, Some(own))));
    }
    drivers
}

/// The names that no device may get that is discovered on a broker.
fn all_names(site: &Site) -> impl Iterator<Item = String> + '_ {
    let lines = site.lines.iter().flat_map(|(_, link)| link.devices.iter().map(|(name, _)| name.to_string()));
    // No link is called nothing, so the nodes of all networks are among them.
    taken_names(site, "").chain(lines)
}

/// What the site file calls the devices that are not known by what they say of themselves.
fn listed(site: &Site) -> impl Iterator<Item = &str> {
    let modbus = site.modbus.iter().flat_map(|(_, link)| link.devices.iter().map(|(name, _)| name.as_str()));
    let mysensors = site.mysensors.iter().flat_map(|(_, link)| link.devices.iter().map(|(name, _)| name.as_str()));
    let mqtt = site.mqtt.iter().flat_map(|(_, link)| link.devices.iter().map(|(name, _)| name.as_str()));
    modbus.chain(mysensors).chain(mqtt)
}

/// Where a MySensors link keeps what it knows of its nodes.
pub fn nodes_file(state_dir: &Path, link: &str) -> PathBuf {
    state_dir.join("mysensors").join(format!("{link}.nodes"))
}

/// The names that no node of this link may get: those of the devices that the site file lists, and those
/// that nodes of other networks have by their numbers.
fn taken_names<'s>(site: &'s Site, link: &'s str) -> impl Iterator<Item = String> + 's {
    #[cfg(feature = "ble")]
    let ble = site.ble.iter().flat_map(|(_, link)| link.devices.iter().map(|(name, _)| name.as_str()));
    #[cfg(not(feature = "ble"))]
    let ble = std::iter::empty();
    let networks = site.mysensors.iter().map(|(name, _)| name.as_str()).filter(move |name| *name != link);
    let numbered = networks.flat_map(|name| (0..u8::MAX).map(move |node| format!("{name}-{node}")));
    listed(site).chain(ble).map(str::to_owned).chain(numbered)
}

/// The node numbers that the site file gives to others than the nodes of this link; with the device where one is
/// shown as a node.
fn stated_elsewhere<'s>(site: &'s Site, link: &'s str) -> impl Iterator<Item = (u8, Option<String>)> + 's {
    let networks = site.mysensors.iter().filter(move |(name, _)| name.as_str() != link);
    let nodes = networks.flat_map(|(_, link)| link.devices.iter().map(|(_, device)| (device.node.get(), None)));
    let shown = Presents::of(site).stated.into_iter();
    nodes.chain(shown.map(|(device, node)| (node, Some(device.to_string()))))
}

/// The links of these drivers, as mapping rules see them.
pub fn links(drivers: &[Arc<dyn Driver>]) -> Vec<LinkFacts> {
    drivers
        .iter()
        .map(|driver| LinkFacts { link: driver.name().clone(), driver: driver.kind(), labels: driver.labels() })
        .collect()
}
