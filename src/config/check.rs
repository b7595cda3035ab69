//! What no single part of the site file can see: names used twice, rules that are for nothing.
//!
//! [`names`] works on the tree, so it finds its mistakes even while other parts of the file cannot
//! be read. [`site`] works on the decoded site, and so does [`files`], which alone looks beyond it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use wharf_contract::Driver;
use wharf_contract::settings::{Entry, FilePath, Node, NodeKind, Problem, Severity, Span, Spanned, Typed, suggest};

use super::load::{LARGEST_PEM, read_bounded};
use super::{Site, adapters, attached, bridge, broker, classic_form, loops, rules};
use crate::classic;
use crate::drivers;
use crate::mapping::Glob;
use crate::north::MOST_UPLINKS;

/// The sections whose entries are links, by driver.
const DRIVERS: [&str; 6] =
    [wharf_modbus::KIND, BLE, wharf_mysensors::KIND, wharf_lines::KIND, wharf_mqtt::KIND, wharf_mqttsn::KIND];

/// The section of Bluetooth adapters, also in a wharf that was built without them.
const BLE: &str = "ble";

/// Mistakes in how the names of links and devices are used.
pub fn names(root: &Node) -> Vec<Problem> {
    let links = links(root);
    let mut problems = Vec::new();
    twice("link", links.iter().map(|link| (link.entry, link.path())), &mut problems);
    let devices =
        links.iter().flat_map(|link| link.devices().iter().map(move |entry| (entry, link.device_path(entry))));
    twice("device", devices, &mut problems);
    port_twice(&links, &mut problems);
    udp_twice(&links, &mut problems);
    let adapters = links.iter().filter(|link| link.driver == BLE).map(|link| (link.entry, link.path()));
    adapters::used_twice(adapters, &mut problems);
    for link in &links {
        taken_by_a_node(link, &links, &mut problems);
        taken_by_a_line(link, &links, &mut problems);
    }
    let presents = presents(root);
    if presents {
        taken_by_what_is_presented(&links, &mut problems);
    }
    let networks: Vec<_> =
        links.iter().filter(|link| link.driver == wharf_mysensors::KIND).map(|link| link.entry).collect();
    problems.extend(attached::problems(root, &networks, presents));
    let uplinks = root.get("uplinks").map_or(&[][..], |section| section.value.entries());
    if uplinks.is_empty() {
        links.iter().for_each(|link| fail_safe_for_nothing(link, &mut problems));
    }
    for uplink in uplinks {
        let path = format!("uplinks.{}", uplink.key);
        if let Some(entry) = uplink.value.get("match") {
            rule_for_nothing(entry, &format!("{path}.match"), &links, presents, &mut problems);
        }
        if uplinks.len() > 1 {
            blocks_the_others(uplink, &path, &mut problems);
        }
    }
    if let Some(one_too_many) = uplinks.get(MOST_UPLINKS) {
        problems.push(Problem {
            severity: Severity::Mistake,
            span: one_too_many.key_span,
            path: format!("uplinks.{}", one_too_many.key),
            message: format!("a site has {MOST_UPLINKS} uplinks at most"),
            help: None,
        });
    }
    if let Some(Entry { value: Node { kind: NodeKind::Sequence(rules), .. }, .. }) = root.get("mapping") {
        for (index, rule) in rules.iter().enumerate() {
            if let Some(entry) = rule.get("match") {
                rule_for_nothing(entry, &format!("mapping[{index}].match"), &links, presents, &mut problems);
            }
        }
    }
    problems
}

/// Mistakes in a site whose every part could be read.
pub fn site(site: &Site) -> Vec<Problem> {
    let mut problems = Vec::new();
    client_ids(site, &mut problems);
    prefixes(site, &mut problems);
    broker::links(site, &mut problems);
    problems.extend(loops::problems(site));
    let drivers = drivers::build(site, None);
    let mut links = drivers::links(&drivers);
    links.extend(classic::link(site));
    problems.extend(rules::compile(site, &links).1);
    problems.extend(bridge::compile(site).1);
    overloads(site, &drivers, &mut problems);
    problems.extend(classic_form::problems(site, &drivers));
    problems
}

