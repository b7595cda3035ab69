//! The line against a server that misbehaves in every way it can think of, many thousand times. Each
//! register of it says who it is, so a value that was taken from another answer is seen at once.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::link::{Place, Transport, Way};
use crate::wire::{Door, mbap, rtu};

/// Short, so that many timeouts fit into a test. A server that is quick may still be too late now and
/// then, on a busy machine: that costs a read, never a wrong value.
const TIMEOUT: Duration = Duration::from_millis(40);

/// How the server frames what it says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Mbap,
    Rtu,
}

/// What became of the reads.
#[derive(Debug, Default)]
struct Tally {
    good: usize,
    silent: usize,
    broken: usize,
}

fn value(unit: u8, address: u16) -> u16 {
    (address ^ 0x5A5A).wrapping_add(u16::from(unit) << 9)
}

/// A server, and how often it was connected to and asked.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(framing: Framing, act: Act) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (connected, asked) = (Arc::clone(&connections), Arc::clone(&requests));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let number = connected.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(attend(
                    stream,
                    framing,
                    Memory { dice: Dice(number as u64 * 7919 + 1), kept: None },
                    act,
                    Arc::clone(&asked),
                ));
            }
        });
        Self { port, connections, requests, task }
    }

    fn line(&self, framing: Framing) -> Line {
        let place = Place::new("127.0.0.1", self.port);
        let way = match framing {
            Framing::Mbap => Way::Tcp { places: vec![place], tls: None, return_after: Duration::from_secs(600) },
            Framing::Rtu => Way::RtuOverTcp(place),
        };
        line_over(way)
    }
}

fn line_over(way: Way) -> Line {
    let transport = Transport { way, pause: Duration::ZERO, pause_after_connect: Duration::ZERO, release: false };
    Line::new(&Link { name: "bus".into(), transport, timeout: TIMEOUT, devices: Vec::new() })
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Gets what a connection remembers and what was asked; says what to send, after which wait each, and
/// whether to hang up then.
type Act = fn(&mut Memory, &Asked) -> (Vec<(Duration, Vec<u8>)>, bool);

/// What a connection remembers.
struct Memory {
    dice: Dice,
    /// An answer that was kept back.
    kept: Option<Asked>,
}

/// Seeded random numbers (xorshift), so that a failure comes again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap() % limit
    }
}

/// A request, and what would be right.
#[derive(Clone)]
struct Asked {
    framing: Framing,
    id: u16,
    unit: u8,
    request: Vec<u8>,
}

impl Asked {
    fn start(&self) -> u16 {
        u16::from_be_bytes([self.request[1], self.request[2]])
    }

    /// The right answer to a read of registers.
    fn pdu(&self) -> Vec<u8> {
        let count = self.request[4];
        let values = (0..u16::from(count)).flat_map(|at| value(self.unit, self.start().wrapping_add(at)).to_be_bytes());
        [3, count * 2].into_iter().chain(values).collect()
    }

    fn frame(&self, pdu: &[u8]) -> Vec<u8> {
        match self.framing {
            Framing::Mbap => mbap::frame(self.id, self.unit, pdu),
            Framing::Rtu => rtu::frame(self.unit, pdu),
        }
    }

    fn answer(&self) -> Vec<u8> {
        self.frame(&self.pdu())
    }
}

