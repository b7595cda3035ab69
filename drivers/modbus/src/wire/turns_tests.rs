use std::time::Duration;

use super::super::debts::LATEST;
use super::super::pretend::{Bus, Faults};
use super::*;

const TIMEOUT: Duration = Duration::from_millis(300);

fn pace() -> Pace {
    Pace::new(19_200, 10)
}

fn words(id: u64, count: u8) -> Vec<u8> {
    // What comes back says which request it answers, so an answer to another one is noticed.
    let mut random = fastrand::Rng::with_seed(id);
    std::iter::repeat_with(|| random.u8(..)).take(usize::from(count) * 2).collect()
}

/// A request of some kind and its one right answer.
fn request(id: u64, random: &mut fastrand::Rng) -> (Vec<u8>, Vec<u8>) {
    let count = random.u8(1..=10);
    let [high, low] = u16::try_from(id % 0xFFFF).unwrap().to_be_bytes();
    match random.u8(..10) {
        // Most requests are as alike as those of a poller: their answers could be mistaken.
        0..=5 => (vec![3, 0, 0, 0, 4], [&[3, 8][..], &words(id, 4)].concat()),
        6 => (vec![4, 0, 0, 0, count], [&[4, count * 2][..], &words(id, count)].concat()),
        7 => (vec![6, 0, 9, high, low], vec![6, 0, 9, high, low]),
        8 => (vec![16, high, low, 0, 1, 2, 5, 5], vec![16, high, low, 0, 1]),
        _ => (vec![3, high, low, 0, 4], vec![0x83, 2]),
    }
}

struct Report {
    tally: Tally,
    wrong: u64,
    lies: u64,
    cut_short: u64,
}

/// Many requests of every kind to two slaves over a bad line.
fn torture(requests: u64, faults: Faults, echo: Echo, seed: u64) -> Report {
    let mut bus = Bus::new(pace(), 2, faults, seed);
    let mut turns = Turns::new(pace(), echo);
    let mut random = fastrand::Rng::with_seed(seed ^ 0x5EED);
    let (mut wrong, mut lies) = (0, 0);
    for id in 0..requests {
        let unit = random.u8(1..=2);
        let (request, answer) = request(id, &mut random);
        match bus.exchange(&mut turns, id, unit, (&request, &answer), TIMEOUT) {
            Ok(pdu) => {
                wrong += u64::from(pdu != answer);
                lies += u64::from(!bus.obeyed.contains(&id));
            }
            Err(Failure::Gone(why)) => panic!("{why}"),
            Err(_) => {}
        }
        bus.obeyed.clear();
    }
    assert!(turns.tally().adds_up(), "{:?}", turns.tally());
    Report { tally: turns.tally(), wrong, lies, cut_short: bus.cut_short }
}

const NOISE: Faults = Faults {
    flip: 0.002,
    insert: 0.005,
    drop: 0.0005,
    late: 0.02,
    latest: Duration::from_millis(1150),
    deaf: 0.01,
    echo: false,
};

fn never_wrong(requests: u64, seed: u64) {
    let lines = [(Echo::Off, false), (Echo::Unknown, false), (Echo::On, true), (Echo::Unknown, true)];
    for (seed, (echo, given)) in (seed..).zip(lines) {
        let report = torture(requests, Faults { echo: given, ..NOISE }, echo, seed);
        eprintln!("{echo:?}, echo {given}: {:?}", report.tally);
        assert_eq!((report.wrong, report.lies, report.cut_short), (0, 0, 0), "{echo:?} {given}");
        assert!(report.tally.answers > requests / 2, "{:?}", report.tally);
        assert!(report.tally.late > 0 && report.tally.damaged > 0 && report.tally.silent > 0, "{:?}", report.tally);
    }
}

#[test]
fn noise_late_answers_and_echo_never_make_a_wrong_value() {
    never_wrong(10_000, 1);
}

#[test]
#[ignore = "takes half a minute; tests/bench/serial.sh runs it"]
fn a_million_requests_over_a_bad_line_bring_no_wrong_value() {
    never_wrong(250_000, 2);
}

#[test]
fn a_clean_line_loses_nothing_and_wastes_nothing() {
    let report = torture(2_000, Faults::default(), Echo::Off, 3);
    let unspoilt = Tally { requests: 2_000, answers: 2_000, ..Tally::default() };
    assert_eq!(report.tally, unspoilt);
    assert_eq!((report.wrong, report.cut_short), (0, 0));
}