/// MySensors gateways on MQTT whose topics are the gateway's own, or another link's.
fn prefixes(site: &Site, problems: &mut Vec<Problem>) {
    let mut known: HashMap<(&str, String), &str> = HashMap::new();
    for (name, link) in site.mysensors.iter() {
        let Some(mqtt) = &link.mqtt else { continue };
        let prefix = mqtt.prefix.as_str();
        let broker = mqtt.broker.as_ref().map_or_else(String::new, ToString::to_string);
        let first = known.insert((prefix, broker), name.as_str());
        let message = match first {
            _ if prefix == site.gateway.as_str() => {
                format!("`{prefix}` is this gateway's own name: it would take what it publishes for a node's")
            }
            Some(first) => format!("the link `{first}` listens to `{prefix}-out` already"),
            None => continue,
        };
        problems.push(Problem::new(mqtt.prefix.span, mqtt.prefix.path.clone(), message));
    }
}

/// Certificates, keys and passwords that cannot be read, and firmware that cannot be sent. What is in certificates
/// is looked at by those who use them.
pub fn files(site: &Site) -> Vec<Problem> {
    let uplinks = site.uplinks.iter().filter(|(_, uplink)| uplink.any_tls());
    let tls = uplinks.filter_map(|(_, uplink)| uplink.tls.as_ref());
    let local = site.broker.listen.iter().filter_map(|listen| listen.tls.as_ref());
    let local = local.flat_map(|tls| [Some(&tls.cert), Some(&tls.key), tls.client_ca.as_ref()]).flatten();
    let named = tls.flat_map(|tls| [&tls.ca, &tls.cert, &tls.key]).flatten().chain(local);
    let wrong = named.filter_map(|file| Some((file, read_bounded(file.as_path(), LARGEST_PEM).err()?)));
    let problem = |(file, why): (&Spanned<FilePath>, String)| Problem {
        severity: Severity::Mistake,
        span: file.span,
        path: file.path.clone(),
        message: format!("{}: {why}", file.as_path().display()),
        help: None,
    };
    let firmware = site.mysensors.iter().flat_map(|(_, link)| link.firmware.iter());
    let passwords = broker::rights(site).1;
    let local = site.broker.listen.iter().flat_map(|listen| broker::certificates(listen));
    wrong
        .map(problem)
        .chain(local)
        .chain(firmware.filter_map(|(_, firmware)| firmware.problem()))
        .chain(passwords)
        .collect()
}

/// A link as the tree shows it.
struct Link<'n> {
    driver: &'static str,
    entry: &'n Entry,
}

impl<'n> Link<'n> {
    fn name(&self) -> &'n str {
        &self.entry.key
    }

    fn devices(&self) -> &'n [Entry] {
        self.entry.value.get("devices").map_or(&[], |devices| devices.value.entries())
    }

    fn path(&self) -> String {
        format!("{}.{}", self.driver, self.name())
    }

    fn device_path(&self, device: &Entry) -> String {
        format!("{}.devices.{}", self.path(), device.key)
    }

    /// Devices that are named by what is in their lines, and the names they can have.
    fn name_globs(&self) -> impl Iterator<Item = (&'n Entry, Glob)> {
        let devices = if self.driver == wharf_lines::KIND { self.devices() } else { &[] };
        devices.iter().filter_map(|device| {
            let template = wharf_lines::config::text::NameTemplate::parse(device.value.get("device")?.value.text()?);
            Some((device, Glob::new(template.ok()?.glob())))
        })
    }

    /// The node number, if the name is one that a MySensors network gives to nodes without a name.
    fn node_called(&self, device: &str) -> Option<u8> {
        if self.driver != wharf_mysensors::KIND {
            return None;
        }
        let number = device.strip_prefix(self.name())?.strip_prefix('-')?;
        number.parse::<u8>().ok().filter(|parsed| parsed.to_string() == number)
    }

    /// Whether a pattern fits a device on this link, named in the site file or not.
    fn has_device(&self, pattern: &Glob) -> bool {
        let unnamed = (self.driver == wharf_mysensors::KIND)
            .then(|| (0..=u8::MAX).map(|node| format!("{}-{node}", self.name())))
            .into_iter()
            .flatten();
        // What is adopted has a name when it is heard.
        let adopts = self.driver == BLE && self.entry.value.get("adopt").is_some();
        let names = self.entry.value.get("names").and_then(|entry| entry.value.text());
        let names_itself = self.driver == wharf_mysensors::KIND && names == Some("presentation");
        let discovers = self.driver == wharf_mqtt::KIND && self.entry.value.get("discover").is_some();
        adopts
            || discovers
            || names_itself
            || self.name_globs().any(|_| true)
            || self.devices().iter().any(|device| pattern.matches(&device.key))
            || unnamed.into_iter().any(|d| pattern.matches(&d))
    }
}

