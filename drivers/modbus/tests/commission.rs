//! A link in a person's hand, against a device with habits of its own.

#![expect(clippy::unwrap_used, reason = "in a test's helpers too, an unwrap is the assertion")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::decode;
use serde_json::{Value as Json, json};
use wharf_contract::Value;
use wharf_modbus::commission::scan::Told;
use wharf_modbus::commission::{Content, Tester, Trouble};

/// What the device is asked, and what it does: an answer's PDU, silence, or closing the connection.
enum Does {
    Answers(Vec<u8>),
    Nothing,
    Closes,
}

/// Serves as many connections as come, until the test ends. Gives the port, and all that was asked:
/// when, of which unit, and the PDU.
type Asked = Arc<Mutex<Vec<(Instant, u8, Vec<u8>)>>>;

fn device(mut answer: impl FnMut(u8, &[u8]) -> Does + Send + 'static) -> (u16, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked: Asked = Arc::default();
    let log = asked.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            serve(connection, &mut answer, &log);
        }
    });
    (port, asked)
}

fn serve(mut connection: TcpStream, answer: &mut impl FnMut(u8, &[u8]) -> Does, log: &Asked) {
    let mut head = [0; 7];
    while connection.read_exact(&mut head).is_ok() {
        let mut pdu = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]])) - 1];
        if connection.read_exact(&mut pdu).is_err() {
            return;
        }
        log.lock().unwrap().push((Instant::now(), head[6], pdu.clone()));
        match answer(head[6], &pdu) {
            Does::Answers(pdu) => {
                let length = u16::try_from(pdu.len() + 1).unwrap().to_be_bytes();
                let frame = [&head[..4], &length, &[head[6]], &pdu].concat();
                if connection.write_all(&frame).is_err() {
                    return;
                }
            }
            Does::Nothing => {}
            Does::Closes => return,
        }
    }
}

fn tester(port: u16, points: Json) -> Tester {
    let link = json!({ "tcp": format!("127.0.0.1:{port}"), "devices": { "tank": { "unit": 7, "points": points } } });
    let (settings, problems) = decode(&link);
    assert_eq!(problems, []);
    Tester::new(settings.unwrap())
}

const SOON: Duration = Duration::from_millis(200);
const LATER: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_scan_knows_who_is_there_from_how_it_answers() {
    let (port, asked) = device(|unit, pdu| match (unit, pdu[0]) {
        // Has input registers alone, and says so.
        (1, 4) => Does::Answers(vec![4, 2, 0, 9]),
        (1, function) => Does::Answers(vec![function | 0x80, 1]),
        // A gateway with nobody behind it.
        (2, function) => Does::Answers(vec![function | 0x80, 11]),
        // Ends the conversation instead of answering.
        (3, _) => Does::Closes,
        // Is silent about what it lacks.
        (4, 4) => Does::Answers(vec![4, 2, 0, 5]),
        _ => Does::Nothing,
    });
    let mut tester = tester(port, json!({}));
    let one = tester.look_for(1, false, LATER).await.unwrap().expect("unit 1 is there");
    assert!(one.is_clear() && matches!(&one.tables[0], ("holding", Told::Refusal(_))), "{one:?}");
    assert_eq!(one.tables[1], ("input", Told::Value(9)));
    for nobody in [2, 3] {
        assert_eq!(tester.look_for(nobody, false, LATER).await.unwrap(), None, "{nobody}");
    }
    assert_eq!(tester.look_for(4, false, SOON).await.unwrap(), None);
    let four = tester.look_for(4, true, SOON).await.unwrap().expect("a thorough look finds unit 4");
    assert_eq!(four.tables[..2], [("holding", Told::Nothing), ("input", Told::Value(5))]);
    let functions: Vec<u8> = asked.lock().unwrap().iter().map(|(_, _, pdu)| pdu[0]).collect();
    assert!(functions.iter().all(|function| matches!(function, 1..=4 | 43)), "only read: {functions:?}");
}

