//! Whatever clients say in whatever order: nothing panics, every bound holds, and the books are right.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Connect { client: usize, connect: Box<Connect> },
    Say { client: usize, request: Request },
    Deliver { client: usize, budget: usize },
    Break { client: usize },
    Show { publication: Box<(String, usize, usize, bool, Option<u64>)> },
    Pass { seconds: u64 },
    Judge { mask: u8 },
    Restart,
}

fn limits() -> Limits {
    Limits {
        clients: 3,
        sessions: 4,
        receive_maximum: 3,
        in_flight: 3,
        in_flight_bytes: 600,
        queued: 5,
        queued_bytes: 2_000,
        queued_bytes_together: 4_000,
        retained: 3,
        largest_retained: 100,
        retained_bytes: 800,
        subscriptions: 3,
        filter_bytes: 1_000,
        filter_bytes_together: 2_000,
        levels: 4,
        session_expiry: Duration::from_secs(20),
        ..Limits::default()
    }
}

fn any_topic() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[ab](/[ab]){0,2}", 1 => "\\$SYS/a", 1 => "[a+#/]{0,6}"]
}

fn any_filter() -> impl Strategy<Value = String> {
    prop_oneof![6 => "([ab+]/){0,2}[ab#+]", 2 => "\\$share/[gh]/([ab+]/){0,1}[ab#]", 1 => "[a+#/$]{0,6}"]
}

fn any_id() -> impl Strategy<Value = u16> {
    prop_oneof![8 => 0u16..6, 1 => any::<u16>()]
}

fn any_reason() -> impl Strategy<Value = u8> {
    prop_oneof![6 => Just(0u8), 1 => any::<u8>()]
}

fn any_wanted() -> impl Strategy<Value = Wanted> {
    (any_filter(), 0..3usize, prop::bool::weighted(0.1), any::<bool>(), 0..3usize).prop_map(
        |(filter, qos, no_local, retain_as_published, retained)| Wanted {
            filter,
            qos: QOS[qos],
            no_local,
            retain_as_published,
            retained: [RetainedWanted::All, RetainedWanted::IfNew, RetainedWanted::None][retained],
        },
    )
}

fn any_request() -> impl Strategy<Value = Request> {
    let publication = (any_topic(), 0..200usize, 0..3usize, any::<bool>(), any_id(), prop::option::of(0u64..9));
    prop_oneof![
        6 => publication.prop_map(|(topic, size, qos, retain, id, expiry)| Request::Publish(Publish {
            retain,
            id,
            expiry: expiry.map(Duration::from_secs),
            ..publish(&topic, &"x".repeat(size), QOS[qos])
        })),
        3 => (any_id(), any_reason()).prop_map(|(id, reason)| Request::PubAck { id, reason }),
        3 => (any_id(), any_reason()).prop_map(|(id, reason)| Request::PubRec { id, reason }),
        3 => any_id().prop_map(|id| Request::PubRel { id }),
        3 => any_id().prop_map(|id| Request::PubComp { id }),
        4 => (any_id(), prop::collection::vec(any_wanted(), 1..4), prop::option::of(0u32..3))
            .prop_map(|(id, filters, identifier)| Request::Subscribe { id, filters, identifier }),
        2 => (any_id(), prop::collection::vec(any_filter(), 1..4))
            .prop_map(|(id, filters)| Request::Unsubscribe { id, filters }),
        1 => Just(Request::Ping),
        1 => Just(Request::Auth),
        1 => (any_reason(), prop::option::of(0u32..30))
            .prop_map(|(reason, session_expiry)| Request::Disconnect { reason, session_expiry }),
    ]
}