fn links(root: &Node) -> Vec<Link<'_>> {
    let of = |driver| root.get(driver).map_or(&[][..], |section| section.value.entries());
    DRIVERS.iter().flat_map(|driver| of(driver).iter().map(move |entry| Link { driver, entry })).collect()
}

fn twice<'n>(kind: &str, entries: impl Iterator<Item = (&'n Entry, String)>, problems: &mut Vec<Problem>) {
    let mut seen: HashMap<&str, (Span, String)> = HashMap::new();
    // In the order of the file, so that the first is the one that reads first.
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by_key(|(entry, _)| entry.key_span);
    for (entry, path) in entries {
        match seen.get(entry.key.as_str()) {
            Some((first, first_path)) => problems.push(Problem {
                severity: Severity::Mistake,
                span: entry.key_span,
                path,
                message: format!(
                    "another {kind} is called `{}` already: {first_path} in line {}",
                    entry.key, first.line
                ),
                help: Some(format!("a {kind}'s name is unique in the whole site")),
            }),
            None => {
                seen.insert(&entry.key, (entry.key_span, path));
            }
        }
    }
}

/// A serial port is opened by one link alone; the second would wait for it for ever.
fn port_twice(links: &[Link], problems: &mut Vec<Problem>) {
    let mut ports: Vec<_> = links.iter().filter_map(|link| Some((link, link.entry.value.get("serial")?))).collect();
    ports.sort_by_key(|(_, port)| port.key_span);
    let mut seen: HashMap<&str, String> = HashMap::new();
    for (link, port) in ports {
        let Some(text) = port.value.text().filter(|_| !port.value.is_null()) else { continue };
        match seen.get(text) {
            Some(first) => problems.push(Problem {
                severity: Severity::Mistake,
                span: port.value.span,
                path: format!("{}.serial", link.path()),
                message: format!("{first} has this port already"),
                help: Some("devices on one bus stand under one link".into()),
            }),
            None => {
                seen.insert(text, link.path());
            }
        }
    }
}

/// Two MQTT-SN links on one address. (The local broker's ports are those of TCP, which are others.)
fn udp_twice(links: &[Link], problems: &mut Vec<Problem>) {
    let listened = links.iter().filter(|link| link.driver == wharf_mqttsn::KIND).filter_map(|link| {
        let udp = &link.entry.value.get("udp")?.value;
        Some((link, udp, udp.text()?.parse::<SocketAddr>().ok()?))
    });
    let listened: Vec<_> = listened.collect();
    for (before, (link, udp, address)) in listened.iter().enumerate() {
        let others = listened.get(..before).unwrap_or_default();
        let Some((other, ..)) = others.iter().find(|(.., other)| broker::meet(*other, *address)) else { continue };
        problems.push(Problem {
            severity: Severity::Mistake,
            span: udp.span,
            path: format!("{}.udp", link.path()),
            message: format!("{} listens there already", other.path()),
            help: Some("give it a port of its own".into()),
        });
    }
}

/// A device called `garden-2` would be taken for node 2 of the network `garden`.
fn taken_by_a_node(link: &Link, links: &[Link], problems: &mut Vec<Problem>) {
    for device in link.devices() {
        for network in links {
            let Some(node) = network.node_called(&device.key) else { continue };
            let own = device.value.get("node").and_then(|entry| entry.value.typed());
            let is_that_node = std::ptr::eq(network.entry, link.entry) && own == Some(Typed::Int(node.into()));
            if !is_that_node {
                problems.push(Problem {
                    severity: Severity::Mistake,
                    span: device.key_span,
                    path: link.device_path(device),
                    message: format!("`{}` is what node {node} of {} is called by itself", device.key, network.path()),
                    help: Some("choose another name".into()),
                });
            }
        }
    }
}

