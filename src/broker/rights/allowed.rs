//! What one client may do: the rules for it and its user, with their names filled in.

use super::filter;

/// What a client may publish and hear of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    publish: Topics,
    hear: Topics,
}

/// Some topics, or all there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topics {
    /// Every topic, those of the broker itself included.
    All,
    /// Those that one of these filters matches.
    Of(Vec<Box<str>>),
}

impl Allowed {
    /// What publishes and hears of these topics.
    pub fn new(publish: Topics, hear: Topics) -> Self {
        Self { publish, hear }
    }

    /// For a broker without users, and for the gateway itself.
    pub fn everything() -> Self {
        Self::new(Topics::All, Topics::All)
    }

    /// Whether it may publish on a topic.
    pub fn may_publish(&self, topic: &str) -> bool {
        self.publish.any(|rule| filter::matches(rule, topic))
    }

    /// Whether a subscription to a filter (without `$share/…/`) brings it anything. What it brings is looked at
    /// again by [`Allowed::may_hear`], unless it [covers](Allowed::covers) the filter.
    pub fn may_subscribe(&self, wanted: &str) -> bool {
        self.hear.any(|rule| filter::overlap(rule, wanted))
    }

    /// Whether a single rule lets it hear of everything a filter matches. What several rules allow only together
    /// is not seen here; it is allowed message by message.
    pub fn covers(&self, wanted: &str) -> bool {
        self.hear.any(|rule| filter::includes(rule, wanted))
    }

    /// Whether it may hear of a topic.
    pub fn may_hear(&self, topic: &str) -> bool {
        self.hear.any(|rule| filter::matches(rule, topic))
    }
}

impl Topics {
    fn any(&self, fits: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::All => true,
            Self::Of(filters) => filters.iter().any(|filter| fits(filter)),
        }
    }
}

impl Default for Topics {
    /// None.
    fn default() -> Self {
        Self::Of(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hears(rules: &[&str]) -> Allowed {
        Allowed::new(Topics::default(), Topics::Of(rules.iter().map(|rule| (*rule).into()).collect()))
    }

    #[test]
    fn what_no_rule_allows_is_denied() {
        let nothing = Allowed::default();
        assert!(
            !nothing.may_publish("a") && !nothing.may_subscribe("#") && !nothing.covers("a") && !nothing.may_hear("a")
        );
        let panel = Allowed::new(Topics::Of(vec!["gw1-in/#".into()]), Topics::Of(vec!["gw1-out/#".into()]));
        assert!(panel.may_publish("gw1-in/tank/valve") && !panel.may_publish("gw1-out/tank/valve"));
        assert!(panel.may_hear("gw1-out/tank/level") && !panel.may_hear("gw1-in/tank/valve"));
    }

    #[test]
    fn a_subscription_that_brings_something_is_granted_and_looked_at_where_it_asks_for_more() {
        let panel = hears(&["gw1-out/#", "gw1-sys/#"]);
        assert!(panel.may_subscribe("#") && !panel.covers("#"));
        assert!(panel.may_subscribe("+/tank/level") && !panel.covers("+/tank/level"));
        assert!(panel.may_subscribe("gw1-out/+/level") && panel.covers("gw1-out/+/level"));
        assert!(!panel.may_subscribe("gw1-in/#"));
    }

    #[test]
    fn topics_of_the_broker_itself_are_for_those_who_may_do_everything_and_those_told_so() {
        assert!(Allowed::everything().covers("$SYS/#") && Allowed::everything().may_hear("$SYS/broker/uptime"));
        assert!(!hears(&["#"]).may_subscribe("$SYS/#") && !hears(&["#"]).may_hear("$SYS/broker/uptime"));
        assert!(hears(&["$SYS/#"]).covers("$SYS/broker/+"));
    }
}
