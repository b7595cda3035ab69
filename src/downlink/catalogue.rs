//! Every point that the site file declares, found by name or by its driver's own address.

use std::collections::{BTreeMap, HashMap};

use wharf_contract::{DeviceId, LinkId, PointInfo};

/// A declared point and the link it is on.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The link whose driver owns it.
    pub link: LinkId,
    /// The point.
    pub info: PointInfo,
}

/// Every declared point of the site.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    devices: BTreeMap<DeviceId, Vec<Entry>>,
    /// Node, child and type of MySensors points, for commands in classic form.
    classic: HashMap<(u8, u8, u8), Vec<(DeviceId, usize)>>,
}

impl Catalogue {
    /// Adds the points of one link. Device names are unique over all links; the site file's check
    /// sees to that.
    pub fn add(&mut self, link: &LinkId, points: Vec<PointInfo>) {
        for info in points {
            let entries = self.devices.entry(info.device.clone()).or_default();
            if let Some(address) = classic_address(&info) {
                self.classic.entry(address).or_default().push((info.device.clone(), entries.len()));
            }
            entries.push(Entry { link: link.clone(), info });
        }
        // No more will come: what is left of the room for them is given back.
        self.devices.values_mut().for_each(Vec::shrink_to_fit);
    }

    /// The points of a device.
    pub fn device(&self, name: &str) -> Option<&[Entry]> {
        self.devices.get(name).map(Vec::as_slice)
    }

    /// The points with that classic address: several, if several links have one.
    pub fn classic(&self, node: u8, child: u8, kind: u8) -> Vec<&Entry> {
        let places = self.classic.get(&(node, child, kind)).map(Vec::as_slice).unwrap_or_default();
        places.iter().filter_map(|(device, index)| self.devices.get(device)?.get(*index)).collect()
    }

    /// All points, by device name.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.devices.values().flatten()
    }
}

fn classic_address(info: &PointInfo) -> Option<(u8, u8, u8)> {
    let number = |label: &str| info.labels.get(label)?.parse().ok();
    Some((number("node")?, number("child")?, number("type")?))
}
