//! What is amiss with MySensors' topics and node numbers: two that are the same.
//!
//! In the classic form a topic names the node and not its network, so two networks under one gateway's name
//! are one to whoever listens.

use std::collections::HashMap;
use std::sync::Arc;

use wharf_contract::settings::{Problem, Severity};
use wharf_contract::{Driver, LinkId};

use super::rules::{self, Presents};
use super::site::Rule as RuleSettings;
use super::{Site, matcher};
use crate::classic::nodes::{MOST_CHILDREN, MOST_NODES};
use crate::drivers;
use crate::mapping::{LinkFacts, Mapping};

/// What a link's topics are known by: what is the same for all of its nodes.
const EVERY_NODE: [&str; 5] = ["node", "child", "command", "ack", "type"];

/// Everything there is to say of it.
pub fn problems(site: &Site, drivers: &[Arc<dyn Driver>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    shared_topics(site, &drivers::links(drivers), &mut problems);
    let presented = presented(site, drivers, &mut problems);
    stated_numbers(site, &mut problems);
    if presented > MOST_NODES
        && let Some(rule) = presenting(site).next()
    {
        let message = format!("{presented} devices are shown as nodes, and there are {MOST_NODES} numbers for them");
        problems.push(about(rule, message));
    }
    problems
}

/// Two networks whose nodes have the same topics.
fn shared_topics(site: &Site, links: &[LinkFacts], problems: &mut Vec<Problem>) {
    let networks: Vec<_> = links.iter().filter(|link| link.labels.contains(&EVERY_NODE[0])).collect();
    let mapping = Mapping::new(site.gateway.as_str(), rules::rules(site, links), links);
    let mut first_with: HashMap<String, &LinkFacts> = HashMap::new();
    for network in networks {
        for topic in mapping.topics_of(network) {
            let Some(first) = first_with.get(&topic) else {
                first_with.insert(topic, network);
                continue;
            };
            let Some(entry) =
                site.mysensors.entries().iter().find(|entry| entry.name.value.as_str() == network.link.as_str())
            else {
                continue;
            };
            if first.link == network.link {
                continue;
            }
            let same = shared_node(site, &first.link, &network.link);
            let example = same.map(|node| format!(", such as node {node},")).unwrap_or_default();
            let message =
                format!("`{}` has the same topics, so nodes of one number{example} cannot be told apart", first.link);
            let mut problem = Problem::warning(entry.name.span, entry.name.path.clone(), message);
            problem.help = Some(format!(
                "a rule under `mapping` gives it topics of its own: match: {{ link: {} }}, topic: \"{{gateway}}-out/{{link}}/{{node}}/{{child}}/{{command}}/{{ack}}/{{type}}\"",
                network.link
            ));
            problems.push(problem);
            break;
        }
    }
}

/// A node number that two networks both give a name to.
fn shared_node(site: &Site, a: &LinkId, b: &LinkId) -> Option<u8> {
    let nodes = |link: &LinkId| -> Vec<u8> {
        let settings = site.mysensors.iter().find(|(name, _)| name.as_str() == link.as_str());
        settings.map(|(_, link)| link.devices.iter().map(|(_, device)| device.node.get()).collect()).unwrap_or_default()
    };
    let of_a = nodes(a);
    nodes(b).into_iter().find(|node| of_a.contains(node))
}

/// How many devices are shown that the site file names. Those with more points than a node can have
/// children are told of, and rules that would show nodes as nodes.
fn presented(site: &Site, drivers: &[Arc<dyn Driver>], problems: &mut Vec<Problem>) -> usize {
    let shows = Presents::of(site);
    let mut points: HashMap<_, usize> = HashMap::new();
    for (driver, link) in drivers.iter().zip(drivers::links(drivers)) {
        if link.labels.contains(&EVERY_NODE[0]) {
            continue;
        }
        for info in driver.catalogue() {
            if shows.could_show(Some(&link), &info.device) {
                *points.entry(info.device).or_default() += 1;
            }
        }
    }
    for rule in presenting(site) {
        for (device, count) in
            points.iter().filter(|(device, count)| **count > MOST_CHILDREN && names(rule, device.as_str()))
        {
            let message = format!("{device} has {count} points, and a node has {MOST_CHILDREN} children at most");
            problems.push(about(rule, message));
        }
        let matcher = matcher(&rule.r#match);
        let could_match: Vec<_> =
            drivers::links(drivers).into_iter().filter(|link| matcher.could_match(link)).collect();
        let is_asked_for = rule.r#match.link.is_some() || rule.r#match.driver.is_some();
        if is_asked_for
            && !could_match.is_empty()
            && could_match.iter().all(|link| link.labels.contains(&EVERY_NODE[0]))
        {
            let message = "what is on a MySensors network is a node already".to_owned();
            problems.push(about(rule, message));
        }
    }
    points.len()
}

/// Numbers that the site file gives twice.
fn stated_numbers(site: &Site, problems: &mut Vec<Problem>) {
    let declared = site.mysensors.iter().flat_map(|(link, settings)| {
        settings.devices.iter().map(move |(name, device)| (device.node.get(), format!("{name} on {link}")))
    });
    let mut taken: HashMap<u8, String> = HashMap::new();
    for (node, who) in declared {
        taken.entry(node).or_insert(who);
    }
    for rule in presenting(site) {
        let device = rule.r#match.device.as_ref().filter(|device| !device.contains('*'));
        let (Some(node), Some(device)) = (rule.node.map(|node| node.get()), device) else { continue };
        match taken.get(&node) {
            Some(who) if who != device => {
                let message = format!("node {node} is {who} already: to a controller the two are one");
                let help = Some("give it another number, or none".into());
                problems.push(Problem { severity: Severity::Mistake, help, ..about(rule, message) });
            }
            _ => {
                taken.insert(node, device.clone());
            }
        }
    }
}

fn presenting(site: &Site) -> impl Iterator<Item = &RuleSettings> {
    site.mapping.iter().filter(|rule| rule.present_as.is_some())
}

fn names(rule: &RuleSettings, device: &str) -> bool {
    matcher(&rule.r#match).device.is_none_or(|glob| glob.matches(device))
}

/// About the `present_as` of a rule.
fn about(rule: &RuleSettings, message: String) -> Problem {
    let place = rule.present_as.as_ref();
    let (span, path) = place.map(|place| (place.span, place.path.clone())).unwrap_or_default();
    Problem::warning(span, path, message)
}
