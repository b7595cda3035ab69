//! How the numbers of virtual nodes and children are kept on disk.

use serde_json::{Value as Json, json};
use wharf_contract::{DeviceId, Unit};

use super::super::kinds::Kind;
use super::Nodes;
use super::node::Child;

impl Nodes {
    /// What is to be kept on disk.
    pub fn to_text(&self) -> String {
        let child = |(number, child): (&u8, &Child)| {
            let mut json = json!({
                "child": number,
                "point": child.point.as_str(),
                "sensor": child.kind.sensor,
                "value": child.kind.value,
            });
            if let Some(unit) = &child.unit {
                json["unit"] = unit.as_str().into();
            }
            json
        };
        let nodes = self.nodes.iter().map(|(number, node)| {
            let children: Vec<_> = node.children.iter().map(child).collect();
            json!({ "node": number, "device": node.device.as_str(), "children": children })
        });
        json!({ "nodes": nodes.collect::<Vec<_>>() }).to_string()
    }

    /// A node as it was kept.
    pub(super) fn recall(&mut self, known: &Json) {
        let number = |json: &Json| json.as_u64().and_then(|n| u8::try_from(n).ok()).filter(|n| (1..=254).contains(n));
        let (Some(kept), Some(device)) = (number(&known["node"]), known["device"].as_str()) else { return };
        let device = DeviceId::from(device);
        let stated = self.stated.get(&device).copied();
        let is_anothers = stated.is_none() && self.stated.values().any(|taken| *taken == kept);
        let number_now = stated.unwrap_or(kept);
        // What the site file gives to another is that one's, and this one gets a new one when it is heard.
        if is_anothers || self.nodes.contains_key(&number_now) || self.numbers.contains_key(&device) {
            return;
        }
        self.add(number_now, device);
        let Some(node) = self.nodes.get_mut(&number_now) else { return };
        for child in known["children"].as_array().into_iter().flatten() {
            let kind = |key: &str| child[key].as_u64().and_then(|n| u8::try_from(n).ok());
            let (Some(place), Some(point)) = (number(&child["child"]), child["point"].as_str()) else { continue };
            let (Some(sensor), Some(value)) = (kind("sensor"), kind("value")) else { continue };
            if node.children.contains_key(&place) || node.by_point.contains_key(point) {
                continue;
            }
            let unit = child["unit"].as_str().map(Unit::from);
            node.add(place, Child { point: point.into(), kind: Kind { sensor, value }, unit, last: None });
        }
    }
}
