//! The site's mapping rules, compiled: templates are checked here, so that none fails later.

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
    let topic = rule.topic.as_ref().and_then(|topic| {
        let template = Template::topic(topic, &topic_words).and_then(|template| not_our_own(template, gateway));
        noted(topic, template, problems)
    });
    let payload = match rule.payload.as_str() {
        "json" => Some(Payload::Json),
        "raw" => Some(Payload::Raw),
        text if !text.contains('{') => {
            let error = TemplateError::new(format!("`{text}` is neither json, raw nor a template"))
                .with_help("a template has {words}: `{value}`");
            noted(&rule.payload, Err(error), problems)
        }
        text => noted(&rule.payload, Template::payload(text, &payload_words), problems).map(Payload::Template),
    };
    let qos = if rule.qos.get() == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
    let publish = match (topic, payload) {
        (Some(topic), Some(payload)) if !rule.drop => Some(Publish { topic, payload, qos, retain: rule.retain }),
        _ => None,
    };
    Rule { matcher, publish }
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