fn read(bus: &mut Bus, turns: &mut Turns, unit: u8) -> Result<Vec<u8>, Failure> {
    bus.exchange(turns, 0, unit, (&[3, 0, 0, 0, 1], &[3, 2, 0, 7]), TIMEOUT)
}

#[test]
fn after_a_timeout_others_wait_for_one_more_and_the_same_question_for_three() {
    let check = |unit, expected: Duration| {
        let mut bus = Bus::new(pace(), 2, Faults::default(), 4);
        let mut turns = Turns::new(pace(), Echo::Off);
        let begin = bus.now;
        assert!(matches!(read(&mut bus, &mut turns, 9), Err(Failure::Silent(_))));
        let _ = read(&mut bus, &mut turns, unit);
        let waited = bus.now - begin;
        assert!(waited >= expected && waited < expected + TIMEOUT / 2, "{waited:?} where {expected:?} is due");
    };
    check(1, TIMEOUT * 2);
    // The second one is not answered either.
    check(9, TIMEOUT * 5);
}

#[test]
fn a_late_answer_ends_the_waiting_and_is_told() {
    let late = Faults { late: 1.0, latest: Duration::from_millis(320), ..Faults::default() };
    let mut turns = Turns::new(pace(), Echo::Off);
    // A seed with which the first answer is late, but not by much.
    let mut bus = (0..)
        .map(|seed| (Bus::new(pace(), 2, late, seed), Bus::new(pace(), 2, late, seed)))
        .find_map(|(mut probe, bus)| read(&mut probe, &mut Turns::new(pace(), Echo::Off), 1).is_err().then_some(bus))
        .unwrap();
    let begin = bus.now;
    assert!(
        matches!(read(&mut bus, &mut turns, 1), Err(Failure::Silent(why)) if why.starts_with("no answer within 300ms"))
    );
    let _ = read(&mut bus, &mut turns, 1);
    assert_eq!(turns.tally().late, 1);
    assert!(bus.now - begin < TIMEOUT * 3, "{:?}", bus.now - begin);
    let mut reasons = std::iter::repeat_with(|| read(&mut bus, &mut turns, 1)).take(1000);
    let told = |failure| matches!(failure, Err(Failure::Silent(why)) if why.contains("raise `timeout`"));
    assert!(reasons.any(told));
}

