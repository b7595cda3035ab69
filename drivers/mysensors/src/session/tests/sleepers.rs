//! A network of sleeping nodes, to the millisecond on a clock that jumps: a thousand messages, each of
//! which has to arrive while its node listens.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, ReadHalf, WriteHalf};
use tokio::task::JoinSet;
use wharf_contract::{Answer, Done};

use super::*;
use wharf_stream::Frames;

const NODES: u8 = 25;
const MESSAGES_EACH: u8 = 40;
/// How long the nodes listen, by what they say.
const WINDOW: Duration = Duration::from_millis(500);
const UNVERIFIED: &str = "0";

/// What goes wrong in a run.
#[derive(Clone, Copy, Default)]
struct Trouble {
    /// How long the link holds at a time, if not for ever.
    link_holds: Option<Duration>,
    /// Every so-manyeth echo is lost on its way.
    echoes_lost: Option<u32>,
    /// Noise between the lines.
    noise: bool,
}

/// The nodes as they are, and what has happened to them.
#[derive(Default)]
struct Network {
    /// Until when each node listens.
    listening: BTreeMap<u8, Instant>,
    /// When each node wakes next.
    wakes: BTreeMap<u8, Instant>,
    /// How often each message arrived, by node, child and payload.
    arrived: BTreeMap<(u8, u8, String), u32>,
    /// What arrived while its node slept.
    missed: Vec<String>,
    echoes: u32,
}

impl Network {
    fn new(now: Instant) -> Self {
        let wakes = (1..=NODES).map(|node| (node, now + Duration::from_millis(u64::from(node) * 137))).collect();
        Self { wakes, ..Self::default() }
    }

    fn next_wake(&self) -> Option<(u8, Instant)> {
        self.wakes.iter().map(|(node, at)| (*node, *at)).min_by_key(|(_, at)| *at)
    }

    /// What the node says that wakes next, once it does.
    fn wake(&mut self, node: u8, now: Instant) -> String {
        self.wakes.insert(node, now + Duration::from_secs(10) + Duration::from_millis(u64::from(node) * 13));
        self.listening.insert(node, now + WINDOW);
        // Every third one has a library that announces no sleep.
        match node % 3 {
            0 => format!("{node};0;1;0;0;21.5\n{node};255;3;0;22;12345\n"),
            _ => format!("{node};0;1;0;0;21.5\n{node};255;3;0;32;500\n"),
        }
    }

    /// A line arrives at the radio. Gives what its node says to it.
    fn arrive(&mut self, line: &str, trouble: Trouble, now: Instant) -> Option<String> {
        let message = Message::parse(line.as_bytes()).unwrap();
        if message.node == GATEWAY {
            return Some("0;255;3;0;2;2.3.2\n".into());
        }
        if self.listening.get(&message.node).is_none_or(|until| now > *until) {
            self.missed.push(line.to_owned());
            return None;
        }
        *self.arrived.entry((message.node, message.child, message.payload.clone())).or_default() += 1;
        self.echoes += u32::from(message.ack);
        let lost = trouble.echoes_lost.is_some_and(|every| self.echoes.is_multiple_of(every));
        (message.ack && !lost).then(|| format!("{line}\n"))
    }
}

