//! What is going to be read over connections, and how much of the adapter's time that takes: for people.
//! Pure.

use std::time::Duration;

use wharf_contract::plan::spell;
use wharf_contract::{DevicePlan, LinkPlan, RequestPlan};

use super::Sharing;
use super::target::{Point, Target};

/// How long making a connection takes, with finding out what the device has: 1 to 1.5 s with a handful of
/// services, measured with BlueZ.
const CONNECT: Duration = Duration::from_millis(1500);

/// How long a read takes: there and back within a connection interval or two.
const READ: Duration = Duration::from_millis(100);

/// What is read of these devices, when, and over how many connections. `None` if there are none.
pub(crate) fn explain<'t>(
    targets: impl IntoIterator<Item = &'t Target>,
    adapter: Option<&str>,
    sharing: &Sharing,
) -> Option<LinkPlan> {
    let targets: Vec<&Target> = targets.into_iter().collect();
    if targets.is_empty() {
        return None;
    }
    let kept = targets.iter().filter(|target| target.keep).count();
    let turns = if targets.len() > sharing.most && kept > 0 {
        format!("{} for {} devices, kept for {} while others wait", sharing.most, targets.len(), spell(sharing.turn))
    } else {
        sharing.most.to_string()
    };
    Some(LinkPlan {
        place: adapter.unwrap_or("the first adapter").to_owned(),
        pace: format!("{} a connection and as long a rest, {} a read, assumed", spell(CONNECT), spell(READ)),
        is_certain: false,
        settings: vec![("connections", turns)],
        devices: targets.into_iter().map(explain_device).collect(),
        forget: None,
    })
}

fn explain_device(target: &Target) -> DevicePlan {
    let mut requests = requests(&target.points);
    // A visit makes its connection once for all that is due, so the quickest pays for it.
    if let Some(first) = requests.iter_mut().min_by_key(|request| request.every).filter(|_| !target.keep) {
        // Making connections takes no more than half of the time.
        first.takes += CONNECT * 2;
    }
    let told: Vec<&str> = target.points.iter().filter(|point| point.notify).map(|point| point.name.as_str()).collect();
    let mut settings = vec![("connect", if target.keep { "keep" } else { "poll" }.to_owned())];
    settings.extend((!told.is_empty()).then(|| ("notify", told.join(" "))));
    DevicePlan { device: target.device.clone(), settings, requests, refuses: Vec::new() }
}

/// What is read at a rhythm: a characteristic at a time, with all that stands in it.
fn requests(points: &[Point]) -> Vec<RequestPlan> {
    let mut all: Vec<RequestPlan> = Vec::new();
    for (point, every) in points.iter().filter_map(|point| Some((point, point.every?))) {
        let what = match point.service {
            Some(service) => format!("characteristic {} of {service}", point.characteristic),
            None => format!("characteristic {}", point.characteristic),
        };
        let entry = (point.name.clone(), every);
        match all.iter_mut().find(|request| request.what == what) {
            Some(request) => {
                request.every = request.every.min(every);
                request.points.push(entry);
            }
            None => all.push(RequestPlan { what, every, takes: READ, points: vec![entry] }),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use wharf_contract::{DeviceId, Labels};

    use super::super::Settings;
    use super::super::standard;
    use super::*;
    use crate::advert::{Address, Uuid};

    fn point(name: &str, characteristic: u16, every: Option<u64>) -> Point {
        Point {
            name: name.into(),
            unit: None,
            labels: Labels::NONE,
            characteristic: Uuid::short(characteristic),
            service: None,
            codec: standard::of(Uuid::short(0x2a6e)).unwrap().codec(),
            every: every.map(Duration::from_secs),
            notify: every.is_none(),
            write: None,
            optional: false,
        }
    }

    fn target(name: &str, keep: bool, points: Vec<Point>) -> Target {
        Target { device: DeviceId::from(name), address: Address([0; 6]), keep, points, bond: None }
    }

    fn plan(targets: &[Target]) -> Option<LinkPlan> {
        explain(targets, Some("hci0"), &Settings::default().sharing)
    }

    #[test]
    fn what_shares_a_characteristic_is_read_at_once_and_what_is_told_is_not_read() {
        let points = vec![point("fan", 0xfff2, Some(60)), point("told", 0x2a6e, None), point("door", 0xfff2, Some(10))];
        let plan = plan(&[target("probe", true, points)]).unwrap();
        assert_eq!((plan.place.as_str(), &plan.settings), ("hci0", &vec![("connections", "3".to_owned())]));
        let probe = &plan.devices[0];
        assert_eq!(probe.settings, [("connect", "keep".to_owned()), ("notify", "told".to_owned())]);
        let [request] = &probe.requests[..] else { panic!("{probe:?}") };
        assert_eq!((request.what.as_str(), request.every), ("characteristic fff2", Duration::from_secs(10)));
        assert_eq!((request.takes, request.points.len()), (READ, 2));
    }

    #[test]
    fn devices_that_are_visited_in_turns_cost_the_time_of_their_connections() {
        let polled = |n: u64| {
            let points = vec![point("a", 0xfff1, Some(10)), point("b", 0xfff2, Some(3600))];
            target(&format!("d{n}"), false, points)
        };
        let one = plan(&[polled(0)]).unwrap();
        assert_eq!(one.devices[0].requests[0].takes, CONNECT * 2 + READ);
        assert_eq!((one.devices[0].requests[1].takes, one.warning()), (READ, None));
        let many: Vec<Target> = (0..4).map(polled).collect();
        assert!(plan(&many).unwrap().warning().is_some_and(|warning| warning.contains("124 %")));
    }

    #[test]
    fn more_devices_than_connections_take_turns_and_without_any_there_is_no_plan() {
        let kept: Vec<Target> =
            (0..5).map(|n| target(&format!("d{n}"), true, vec![point("a", 0xfff1, Some(10))])).collect();
        let turns = "3 for 5 devices, kept for 10s while others wait".to_owned();
        assert_eq!(plan(&kept).unwrap().settings, [("connections", turns)]);
        assert_eq!(plan(&[]), None);
    }
}
