//! What comes out where profile and site file both speak of a device.
//!
//! - A key of the device comes from the site file; what it leaves out, from the profile. Without an
//!   `order` in either it is the protocol's, whatever the link says: the profile was written so.
//! - `every` is the site's to say. One at the device or its link holds for all points, but those
//!   that the profile reads more slowly stay slower.
//! - A point is made of the site file's keys and, for what they leave out, the profile's. `off` in
//!   its place drops it. Points that only one side has are taken as they are.
//! - A profile opens nothing for writing. What it says under `write` are the limits of a point
//!   that the site file opens.
//!
//! Whatever the profile adds to a point that the site file has, too, is placed at the site file's
//! key: the profile is right by itself, so a mistake in the two together is the site file's.
//!
//! What a device takes from its profile as it is, it shares with the others that do, so each step here
//! touches only what it has to change.

use wharf_contract::settings::{Entries, Entry, Node, NodeKind, Problem, Span, Typed, parse_duration, suggest};

use super::Profile;

/// Keys of which a point has one: what the site file has displaces its kin in the profile.
const KIN: [&[&str]; 2] = [&["coil", "discrete", "holding", "input"], &["names", "flags"]];

/// Lays a profile under a device's `entries`. `link_every` is the link's rhythm, if it has one.
pub(super) fn merge(
    entries: &mut Vec<Entry>,
    profile: &Profile,
    link_every: Option<&Node>,
    device: Span,
    path: &str,
) -> Vec<Problem> {
    let every = entries.iter().find(|entry| entry.key == "every").map(|entry| &entry.value).or(link_every).cloned();
    for default in &profile.device {
        let displaced = default.key == "every" && every.is_some();
        if !displaced && entries.iter().all(|entry| entry.key != default.key) {
            entries.push(default.clone());
        }
    }
    if entries.iter().all(|entry| entry.key != "order") {
        entries.push(Entry { key: "order".into(), key_span: device, value: Node::plain("ABCD", device) });
    }
    let mut base = match placed(entries, profile, device, path) {
        Ok(points) => points,
        Err(problem) => {
            entries.retain(|entry| entry.key != "points");
            return vec![problem];
        }
    };
    keep_rhythm(&mut base, every.as_ref());
    let at = entries.iter().position(|entry| entry.key == "points");
    let own = at.map(|at| entries.remove(at));
    let (key_span, own) = match own {
        Some(entry) if entry.value.is_null() => (entry.key_span, Vec::new()),
        Some(Entry { key_span, value: Node { kind: NodeKind::Mapping(points), .. }, .. }) => (key_span, points.into()),
        // No names with settings: the decoder says so.
        Some(entry) => {
            entries.push(entry);
            return Vec::new();
        }
        None => (device, Vec::new()),
    };
    let (points, problems) = points(base, own, &profile.name, path, KIN[0]);
    let value = Node { span: key_span, kind: NodeKind::Mapping(points) };
    entries.push(Entry { key: "points".into(), key_span, value });
    problems
}

/// The profile's points with their addresses on this device: moved to its `base`, if they count from
/// there.
fn placed(entries: &[Entry], profile: &Profile, device: Span, path: &str) -> Result<Entries, Problem> {
    let base = entries.iter().find(|entry| entry.key == "base");
    let path = format!("{path}.base");
    let mut points = profile.points.clone();
    match (profile.relative, base) {
        (false, None) => {}
        (false, Some(base)) => {
            let message = format!("the profile {} has addresses of its own and no base", profile.name);
            return Err(Problem::new(base.key_span, path, message));
        }
        (true, None) => {
            let message =
                format!("the profile {} needs `base`: where its registers begin in this device", profile.name);
            let mut problem = Problem::new(device, path, message);
            problem.help("`wharf sunspec HOST` finds it");
            return Err(problem);
        }
        (true, Some(base)) => {
            // What is no number is the decoder's to report.
            let Some(Typed::Int(by)) = base.value.typed() else { return Ok(points) };
            for point in points.iter_mut() {
                move_addresses(point, by).map_err(|()| {
                    Problem::new(base.value.span, path.clone(), "some addresses would be beyond 65535")
                })?;
            }
        }
    }
    Ok(points)
}

/// Moves every address in a point.
fn move_addresses(point: &mut Entry, by: i128) -> Result<(), ()> {
    let moved = |text: &str, span: Span| match Node::plain(text, span).typed() {
        Some(Typed::Int(address)) => address.checked_add(by).and_then(|moved| u16::try_from(moved).ok()).ok_or(()),
        _ => Err(()),
    };
    let NodeKind::Mapping(keys) = &mut point.value.kind else { return Ok(()) };
    for key in keys.iter_mut() {
        if let (NodeKind::Mapping(registers), "requires") = (&mut key.value.kind, key.key.as_str()) {
            for register in registers.iter_mut() {
                register.key = moved(&register.key, register.key_span)?.to_string();
            }
        } else if KIN[0].contains(&key.key.as_str()) || key.key == "scale_from" {
            let address = moved(key.value.text().unwrap_or_default(), key.value.span)?;
            key.value = Node::plain(format!("{address:#x}"), key.value.span);
        }
    }
    Ok(())
}