/// The gateway's end of the link, until it breaks. It passes on what it had received by then.
async fn play(stream: DuplexStream, network: &mut Network, trouble: Trouble) {
    let (mut ear, mut mouth): (ReadHalf<_>, WriteHalf<_>) = split(stream);
    let mut lines = Frames::lines(message::LONGEST_LINE);
    let breaks = trouble.link_holds.map(|holds| Instant::now() + holds);
    for node in (1..=NODES).filter(|node| node % 3 == 0) {
        mouth.write_all(format!("{node};255;0;0;17;2.1.1\n").as_bytes()).await.unwrap();
    }
    // Nobody heard what they said while there was no link.
    while let Some((node, at)) = network.next_wake().filter(|(_, at)| *at < Instant::now()) {
        network.wake(node, at);
    }
    let mut chunk = [0; 256];
    loop {
        let (node, wakes) = network.next_wake().unwrap();
        tokio::select! {
            biased;
            count = ear.read(&mut chunk) => match count {
                Ok(0) | Err(_) => return,
                Ok(count) => for line in lines.push(&chunk[..count]) {
                    let answer = network.arrive(std::str::from_utf8(&line).unwrap(), trouble, Instant::now());
                    if let Some(answer) = answer
                        && mouth.write_all(answer.as_bytes()).await.is_err()
                    {
                        return;
                    }
                },
            },
            () = sleep_until(breaks.unwrap_or(wakes)), if breaks.is_some_and(|breaks| breaks <= wakes) => return,
            () = sleep_until(wakes) => {
                let said = network.wake(node, wakes);
                let noise: &[u8] = if trouble.noise { b"\xff\x00;;\x07\n7;1;1;0\n\xf0" } else { b"" };
                if mouth.write_all(&[said.as_bytes(), noise, b"\n"].concat()).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Sends a thousand messages, half of them with echo, and gives the network and all answers.
async fn thousand(trouble: Trouble) -> (Network, Vec<(String, Answer)>) {
    let rules = Rules::of(Role::Upstream);
    let mut outbox = Outbox::new(outbox::Rules { echo_timeout: Duration::from_secs(2), retries: 10 });
    (1..=NODES).for_each(|node| outbox.tell(node, true));
    let link = Arc::new(link(serial(), rules, outbox));
    let (sender, mut events) = mpsc::channel(512);
    let stop = tokio_util::sync::CancellationToken::new();
    let (mut port, end) = Port::new("garden".into(), sender, stop.clone());
    let drain = tokio::spawn(async move { while events.recv().await.is_some() {} });

    let sessions = tokio::spawn({
        let link = link.clone();
        async move {
            let mut network = Network::new(Instant::now());
            while !port.stop().is_cancelled() {
                let (near, far) = duplex(4096);
                tokio::join!(
                    async { run(&link, Box::new(near), &mut port).await.ok() },
                    play(far, &mut network, trouble)
                );
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            network
        }
    });

    let mut askers = JoinSet::new();
    for node in 1..=NODES {
        let commands = end.commands.clone();
        askers.spawn(async move {
            let mut answers = Vec::new();
            for batch in (1..=MESSAGES_EACH).collect::<Vec<_>>().chunks(20) {
                let mut waiting = Vec::new();
                for child in batch {
                    let echo = child % 2;
                    let line = format!("{node};{child};1;{echo};0;{child}.5");
                    let deadline = Instant::now() + Duration::from_secs(3600);
                    let raw = Action::Raw(line.clone().into_bytes());
                    let (command, answer) = Command::new("".into(), "".into(), raw, deadline);
                    commands.send(command).await.unwrap();
                    waiting.push((line, answer));
                }
                for (line, answer) in waiting {
                    answers.push((line, soon(answer.wait()).await));
                }
            }
            answers
        });
    }
    let answers = askers.join_all().await.into_iter().flatten().collect();
    stop.cancel();
    let network = soon(sessions).await.unwrap();
    drop(end);
    drain.abort();
    assert_eq!(link.outbox().depths().count(), 0, "nothing waits any more");
    (network, answers)
}

fn is_verified(line: &str) -> bool {
    line.split(';').nth(3) != Some(UNVERIFIED)
}

fn is_done(answer: &Answer, verified: bool) -> bool {
    matches!(answer, Ok(Done { observed, .. }) if observed.is_some() == verified)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_messages_arrive_each_once_and_each_while_its_node_listens() {
    for noise in [false, true] {
        let (network, answers) = thousand(Trouble { noise, ..Trouble::default() }).await;
        assert_eq!(network.missed, [""; 0]);
        assert_eq!((answers.len(), network.arrived.len()), (1000, 1000));
        assert!(network.arrived.values().all(|count| *count == 1), "once each");
        for (line, answer) in answers {
            assert!(is_done(&answer, is_verified(&line)), "{line}: {answer:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_echo_that_is_lost_has_its_message_sent_again_in_a_later_window() {
    let trouble = Trouble { echoes_lost: Some(5), ..Trouble::default() };
    let (network, answers) = thousand(trouble).await;
    assert_eq!(network.missed, [""; 0]);
    assert!(answers.iter().all(|(line, answer)| is_done(answer, is_verified(line))));
    let lost = network.echoes / 5;
    assert!(lost > 50, "{lost}");
    let extra: u32 = network.arrived.values().map(|count| count - 1).sum();
    assert_eq!(extra, lost, "what was echoed is not sent again");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_breaks_again_and_again_loses_nothing_that_waits() {
    let trouble = Trouble { link_holds: Some(Duration::from_millis(3_333)), noise: true, ..Trouble::default() };
    let (network, answers) = thousand(trouble).await;
    assert_eq!(network.missed, [""; 0]);
    assert_eq!(answers.len(), 1000);
    for (line, answer) in answers {
        let message = Message::parse(line.as_bytes()).unwrap();
        let count = network.arrived.get(&(message.node, message.child, message.payload)).copied().unwrap_or_default();
        match answer {
            Ok(_) if is_verified(&line) => assert!(count >= 1, "{line}"),
            Ok(_) => assert_eq!(count, 1, "{line}"),
            // It was on its way when the link broke, and whoever asked is told that nobody knows.
            Err(CommandError::Abandoned) if !is_verified(&line) => assert!(count <= 1, "{line}"),
            Err(error) => panic!("{line}: {error}"),
        }
    }
}
