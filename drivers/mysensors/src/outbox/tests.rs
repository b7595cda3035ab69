//! Orders on a clock of the tests' own.

use wharf_contract::command::PendingAnswer;
use wharf_contract::{Action, Answer, Command, CommandError, Done, Value};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const RULES: Rules = Rules { echo_timeout: Duration::from_secs(2), retries: 2 };

/// An outbox, and the time.
struct Bench {
    outbox: Outbox,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self { outbox: Outbox::new(RULES), now: Instant::now() }
    }

    /// One whose node 7 sleeps.
    fn with_sleeper() -> Self {
        let mut bench = Self::new();
        bench.outbox.tell(7, true);
        bench
    }

    fn asks(&mut self, line: &str, awaited: Awaited, time: Duration) -> PendingAnswer {
        let action = Action::Raw(line.as_bytes().to_vec());
        let (command, answer) = Command::new("".into(), "".into(), action, self.now + time);
        let message = Message::parse(line.as_bytes()).unwrap();
        self.outbox.take(Order::new(command, message, awaited), self.now);
        answer
    }

    /// A message nobody has to confirm.
    fn tells(&mut self, line: &str) -> PendingAnswer {
        self.asks(line, Awaited::Nothing, SECOND * 3600)
    }

    /// A message that is to be echoed.
    fn tells_surely(&mut self, line: &str) -> PendingAnswer {
        self.asks(line, Awaited::Echo, SECOND * 3600)
    }

    fn hears(&mut self, line: &str) {
        self.outbox.hear(&Message::parse(line.as_bytes()).unwrap(), self.now);
    }

    /// What is sent now.
    fn sends(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(message) = self.outbox.next(self.now) {
            self.outbox.left(self.now);
            lines.push(message.to_string());
        }
        lines
    }

    /// What is sent in the time to come, and when.
    fn sends_within(&mut self, time: Duration) -> Vec<(u128, String)> {
        let (start, end) = (self.now, self.now + time);
        let mut lines = Vec::new();
        loop {
            let at = (self.now - start).as_millis();
            lines.extend(self.sends().into_iter().map(|line| (at, line)));
            match self.outbox.until() {
                Some(next) if next <= end => self.now = next.max(self.now + MS),
                _ => break,
            }
        }
        self.now = end;
        lines
    }
}

async fn answer(pending: PendingAnswer) -> Answer {
    tokio::time::timeout(SECOND, pending.wait()).await.expect("it is answered by now")
}

fn held(value: f64) -> Answer {
    let note = Some("the node was asleep; it was sent when it woke");
    Ok(Done { written: Some(Value::Float(value)), observed: None, note })
}

fn confirmed(value: f64) -> Answer {
    Ok(Done { written: Some(Value::Float(value)), observed: Some(Value::Float(value)), note: None })
}

fn is_no_answer(answer: &Answer) -> bool {
    matches!(answer, Err(CommandError::NoAnswer(_)))
}

#[tokio::test]
async fn what_is_for_a_node_that_listens_goes_at_once() {
    let mut bench = Bench::new();
    let told = bench.tells("2;4;1;0;0;21.5");
    assert_eq!(bench.sends(), ["2;4;1;0;0;21.5"]);
    assert_eq!(answer(told).await, Ok(Done { written: Some(Value::Float(21.5)), observed: None, note: None }));
    assert_eq!(bench.outbox.until(), None);
}

#[tokio::test]
async fn echoes_find_their_orders_in_any_order() {
    let mut bench = Bench::new();
    let (one, two, other) =
        (bench.tells_surely("2;4;1;0;0;1"), bench.tells_surely("2;4;1;0;0;2"), bench.tells_surely("2;5;1;0;0;3"));
    assert_eq!(bench.sends(), ["2;4;1;1;0;1", "2;4;1;1;0;2", "2;5;1;1;0;3"]);
    for echo in ["2;5;1;1;0;3", "2;4;1;1;0;2", "2;4;1;1;0;1"] {
        bench.hears(echo);
    }
    assert_eq!(
        (answer(one).await, answer(two).await, answer(other).await),
        (confirmed(1.0), confirmed(2.0), confirmed(3.0))
    );
    assert_eq!(bench.outbox.counts.confirmed, 3);
}

