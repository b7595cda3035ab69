//! What no single setting can see: addresses used twice, values that go by no such name.

use std::collections::{HashMap, HashSet};

use wharf_contract::settings::{Context, NamedEntry, Node, suggest};

use super::{AdoptSettings, DeviceSettings, LinkSettings, PointSettings, gatt};
use crate::advert::{Address, quantity};

pub(super) fn link(link: &LinkSettings, _node: &Node, cx: &mut Context<'_>) {
    let mut seen: HashMap<Address, &NamedEntry<DeviceSettings>> = HashMap::new();
    for entry in link.devices.entries() {
        let address = entry.value.mac.0;
        if let Some(first) = seen.get(&address) {
            let message = format!("{address} is `{}` already", *first.name);
            cx.problem(entry.name.span, message).path.clone_from(&entry.name.path);
        } else {
            seen.insert(address, entry);
        }
        let heard = entry.value.points.entries().iter().filter(|point| !gatt::is_of_connection(&entry.value, point));
        heard.for_each(|point| check_name(point, link, cx));
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
            cx.problem(entry.name.span, message).path.clone_from(&entry.name.path);
        }
    }
}

pub(super) fn point(point: &PointSettings, node: &Node, cx: &mut Context<'_>) {
    gatt::point(point, node, cx);
    for (key, number) in [("scale", point.scale), ("offset", point.offset)] {
        if number.is_some_and(|number| !number.is_finite() || (key == "scale" && number == 0.0)) {
            cx.field_problem(node, key, format!("this {key} leaves nothing of the value"));
        }
    }
    if point.drop {
        for key in ["name", "scale", "offset", "precision", "unit", "every"] {
            if node.get(key).is_some() {
                cx.field_problem(node, key, format!("what is dropped has no {key}"));
            }
        }
    }
}

pub(super) fn adopt(adopt: &AdoptSettings, node: &Node, cx: &mut Context<'_>) {
    if adopt.model.trim().is_empty() {
        cx.field_problem(node, "model", "this fits no sensor").help("write `*` for all that can be read");
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
