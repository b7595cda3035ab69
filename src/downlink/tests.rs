//! The downlink with a driver of the tests' own, whose devices sleep or do not.

use wharf_contract::{Done, DriverError, Health, Labels, PointInfo, Port, Recipient, WriteRule, async_trait};

use super::*;
use crate::message::Message;
use crate::uplink::Incoming;

/// What is waited for happens within a second on a machine that is not busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A driver that says which of its devices sleeps; its link is played by the tests.
struct Sleepy(LinkId);

#[async_trait]
impl Driver for Sleepy {
    fn name(&self) -> &LinkId {
        &self.0
    }

    fn kind(&self) -> &'static str {
        "test"
    }

    fn catalogue(&self) -> Vec<PointInfo> {
        let point = |device: &str| PointInfo {
            device: device.into(),
            point: "valve".into(),
            unit: None,
            labels: Labels::NONE,
            write: Some(Arc::new(WriteRule::default())),
        };
        vec![point("sleeper"), point("awake")]
    }

    fn hold(&self, recipient: Recipient<'_>) -> Option<Duration> {
        (recipient == Recipient::Device(&"sleeper".into())).then_some(Duration::from_secs(3 * 3600))
    }

    async fn run(&self, _: &mut Port) -> Result<(), DriverError> {
        Ok(())
    }
}

fn ask(device: &str, id: usize) -> Ask {
    let incoming = Incoming::new(format!("gw1-in/{device}/valve"), format!("{{\"value\": 1, \"id\": {id}}}"));
    Ask { source: Source::Local, incoming }
}

fn error_of(message: &Message) -> Option<String> {
    let answer: Json = serde_json::from_slice(&message.payload).unwrap();
    answer["error"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn what_waits_for_a_sleeper_for_hours_takes_no_place_from_the_others_and_is_bounded_by_itself() {
    let driver = Sleepy("bus".into());
    let (events, _events) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let (mut port, end) = Port::new("bus".into(), events, stop.clone());
    port.report(Health::Online);
    let mut catalogue = Catalogue::default();
    catalogue.add(&"bus".into(), driver.catalogue());
    let (tap, mut told) = mpsc::channel(4 * HELD);
    let downlink = Downlink {
        topics: Topics::new("gw1"),
        catalogue,
        links: HashMap::from([("bus".into(), end)]),
        drivers: vec![Arc::new(driver)],
        north: North::new(Vec::new(), None, Some(tap)),
        deadline: Duration::from_secs(10),
        retained_sets: false,
        journal: None,
    };
    let (asks, received) = mpsc::channel(8);
    let work = tokio::spawn(downlink.run(received, CancellationToken::new()));
    // The link keeps what is for the sleeper, and answers the rest at once.
    let stopped = stop.clone();
    let link = tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            tokio::select! {
                () = stopped.cancelled() => return kept,
                command = port.next_command() => match command.device.as_str() {
                    "sleeper" => kept.push(command),
                    _ => command.answer(Ok(Done::default())),
                },
            }
        }
    });

    // One at a time: how fast the link takes them is not what is looked at here.
    let mut one_more = 0;
    let refused = loop {
        asks.send(ask("sleeper", one_more)).await.unwrap();
        asks.send(ask("awake", one_more)).await.unwrap();
        one_more += 1;
        let answer = timeout_at(Instant::now() + PATIENCE, told.recv()).await.unwrap().unwrap();
        if answer.topic == "gw1-sys/answer/sleeper/valve" {
            break answer;
        }
        assert_eq!(error_of(&answer), None, "a device that is awake is served all the same");
    };
    assert_eq!(one_more, HELD + 1);
    assert_eq!(error_of(&refused).as_deref(), Some("too many commands are waiting for this link"));
    let last = timeout_at(Instant::now() + PATIENCE, told.recv()).await.unwrap().unwrap();
    assert_eq!((last.topic.as_str(), error_of(&last)), ("gw1-sys/answer/awake/valve", None));

    stop.cancel();
    let kept = link.await.unwrap();
    assert_eq!(kept.len(), HELD);
    let hours = kept[0].deadline.saturating_duration_since(Instant::now());
    assert!(hours > Duration::from_secs(2 * 3600), "{hours:?}");
    for command in kept {
        command.answer(Err(CommandError::NotSent("the gateway is stopping".into())));
    }
    drop(asks);
    timeout_at(Instant::now() + PATIENCE, work).await.unwrap().unwrap();
    let mut answered = 0;
    while let Ok(answer) = told.try_recv() {
        assert!(error_of(&answer).unwrap().contains("not sent"), "{answer:?}");
        answered += 1;
    }
    assert_eq!(answered, HELD, "each was answered");
}
