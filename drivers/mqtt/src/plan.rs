//! What is listened to and asked, for people.

use std::time::Duration;

use wharf_contract::plan::spell;
use wharf_contract::{DeviceId, DevicePlan, LinkPlan, RequestPlan};

use crate::config::Retained;
use crate::device::{Identity, Shape};
use crate::session::Link;

/// How long a request and its answer are taken to need.
const ASSUMED: Duration = Duration::from_millis(20);

/// The plan of a link.
pub fn of(link: &Link) -> LinkPlan {
    LinkPlan {
        place: link.broker.to_string(),
        pace: format!("{} a message, assumed", spell(ASSUMED)),
        is_certain: false,
        settings: vec![("subscriptions", link.filters().len().to_string())],
        devices: link.shapes().iter().map(device).collect(),
        forget: None,
    }
}

fn device(shape: &Shape) -> DevicePlan {
    let mut topics: Vec<&str> = shape.topics().map(|topic| topic.as_str()).collect();
    topics.sort_unstable();
    topics.dedup();
    let mut settings = vec![("topics", topics.join(", "))];
    let name = match &shape.identity {
        Identity::Named(name) => name.clone(),
        Identity::Found { most } => {
            settings.push(("most", most.to_string()));
            DeviceId::from("{device}")
        }
    };
    if shape.retained != Retained::LastKnown {
        settings.push(("retained", shape.retained.as_str().to_owned()));
    }
    if let Some(quiet) = shape.quiet_after {
        settings.push(("quiet_after", spell(quiet)));
    }
    let request = shape.ask.as_ref().and_then(|ask| {
        let every = ask.every?;
        let points = shape.points.iter().filter(|point| !point.topics.is_empty());
        Some(RequestPlan {
            what: format!("{} `{}`", ask.topic, ask.payload),
            every,
            takes: ASSUMED,
            points: points.map(|point| (point.id.clone(), every)).collect(),
        })
    });
    DevicePlan { device: name, settings, requests: request.into_iter().collect(), refuses: Vec::new() }
}