/// Writes a profile's addresses in hexadecimal. One like 30775 would look like a number from a
/// manual; in a profile it has been thought about, and whoever uses the profile is not asked again.
pub(super) fn mean_addresses(point: &mut Entry) {
    let NodeKind::Mapping(keys) = &mut point.value.kind else { return };
    for key in keys.iter_mut().filter(|key| KIN[0].contains(&key.key.as_str())) {
        if let Some(Typed::Int(address)) = key.value.typed() {
            key.value = Node::plain(format!("{address:#x}"), key.value.span);
        }
    }
}

/// Takes the profile's rhythm from the points that the site file wants read more slowly.
fn keep_rhythm(points: &mut Entries, every: Option<&Node>) {
    let duration = |node: &Node| node.text().and_then(parse_duration);
    let Some(every) = every.and_then(duration) else { return };
    let is_too_fast = |key: &Entry| key.key == "every" && duration(&key.value).is_none_or(|own| own <= every);
    if points.iter().any(|point| point.value.get("every").is_some_and(is_too_fast)) {
        for point in points.iter_mut() {
            remove(point, is_too_fast);
        }
    }
}

/// Removes the keys of a point that are such.
fn remove(point: &mut Entry, is_such: impl Fn(&Entry) -> bool) {
    if let NodeKind::Mapping(keys) = &mut point.value.kind
        && keys.iter().any(&is_such)
    {
        keys.retain(|key| !is_such(key));
    }
}

/// The points of both. `places` are the keys that say where a value stands: a point of the site file alone
/// has one.
pub(super) fn points(
    base: Entries,
    mut own: Vec<Entry>,
    profile: &str,
    path: &str,
    places: &[&str],
) -> (Entries, Vec<Problem>) {
    if own.is_empty() && base.iter().all(|point| point.value.get("write").is_none()) {
        return (base, Vec::new());
    }
    let names: Vec<String> = base.iter().map(|point| point.key.clone()).collect();
    let mut merged = Vec::new();
    for mut point in Vec::from(base) {
        match own.iter().position(|entry| entry.key == point.key).map(|at| own.remove(at)) {
            None => {
                close(&mut point);
                merged.push(point);
            }
            Some(own) if is_off(&own.value) => {}
            Some(own) => merged.push(both(own, point)),
        }
    }
    let mut problems = Vec::new();
    for point in own {
        let has_place = places.iter().any(|key| point.value.get(key).is_some());
        let partial = is_off(&point.value) || matches!(point.value.kind, NodeKind::Mapping(_)) && !has_place;
        if !partial {
            merged.push(point);
            continue;
        }
        let message = format!("the profile {profile} has no point `{}`", point.key);
        let mut problem = Problem::new(point.key_span, format!("{path}.points.{}", point.key), message);
        problem.help(match suggest(&point.key, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("a point of your own needs one of {}", places.join(", ")),
        });
        problems.push(problem);
    }
    (merged.into(), problems)
}

/// A point that both have.
fn both(own: Entry, mut base: Entry) -> Entry {
    let Entry { key, key_span, mut value } = own;
    if value.is_null() {
        value = Node { span: key_span, kind: NodeKind::Mapping(Entries::default()) };
    }
    let (NodeKind::Mapping(keys), NodeKind::Mapping(defaults)) = (&mut value.kind, &mut base.value.kind) else {
        return Entry { key, key_span, value };
    };
    for mut default in Vec::from(std::mem::take(defaults)) {
        if default.key == "write" {
            if let Some(write) = keys.iter_mut().find(|entry| entry.key == "write") {
                limits(write, default.value);
            }
        } else if !keys.iter().any(|entry| is_same(&entry.key, &default.key)) {
            place_at(&mut default, key_span);
            keys.push(default);
        }
    }
    Entry { key, key_span, value }
}

/// Fills in what the profile knows of writing to a point that the site file opens.
fn limits(write: &mut Entry, defaults: Node) {
    if write.value.is_null() {
        write.value = Node { span: write.key_span, kind: NodeKind::Mapping(Entries::default()) };
    }
    let (NodeKind::Mapping(keys), NodeKind::Mapping(defaults)) = (&mut write.value.kind, defaults.kind) else { return };
    for mut default in Vec::from(defaults) {
        if keys.iter().all(|entry| entry.key != default.key) {
            place_at(&mut default, write.key_span);
            keys.push(default);
        }
    }
}

/// A point of the profile alone is read and not written.
fn close(point: &mut Entry) {
    remove(point, |key| key.key == "write");
}

fn is_same(own: &str, default: &str) -> bool {
    own == default || KIN.iter().any(|kin| kin.contains(&own) && kin.contains(&default))
}

fn is_off(value: &Node) -> bool {
    match value.typed() {
        Some(Typed::Bool(false)) => true,
        Some(Typed::Text(text)) => text == "off",
        _ => false,
    }
}

fn place_at(entry: &mut Entry, span: Span) {
    entry.key_span = span;
    place_node_at(&mut entry.value, span);
}

fn place_node_at(node: &mut Node, span: Span) {
    node.span = span;
    match &mut node.kind {
        NodeKind::Scalar { .. } => {}
        NodeKind::Sequence(items) => items.iter_mut().for_each(|item| place_node_at(item, span)),
        NodeKind::Mapping(entries) => entries.iter_mut().for_each(|entry| place_at(entry, span)),
    }
}