#[tokio::test]
async fn an_echo_that_says_something_else_means_that_the_node_holds_that() {
    let mut bench = Bench::new();
    let told = bench.tells_surely("2;4;1;0;0;1");
    bench.sends();
    bench.hears("2;5;1;1;0;9");
    bench.hears("2;4;1;1;0;9");
    assert_eq!(
        answer(told).await,
        Err(CommandError::NotHeld { written: Value::Float(1.0), observed: Value::Float(9.0) })
    );
    assert_eq!((bench.outbox.counts.differed, bench.outbox.counts.unasked), (1, 1));
}

#[tokio::test]
async fn a_set_whose_echo_stays_away_is_sent_again_at_intervals_and_not_for_ever() {
    let mut bench = Bench::new();
    let told = bench.tells_surely("2;4;1;0;0;1");
    let line = "2;4;1;1;0;1".to_owned();
    assert_eq!(bench.sends_within(SECOND * 60), [(0, line.clone()), (2000, line.clone()), (4000, line)]);
    let why = "the write was sent 3 times and not echoed in time";
    assert_eq!(answer(told).await, Err(CommandError::NoAnswer(why.into())));
    assert_eq!((bench.outbox.counts.sent, bench.outbox.counts.repeated), (3, 2));
}

#[tokio::test]
async fn nothing_is_sent_again_past_its_deadline() {
    let mut bench = Bench::new();
    let told = bench.asks("2;4;1;0;0;1", Awaited::Echo, SECOND * 3);
    assert_eq!(bench.sends_within(SECOND * 60).len(), 2);
    assert!(is_no_answer(&answer(told).await));
}

#[tokio::test]
async fn what_happens_when_it_is_said_is_said_once() {
    // A restart, a piece of firmware, a scene, an infrared code.
    for line in ["2;255;3;0;13;", "2;255;4;0;3;0100", "2;4;1;0;19;3", "2;4;1;0;32;a1"] {
        let mut bench = Bench::new();
        let told = bench.tells_surely(line);
        assert_eq!(bench.sends_within(SECOND * 60).len(), 1, "{line}");
        assert!(is_no_answer(&answer(told).await), "{line}");
    }
}

#[tokio::test]
async fn an_earlier_value_is_not_sent_again_after_a_later_one() {
    let mut bench = Bench::new();
    let earlier = bench.tells_surely("2;4;1;0;0;1");
    bench.sends();
    bench.now += SECOND;
    let later = bench.tells_surely("2;4;1;0;0;2");
    bench.sends();
    bench.hears("2;4;1;1;0;2");
    assert_eq!(bench.sends_within(SECOND * 60), []);
    assert!(is_no_answer(&answer(earlier).await));
    assert_eq!(answer(later).await, confirmed(2.0));
}

#[tokio::test]
async fn a_late_second_echo_is_not_taken_for_that_of_a_later_value() {
    let mut bench = Bench::new();
    let earlier = bench.tells_surely("2;4;1;0;0;1");
    assert_eq!(bench.sends_within(SECOND * 3).len(), 2, "it is sent twice");
    bench.hears("2;4;1;1;0;1");
    assert_eq!(answer(earlier).await, confirmed(1.0));
    let later = bench.tells_surely("2;4;1;0;0;2");
    bench.sends();
    bench.hears("2;4;1;1;0;1");
    bench.hears("2;4;1;1;0;2");
    assert_eq!(answer(later).await, confirmed(2.0));
    assert_eq!((bench.outbox.counts.unasked, bench.outbox.counts.differed), (1, 0));
}

#[tokio::test]
async fn a_value_answers_every_request_for_it_and_no_write() {
    let mut bench = Bench::new();
    let asked: Vec<_> = (0..2).map(|_| bench.asks("2;4;2;0;0;", Awaited::Reading, SECOND * 10)).collect();
    let told = bench.tells_surely("2;4;1;0;0;1");
    assert_eq!(bench.sends().len(), 3);
    bench.hears("2;4;1;0;0;20");
    for asked in asked {
        assert_eq!(answer(asked).await, Ok(Done { written: None, observed: Some(Value::Float(20.0)), note: None }));
    }
    let unheard = bench.asks("2;4;2;0;0;", Awaited::Reading, SECOND * 10);
    bench.sends_within(SECOND * 11);
    assert_eq!(answer(unheard).await, Err(CommandError::NoAnswer("it sent no value in time".into())));
    assert!(is_no_answer(&answer(told).await));
}

