//! The site's mapping rules, compiled: templates are checked here, so that none fails later.

use std::collections::HashMap;

use wharf_contract::DeviceId;
use wharf_contract::settings::{Problem, Severity, Spanned};

use super::site::{Match, Rule as RuleSettings, Site};
use crate::mapping::{
    Glob, LinkFacts, Matcher, PAYLOAD_WORDS, Payload, Publish, Rule, TOPIC_WORDS, Template, TemplateError,
};
use crate::message::Qos;

/// Compiles the rules of a site with these links, and tells what is wrong with their templates.
pub fn compile(site: &Site, links: &[LinkFacts]) -> (Vec<Rule>, Vec<Problem>) {
    let mut problems = Vec::new();
    let rules =
        site.mapping.iter().map(|rule| compile_one(rule, site.gateway.as_str(), links, &mut problems)).collect();
    (rules, problems)
}

/// The compiled rules of a site that has been checked.
pub fn rules(site: &Site, links: &[LinkFacts]) -> Vec<Rule> {
    compile(site, links).0
}

fn compile_one(rule: &RuleSettings, gateway: &str, links: &[LinkFacts], problems: &mut Vec<Problem>) -> Rule {
    let matcher = matcher(&rule.r#match);
    let topic_words = matcher.words(TOPIC_WORDS, links);
    let payload_words = matcher.words(PAYLOAD_WORDS, links);
    let topics = rule.topic.iter().flat_map(|topics| topics.iter());
    let topics: Vec<_> = topics
        .map(|topic| {
            let template = Template::topic(topic, &topic_words).and_then(|template| not_our_own(template, gateway));
            noted(topic, template, problems)
        })
        .collect();
    let payloads: Vec<_> = rule.payload.iter().map(|text| payload(text, &payload_words, problems)).collect();
    let qos = if rule.qos.get() == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
    // One payload is that of every topic.
    let payloads = payloads.iter().cycle().take(if payloads.len() == 1 { topics.len() } else { payloads.len() });
    let ways = topics.into_iter().zip(payloads).filter(|_| !rule.drop);
    let publish = ways.filter_map(|(topic, payload)| {
        Some(Publish { topic: topic?, payload: payload.clone()?, qos, retain: rule.retain })
    });
    Rule { matcher, publish: publish.collect(), is_presented: rule.present_as.is_some() }
}

fn payload(text: &Spanned<String>, words: &[&'static str], problems: &mut Vec<Problem>) -> Option<Payload> {
    match text.as_str() {
        "json" => Some(Payload::Json),
        "raw" => Some(Payload::Raw),
        bare if !bare.contains('{') => {
            let error = TemplateError::new(format!("`{bare}` is neither json, raw nor a template"))
                .with_help("a template has {words}: `{value}`");
            noted(text, Err(error), problems)
        }
        template => noted(text, Template::payload(template, words), problems).map(Payload::Template),
    }
}

/// Readings below `gw1-in/` would come back as commands, and below `gw1-sys/` they would pass for
/// what the gateway says of itself.
fn not_our_own(template: Template, gateway: &str) -> Result<Template, TemplateError> {
    let mut example = String::new();
    template.render(&mut example, |word, out| out.push_str(if word == "gateway" { gateway } else { "x" }));
    let first = example.split('/').next().unwrap_or_default();
    match first.strip_prefix(gateway) {
        Some(end @ ("-in" | "-sys")) => {
            Err(TemplateError::new(format!("topics below `{gateway}{end}` are not for readings"))
                .with_help("readings go to `{gateway}-out/…`, or to a tree of their own"))
        }
        _ => Ok(template),
    }
}

/// What a site shows as MySensors nodes.
#[derive(Clone, Debug, Default)]
pub struct Presents {
    matchers: Vec<Matcher>,
    /// The node numbers that the site file gives.
    pub stated: HashMap<DeviceId, u8>,
}

impl Presents {
    /// Of a site that has been checked.
    pub fn of(site: &Site) -> Self {
        let rules = || site.mapping.iter().filter(|rule| rule.present_as.is_some());
        let stated = |rule: &RuleSettings| Some((rule.r#match.device.as_deref()?.into(), rule.node?.get()));
        Self {
            matchers: rules().map(|rule| matcher(&rule.r#match)).collect(),
            stated: rules().filter_map(stated).collect(),
        }
    }

    /// Whether it shows anything.
    pub fn any(&self) -> bool {
        !self.matchers.is_empty()
    }

    /// Whether a device can be shown, whose link is known unless it was never declared.
    pub fn could_show(&self, link: Option<&LinkFacts>, device: &DeviceId) -> bool {
        let could = |matcher: &Matcher| match link {
            Some(link) => matcher.could_match_device(link, device),
            None => matcher.device.as_ref().is_none_or(|glob| glob.matches(device.as_str())),
        };
        self.matchers.iter().any(could)
    }
}

/// The compiled form of a filter; every text is a valid pattern.
pub fn matcher(settings: &Match) -> Matcher {
    let glob = |pattern: &Option<String>| pattern.as_ref().map(|text| Glob::new(text.as_str()));
    Matcher {
        link: glob(&settings.link),
        driver: glob(&settings.driver),
        device: glob(&settings.device),
        point: glob(&settings.point),
    }
}

fn noted<T>(place: &Spanned<String>, result: Result<T, TemplateError>, problems: &mut Vec<Problem>) -> Option<T> {
    result
        .map_err(|TemplateError { message, help }| {
            problems.push(Problem {
                severity: Severity::Mistake,
                span: place.span,
                path: place.path.clone(),
                message,
                help,
            });
        })
        .ok()
}