/// Serves one connection; what is late comes late while the next request is read already.
async fn attend(stream: TcpStream, framing: Framing, mut memory: Memory, act: Act, requests: Arc<AtomicUsize>) {
    let (mut read, mut write) = stream.into_split();
    let (say, mut said) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let writer = tokio::spawn(async move {
        while let Some((at, bytes)) = said.recv().await {
            sleep_until(at).await;
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = Vec::new();
    'requests: loop {
        let mut chunk = [0; 300];
        match read.read(&mut chunk).await {
            Ok(count) if count > 0 => buffer.extend_from_slice(&chunk[..count]),
            _ => break,
        }
        while let Some((asked, length)) = request(framing, &buffer) {
            buffer.drain(..length);
            requests.fetch_add(1, Ordering::SeqCst);
            let (bytes, hang_up) = act(&mut memory, &asked);
            for (wait, bytes) in bytes {
                let _ = say.send((Instant::now() + wait, bytes)).await;
            }
            if hang_up {
                break 'requests;
            }
        }
    }
    drop(say);
    let _ = writer.await;
}

/// The request that the bytes begin with, and its length. Over RTU they are reads.
fn request(framing: Framing, bytes: &[u8]) -> Option<(Asked, usize)> {
    match framing {
        Framing::Mbap => match mbap::next(bytes) {
            mbap::Next::Frame(frame, length) => {
                Some((Asked { framing, id: frame.id, unit: frame.unit, request: frame.pdu.to_vec() }, length))
            }
            _ => None,
        },
        Framing::Rtu => {
            let (unit, pdu) = rtu::open(bytes.get(..8)?).unwrap();
            Some((Asked { framing, id: 0, unit, request: pdu.to_vec() }, 8))
        }
    }
}

/// Reads here and there, as a session would; every value that comes has to be right.
async fn read_on(line: &mut Line, count: usize, mut dice: Dice) -> Tally {
    let mut tally = Tally::default();
    for _ in 0..count {
        if !line.is_connected() {
            line.connect().await.expect("the server listens");
        }
        let unit = u8::try_from(1 + dice.below(4)).unwrap();
        let (start, items) = (u16::try_from(dice.below(2000)).unwrap(), u16::try_from(1 + dice.below(3)).unwrap());
        match line.read(unit, Table::Holding, start, items, TIMEOUT).await {
            Ok(raw) => {
                let expected: Vec<u16> = (0..items).map(|at| value(unit, start + at)).collect();
                assert_eq!(raw, Raw::Registers(expected), "unit {unit}, {items} from {start}");
                tally.good += 1;
            }
            Err(Fault::Silent(_)) => tally.silent += 1,
            Err(Fault::Broken(_)) => tally.broken += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    tally
}

const AT_ONCE: Duration = Duration::ZERO;
const LATE: Duration = Duration::from_millis(60);

/// Delays, cuts, garbles and closes, one time in three. What is garbled is what can be told: over TCP
/// nothing guards the data itself but TCP.
fn misbehave(Memory { dice, .. }: &mut Memory, asked: &Asked) -> (Vec<(Duration, Vec<u8>)>, bool) {
    let good = asked.answer();
    let (half, rest) = good.split_at(1 + dice.below(good.len() - 1));
    match dice.below(36) {
        0 => (vec![], false),
        1 => (vec![(LATE, good)], false),
        2 => (vec![], true),
        3 => (vec![(AT_ONCE, half.to_vec())], true),
        4 => (vec![(AT_ONCE, half.to_vec())], false),
        5 => (vec![(AT_ONCE, half.to_vec()), (LATE, rest.to_vec())], false),
        6 => {
            // Any of the header, the function and the count of bytes.
            let mut bad = good.clone();
            let guarded = if asked.framing == Framing::Mbap { 9 } else { good.len() };
            bad[dice.below(guarded)] ^= 1 << dice.below(8);
            (vec![(AT_ONCE, bad)], false)
        }
        7 => (vec![(AT_ONCE, (0..dice.below(300)).map(|_| u8::try_from(dice.below(256)).unwrap()).collect())], false),
        8 => {
            // Another unit's answer first, then the right one.
            let other = Asked { unit: asked.unit + 10, ..asked.clone() };
            (vec![(AT_ONCE, other.answer()), (AT_ONCE, good)], false)
        }
        9 => (vec![(AT_ONCE, asked.frame(&[0x83, 4, 1]))], false),
        10 => {
            let shorter = &asked.pdu()[..asked.pdu().len() - 1];
            (vec![(AT_ONCE, asked.frame(shorter))], false)
        }
        11 => (vec![(AT_ONCE, half.to_vec()), (Duration::from_millis(2), rest.to_vec())], false),
        _ => (vec![(AT_ONCE, good)], false),
    }
}

#[tokio::test]
async fn a_server_that_delays_cuts_garbles_and_closes_never_brings_a_wrong_value() {
    let server = Server::start(Framing::Mbap, misbehave).await;
    let mut line = server.line(Framing::Mbap);
    let tally = read_on(&mut line, 1500, Dice(42)).await;
    assert!(tally.good > 400 && tally.silent > 25 && tally.broken > 50, "{tally:?}");
    // One request for each read, and no more connections than there was trouble.
    let (connections, requests) = (server.connections.load(Ordering::SeqCst), server.requests.load(Ordering::SeqCst));
    assert!(requests <= 1500, "{requests} requests");
    assert!(connections <= 1 + 2 * (tally.silent + tally.broken), "{connections} connections, {tally:?}");
}

#[tokio::test]
async fn over_rtu_any_damage_is_noticed_and_late_answers_die() {
    let server = Server::start(Framing::Rtu, misbehave).await;
    let mut line = server.line(Framing::Rtu);
    let tally = read_on(&mut line, 200, Dice(43)).await;
    assert!(tally.good > 50 && tally.silent > 2 && tally.broken > 10, "{tally:?}");
    assert!(server.requests.load(Ordering::SeqCst) <= 200);
}

/// Now and then an answer is kept back, and sent in place of the next one and with its id: there are
/// devices that remember the newest id only.
fn mix_up(Memory { dice, kept }: &mut Memory, asked: &Asked) -> (Vec<(Duration, Vec<u8>)>, bool) {
    if let Some(late) = kept.take() {
        return (vec![(AT_ONCE, Asked { id: asked.id, ..late }.answer())], false);
    }
    if dice.below(10) == 0 {
        *kept = Some(asked.clone());
        return (vec![], false);
    }
    (vec![(AT_ONCE, asked.answer())], false)
}

#[tokio::test]
async fn a_device_that_sends_late_answers_with_the_newest_id_never_brings_a_wrong_value() {
    let server = Server::start(Framing::Mbap, mix_up).await;
    let mut line = server.line(Framing::Mbap);
    let tally = read_on(&mut line, 500, Dice(44)).await;
    assert!(tally.good > 125 && tally.silent > 20, "{tally:?}");
}

#[tokio::test]
async fn a_unit_that_owes_an_answer_is_asked_again_over_a_new_connection_and_its_neighbours_over_the_old() {
    let server = Server::start(Framing::Mbap, |_, asked| match asked.unit {
        9 => (vec![], false),
        _ => (vec![(AT_ONCE, asked.answer())], false),
    })
    .await;
    let mut line = server.line(Framing::Mbap);
    line.connect().await.unwrap();
    let patient = Duration::from_secs(10);
    assert!(matches!(line.read(9, Table::Holding, 0, 1, TIMEOUT).await, Err(Fault::Silent(_))));
    for unit in 1..=8 {
        let expected = Raw::Registers(vec![value(unit, 5)]);
        assert_eq!(line.read(unit, Table::Holding, 5, 1, patient).await, Ok(expected));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    assert!(matches!(line.read(9, Table::Holding, 0, 1, TIMEOUT).await, Err(Fault::Silent(_))));
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_late_answer_that_has_come_pays_the_debt() {
    let server = Server::start(Framing::Mbap, |_, asked| match asked.start() {
        0 => (vec![(LATE, asked.answer())], false),
        _ => (vec![(AT_ONCE, asked.answer())], false),
    })
    .await;
    let mut line = server.line(Framing::Mbap);
    line.connect().await.unwrap();
    assert!(matches!(line.read(1, Table::Holding, 0, 1, TIMEOUT).await, Err(Fault::Silent(_))));
    sleep(Duration::from_secs(1)).await;
    let patient = Duration::from_secs(10);
    let expected = Raw::Registers(vec![value(1, 7)]);
    assert_eq!(line.read(1, Table::Holding, 7, 1, patient).await, Ok(expected));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_costs_nothing_but_a_new_one() {
    let server = Server::start(Framing::Mbap, |_, asked| (vec![(AT_ONCE, asked.answer())], true)).await;
    let mut line = server.line(Framing::Mbap);
    line.connect().await.unwrap();
    let patient = Duration::from_secs(10);
    for start in 0..5 {
        // Time for the farewell to arrive: without it, it is an exchange that breaks.
        sleep(Duration::from_millis(500)).await;
        let read = line.read(1, Table::Holding, start, 1, patient).await;
        assert_eq!(read, Ok(Raw::Registers(vec![value(1, start)])));
    }
    assert_eq!(server.requests.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn a_connection_that_has_gone_dead_is_given_up_after_two_silences() {
    // As behind a router that forgot the connection: nothing comes, and nothing says so.
    let server = Server::start(Framing::Mbap, |_, asked| match asked.start() {
        0 => (vec![(AT_ONCE, asked.answer())], false),
        _ => (vec![], false),
    })
    .await;
    let mut line = server.line(Framing::Mbap);
    line.connect().await.unwrap();
    assert!(line.read(1, Table::Holding, 0, 1, Duration::from_secs(10)).await.is_ok());
    assert!(matches!(line.read(1, Table::Holding, 1, 1, TIMEOUT).await, Err(Fault::Silent(_))));
    assert!(line.is_connected());
    assert!(matches!(line.read(2, Table::Holding, 1, 1, TIMEOUT).await, Err(Fault::Silent(_))));
    assert!(!line.is_connected());
}

#[tokio::test]
async fn the_identification_of_a_device_is_followed_to_its_end() {
    let server = Server::start(Framing::Mbap, |_, asked| {
        let pdu: &[u8] = match asked.request[..] {
            [43, 14, 1, 0] => b"\x2B\x0E\x01\x01\xFF\x02\x02\x00\x04ACME\x01\x02P1",
            [43, 14, 1, 2] => b"\x2B\x0E\x01\x01\x00\x00\x01\x02\x041.07",
            // Level 2 leads in circles.
            [43, 14, 2, object] if object < 9 => b"\x2B\x0E\x02\x02\xFF\x09\x00",
            [43, 14, 2, _] => b"\x2B\x0E\x02\x02\xFF\x01\x00",
            _ => &[0xAB, 1],
        };
        (vec![(AT_ONCE, asked.frame(pdu))], false)
    })
    .await;
    let mut line = server.line(Framing::Mbap);
    line.connect().await.unwrap();
    let patient = Duration::from_secs(10);
    let expected = vec![(0, b"ACME".to_vec()), (1, b"P1".to_vec()), (2, b"1.07".to_vec())];
    assert_eq!(identify(1, async |request| line.ask(1, &request, patient).await).await, Ok(expected));
    let circles = Fault::Broken("after object 9 the device leads to 1".into());
    assert_eq!(identify(2, async |request| line.ask(1, &request, patient).await).await, Err(circles));
    assert!(matches!(
        identify(3, async |request| line.ask(1, &request, patient).await).await,
        Err(Fault::Refused { .. })
    ));
}

#[tokio::test]
async fn a_request_that_the_protocol_does_not_allow_is_not_sent() {
    let server = Server::start(Framing::Mbap, misbehave).await;
    let mut line = server.line(Framing::Mbap);
    line.connect().await.unwrap();
    let too_many = line.read(1, Table::Holding, 0, 126, TIMEOUT).await;
    assert_eq!(too_many, Err(Fault::not_sent("one request reads 1 to 125 registers, not 126")));
    assert_eq!(server.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn nobody_is_waited_for_when_all_units_of_a_bus_are_told_something() {
    let server = Server::start(Framing::Rtu, |_, _| (vec![], false)).await;
    let mut line = server.line(Framing::Rtu);
    line.connect().await.unwrap();
    let patient = Duration::from_secs(60);
    let told = line.ask(0, &Request::WriteRegister { address: 1, value: 2 }, patient).await;
    assert_eq!(told, Ok(Answer::Written));
}

#[tokio::test]
async fn a_late_answer_over_rtu_is_waited_for_and_thrown_away() {
    // A serial server hands whatever the bus says to whoever is connected, and nothing in an answer
    // says what was asked.
    let server = Server::start(Framing::Rtu, |_, asked| match asked.start() {
        0 => (vec![(LATE, asked.answer())], false),
        _ => (vec![(AT_ONCE, asked.answer())], false),
    })
    .await;
    let mut line = server.line(Framing::Rtu);
    line.connect().await.unwrap();
    for start in 1..10 {
        let _ = line.read(1, Table::Holding, 0, 1, TIMEOUT).await;
        if !line.is_connected() {
            line.connect().await.unwrap();
        }
        match line.read(1, Table::Holding, start, 1, TIMEOUT).await {
            Ok(raw) => assert_eq!(raw, Raw::Registers(vec![value(1, start)])),
            Err(fault) => assert!(matches!(fault, Fault::Silent(_) | Fault::Broken(_)), "{fault:?}"),
        }
        if !line.is_connected() {
            line.connect().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_device_that_dialled_in_is_not_hung_up_on_for_being_late_once() {
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut line = line_over(Way::Listen(Arc::new(Door::new(free, Vec::new()))));
    let device = tokio::spawn(async move {
        let stream = loop {
            match TcpStream::connect(free).await {
                Ok(stream) => break stream,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        };
        let act: Act = |_, asked| match asked.start() {
            0 => (vec![(LATE, asked.answer())], false),
            _ => (vec![(AT_ONCE, asked.answer())], false),
        };
        attend(stream, Framing::Mbap, Memory { dice: Dice(1), kept: None }, act, Arc::default()).await;
    });
    line.connect().await.unwrap();
    assert!(matches!(line.read(1, Table::Holding, 0, 1, TIMEOUT).await, Err(Fault::Silent(_))));
    let patient = Duration::from_secs(10);
    assert_eq!(line.read(1, Table::Holding, 7, 1, patient).await, Ok(Raw::Registers(vec![value(1, 7)])));
    assert!(!device.is_finished());
    line.used -= STALE;
    assert!(!line.may_be_stale());
    drop(line);
    device.await.unwrap();
}