/// Whether a rule shows devices as MySensors nodes.
fn presents(root: &Node) -> bool {
    let rules = match root.get("mapping") {
        Some(Entry { value: Node { kind: NodeKind::Sequence(rules), .. }, .. }) => rules.as_slice(),
        _ => &[],
    };
    rules.iter().any(|rule| rule.get("present_as").is_some())
}

/// The nodes that devices are shown as are a link of their own, and devices with names of their own.
fn taken_by_what_is_presented(links: &[Link], problems: &mut Vec<Problem>) {
    let prefix = format!("{}-", classic::KIND);
    let link_names = links.iter().map(|link| (link.entry, link.path())).filter(|(entry, _)| entry.key == classic::KIND);
    let devices = links.iter().flat_map(|link| link.devices().iter().map(|device| (device, link.device_path(device))));
    for (entry, path) in link_names.chain(devices.filter(|(device, _)| device.key.starts_with(&prefix))) {
        problems.push(Problem {
            severity: Severity::Mistake,
            span: entry.key_span,
            path,
            message: format!("`{}` is what devices that are shown as MySensors nodes are called", entry.key),
            help: Some("choose another name".into()),
        });
    }
}

/// What is in a line may name a device, and no line is to pass itself off as another's.
fn taken_by_a_line(link: &Link, links: &[Link], problems: &mut Vec<Problem>) {
    for (named, glob) in link.name_globs() {
        let others = links.iter().flat_map(|other| other.devices().iter().map(move |device| (other, device)));
        let is_taken = |device: &Entry| !std::ptr::eq(device, named) && glob.matches(&device.key);
        // The key of a device that is named by its lines is nobody's name.
        let is_a_name = |device: &Entry| device.value.get("device").is_none();
        let Some((other, device)) = others.clone().find(|(_, device)| is_a_name(device) && is_taken(device)) else {
            continue;
        };
        let Some(entry) = named.value.get("device") else { continue };
        problems.push(Problem {
            severity: Severity::Mistake,
            span: entry.value.span,
            path: format!("{}.device", link.device_path(named)),
            message: format!(
                "a line could call its device `{}`, as {} is called",
                device.key,
                other.device_path(device)
            ),
            help: Some(format!("put something before it that no other name begins with: {}-{{id}}", link.name())),
        });
    }
}

/// A fail-safe value is for the time when every uplink is away. Without any that would be always.
fn fail_safe_for_nothing(link: &Link, problems: &mut Vec<Problem>) {
    for device in link.devices() {
        for point in device.value.get("points").map_or(&[][..], |points| points.value.entries()) {
            let write = point.value.get("write");
            let Some(fail_safe) = write.and_then(|write| write.value.get("fail_safe")) else { continue };
            problems.push(Problem {
                severity: Severity::Mistake,
                span: fail_safe.key_span,
                path: format!("{}.points.{}.write.fail_safe", link.device_path(device), point.key),
                message: "this is written when every uplink is away, and the site has none".into(),
                help: Some("local clients do not count: what they are there for is not known".into()),
            });
        }
    }
}

/// While one uplink blocks, no reading becomes a message, so no other would get any either.
fn blocks_the_others(uplink: &Entry, path: &str, problems: &mut Vec<Problem>) {
    let when_full = uplink.value.get("queue").and_then(|queue| queue.value.get("when_full"));
    let Some(when_full) = when_full.filter(|entry| entry.value.text() == Some("block")) else { return };
    problems.push(Problem {
        severity: Severity::Mistake,
        span: when_full.value.span,
        path: format!("{path}.queue.when_full"),
        message: "`block` would hold up the other uplinks, too, so it is for a site with one uplink".into(),
        help: Some("drop_oldest or drop_newest leave each uplink to itself".into()),
    });
}

