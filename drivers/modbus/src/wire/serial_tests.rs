use super::super::lab::{Lab, Slave};
use super::super::pace::Pace;
use super::*;
use wharf_contract::settings::Frame;

/// Short, so that many requests go into the bad line's time. A busy machine makes some answers late.
const TIMEOUT: Duration = Duration::from_millis(150);

fn setup(lab: &Lab, baud: u32) -> Setup {
    Setup { path: lab.port("a"), baud, frame: Frame::default(), rs485: None, echo: Echo::Unknown }
}

async fn read(line: &mut Serial, unit: u8, start: u16, count: u16) -> Result<Vec<u8>, Fault> {
    let [start, count] = [start.to_be_bytes(), count.to_be_bytes()];
    line.exchange(unit, &[&[3], &start[..], &count[..]].concat(), TIMEOUT).await
}

/// Reads for so long, each time from another place. Returns how many were answered; a wrong answer
/// ends it.
async fn read_on(line: &mut Serial, units: &[u8], time: Duration) -> u64 {
    let (begin, before) = (Instant::now(), line.tally().answers);
    let (mut answered, mut asked) = (0, 0_u16);
    while begin.elapsed() < time {
        let unit = units[usize::from(asked) % units.len()];
        let start = asked % 1900;
        asked = asked.wrapping_add(1);
        if let Ok(pdu) = read(line, unit, start, 10).await {
            let expected = [&[3, 20][..], &Slave::registers(unit, start, 10)].concat();
            assert_eq!(pdu, expected, "unit {unit}, register {start}");
            answered += 1;
        }
    }
    assert!(line.tally().adds_up(), "{:?}", line.tally());
    assert_eq!(line.tally().answers - before, answered);
    answered
}

/// Reads of ten registers that the wire has room for in a second, if the slave answers at once: the
/// request's and the answer's characters and one silence.
fn wire_limit(baud: u32) -> f64 {
    let pace = Pace::new(baud, 10);
    1.0 / (pace.characters(8 + 25) + pace.between_frames).as_secs_f64()
}

/// Reads at a speed for so many seconds; returns the share of the wire limit in each, the least first. No
/// gap may be cut short.
async fn shares_of_the_limit(baud: u32, seconds: usize) -> Vec<f64> {
    let lab = Lab::start("a,b", baud, &[]);
    let _slave = Slave::start(&lab.port("b"), baud, 1);
    let mut line = Serial::open(setup(&lab, baud)).await.unwrap();
    insist(&mut line, &[3, 0, 0, 0, 10]).await;
    lab.tell("reset");
    let mut shares = Vec::with_capacity(seconds);
    for _ in 0..seconds {
        let begin = Instant::now();
        let answered = read_on(&mut line, &[1], Duration::from_secs(1)).await;
        // Far below 2^52.
        let rate = answered as f64 / begin.elapsed().as_secs_f64();
        shares.push(rate / wire_limit(baud));
    }
    let stats = lab.tell("stats");
    assert!(stats["gaps"].as_u64().unwrap() > 10, "{stats}");
    assert_eq!(stats["gaps_short"]["a"], 0, "{stats}");
    line.close().await;
    shares.sort_by(f64::total_cmp);
    shares
}

#[tokio::test]
async fn no_silence_is_cut_short_at_any_speed() {
    for baud in [9600, 19_200, 115_200] {
        shares_of_the_limit(baud, 2).await;
    }
}

#[tokio::test]
#[ignore = "measures; tests/bench/serial.sh runs it"]
async fn the_share_of_the_wire_limit() {
    for baud in [9600, 19_200, 115_200] {
        let shares = shares_of_the_limit(baud, 21).await;
        let percent = |index: usize| 100.0 * shares[index];
        eprintln!(
            "{baud} baud: of {:.1} requests/s {:.1} % in the worst second, {:.1} % in the middle one, {:.1} % in the best",
            wire_limit(baud),
            percent(0),
            percent(shares.len() / 2),
            percent(shares.len() - 1)
        );
    }
}