#[tokio::test]
async fn between_two_requests_the_link_rests() {
    let (port, asked) = device(|_, _| Does::Answers(vec![0x83, 2]));
    let mut tester = tester(port, json!({})).paced(SOON);
    for unit in 1..=3 {
        let _ = tester.look_for(unit, false, LATER).await;
    }
    let times: Vec<Instant> = asked.lock().unwrap().iter().map(|(at, _, _)| *at).collect();
    assert!(times.len() >= 3 && times.windows(2).all(|pair| pair[1] - pair[0] >= SOON), "{times:?}");
}

/// A device with ten registers. It lacks function 22, and register 9 holds 100 at most.
fn registers() -> (u16, Asked) {
    let mut held = [0xA5A5_u16; 10];
    device(move |_, pdu| {
        let word = |at: usize| u16::from_be_bytes([pdu[at], pdu[at + 1]]);
        let at = usize::from(word(1));
        match pdu[0] {
            3 if at + usize::from(word(3)) <= held.len() => {
                let words = &held[at..at + usize::from(word(3))];
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
                Does::Answers([&[3, u8::try_from(bytes.len()).unwrap()], bytes.as_slice()].concat())
            }
            6 if at < held.len() => {
                held[at] = if at == 9 { word(3).min(100) } else { word(3) };
                Does::Answers(pdu.to_vec())
            }
            3 | 6 => Does::Answers(vec![pdu[0] | 0x80, 2]),
            function => Does::Answers(vec![function | 0x80, 1]),
        }
    })
}

#[tokio::test]
async fn a_bit_of_a_register_is_written_and_the_others_stay() {
    let (port, _) = registers();
    let mut tester = tester(port, json!({ "pump": { "holding": 2, "bit": 1, "write": {} } }));
    let spot = tester.spots("tank").unwrap().remove(0);
    let wrote = tester.write(&spot, &Value::Bool(true)).await.unwrap();
    assert_eq!((wrote.content, wrote.written), (Content::Registers(vec![0xA5A7]), Value::Bool(true)));
    let seen = wrote.observed.unwrap();
    assert_eq!((seen.content, seen.value), (Content::Registers(vec![0xA5A7]), Ok(Value::Bool(true))));
}

#[tokio::test]
async fn what_the_rule_of_a_point_refuses_is_not_sent_and_what_is_not_held_is_seen() {
    let (port, asked) = registers();
    let mut tester = tester(port, json!({ "limit": { "holding": 9, "write": { "max": 500 } } }));
    let spot = tester.spots("tank").unwrap().remove(0);
    let refused = tester.write(&spot, &Value::Int(501)).await;
    assert!(matches!(&refused, Err(Trouble::Refused(why)) if why.contains("maximum 500")), "{refused:?}");
    assert!(asked.lock().unwrap().is_empty(), "nothing was asked");
    let wrote = tester.write(&spot, &Value::Int(300)).await.unwrap();
    assert_eq!((wrote.written, wrote.observed.unwrap().value), (Value::Int(300), Ok(Value::Int(100))));
}

#[tokio::test]
async fn one_address_that_is_not_there_costs_no_other_its_value() {
    let (port, _) = registers();
    let mut tester = tester(port, json!({ "some": { "holding": 7 } }));
    let spot = tester.spots("tank").unwrap().remove(0);
    let seen = tester.read(&spot, 5).await.unwrap();
    let addresses: Vec<Result<u16, u16>> =
        seen.iter().map(|seen| seen.as_ref().map(|seen| seen.address).map_err(|(address, _)| *address)).collect();
    assert_eq!(addresses, [Ok(7), Ok(8), Ok(9), Err(10), Err(11)]);
    // As many as there are from an address on.
    assert_eq!(tester.registers(&spot, 6).await.unwrap().len(), 3);
}