/// Why a request to unit 1 was not answered on a line on which this is heard after it.
fn heard_instead(turns: &mut Turns, characters: &[u8]) -> String {
    let mut now = Instant::now();
    turns.begin(Question::new(1, &[3, 0, 0, 0, 1]).unwrap(), TIMEOUT, None, now);
    loop {
        match turns.step(now) {
            Step::Listen(until) => now = until,
            Step::Send(_) => {
                turns.sent(now);
                now += Duration::from_millis(20);
                if !characters.is_empty() {
                    turns.heard(characters, now);
                }
            }
            Step::Done(Err(Failure::Silent(why))) => return why,
            Step::Done(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_line_on_which_nothing_was_ever_heard_says_what_that_may_be() {
    let mut turns = Turns::new(pace(), Echo::Off);
    let said = heard_instead(&mut turns, &[]);
    assert!(said.contains("A and B swapped") && turns.tally().is_unheard(), "{said}");
    let mut bus = Bus::new(pace(), 2, Faults::default(), 9);
    assert!(read(&mut bus, &mut turns, 1).is_ok());
    assert_eq!(heard_instead(&mut turns, &[]), "no answer within 300ms", "others are heard on this line");
}

#[test]
fn bytes_that_make_no_frame_are_told_from_silence() {
    let mut turns = Turns::new(pace(), Echo::Off);
    let said = heard_instead(&mut turns, &[0xE0, 0x1C, 0xFC, 0x80, 0xFF]);
    assert!(said.contains("bytes arrive but make no frame: another `baud`"), "{said}");
    assert!(turns.tally().is_noise() && !turns.tally().is_unheard());
    let mut bus = Bus::new(pace(), 2, Faults::default(), 9);
    assert!(read(&mut bus, &mut turns, 1).is_ok());
    let said = heard_instead(&mut turns, &[0xE0, 0x1C]);
    assert!(said.contains("two devices with this unit id") && !turns.tally().is_noise(), "{said}");
}

#[test]
fn a_broadcast_is_not_answered_and_is_given_time_to_be_obeyed() {
    let mut bus = Bus::new(pace(), 2, Faults::default(), 5);
    let mut turns = Turns::new(pace(), Echo::Off);
    assert_eq!(bus.exchange(&mut turns, 1, 0, (&[6, 0, 1, 0, 1], &[]), TIMEOUT), Ok(vec![]));
    let sent = bus.now;
    assert!(bus.obeyed.contains(&1));
    assert!(read(&mut bus, &mut turns, 1).is_ok());
    assert!(bus.now - sent >= TURNAROUND);
    assert_eq!(turns.tally().broadcasts, 1);
}

#[test]
fn echo_is_found_out_by_a_read_and_then_no_write_is_confirmed_by_it() {
    let echo = Faults { echo: true, ..Faults::default() };
    let write = |bus: &mut Bus, turns: &mut Turns, unit| {
        bus.exchange(turns, 0, unit, (&[6, 0, 1, 0, 1], &[6, 0, 1, 0, 1]), TIMEOUT)
    };
    let mut bus = Bus::new(pace(), 2, echo, 6);
    let mut turns = Turns::new(pace(), Echo::Unknown);
    // Nobody is there, so what comes back is our own. As long as that is not known, it is no answer.
    assert!(matches!(write(&mut bus, &mut turns, 9), Err(Failure::Damaged(why)) if why.contains("`echo: true`")));
    assert_eq!(read(&mut bus, &mut turns, 1), Ok(vec![3, 2, 0, 7]));
    assert_eq!(turns.echo(), Echo::On);
    assert!(matches!(write(&mut bus, &mut turns, 9), Err(Failure::Silent(_))));
    assert_eq!(write(&mut bus, &mut turns, 1), Ok(vec![6, 0, 1, 0, 1]));
}

#[test]
fn a_line_said_to_echo_that_does_not_says_so() {
    let mut bus = Bus::new(pace(), 2, Faults::default(), 7);
    let mut turns = Turns::new(pace(), Echo::On);
    assert!(matches!(read(&mut bus, &mut turns, 1), Err(Failure::Damaged(why)) if why.contains("echo")));
    assert!(matches!(read(&mut bus, &mut turns, 9), Err(Failure::Silent(why)) if why.contains("no echo")));
}

#[test]
fn a_line_that_is_never_quiet_is_given_up() {
    let mut turns = Turns::new(pace(), Echo::Off);
    let mut now = Instant::now();
    let begin = now;
    turns.begin(Question::new(1, &[3, 0, 0, 0, 1]).unwrap(), TIMEOUT, None, now);
    turns.heard(&[0x55], now);
    loop {
        match turns.step(now) {
            Step::Done(outcome) => {
                assert!(matches!(outcome, Err(Failure::Noisy(why)) if why.contains("never quiet")));
                break;
            }
            Step::Send(_) => panic!("nothing may be sent into the noise"),
            Step::Listen(_) => {}
        }
        now += Duration::from_millis(1);
        turns.heard(&[0x55], now);
        assert!(now - begin < Duration::from_secs(5), "it has to end");
    }
    assert_eq!(turns.tally().noisy, 1);
}

#[test]
fn a_request_that_would_come_too_late_is_never_sent_and_leaves_the_line_to_others_at_once() {
    let mut bus = Bus::new(pace(), 2, Faults::default(), 4);
    let mut turns = Turns::new(pace(), Echo::Off);
    let write = [6, 0, 1, 0, 1];
    assert!(matches!(bus.exchange(&mut turns, 0, 9, (&write, &write), TIMEOUT), Err(Failure::Silent(_))));
    // The answer that is owed keeps a second write of its kind waiting for longer than it may.
    let question = || Question::new(9, &write).unwrap();
    turns.begin(question(), TIMEOUT, Some(bus.now + TIMEOUT), bus.now);
    assert_eq!(turns.step(bus.now), Step::Done(Err(Failure::Expired)));
    turns.begin(question(), TIMEOUT, Some(bus.now + LATEST * 2), bus.now);
    assert!(matches!(turns.step(bus.now), Step::Listen(_)), "there is time enough");
    turns.abandon();
    assert!(read(&mut bus, &mut turns, 1).is_ok());
    assert_eq!(turns.tally().expired, 1);
    assert!(turns.tally().adds_up());
}

#[test]
fn noise_may_hold_a_request_up_until_it_is_too_late_and_no_longer() {
    let mut turns = Turns::new(pace(), Echo::Off);
    let begin = Instant::now();
    let mut now = begin;
    turns.begin(Question::new(1, &[6, 0, 1, 0, 1]).unwrap(), TIMEOUT, Some(begin + Duration::from_millis(200)), now);
    let outcome = loop {
        match turns.step(now) {
            Step::Done(outcome) => break outcome,
            Step::Send(_) => panic!("it is sent into the noise, after {:?}", now - begin),
            Step::Listen(_) => {}
        }
        now += Duration::from_millis(1);
        turns.heard(&[0x55], now);
    };
    assert_eq!(outcome, Err(Failure::Expired));
    assert!(now - begin <= Duration::from_millis(200));
}

#[test]
fn noise_that_never_ends_while_an_answer_is_awaited_ends_it_all_the_same() {
    let mut turns = Turns::new(pace(), Echo::Off);
    let mut now = Instant::now();
    let begin = now;
    turns.begin(Question::new(1, &[3, 0, 0, 0, 1]).unwrap(), TIMEOUT, None, now);
    now += pace().between_frames;
    assert!(matches!(turns.step(now), Step::Send(_)));
    turns.sent(now);
    while !matches!(turns.step(now), Step::Done(Err(_))) {
        now += Duration::from_millis(1);
        // The beginning of the answer, over and over.
        turns.heard(&[1, 3, 2], now);
        assert!(now - begin < Duration::from_secs(5), "it has to end");
    }
}

#[test]
fn characters_that_come_in_lumps_are_one_answer() {
    let mut turns = Turns::new(pace(), Echo::Off);
    let mut now = Instant::now();
    turns.begin(Question::new(1, &[3, 0, 0, 0, 100]).unwrap(), TIMEOUT, None, now);
    now += pace().between_frames;
    assert!(matches!(turns.step(now), Step::Send(_)));
    turns.sent(now);
    let answer = [&[3, 200][..], &[7; 200]].concat();
    for lump in rtu::frame(1, &answer).chunks(62) {
        now += Duration::from_millis(16);
        assert!(matches!(turns.step(now), Step::Listen(_)));
        turns.heard(lump, now);
    }
    now += Duration::from_millis(16);
    assert_eq!(turns.step(now), Step::Done(Ok(answer)));
}

#[test]
fn what_came_before_the_request_is_thrown_away() {
    let mut turns = Turns::new(pace(), Echo::Off);
    let mut now = Instant::now();
    turns.begin(Question::new(1, &[3, 0, 0, 0, 1]).unwrap(), TIMEOUT, None, now);
    let stale = rtu::frame(1, &[3, 2, 0, 9]);
    turns.heard(&stale, now);
    assert!(matches!(turns.step(now), Step::Listen(_)));
    now += pace().between_frames;
    assert!(matches!(turns.step(now), Step::Send(_)));
    turns.sent(now);
    now += Duration::from_millis(20);
    turns.heard(&rtu::frame(1, &[3, 2, 0, 7]), now);
    now += pace().inside_frame;
    assert_eq!(turns.step(now), Step::Done(Ok(vec![3, 2, 0, 7])));
    assert_eq!(turns.tally().foreign, 1);
}

/// Bytes below `high`, fewer than `most`, but one at least.
fn bytes(random: &mut fastrand::Rng, high: u8, most: usize) -> Vec<u8> {
    (0..random.usize(1..most)).map(|_| random.u8(..high)).collect()
}

proptest::proptest! {
    #[test]
    fn whatever_is_heard_every_exchange_ends_in_time_with_one_outcome(
        seed: u64,
        echo in proptest::sample::select(vec![Echo::Unknown, Echo::Off, Echo::On]),
        noise in 0.0..1.0,
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut turns = Turns::new(pace(), echo);
        let mut now = Instant::now();
        for _ in 0..20 {
            let begin = now;
            let pdu = bytes(&mut random, 25, 12);
            turns.begin(Question::new(random.u8(..3), &pdu).unwrap(), TIMEOUT, None, now);
            loop {
                match turns.step(now) {
                    Step::Done(_) => break,
                    Step::Send(_) => turns.sent(now),
                    Step::Listen(until) => {
                        let early = random.f64() < noise;
                        now = if early { now + (until - now) * random.u32(1..8) / 8 } else { until };
                        if early {
                            // What sounds like frames goes further than noise.
                            let body = bytes(&mut random, 8, 60);
                            let frame = rtu::frame(random.u8(..3), &body);
                            turns.heard(if random.bool() { &frame } else { &body }, now);
                        }
                    }
                }
                // Waiting for late answers, then for silence, then for the answer.
                proptest::prop_assert!(now - begin < TIMEOUT * 4 + LATEST * 5, "{:?}", now - begin);
            }
        }
        proptest::prop_assert!(turns.tally().adds_up(), "{:?}", turns.tally());
    }
}
