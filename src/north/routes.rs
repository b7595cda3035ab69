//! Which uplinks take what: their filters, worked out once per link and remembered per point, so
//! that a reading on its way costs a look-up at most.

use std::collections::HashMap;
use std::sync::Arc;

use wharf_contract::{DeviceId, PointId, Reading};

use crate::mapping::{LinkFacts, Matcher};

/// How many uplinks a site may have.
pub const MOST_UPLINKS: usize = 64;

/// Of how many points of a link the route is remembered. Past that it is forgotten and learned
/// anew: a device may make up names without end.
const POINTS_KNOWN: usize = 16_384;

/// A choice of uplinks, by their place in the site file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Route(u64);

impl Route {
    /// Whether the uplink at that place is chosen.
    pub fn takes(self, uplink: usize) -> bool {
        uplink < MOST_UPLINKS && self.0 >> uplink & 1 == 1
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The same choice and the uplink at that place.
    #[must_use]
    pub fn and(self, uplink: usize) -> Self {
        Self(self.0 | if uplink < MOST_UPLINKS { 1 << uplink } else { 0 })
    }

    fn of(filters: &[Matcher], fits: impl Fn(&Matcher) -> bool) -> Self {
        let chosen = filters.iter().enumerate().filter(|(_, filter)| fits(filter));
        chosen.fold(Self::default(), |route, (uplink, _)| route.and(uplink))
    }
}

/// The routes of one link.
#[derive(Clone, Debug)]
pub struct Routes {
    filters: Arc<[Matcher]>,
    facts: LinkFacts,
    link: Route,
    /// Whether a filter looks at more than the link and its driver.
    by_point: bool,
    points: HashMap<DeviceId, HashMap<PointId, Route>>,
    known: usize,
}

impl Routes {
    /// The routes of a link past these filters, one per uplink.
    pub fn new(filters: Arc<[Matcher]>, facts: LinkFacts) -> Self {
        let link = Route::of(&filters, |filter| filter.could_match(&facts));
        let by_point = filters.iter().any(|filter| filter.device.is_some() || filter.point.is_some());
        Self { filters, facts, link, by_point, points: HashMap::new(), known: 0 }
    }

    /// The link.
    pub fn facts(&self) -> &LinkFacts {
        &self.facts
    }

    /// Who takes something of this link: its health, and what became of its readings.
    pub fn link(&self) -> Route {
        self.link
    }

    /// Who takes something of this device: whether it answers. Not remembered, for it is rarely
    /// asked.
    pub fn device(&self, device: &DeviceId) -> Route {
        Route::of(&self.filters, |filter| filter.could_match_device(&self.facts, device))
    }

    /// Who takes this reading.
    pub fn reading(&mut self, reading: &Reading) -> Route {
        if !self.by_point {
            return self.link;
        }
        if let Some(known) = self.points.get(&reading.device).and_then(|points| points.get(&reading.point)) {
            return *known;
        }
        let route = Route::of(&self.filters, |filter| filter.matches(&self.facts, reading));
        if self.known >= POINTS_KNOWN {
            self.points.clear();
            self.known = 0;
        }
        self.points.entry(reading.device.clone()).or_default().insert(reading.point.clone(), route);
        self.known += 1;
        route
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use wharf_contract::Value;

    use super::*;
    use crate::mapping::Glob;

    fn garden() -> LinkFacts {
        LinkFacts { link: "garden".into(), driver: "mysensors", labels: &[] }
    }

    fn filter(link: Option<&str>, device: Option<&str>, point: Option<&str>) -> Matcher {
        let glob = |pattern: Option<&str>| pattern.map(Glob::new);
        Matcher { link: glob(link), driver: None, device: glob(device), point: glob(point) }
    }

    fn reading(device: &str, point: &str) -> Reading {
        Reading::good(device.into(), point.into(), Value::Int(1), SystemTime::UNIX_EPOCH)
    }

    /// The places of the uplinks that are chosen.
    fn chosen(route: Route) -> Vec<usize> {
        (0..MOST_UPLINKS + 1).filter(|&uplink| route.takes(uplink)).collect()
    }

    #[test]
    fn each_uplink_gets_the_readings_that_fit_its_filter_the_first_time_and_every_other() {
        let filters = [
            Matcher::default(),
            filter(Some("garden"), None, None),
            filter(Some("boiler-*"), None, None),
            filter(None, Some("soil*"), None),
            filter(None, Some("soil*"), Some("*-temp")),
        ];
        let mut routes = Routes::new(filters.into(), garden());
        for _ in 0..2 {
            assert_eq!(chosen(routes.reading(&reading("soil-1", "1-temp"))), [0, 1, 3, 4]);
            assert_eq!(chosen(routes.reading(&reading("soil-1", "1-hum"))), [0, 1, 3]);
            assert_eq!(chosen(routes.reading(&reading("pump", "1-temp"))), [0, 1]);
        }
    }

    #[test]
    fn what_is_said_of_a_device_goes_where_any_of_its_points_may_go() {
        let filters = [filter(None, Some("soil"), Some("1-temp")), filter(None, Some("pump"), None)];
        let routes = Routes::new(filters.into(), garden());
        assert_eq!(chosen(routes.device(&"soil".into())), [0]);
        assert_eq!(chosen(routes.device(&"pump".into())), [1]);
        assert_eq!(chosen(routes.link()), [0, 1]);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_stays_right() {
        let mut routes = Routes::new([filter(None, None, Some("p1*"))].into(), garden());
        for number in 0..2 * POINTS_KNOWN {
            let point = format!("p{number}");
            let expected: &[usize] = if point.starts_with("p1") { &[0] } else { &[] };
            assert_eq!(chosen(routes.reading(&reading("soil", &point))), expected, "{point}");
            assert!(routes.points.values().map(HashMap::len).sum::<usize>() <= POINTS_KNOWN);
        }
    }
}
