//! What no single setting can see: addresses used twice, values that go by no such name.

use std::collections::{HashMap, HashSet};

use wharf_contract::settings::{Context, Entry, NamedEntry, Node, NodeKind, suggest};

use super::{AdoptSettings, DeviceSettings, LinkSettings, PointSettings, Scan, gatt};
use crate::advert::{Address, needs_active_scan, quantity};

pub(super) fn link(link: &LinkSettings, node: &Node, cx: &mut Context<'_>) {
    if link.scan == Scan::Passive {
        hear_too_little(link, node, cx);
    }
    let mut seen: HashMap<Address, &NamedEntry<DeviceSettings>> = HashMap::new();
    for entry in link.devices.entries() {
        let address = entry.value.mac.0;
        if let Some(first) = seen.get(&address) {
            let message = format!("{address} is `{}` already", *first.name);
            let problem = cx.problem(entry.name.span, message);
            problem.path.clone_from(&entry.name.path);
            problem.help("a sensor is one device; what else is to be told of it stands under its `points`");
        } else {
            seen.insert(address, entry);
        }
        let heard = entry.value.points.entries().iter().filter(|point| !gatt::is_of_connection(&entry.value, point));
        heard.for_each(|point| check_name(point, link, cx));
    }
}

/// Warns of sensors that say something only if they are asked, on a link that asks nobody.
fn hear_too_little(link: &LinkSettings, node: &Node, cx: &mut Context<'_>) {
    let warn = |cx: &mut Context<'_>, node: &Node| {
        let message = "sensors of this kind are heard in full only by an active scan, and this link scans passively";
        cx.field_warning(node, "model", message).help("scan: active, or leave them to an adapter that scans actively");
    };
    if let Some(devices) = node.get("devices") {
        cx.within_entry(devices, |cx, node| {
            let mute = link.devices.iter().filter(|(_, device)| device.model.as_deref().is_some_and(needs_active_scan));
            mute.filter_map(|(name, _)| node.get(name.as_str())).for_each(|entry| cx.within_entry(entry, warn));
        });
    }
    if let Some(Entry { value: Node { kind: NodeKind::Sequence(items), .. }, .. }) = node.get("adopt") {
        cx.within("adopt", |cx| {
            let rules = items.iter().zip(&link.adopt).enumerate();
            let mute = rules.filter(|(_, (_, rule))| needs_active_scan(rule.model.trim_matches('*')));
            mute.for_each(|(index, (item, _))| cx.within_item(index, item, warn));
        });
    }
}

/// Whether any sensor has a value of that name.
fn check_name(point: &NamedEntry<PointSettings>, link: &LinkSettings, cx: &mut Context<'_>) {
    let given = point.name.as_str();
    let mut described = link.descriptions.iter().flat_map(|(_, description)| description.points.iter());
    if is_a_value(given) || described.any(|(name, _)| name.as_str() == given) {
        return;
    }
    let problem = cx.problem(point.name.span, format!("no value that a format reads is called `{given}`"));
    problem.path.clone_from(&point.name.path);
    problem.severity = wharf_contract::settings::Severity::Warning;
    problem.help(match suggest(given, quantity::ALL.iter().map(|quantity| quantity.name)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`wharf scan ble` shows the names of what a sensor sends".to_owned(),
    });
}

pub(super) fn device(device: &DeviceSettings, node: &Node, cx: &mut Context<'_>) {
    gatt::device(device, node, cx);
    let mut names = HashSet::new();
    for entry in device.points.entries() {
        let told = entry.value.name.as_ref().unwrap_or(&entry.name.value).as_str();
        if !entry.value.drop && !names.insert(told) {
            let message = format!("another value of this sensor is called `{told}` already");
            let problem = cx.problem(entry.name.span, message);
            problem.path.clone_from(&entry.name.path);
            problem.help("give one of them another `name`, or drop it");
        }
    }
}

pub(super) fn point(point: &PointSettings, node: &Node, cx: &mut Context<'_>) {
    gatt::point(point, node, cx);
    for (key, number) in [("scale", point.scale), ("offset", point.offset)] {
        if number.is_some_and(|number| !number.is_finite() || (key == "scale" && number == 0.0)) {
            cx.field_problem(node, key, format!("this {key} leaves nothing of the value")).help(if key == "scale" {
                "write what one step of it is worth, such as 0.1"
            } else {
                "write a number"
            });
        }
    }
    if point.drop {
        for key in ["name", "scale", "offset", "precision", "unit", "every"] {
            if node.get(key).is_some() {
                cx.field_problem(node, key, format!("what is dropped has no {key}")).help("remove one of them");
            }
        }
    }
}

pub(super) fn adopt(adopt: &AdoptSettings, node: &Node, cx: &mut Context<'_>) {
    if adopt.model.trim().is_empty() {
        cx.field_problem(node, "model", "this fits no sensor").help("write `*` for all that can be read");
    } else if adopt.rssi.is_none() {
        cx.field_warning(node, "rssi", "without `rssi` those of the neighbours are adopted, too")
            .help("rssi: -80 leaves out who is heard weakly at first; rssi: -127 if all are meant");
    }
}

/// Whether a format may give a value that name: one of the known quantities, the first or the `n`th
/// of it, or bytes that no format reads.
fn is_a_value(name: &str) -> bool {
    let plain = match name.rsplit_once('_') {
        Some((plain, number)) if number.parse::<u16>().is_ok() => plain,
        _ => name,
    };
    let known = |name: &str| quantity::ALL.iter().any(|quantity| quantity.name == name);
    known(name) || known(plain) || name.starts_with("service_") || name.starts_with("company_")
}
