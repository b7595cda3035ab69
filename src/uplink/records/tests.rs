//! What waits aside, on a connection that nothing happens on.

use super::super::client::{Aim, Connected, Connection};
use super::super::tests::uplink;
use super::*;

const TOPIC: &str = "gw1-out/denied/level";

/// A connection that was made, as far as it knows; nothing it is given ever leaves.
fn flow(records: &Records) -> Flow {
    let uplink = records.uplink;
    let aim = Aim { url: uplink.urls[0].clone(), keys: Default::default() };
    let sender = Connection::new(uplink.options.clone(), aim).sender();
    let connected = Connected {
        session_present: false,
        receive_maximum: None,
        largest_packet: None,
        retain_available: true,
        maximum_qos: 1,
    };
    Flow::new(sender, connected, uplink.options.window, &uplink.delivery, records.lanes())
}

/// Captures so many messages, and returns them as they are read.
async fn capture(uplink: &Uplink, count: usize) -> Vec<Record> {
    for n in 0..count {
        uplink.queue.append(Message::new(TOPIC, n.to_string()).encode()).await.unwrap();
    }
    let mut records: Vec<Record> = Vec::new();
    while records.len() < count {
        let from = records.last().map_or(Seq::FIRST, |last| last.seq.next());
        records.extend(uplink.queue.read(from, Seq::END, count, usize::MAX).await.unwrap());
    }
    records
}

#[tokio::test]
async fn what_was_released_and_must_not_go_after_all_leaves_without_waiting_for_anything_else() {
    let dir = tempfile::tempdir().unwrap();
    let uplink = uplink(dir.path());
    let captured = capture(&uplink, 50).await;
    let (counters, recent, now) =
        (Counters::default(), Mutex::new(Recent::new(Instant::now(), Seq::END)), Instant::now());
    let mut records = Records::new(&uplink, &counters, &recent);
    let topic = records.topics.hash_one(TOPIC);
    for record in &captured {
        let message = GivenUp { seq: record.seq, captured_at: record.captured_at };
        assert!(records.aside.hold(message, topic));
    }
    records.release(topic, now);
    records.poison.ban(topic, now);

    let mut flow = flow(&records);
    // The lanes have passed it all by.
    (flow.live, flow.backlog) = (Supply::new(Seq::END, Seq::END), Supply::default());
    loop {
        records.fill(&mut flow).unwrap();
        // Nothing is under way and nobody is to wake us, so what is to come has begun by now.
        let Some(reading) = &mut flow.again.reading else { break };
        let read = reading.await;
        assert!(records.take_again(&mut flow, read));
    }
    assert_eq!(records.aside.len(), 0);
    assert_eq!(uplink.queue.counters().dropped.refused, 50);
}