/// Reads from two slaves over a bad line for so long: flipped bits, characters too many, and now and
/// then answers that come after the timeout. Returns what was counted.
async fn over_a_bad_line(echo: bool, time: Duration) -> Tally {
    let noise = ["--half-duplex", "--flip", "0.002", "--insert", "0.005", "--seed", "7"];
    let lab = Lab::start("a,b,c", 19_200, &noise);
    let _slaves = [Slave::start(&lab.port("b"), 19_200, 1), Slave::start(&lab.port("c"), 19_200, 2)];
    if echo {
        lab.tell("set echo=a");
    }
    let mut line = Serial::open(setup(&lab, 19_200)).await.unwrap();
    let begin = Instant::now();
    for turn in (0..20).cycle().take_while(|_| begin.elapsed() < time) {
        // In milliseconds, each way.
        let delay = [(5, 90), (12, 250)].into_iter().find_map(|(at, delay)| (at == turn).then_some(delay));
        lab.tell(&format!("set delay={}", delay.unwrap_or(0)));
        read_on(&mut line, &[1, 2], time / 20).await;
    }
    let tally = line.tally();
    eprintln!("echo {echo}: {tally:?}, no valid answer: {}; {}", tally.unanswered(), lab.tell("stats"));
    tally
}

async fn bad_lines(time: Duration) {
    let (plain, echoing) = tokio::join!(over_a_bad_line(false, time), over_a_bad_line(true, time));
    for tally in [plain, echoing] {
        assert!(tally.answers > 10 && tally.silent > 0 && tally.damaged > 0, "{tally:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_makes_no_wrong_value() {
    bad_lines(Duration::from_secs(20)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes; tests/bench/serial.sh runs it"]
async fn ten_minutes_of_a_bad_line_make_no_wrong_value() {
    bad_lines(Duration::from_secs(600)).await;
}

#[tokio::test]
async fn an_adapter_that_hands_characters_over_in_lumps_is_read_right() {
    let lab = Lab::start("a,b", 115_200, &["--usb-latency", "16"]);
    let _slave = Slave::start(&lab.port("b"), 115_200, 1);
    let mut line = Serial::open(setup(&lab, 115_200)).await.unwrap();
    for start in 0..20 {
        let expected = [&[3, 200][..], &Slave::registers(1, start, 100)].concat();
        assert_eq!(insist(&mut line, &[3, 0, u8::try_from(start).unwrap(), 0, 100]).await, expected);
    }
}

#[tokio::test]
async fn a_write_on_an_echoing_line_is_confirmed_by_the_slave_and_not_by_the_echo() {
    let lab = Lab::start("a,b", 19_200, &["--echo", "a"]);
    let _slave = Slave::start(&lab.port("b"), 19_200, 1);
    let mut line = Serial::open(setup(&lab, 19_200)).await.unwrap();
    let write = [6, 0, 1, 0, 77];
    fails(&mut line, 9, &write, |fault| fault.reason().contains("`echo: true`")).await;
    assert_eq!(insist(&mut line, &[3, 0, 0, 0, 1]).await, [&[3, 2][..], &Slave::registers(1, 0, 1)].concat());
    fails(&mut line, 9, &write, |fault| matches!(fault, Fault::Silent(_))).await;
    assert_eq!(insist(&mut line, &write).await, write);
    assert_eq!(insist(&mut line, &[3, 0, 1, 0, 1]).await, [3, 2, 0, 77]);
}

/// Asks a unit that is not there, until what goes wrong is what should: on a busy machine the lab may
/// pause within the echo. It is never answered.
async fn fails(line: &mut Serial, unit: u8, pdu: &[u8], as_it_should: impl Fn(&Fault) -> bool) {
    let mut seen = Vec::new();
    for _ in 0..20 {
        let fault = line.exchange(unit, pdu, TIMEOUT).await.unwrap_err();
        if as_it_should(&fault) {
            return;
        }
        seen.push(fault);
    }
    panic!("{seen:?}");
}

/// Asks unit 1 until it answers: a slave by libmodbus takes what follows a request to another unit for
/// that unit's answer.
async fn insist(line: &mut Serial, pdu: &[u8]) -> Vec<u8> {
    for _ in 0..20 {
        if let Ok(answer) = line.exchange(1, pdu, TIMEOUT).await {
            return answer;
        }
    }
    panic!("no answer: {:?}", line.tally());
}

#[tokio::test]
async fn what_was_unplugged_is_noticed_and_opens_again_when_it_is_back() {
    let lab = Lab::start("a,b", 115_200, &[]);
    let _slave = Slave::start(&lab.port("b"), 115_200, 1);
    let mut line = Serial::open(setup(&lab, 115_200)).await.unwrap();
    insist(&mut line, &[3, 0, 0, 0, 1]).await;
    lab.tell("unplug a");
    let fault = read(&mut line, 1, 0, 1).await.unwrap_err();
    assert!(matches!(&fault, Fault::Broken(reason) if reason.contains("is gone")), "{fault:?}");
    assert!(line.is_broken());
    assert_eq!((line.tally().abandoned, line.tally().adds_up()), (1, true));
    line.close().await;
    let gone = Serial::open(setup(&lab, 115_200)).await.unwrap_err();
    assert_eq!(gone.to_string(), format!("no such port {}", lab.port("a")));
    lab.tell("plug a");
    let mut line = Serial::open(setup(&lab, 115_200)).await.unwrap();
    insist(&mut line, &[3, 0, 0, 0, 1]).await;
}

#[tokio::test]
async fn a_port_that_is_pulled_out_while_an_answer_is_awaited_ends_the_wait() {
    let lab = Lab::start("a,b", 9600, &[]);
    let mut line = Serial::open(setup(&lab, 9600)).await.unwrap();
    let begin = Instant::now();
    let asking = tokio::spawn(async move { line.exchange(1, &[3, 0, 0, 0, 1], Duration::from_secs(60)).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    lab.tell("unplug a");
    assert!(matches!(asking.await.unwrap(), Err(Fault::Broken(_))));
    assert!(begin.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_line_belongs_to_one_program_until_it_is_closed_even_in_the_middle_of_an_exchange() {
    let lab = Lab::start("a,b", 9600, &[]);
    let mut line = Serial::open(setup(&lab, 9600)).await.unwrap();
    let taken = Serial::open(setup(&lab, 9600)).await.unwrap_err();
    assert_eq!(taken.to_string(), format!("{} is in use by another program", lab.port("a")));
    let waiting = line.exchange(1, &[3, 0, 0, 0, 1], Duration::from_secs(60));
    assert!(tokio::time::timeout(Duration::from_millis(200), waiting).await.is_err());
    let begin = Instant::now();
    line.close().await;
    assert!(begin.elapsed() < Duration::from_secs(30), "it waits for no answer any more");
    Serial::open(setup(&lab, 9600)).await.unwrap();
}

#[tokio::test]
async fn a_port_without_rs485_is_refused_for_good() {
    let lab = Lab::start("a,b", 9600, &[]);
    let rs485 = super::super::rs485::Setup {
        delay_before: Duration::ZERO,
        delay_after: Duration::ZERO,
        invert: false,
        terminate: false,
    };
    let refused = Serial::open(Setup { rs485: Some(rs485), ..setup(&lab, 9600) }).await.unwrap_err();
    assert!(matches!(refused, DriverError::Fatal(_)), "{refused:?}");
    assert!(refused.to_string().contains("has no RS-485 mode"), "{refused}");
}

#[tokio::test]
async fn any_speed_and_frame_is_set_on_the_port() {
    let lab = Lab::start("a,b", 9600, &[]);
    let frame = Frame { two_stop_bits: true, ..Frame::default() };
    // The lab knows the usual speeds by name, and calls the others 0.
    for (baud, seen) in [(300, 300), (9600, 9600), (12_345, 0), (250_000, 0), (921_600, 921_600)] {
        let line = Serial::open(Setup { baud, frame, ..setup(&lab, baud) }).await.unwrap();
        assert_eq!(lab.tell("stats")["ports"]["a"]["set_to"], serde_json::json!([seen, 11]));
        line.close().await;
    }
}
