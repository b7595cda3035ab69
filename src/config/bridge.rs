//! The site file's `bridge`: topics that pass between local clients and the brokers upstream.

use wharf_contract::settings::{Problem, Spanned};
use wharf_contract::topic::{includes, overlap};
use wharf_contract::{setting_enum, settings};

use super::site::{Protocol, Site};
use crate::bridge::{self, Bridge, Pattern, PatternError};
use crate::mapping::TemplateError;
use crate::message::Qos;
use crate::north::Route;

settings! {
    /// Topics that pass between local clients and the brokers upstream.
    pub struct BridgeSettings {
        /// What local clients publish and the brokers upstream get, through the queue on disk. The first rule that
        /// fits a topic decides.
        up: Vec<BridgeRule> = Vec::new(),
        /// What is published upstream and local clients get. The first rule that fits a topic decides.
        down: Vec<BridgeRule> = Vec::new(),
    }
}

settings! {
    /// Which topics pass, and what they are called on the other side.
    pub struct BridgeRule {
        /// Which topics: a filter such as tele/#. A level in it may have a name: tele/{plug}/SENSOR. {gateway} is
        /// the gateway's name.
        topic: Spanned<String>,
        /// What they are called on the other side: house/{plug}/energy. `#` at the end stands for what `#` in
        /// `topic` fits. Without it: the same.
        to: Option<Spanned<String>> = None,
        /// How hard they are delivered: as they were published (with QoS 2 as with 1), or 0, or 1.
        qos: BridgeQos = BridgeQos::Keep,
        /// Whether the broker on the other side keeps the last message: as it was published, or never, or always.
        retain: BridgeRetain = BridgeRetain::Keep,
        /// Which uplinks. Without it: all.
        uplinks: Option<Vec<Spanned<String>>> = None,
    }
}

setting_enum! {
    /// How hard something is delivered.
    pub enum BridgeQos {
        /// As it was published.
        Keep = "keep",
        /// At most once.
        AtMostOnce = "0",
        /// At least once.
        AtLeastOnce = "1",
    }
}

setting_enum! {
    /// Whether something is retained.
    pub enum BridgeRetain {
        /// As it was published.
        Keep = "keep",
        /// Never.
        Never = "never",
        /// Always.
        Always = "always",
    }
}

/// The rules of a site that has been checked.
pub fn bridge(site: &Site) -> Bridge {
    compile(site).0
}

/// Compiles the rules of a site, and tells what is wrong with them.
pub fn compile(site: &Site) -> (Bridge, Vec<Problem>) {
    let mut problems = Vec::new();
    let Some(settings) = &site.bridge else { return (Bridge::default(), problems) };
    let up = all(site, &settings.up, false, &mut problems);
    let down = all(site, &settings.down, true, &mut problems);
    for (written, rule) in &down {
        if let Some((other, place)) = up.iter().find_map(|(other, up)| Some((other, echoes(site, up, rule)?))) {
            let uplink = site.uplinks.entries().get(place).map(|entry| entry.name.as_str()).unwrap_or_default();
            let message =
                format!("what goes up as `{}` would come down again", other.to.as_ref().unwrap_or(&other.topic).value);
            let mut problem = Problem::new(written.topic.span, written.topic.path.clone(), message);
            problem.help(if site.uplinks.get(uplink).is_some_and(|uplink| uplink.protocol == Protocol::V311) {
                format!("with MQTT 3.1.1 the uplink {uplink} cannot tell its own messages: give the two directions topics of their own")
            } else {
                "another uplink would bring it back: give the two directions topics of their own".into()
            });
            problems.push(problem);
        }
    }
    let rules = |rules: Vec<(&BridgeRule, bridge::Rule)>| rules.into_iter().map(|(_, rule)| rule).collect();
    (Bridge { up: rules(up), down: rules(down) }, problems)
}

fn all<'s>(
    site: &Site,
    rules: &'s [BridgeRule],
    down: bool,
    problems: &mut Vec<Problem>,
) -> Vec<(&'s BridgeRule, bridge::Rule)> {
    let compiled: Vec<_> = rules.iter().filter_map(|rule| Some((rule, one(site, rule, down, problems)?))).collect();
    problems.extend(compiled.iter().enumerate().flat_map(|(place, rule)| odd(site, &compiled[..place], rule, down)));
    compiled
}