#[tokio::test]
async fn what_is_for_a_sleeper_waits_for_its_window_and_goes_then_in_order() {
    let mut bench = Bench::with_sleeper();
    let answers = [bench.tells("7;1;1;0;0;1"), bench.tells("7;2;1;0;0;2"), bench.tells("7;255;3;0;13;")];
    assert_eq!(bench.sends_within(SECOND * 600), []);
    assert_eq!((bench.outbox.depth(7), bench.outbox.changed().contains(&7)), (3, true));
    bench.hears("7;255;3;0;32;500");
    let sent = bench.sends_within(SECOND);
    let expected = [(0, "7;1;1;0;0;1"), (20, "7;2;1;0;0;2"), (40, "7;255;3;0;13;")];
    assert_eq!(sent, expected.map(|(at, line)| (at, line.to_owned())));
    let [one, two, restart] = answers;
    assert_eq!((answer(one).await, answer(two).await), (held(1.0), held(2.0)));
    assert!(answer(restart).await.is_ok());
    assert_eq!((bench.outbox.depth(7), bench.outbox.until()), (0, None));
}

#[tokio::test]
async fn what_does_not_fit_a_window_waits_for_the_next() {
    let mut bench = Bench::with_sleeper();
    let _answers: Vec<_> = (0..10).map(|child| bench.tells(&format!("7;{child};1;0;0;1"))).collect();
    bench.hears("7;255;3;0;32;100");
    let sent = bench.sends_within(SECOND * 60);
    assert!(sent.iter().all(|(at, _)| *at < 90), "{sent:?}");
    assert_eq!(sent.len(), 5);
    bench.hears("7;255;3;0;32;100");
    assert_eq!(bench.sends_within(SECOND * 60).len(), 5);
}

#[tokio::test]
async fn what_comes_in_the_window_goes_in_it_and_what_comes_after_it_waits() {
    let mut bench = Bench::with_sleeper();
    bench.hears("7;255;3;0;32;500");
    bench.now += MS * 400;
    let _soon = bench.tells("7;1;1;0;0;1");
    assert_eq!(bench.sends(), ["7;1;1;0;0;1"]);
    bench.now += MS * 60;
    let _late = bench.tells("7;1;1;0;0;2");
    assert_eq!(bench.sends_within(SECOND * 60), []);
}

#[tokio::test]
async fn of_several_values_for_a_sleeper_the_latest_is_sent() {
    let mut bench = Bench::with_sleeper();
    let earlier = bench.tells("7;1;1;0;0;1");
    let _other = bench.tells("7;1;1;0;1;50");
    let later = bench.tells("7;1;1;0;0;2");
    assert_eq!(answer(earlier).await, Err(CommandError::Superseded));
    bench.hears("7;255;3;0;32;500");
    let sent: Vec<_> = bench.sends_within(SECOND).into_iter().map(|(_, line)| line).collect();
    assert_eq!(sent, ["7;1;1;0;1;50", "7;1;1;0;0;2"]);
    assert_eq!(answer(later).await, held(2.0));
    assert_eq!(bench.outbox.counts.superseded, 1);
}

#[tokio::test]
async fn what_a_sleeper_does_not_echo_is_sent_again_in_its_next_window() {
    let mut bench = Bench::with_sleeper();
    let told = bench.tells_surely("7;1;1;0;0;1");
    for _ in 0..2 {
        bench.hears("7;255;3;0;32;500");
        assert_eq!(bench.sends_within(SECOND * 60), [(0, "7;1;1;1;0;1".to_owned())], "once in a window");
    }
    bench.hears("7;255;3;0;32;500");
    bench.sends();
    bench.hears("7;1;1;1;0;1");
    assert!(answer(told).await.is_ok_and(|done| done.observed == Some(Value::Float(1.0))));
    assert_eq!(bench.outbox.depth(7), 0);
}