/// A filter that no device of the site fits, of a rule or of an uplink.
fn rule_for_nothing(matcher: &Entry, path: &str, links: &[Link], presents: bool, problems: &mut Vec<Problem>) {
    let glob = |key: &str| matcher.value.get(key).and_then(|entry| Some((entry, Glob::new(entry.value.text()?))));
    let (link, driver, device) = (glob("link"), glob("driver"), glob("device"));
    let fits_link = |candidate: &Link| link.as_ref().is_none_or(|(_, glob)| glob.matches(candidate.name()));
    let fits_driver = |candidate: &Link| driver.as_ref().is_none_or(|(_, glob)| glob.matches(candidate.driver));
    let fits_device = |candidate: &Link| device.as_ref().is_none_or(|(_, glob)| candidate.has_device(glob));
    if links.iter().any(|link| fits_link(link) && fits_driver(link) && fits_device(link)) {
        return;
    }
    // The nodes that devices are shown as are a link of their own, and what is on it is known when it is heard.
    let fits_nodes =
        |asked: &Option<(&Entry, Glob)>| asked.as_ref().is_none_or(|(_, glob)| glob.matches(classic::KIND));
    let fits_node = device.as_ref().is_none_or(|(entry, _)| {
        entry.value.text().is_some_and(|text| text.starts_with('*') || text.starts_with(classic::KIND))
    });
    if presents && fits_nodes(&link) && fits_nodes(&driver) && fits_node {
        return;
    }
    let before = problems.len();
    let mut alone = |key: &str, asked: &Option<(&Entry, Glob)>, fits: &dyn Fn(&Link) -> bool, known: Vec<&str>| {
        let Some((entry, _)) = asked.as_ref().filter(|_| !links.iter().any(fits)) else { return };
        let text = entry.value.text().unwrap_or_default();
        let help = match suggest(text, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => format!("the site has no {key} at all"),
            None => format!("the site has {}", known.join(", ")),
        };
        problems.push(Problem {
            severity: Severity::Mistake,
            span: entry.value.span,
            path: format!("{path}.{key}"),
            message: format!("no {key} of this site fits `{text}`"),
            help: Some(help),
        });
    };
    let mut drivers: Vec<_> = links.iter().map(|link| link.driver).collect();
    drivers.dedup();
    alone("link", &link, &fits_link, links.iter().map(Link::name).collect());
    alone("driver", &driver, &fits_driver, drivers);
    let devices = links.iter().flat_map(|link| link.devices().iter().map(|device| device.key.as_str()));
    alone("device", &device, &fits_device, devices.collect());
    let any_asked = link.is_some() || driver.is_some() || device.is_some();
    if problems.len() == before && any_asked {
        problems.push(Problem {
            severity: Severity::Mistake,
            span: matcher.key_span,
            path: path.to_owned(),
            message: "no device of this site fits all of this at once".into(),
            help: None,
        });
    }
}

/// Two sessions with one client id throw each other out, over and over.
fn client_ids(site: &Site, problems: &mut Vec<Problem>) {
    let mut seen = HashMap::new();
    for entry in site.uplinks.entries() {
        let (name, uplink) = (&entry.name, &entry.value);
        let id = uplink.client_id(&site.gateway, &name.value);
        let shared: Vec<_> =
            uplink.url.iter().filter_map(|url| seen.insert((url.value.clone(), id.clone()), &name.value)).collect();
        // An uplink may name a URL twice. That is a mistake of its own, and not told here again.
        let Some(first) = shared.into_iter().find(|first| **first != name.value) else { continue };
        let (span, path) = match &uplink.client_id {
            Some(id) => (id.span, id.path.clone()),
            None => (name.span, name.path.clone()),
        };
        problems.push(Problem {
            severity: Severity::Mistake,
            span,
            path,
            message: format!("uplink `{first}` has the client id `{id}` at the same broker"),
            help: Some("give each its own client_id, or leave it out".into()),
        });
    }
}

/// Links that have more to do than they can, or nearly so.
fn overloads(site: &Site, drivers: &[Arc<dyn Driver>], problems: &mut Vec<Problem>) {
    let modbus = site.modbus.entries().iter().map(|entry| &entry.name);
    for name in modbus.chain(site.ble.entries().iter().map(|entry| &entry.name)) {
        let plan = drivers.iter().find(|driver| driver.name().as_str() == name.value.as_str());
        let Some(plan) = plan.and_then(|driver| driver.plan()) else { continue };
        if let Some(warning) = plan.warning() {
            let mut problem = Problem::warning(name.span, name.path.clone(), warning);
            problem.help = plan.advice();
            problems.push(problem);
        }
    }
}
