//! A link that is silent, lost or stopped.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_silent_port_is_degraded_and_commands_wait_until_the_gateway_had_time_to_start() {
    let mut bench = Bench::opened(serial()).await;
    let opened = Instant::now();
    assert_eq!(*bench.end.health.borrow(), Health::Connecting);
    let answer = bench.writes("valve", Value::Bool(true), false).await;
    assert_eq!(bench.sent().await, VERSION_REQUEST, "it is asked again first");
    assert_eq!(bench.sent().await, "2;3;1;0;2;1");
    soon(answer.wait()).await.unwrap();
    assert!(opened.elapsed() >= crate::pulse::START);
    assert_eq!(*bench.end.health.borrow(), Health::Degraded("the port is open, nothing heard yet".into()));
    bench.says("2;1;1;0;37;80").await;
    soon(bench.end.health.wait_for(|health| *health == Health::Online)).await.unwrap();
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_port_that_speaks_nothing_but_noise_is_told_from_a_silent_one() {
    let mut bench = Bench::opened(serial()).await;
    bench.gateway.write_all(b"\xf0\x9e\x06\n\x80\x98").await.unwrap();
    let degraded =
        soon(bench.end.health.wait_for(|health| matches!(health, Health::Degraded(_)))).await.unwrap().clone();
    let reason = degraded.reason().unwrap();
    assert!(reason.starts_with("nothing that was heard makes sense"), "{reason}");
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn noise_is_told_as_soon_as_it_is_heard_on_a_port_that_was_said_to_be_silent() {
    let mut bench = Bench::opened(serial()).await;
    let silent = Health::Degraded("the port is open, nothing heard yet".into());
    soon(bench.end.health.wait_for(|health| *health == silent)).await.unwrap();
    let told_at = Instant::now();
    bench.gateway.write_all(b"\xf0\x9e\x06\n").await.unwrap();
    soon(bench.end.health.wait_for(|health| *health == Health::Degraded(NOISE.into()))).await.unwrap();
    assert_eq!(told_at, Instant::now(), "nobody waited until the gateway was asked in vain once more");

    // One that answers is believed, and what is not plain text now and then changes nothing.
    bench.says("0;255;3;0;2;2.3.2").await;
    soon(bench.end.health.wait_for(|health| *health == Health::Online)).await.unwrap();
    bench.gateway.write_all(b"\xf0\x9e\x06\n").await.unwrap();
    bench.says("2;1;1;0;37;80").await;
    bench.reading().await;
    assert!(!bench.end.health.has_changed().unwrap());
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_quiet_gateway_is_asked_and_kept_while_it_answers() {
    let mut bench = Bench::up(tcp()).await;
    for _ in 0..5 {
        assert_eq!(bench.sent().await, VERSION_REQUEST);
        bench.says("0;255;3;0;2;2.3.2").await;
    }
    assert_eq!(*bench.end.health.borrow(), Health::Online);
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn an_ethernet_gateway_that_does_not_answer_is_lost() {
    let bench = Bench::up(tcp()).await;
    let quiet_since = Instant::now();
    let reason = bench.lost().await;
    assert_eq!(reason, "nothing was heard from gateway:5003, not even an answer to a version request");
    assert!(quiet_since.elapsed() >= crate::pulse::QUIET + crate::pulse::ANSWER);
}

#[tokio::test(start_paused = true)]
async fn a_serial_gateway_that_does_not_answer_is_kept_and_said_to_be_silent() {
    let mut bench = Bench::up(serial()).await;
    let degraded =
        soon(bench.end.health.wait_for(|health| matches!(health, Health::Degraded(_)))).await.unwrap().clone();
    assert_eq!(degraded.reason(), Some("the port is open, but the gateway does not answer"));
    bench.says("2;1;1;0;37;80").await;
    soon(bench.end.health.wait_for(|health| *health == Health::Online)).await.unwrap();
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_stream_is_a_lost_link_and_what_waits_is_abandoned() {
    for (transport, reason) in [(serial(), "/dev/ttyUSB0 was unplugged"), (tcp(), "gateway:5003 closed the connection")]
    {
        let mut bench = Bench::up(transport).await;
        let answer = bench.writes("valve", Value::Bool(true), true).await;
        assert_eq!(bench.sent().await, "2;3;1;1;2;1");
        let (_, elsewhere) = duplex(1);
        bench.gateway = BufReader::new(elsewhere);
        assert_eq!(bench.lost().await, reason);
        assert_eq!(soon(answer.wait()).await, Err(CommandError::Abandoned));
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_takes_no_data_is_lost() {
    let bench = Bench::up(serial()).await;
    // Nobody reads at the other end, so what lies between fills up.
    let mut answers = Vec::new();
    while !bench.session.is_finished() {
        let deadline = Instant::now() + Duration::from_secs(60);
        let write = Action::Write { value: Value::Text("x".repeat(25)), verify: false };
        let (command, answer) = Command::new("soil".into(), "sign".into(), write, deadline);
        if soon(bench.end.commands.send(command)).await.is_err() {
            break;
        }
        answers.push(answer);
    }
    assert_eq!(bench.lost().await, "/dev/ttyUSB0 takes no data");
}

#[tokio::test(start_paused = true)]
async fn when_the_link_is_lost_every_node_heard_is_told_to_be_gone_and_no_other() {
    let mut bench = Bench::up(serial()).await;
    for line in ["2;1;1;0;37;80", "7;255;3;0;0;87", "2;1;1;0;37;81", "255;255;3;0;3;", "9;1;1;1;2;1", "nonsense"] {
        bench.says(line).await;
    }
    // The answer to a question asked now comes when everything before it was taken in.
    let answer = bench.asks("moisture", Action::Read).await;
    assert_eq!(bench.sent().await, "2;1;2;0;37;");
    bench.says("2;1;1;0;37;82").await;
    soon(answer.wait()).await.unwrap();
    let mut heard = Vec::new();
    // Two nodes met, and five readings: one of them is of the node without a number.
    while heard.len() < 2 + 5 {
        heard.push(bench.event().await);
    }
    let alive = |event: &&Event| matches!(event, Event::Device { alive: true, .. });
    assert_eq!(heard.iter().filter(alive).count(), 2, "{heard:?}");

    let (_, elsewhere) = duplex(1);
    bench.gateway = BufReader::new(elsewhere);
    let reason = "the link is down: /dev/ttyUSB0 was unplugged";
    assert_eq!(bench.told_gone().await, [("soil".into(), reason.into()), ("garden-7".into(), reason.into())]);
    assert_eq!(bench.lost().await, "/dev/ttyUSB0 was unplugged");
}

#[tokio::test(start_paused = true)]
async fn a_stop_tells_that_all_nodes_are_gone_however_many_and_then_ends_the_session() {
    let mut bench = Bench::up(serial()).await;
    // The highest number there is; 255 is a node that has none yet.
    for node in 0..=254 {
        bench.says(&format!("{node};1;1;0;37;80")).await;
        assert!(matches!(bench.event().await, Event::Device { alive: true, .. }));
        assert!(matches!(bench.event().await, Event::Reading(_)));
    }
    bench.stop.cancel();
    let told = bench.told_gone().await;
    let nodes: Vec<_> = (0..=254).map(|n| if n == 2 { "soil".to_owned() } else { format!("garden-{n}") }).collect();
    assert_eq!(told.iter().map(|(device, _)| device.clone()).collect::<Vec<_>>(), nodes);
    assert!(told.iter().all(|(_, reason)| reason == "the gateway is stopping"), "{told:?}");
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_session_when_nobody_takes_its_events_any_more() {
    let mut bench = Bench::up(serial()).await;
    bench.says("2;1;1;0;37;80").await;
    bench.reading().await;
    bench.events.close();
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_although_nobody_takes_its_events() {
    let mut bench = Bench::up(serial()).await;
    // Two events for the first node and one for each line after it fill all the places.
    for _ in 0..bench.events.max_capacity() - 1 {
        bench.says("2;1;1;0;37;80").await;
    }
    let full = async {
        while bench.events.len() < bench.events.max_capacity() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(full).await;
    let answer = bench.writes("valve", Value::Bool(true), true).await;
    assert_eq!(bench.sent().await, "2;3;1;1;2;1");
    bench.stop.cancel();
    assert_eq!(soon(answer.wait()).await, Err(CommandError::Abandoned));
    assert_eq!(bench.sent().await, "", "the stream has come to its end");
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_told_to_everybody_or_of_a_gateway_that_only_passes_on_makes_no_device() {
    let mut bench = Bench::up(serial()).await;
    for line in ["255;255;3;0;3;", "0;255;0;0;18;2.3.2", "0;255;3;0;5;1", "0;255;3;0;14;Gateway startup complete."] {
        bench.says(line).await;
    }
    // Three readings, and then the first device.
    for point in ["internal-id-request", "presentation", "inclusion"] {
        let Event::Reading(reading) = bench.event().await else { panic!("a device in place of {point}") };
        assert_eq!(reading.point.as_str(), point);
    }
    bench.says("7;255;3;0;0;87").await;
    assert_eq!(bench.event().await, Event::Device { device: "garden-7".into(), alive: true, reason: None });
    bench.reading().await;
    assert_eq!(bench.end.devices.look(9).devices.len(), 2, "the one of the site file, and the one that was heard");
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_gateway_with_sensors_of_its_own_is_a_device_that_is_there_when_it_answers() {
    let mut bench = Bench::up(serial()).await;
    let alive = Event::Device { device: "garden-0".into(), alive: true, reason: None };
    bench.says("0;1;0;0;6;Cupboard").await;
    assert_eq!(bench.event().await, alive);
    bench.reading().await;

    // In a session after that, it presents nothing again: it was not restarted.
    let link = link(
        serial(),
        Rules::of(Role::None),
        Outbox::new(outbox::Rules { echo_timeout: Duration::from_secs(2), retries: 1 }),
    );
    let cupboard = Message::parse(b"0;1;0;0;6;Cupboard").unwrap();
    link.store.registry().hear(&cupboard, SystemTime::UNIX_EPOCH);
    let mut bench = Bench::over(link).await;
    bench.says("0;255;3;0;2;2.3.2").await;
    assert_eq!(bench.event().await, alive);
    bench.stopped().await;
}