#[tokio::test]
async fn a_sleeper_that_does_not_wake_in_time_is_told_of() {
    let mut bench = Bench::with_sleeper();
    let told = bench.asks("7;1;1;0;0;1", Awaited::Nothing, SECOND * 600);
    bench.sends_within(SECOND * 599);
    assert_eq!(bench.outbox.depth(7), 1);
    bench.sends_within(SECOND * 2);
    let why = "the node did not wake before the deadline";
    assert_eq!(answer(told).await, Err(CommandError::NotSent(why.into())));
    bench.hears("7;255;3;0;32;500");
    assert_eq!(bench.sends(), Vec::<String>::new());
    assert_eq!((bench.outbox.counts.expired, bench.outbox.depth(7)), (1, 0));
}

#[tokio::test]
async fn what_a_sleeper_asks_for_is_answered_at_once() {
    let mut bench = Bench::with_sleeper();
    for line in ["7;255;3;0;1;1795219869", "7;255;3;0;6;M", "7;255;4;0;1;01000100", "7;255;4;0;3;0100"] {
        let _told = bench.tells(line);
        assert_eq!(bench.sends(), [line]);
    }
    bench.hears("7;1;2;0;17;");
    let _other = bench.tells("7;2;1;0;17;5");
    assert_eq!(bench.sends(), Vec::<String>::new(), "nobody asked for that");
    let _told = bench.tells("7;1;1;0;17;42");
    assert_eq!(bench.sends(), ["7;1;1;0;17;42"]);
    let _again = bench.tells("7;1;1;0;17;43");
    assert_eq!(bench.sends(), Vec::<String>::new(), "it was answered");
}

#[tokio::test]
async fn the_queues_of_sleepers_are_bounded_one_by_one_and_together() {
    let mut bench = Bench::new();
    let mut waiting = Vec::new();
    for node in 1..=40_u8 {
        bench.outbox.tell(node, true);
        for child in 0..MOST_PER_NODE {
            waiting.push(bench.tells(&format!("{node};{child};1;0;0;1")));
        }
    }
    assert_eq!(bench.outbox.depths().map(|(_, depth)| depth).sum::<usize>(), MOST_HELD);
    assert_eq!(bench.outbox.counts.refused, 40 * MOST_PER_NODE as u64 - MOST_HELD as u64);
    assert_eq!(bench.outbox.depth(1), MOST_PER_NODE);
    let one_more = bench.tells("1;99;1;0;0;1");
    assert!(matches!(answer(one_more).await, Err(CommandError::Refused(_))));
    let newer = bench.tells("1;3;1;0;0;2");
    assert_eq!(bench.outbox.depth(1), MOST_PER_NODE, "a later value takes the place of the earlier one");
    drop((waiting, newer));
}

#[tokio::test]
async fn a_lost_link_loses_nothing_that_waits_for_a_sleeper() {
    let mut bench = Bench::with_sleeper();
    let (told, surely) = (bench.tells("7;1;1;0;0;1"), bench.tells_surely("7;2;1;0;0;2"));
    bench.hears("7;255;3;0;32;500");
    assert_eq!(bench.outbox.next(bench.now).map(|message| message.child), Some(1));
    bench.outbox.lost(bench.now);
    assert_eq!(answer(told).await, Err(CommandError::Abandoned), "it may have been sent");
    assert_eq!(bench.sends_within(SECOND), [], "the window is none any more");

    bench.hears("7;255;3;0;32;500");
    assert_eq!(bench.sends(), ["7;2;1;1;0;2"]);
    bench.outbox.lost(bench.now);
    bench.hears("7;255;3;0;32;500");
    assert_eq!(bench.sends(), ["7;2;1;1;0;2"], "its echo may have been lost with the link");
    bench.hears("7;2;1;1;0;2");
    assert!(answer(surely).await.is_ok());
}

#[tokio::test]
async fn a_gateway_that_stops_answers_everything_and_takes_nothing_more() {
    let mut bench = Bench::with_sleeper();
    let (waiting, sent) = (bench.tells("7;1;1;0;0;1"), bench.tells_surely("2;1;1;0;0;1"));
    bench.sends();
    bench.outbox.close("the gateway is stopping");
    assert_eq!(answer(waiting).await, Err(CommandError::NotSent("the gateway is stopping".into())));
    assert!(is_no_answer(&answer(sent).await));
    let late = bench.tells("2;1;1;0;0;1");
    assert!(matches!(answer(late).await, Err(CommandError::NotSent(_))));
    assert_eq!((bench.outbox.depth(7), bench.outbox.until()), (0, None));
}

