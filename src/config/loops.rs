//! What is wrong between devices that speak MQTT and the gateway they speak to: that
//! their topics are the gateway's own, where each reading would be the next one's cause.

use wharf_contract::settings::Problem;
use wharf_mqtt::roster::own_levels;
use wharf_mqtt::topic::Pattern;

use super::Site;

/// Points that would be read from the gateway's own topics.
pub fn problems(site: &Site) -> Vec<Problem> {
    let mut problems = Vec::new();
    let own = own_levels(site.gateway.as_str());
    for link in site.mqtt.entries() {
        for topic in link.value.placed_targets() {
            if let Some(level) = own.iter().find(|level| topic.begins_with(level)) {
                let message = format!("`{level}/` is this gateway's own: it would command or answer itself");
                problems.push(Problem::new(topic.span, topic.path.clone(), message));
            }
        }
        for topic in link.value.placed_topics() {
            if let Some(level) = own.iter().find(|level| topic.begins_with(level)) {
                let message =
                    format!("`{level}/` is what this gateway publishes itself: it would take that for a device's");
                let mut problem = Problem::new(topic.span, topic.path.clone(), message);
                problem.help("name the topic on which the device publishes");
                problems.push(problem);
            } else if let Some(rule) = rule_that_publishes_there(site, topic) {
                let message = format!("a rule publishes on `{rule}`, which may be taken for what a device says");
                problems.push(Problem::warning(topic.span, topic.path.clone(), message));
            }
        }
    }
    problems
}

/// The topic of a rule for devices that speak MQTT, if one of its readings may come back as another.
fn rule_that_publishes_there<'s>(site: &'s Site, topic: &Pattern) -> Option<&'s str> {
    let is_for_mqtt = |driver: &Option<String>| {
        driver.as_deref().is_none_or(|driver| driver.contains('*') || driver == wharf_mqtt::KIND)
    };
    let rules = site.mapping.iter().filter(|rule| !rule.drop && is_for_mqtt(&rule.r#match.driver));
    let mut topics = rules.filter_map(|rule| rule.topic.as_ref()).flat_map(|topics| topics.iter());
    let gateway = site.gateway.as_str();
    topics.find(|made| topic.may_fit(&made.value.replace("{gateway}", gateway))).map(|made| made.value.as_str())
}