fn any_connect() -> impl Strategy<Value = Connect> {
    let given = prop::option::of((any_topic(), 0u64..30, prop::option::of(0u64..9)));
    let session = (any::<bool>(), prop_oneof![Just(0u32), 1u32..40, Just(u32::MAX)], any::<bool>());
    ("[a-e]?", session, 0u16..5, prop::option::of(0u32..200), given).prop_map(
        |(client, (clean_start, session_expiry, is_old), receive_maximum, maximum_packet, given)| Connect {
            version: if is_old { Version::V3 } else { Version::V5 },
            clean_start,
            session_expiry,
            receive_maximum,
            maximum_packet,
            will: given.map(|(topic, delay, expiry)| Will {
                delay: Duration::from_secs(delay),
                expiry: expiry.map(Duration::from_secs),
                retain: expiry.is_some(),
                ..will(&topic, "gone")
            }),
            ..connect(&client)
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = 0..5usize;
    let shown = (any_topic(), 0..200usize, 0..3usize, any::<bool>(), prop::option::of(0u64..9));
    let step = prop_oneof![
        3 => (client.clone(), any_connect()).prop_map(|(client, connect)| Step::Connect { client, connect: Box::new(connect) }),
        12 => (client.clone(), any_request()).prop_map(|(client, request)| Step::Say { client, request }),
        4 => (client.clone(), 0..500usize).prop_map(|(client, budget)| Step::Deliver { client, budget }),
        1 => client.prop_map(|client| Step::Break { client }),
        4 => shown.prop_map(|publication| Step::Show { publication: Box::new(publication) }),
        1 => (0u64..15).prop_map(|seconds| Step::Pass { seconds }),
        1 => any::<u8>().prop_map(|mask| Step::Judge { mask }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..120)
}

/// Everything is within its bounds, and what is counted in several places is the same in all of them.
fn check(site: &Site) {
    let (hub, limits) = (&site.hub, limits());
    let (mut messages, mut bytes, mut connected, mut subscriptions, mut filter_bytes) = (0, 0, 0, 0, 0);
    let (mut deadlines, mut distinct) = (0, HashSet::new());
    for (slot, session) in hub.sessions.iter() {
        assert_eq!(hub.clients.get(&session.client), Some(&slot));
        assert!(session.outbox.len() <= limits.queued && session.outbox.bytes() <= limits.queued_bytes);
        assert_eq!(session.outbox.bytes(), session.outbox.iter().map(outbox::Item::weight).sum::<usize>());
        assert_eq!(session.window.bytes(), session.window.iter().map(outbox::Item::weight).sum::<usize>());
        assert_eq!(session.window.len(), session.window.iter().count());
        assert!(session.window.len() <= 16 * usize::from(limits.in_flight));
        assert!(session.subscriptions.len() <= limits.subscriptions && session.filter_bytes <= limits.filter_bytes);
        assert!(session.cursors.len() <= session.subscriptions.len());
        assert!(session.link.is_some() || session.is_lasting());
        assert_eq!(session.link.is_none(), session.deadline.is_some());
        deadlines += usize::from(session.deadline.is_some());
        messages += session.outbox.len() + session.window.len();
        for item in session.outbox.iter().chain(session.window.iter()) {
            let is_first = distinct.insert(Arc::as_ptr(&item.waiting.publication));
            let waiting = &item.waiting;
            bytes += 64 + 8 * waiting.subscriptions.len() + if is_first { waiting.publication.weight() } else { 0 };
        }
        connected += usize::from(session.link.is_some());
        subscriptions += session.subscriptions.len();
        filter_bytes += session.filter_bytes;
    }
    hub.groups.check(&hub.sessions);
    assert_eq!((hub.tally.messages(), hub.tally.bytes()), (messages, bytes));
    assert!(bytes <= limits.queued_bytes_together + limits.in_flight_bytes);
    assert_eq!((hub.connected, hub.subscriptions, hub.filter_bytes), (connected, subscriptions, filter_bytes));
    assert_eq!((hub.clients.len(), hub.deadlines.len()), (hub.sessions.len(), deadlines));
    assert!(connected <= limits.clients && hub.sessions.len() <= limits.sessions);
    assert!(hub.retained.len() <= limits.retained && hub.retained.bytes() <= limits.retained_bytes);
    assert_eq!(hub.retained.bytes(), hub.retained.iter().map(|publication| publication.weight()).sum::<usize>());
    assert!(filter_bytes <= limits.filter_bytes_together);
    assert_eq!(figure(&site.figures.queued), messages as u64);
    assert_eq!(figure(&site.figures.queued_bytes), bytes as u64);
    assert_eq!(figure(&site.figures.clients), connected as u64);
    assert_eq!(figure(&site.figures.subscriptions), subscriptions as u64);
    assert_eq!(figure(&site.figures.retained), hub.retained.len() as u64);
}

proptest! {
    #[test]
    fn nothing_clients_say_breaks_anything(steps in steps()) {
        let mut site = Site::with(limits());
        let mut links: [Option<Client>; 5] = [const { None }; 5];
        for step in steps {
            match step {
                Step::Connect { client, connect } => links[client] = site.try_connect(&connect).ok().or(links[client].take()),
                Step::Say { client, request } => {
                    let Some(link) = links[client].clone() else { continue };
                    if site.try_say(&link, request).is_err() {
                        site.break_off(&link);
                    }
                }
                Step::Deliver { client, budget } => {
                    let Some(link) = &links[client] else { continue };
                    site.hub.deliver(link.name, budget, site.now, &mut Vec::new());
                }
                Step::Break { client } => {
                    let Some(link) = links[client].take() else { continue };
                    site.break_off(&link);
                }
                Step::Show { publication } => {
                    let (topic, size, qos, retain, expiry) = *publication;
                    let expires = expiry.map(|seconds| site.now + Duration::from_secs(seconds));
                    let publication = Publication::new(topic, "x".repeat(size));
                    site.hub.publish(Publication { qos: QOS[qos], retain, expires, ..publication }, site.now);
                }
                Step::Pass { seconds } => {
                    site.pass(seconds);
                    let next = site.tick();
                    prop_assert!(next.is_none_or(|next| next > site.now));
                }
                Step::Judge { mask } => site.hub.judge_again(&|client, _| {
                    match client.bytes().next().map_or(0, |byte| mask >> (byte % 4 * 2) & 3) {
                        0 => None,
                        1 => Some(Arc::new(Allowed::default())),
                        _ => Some(Arc::new(Allowed::everything())),
                    }
                }),
                Step::Restart => {
                    let saved = site.hub.save(site.now);
                    let now = site.now;
                    site = Site::with(limits());
                    site.now = now;
                    site.hub.restore(saved, now);
                }
            }
            check(&site);
        }
        // When everybody has gone for good, nothing is left of them.
        site.hub.judge_again(&|_, _| None);
        check(&site);
        prop_assert_eq!((site.hub.sessions.len(), site.hub.tree.size()), (0, 1));
    }
}