#[tokio::test]
async fn what_is_sent_again_to_a_sleeper_goes_in_its_order_also_after_the_link_was_lost() {
    for is_lost in [false, true] {
        let mut bench = Bench::with_sleeper();
        let lines = ["7;1;1;1;0;1", "7;2;1;1;0;2", "7;3;1;1;0;3"];
        let _answers: Vec<_> = lines.map(|line| bench.tells_surely(line)).into();
        for _ in 0..2 {
            bench.hears("7;255;3;0;32;500");
            let sent: Vec<_> = bench.sends_within(SECOND).into_iter().map(|(_, line)| line).collect();
            assert_eq!(sent, lines, "{is_lost}");
            if is_lost {
                bench.outbox.lost(bench.now);
            } else {
                bench.now += SECOND * 60;
                assert_eq!(bench.sends(), [""; 0]);
            }
        }
    }
}

#[tokio::test]
async fn a_value_that_waits_is_sent_as_soon_as_its_sleeper_asks_for_it() {
    let mut bench = Bench::with_sleeper();
    let _other = bench.tells("7;1;1;0;0;1");
    let told = bench.tells("7;2;1;0;0;2");
    assert_eq!(bench.sends(), [""; 0]);
    bench.hears("7;2;2;0;0;");
    assert!(bench.outbox.is_about_to_set(&Message::parse(b"7;2;1;0;0;9").unwrap()));
    assert!(!bench.outbox.is_about_to_set(&Message::parse(b"7;1;1;0;0;9").unwrap()), "it waits");
    assert_eq!(bench.sends(), ["7;2;1;0;0;2"]);
    assert_eq!(answer(told).await, held(2.0));
    assert_eq!(bench.outbox.depth(7), 1);
    let _answer = bench.tells("7;2;1;0;0;3");
    assert_eq!(bench.sends(), ["7;2;1;0;0;3"], "a controller upstream answers too, and knows best");
}

#[tokio::test]
async fn a_question_asked_in_a_loop_is_asked_at_once_and_then_once_in_ten_seconds() {
    let mut bench = Bench::new();
    let mut sent = Vec::new();
    for _ in 0..250 {
        let told = [bench.tells("2;255;3;0;19;"), bench.tells("255;255;3;0;20;"), bench.tells("3;255;3;0;19;")];
        sent.extend(bench.sends());
        for told in told {
            answer(told).await.unwrap();
        }
        bench.now += MS * 100;
    }
    for question in ["2;255;3;0;19;", "255;255;3;0;20;", "3;255;3;0;19;"] {
        assert_eq!(sent.iter().filter(|line| *line == question).count(), 3, "{question}");
    }
    assert_eq!(bench.outbox.take_counts().coalesced, 3 * 247, "all but those that were let through");
    // Whoever asked after the last one is answered by one more, and then there is silence.
    let last = bench.sends_within(SECOND * 60);
    assert_eq!(last.len(), 3, "{last:?}");
    // What is no question is sent each time.
    let values = [bench.tells("2;1;1;0;2;1"), bench.tells("2;1;1;0;2;1"), bench.tells("2;255;3;0;13;")];
    assert_eq!(bench.sends().len(), 3);
    for told in values {
        answer(told).await.unwrap();
    }
}

#[tokio::test]
async fn of_one_question_for_a_sleeper_one_waits() {
    let mut bench = Bench::with_sleeper();
    let first = bench.tells("7;255;3;0;19;");
    for _ in 0..100 {
        bench.now += SECOND;
        answer(bench.tells("7;255;3;0;19;")).await.unwrap();
    }
    assert_eq!((bench.outbox.depth(7), bench.outbox.take_counts().coalesced), (1, 100));
    bench.hears("7;255;3;0;32;500");
    assert_eq!(bench.sends(), ["7;255;3;0;19;"]);
    answer(first).await.unwrap();
}
