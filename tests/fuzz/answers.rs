//! The fuzz target for everything that takes an answer apart: frames of Modbus TCP and RTU, and the
//! answers to every kind of request. Arbitrary bytes come in; nothing may panic, and whatever is taken
//! for an answer has to be one: framed again, or asked for again, it is the same.
//!
//! The decoders are those of the crate this is compiled into.

use crate::pdu::{self, Answer, Request};
use crate::wire::question::{Heard, Question};
use crate::wire::{mbap, rtu};

/// Tries one input: the first bytes choose the request, the rest is what came back.
pub fn run(input: &[u8]) {
    tcp_frames(input);
    rtu_frames(input);
    let Some((head, answer)) = input.split_at_checked(6) else { return };
    let request = request(head);
    serial_line(&request, answer);
    check(&request, answer);
    // Most bytes are no answer at all. With the right function in front more of them are.
    check(&request, &[&[request.function()][..], answer].concat());
    check(&request, &[&[request.function(), due(&request)][..], answer].concat());
}

/// A request of each kind, allowed or not.
fn request(head: &[u8]) -> Request {
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let (start, count) = (word(1), word(3) % 2100);
    let few = count % 130;
    match head[0] % 12 {
        0 => Request::ReadCoils { start, count },
        1 => Request::ReadDiscreteInputs { start, count },
        2 => Request::ReadHolding { start, count: few },
        3 => Request::ReadInput { start, count: few },
        4 => Request::WriteCoil { address: start, on: count % 2 == 0 },
        5 => Request::WriteRegister { address: start, value: count },
        6 => Request::WriteCoils { start, bits: vec![count % 2 == 0; usize::from(count)] },
        7 => Request::WriteRegisters { start, values: vec![start; usize::from(few)] },
        8 => Request::MaskWrite { address: start, and: word(2), or: count },
        9 => Request::ReadWrite { read_start: start, read_count: few, write_start: count, values: vec![start; 3] },
        10 => Request::Identify { level: head[1], object: head[2] },
        _ => Request::Raw { function: head[1], data: head.to_vec() },
    }
}

/// The count of bytes that the right answer begins with, if it begins with one.
fn due(request: &Request) -> u8 {
    let bytes = match request {
        Request::ReadCoils { count, .. } | Request::ReadDiscreteInputs { count, .. } => count.div_ceil(8),
        Request::ReadHolding { count, .. }
        | Request::ReadInput { count, .. }
        | Request::ReadWrite { read_count: count, .. } => count * 2,
        _ => 14,
    };
    u8::try_from(bytes).unwrap_or(u8::MAX)
}

fn check(request: &Request, pdu: &[u8]) {
    // Whatever was asked, putting it into bytes is harmless; what is allowed fits a frame.
    let encoded = request.encode();
    assert!(request.check().is_err() || encoded.len() <= pdu::LONGEST);
    let Ok(answer) = pdu::parse(request, pdu) else { return };
    assert_eq!(pdu.first(), Some(&request.function()), "an answer to another function");
    match (request, &answer) {
        (Request::ReadCoils { count, .. } | Request::ReadDiscreteInputs { count, .. }, Answer::Bits(bits)) => {
            assert_eq!(bits.len(), usize::from(*count));
        }
        (
            Request::ReadHolding { count, .. }
            | Request::ReadInput { count, .. }
            | Request::ReadWrite { read_count: count, .. },
            Answer::Registers(registers),
        ) => {
            let bytes: Vec<u8> = registers.iter().flat_map(|register| register.to_be_bytes()).collect();
            assert_eq!((registers.len(), &bytes[..]), (usize::from(*count), &pdu[2..]));
        }
        (Request::WriteCoil { .. }, Answer::Bits(bits)) => assert_eq!(bits.len(), 1),
        (Request::WriteRegister { .. }, Answer::Registers(registers)) => assert_eq!(registers.len(), 1),
        (Request::WriteCoils { .. } | Request::WriteRegisters { .. }, Answer::Written) => {
            assert_eq!(pdu, &encoded[..5], "another write was confirmed");
        }
        (Request::MaskWrite { .. }, Answer::Written) => assert_eq!(pdu, encoded, "another write was confirmed"),
        (Request::Identify { .. }, Answer::Identification(part)) => {
            let held: usize = part.objects.iter().map(|(_, bytes)| bytes.len() + 2).sum();
            assert_eq!(held + 7, pdu.len());
        }
        (Request::Raw { .. }, Answer::Raw(data)) => assert_eq!(data, &pdu[1..]),
        _ => panic!("{answer:?} is no answer to {request:?}"),
    }
}

/// What is heard on a serial line: the answer, if it is one, stands whole at its end.
fn serial_line(request: &Request, heard: &[u8]) {
    let unit = heard.first().copied().unwrap_or(1);
    let Some(question) = Question::new(unit, &request.encode()) else { return };
    let framed = rtu::frame(unit, &[&[request.function(), due(request)][..], heard].concat());
    for heard in [heard, &framed, &[heard, &framed].concat()] {
        if let Heard::Answer { pdu, alone } = question.look(heard) {
            let frame = rtu::frame(unit, &pdu);
            assert!(heard.ends_with(&frame) && alone == (heard.len() == frame.len()), "no such frame was heard");
            assert_eq!(pdu.first().map(|function| function & 0x7F), Some(request.function() & 0x7F));
        }
    }
}

fn tcp_frames(bytes: &[u8]) {
    let mut rest = bytes;
    while let mbap::Next::Frame(frame, length) = mbap::next(rest) {
        let again = mbap::frame(frame.id, frame.unit, frame.pdu);
        assert_eq!(again, rest[..length], "framed again, it is another");
        assert!((1..=pdu::LONGEST).contains(&frame.pdu.len()) && length <= mbap::LONGEST_FRAME);
        rest = &rest[length..];
    }
}

fn rtu_frames(bytes: &[u8]) {
    if let Ok((unit, pdu)) = rtu::open(bytes) {
        assert_eq!(rtu::frame(unit, pdu), bytes, "framed again, it is another");
    }
    // Once the length is known, what follows does not change it.
    if let rtu::Length::Exactly(length) = rtu::answer_length(bytes) {
        for end in 0..bytes.len().min(rtu::LONGEST) {
            let earlier = rtu::answer_length(&bytes[..end]);
            assert!(earlier == rtu::Length::Unknown || earlier == rtu::Length::Exactly(length), "{end} bytes");
        }
    }
    // With a checksum that fits it is a frame.
    let framed = match bytes {
        [unit, pdu @ ..] if (1..=pdu::LONGEST).contains(&pdu.len()) => rtu::frame(*unit, pdu),
        _ => return,
    };
    assert_eq!(rtu::open(&framed), Ok((framed[0], &bytes[1..])));
}