/// What is most likely not meant by a rule, coming after those before it.
fn odd(
    site: &Site,
    before: &[(&BridgeRule, bridge::Rule)],
    (written, rule): &(&BridgeRule, bridge::Rule),
    down: bool,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    // Which uplinks a rule has is asked of what comes down alone: it comes from one of them.
    let places = 0..site.uplinks.entries().len();
    let takes_its_place = |(_, other): &&(&BridgeRule, bridge::Rule)| {
        includes(other.pattern.from_filter(), rule.pattern.from_filter())
            && (!down || places.clone().all(|place| !rule.uplinks.takes(place) || other.uplinks.takes(place)))
    };
    if let Some((other, _)) = before.iter().find(takes_its_place) {
        let message = format!("this rule is never reached: `{}` above it has all of that", other.topic.value);
        let mut problem = Problem::warning(written.topic.span, written.topic.path.clone(), message);
        problem.help("the first rule that fits decides: put this one above it");
        problems.push(problem);
    }
    if let Some(to) = written.to.as_ref().filter(|_| rule.pattern.merges()) {
        let message = "what tells the topics apart is lost: many of them become one";
        let mut problem = Problem::warning(to.span, to.path.clone(), message);
        problem.help("give each level that may be anything a name in `topic`, such as {plug}, and write that here");
        problems.push(problem);
    }
    problems
}

/// The uplink by which something that goes up comes down again. A broker that speaks MQTT 5 does not send an uplink
/// what that uplink has published; any other uplink may be at the same broker.
fn echoes(site: &Site, up: &bridge::Rule, down: &bridge::Rule) -> Option<usize> {
    if !overlap(up.pattern.to_filter(), down.pattern.from_filter()) {
        return None;
    }
    let is_safe = |from: usize, to: usize| {
        from == to && site.uplinks.entries().get(to).is_some_and(|uplink| uplink.value.protocol == Protocol::V5)
    };
    let places = || 0..site.uplinks.entries().len();
    let pairs = places().filter(|place| up.uplinks.takes(*place)).flat_map(|from| places().map(move |to| (from, to)));
    let mut pairs = pairs.filter(|(_, to)| down.uplinks.takes(*to));
    pairs.find(|(from, to)| !is_safe(*from, *to)).map(|(_, to)| to)
}

fn one(site: &Site, rule: &BridgeRule, down: bool, problems: &mut Vec<Problem>) -> Option<bridge::Rule> {
    let before = problems.len();
    let gateway = site.gateway.as_str();
    let mut note = |place: &Spanned<String>, TemplateError { message, help }: TemplateError| {
        let mut problem = Problem::new(place.span, place.path.clone(), message);
        problem.help = help;
        problems.push(problem);
    };
    let to = rule.to.as_ref();
    let pattern = match Pattern::new(&rule.topic, to.map(|to| to.value.as_str()), gateway) {
        Ok(pattern) => Some(pattern),
        Err(PatternError::From(error)) => {
            note(&rule.topic, error);
            None
        }
        Err(PatternError::To(error)) => {
            note(to.unwrap_or(&rule.topic), error);
            None
        }
    };
    // What local clients would take for the gateway's own word, or the gateway for a command.
    if let Some(pattern) = &pattern {
        let own = ["-in", "-sys", "-out"].map(|end| format!("{gateway}{end}/#"));
        let reserved = if down { &own[..] } else { &own[..2] };
        if let Some(own) = reserved.iter().find(|own| overlap(own, pattern.to_filter())) {
            let own = own.trim_end_matches("/#");
            note(
                to.unwrap_or(&rule.topic),
                TemplateError::new(format!("topics below `{own}` are the gateway's own"))
                    .with_help("put them below a topic of their own with `to`: site/#"),
            );
        } else if down && overlap(&own[0], pattern.from_filter()) {
            note(
                &rule.topic,
                TemplateError::new(format!("topics below `{gateway}-in` are commands, and come down already")),
            );
        }
    }
    let mut uplinks = Route::default();
    match &rule.uplinks {
        None => uplinks = (0..site.uplinks.entries().len()).fold(uplinks, Route::and),
        Some(names) => {
            for name in names {
                match site.uplinks.entries().iter().position(|entry| entry.name.as_str() == name.value) {
                    Some(place) => uplinks = uplinks.and(place),
                    None => {
                        let known: Vec<_> = site.uplinks.iter().map(|(name, _)| name.as_str()).collect();
                        note(
                            name,
                            TemplateError::new(format!("no uplink of this site is called `{}`", name.value))
                                .with_help(format!("the site has {}", known.join(", "))),
                        );
                    }
                }
            }
        }
    }
    if problems.len() == before && (uplinks.is_empty() || !site.has_own_broker()) {
        let missing = if uplinks.is_empty() { "uplink" } else { "local broker" };
        let message = format!("the site has no {missing}, so nothing passes");
        problems.push(Problem::new(rule.topic.span, rule.topic.path.clone(), message));
    }
    if problems.len() > before {
        return None;
    }
    let qos = match rule.qos {
        BridgeQos::Keep => None,
        BridgeQos::AtMostOnce => Some(Qos::AtMostOnce),
        BridgeQos::AtLeastOnce => Some(Qos::AtLeastOnce),
    };
    let retain = match rule.retain {
        BridgeRetain::Keep => None,
        BridgeRetain::Never => Some(false),
        BridgeRetain::Always => Some(true),
    };
    Some(bridge::Rule { pattern: pattern?, uplinks, qos, retain })
}
