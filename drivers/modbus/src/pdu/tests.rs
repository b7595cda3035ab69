use proptest::prelude::*;

use super::*;

fn check(request: &Request, wire: &[u8], answer: &[u8], expected: Answer) {
    assert_eq!(request.check(), Ok(()), "{request:?}");
    assert_eq!(request.encode(), wire, "{request:?}");
    assert_eq!(parse(request, answer), Ok(expected), "{request:?}");
    for end in 0..answer.len() {
        assert!(parse(request, &answer[..end]).is_err(), "cut to {end} bytes, {request:?} is still answered");
    }
    let longer = [answer, &[0]].concat();
    assert!(parse(request, &longer).is_err(), "with a byte too many, {request:?} is still answered");
    let refused = [wire[0] | 0x80, 2];
    assert_eq!(parse(request, &refused), Err(BadAnswer::Exception(Exception(2))), "{request:?}");
}

fn nonsense_in(request: &Request, answer: &[u8]) -> String {
    match parse(request, answer) {
        Err(BadAnswer::Nonsense(reason)) => reason,
        other => panic!("{other:?} from {answer:02x?}"),
    }
}

#[test]
fn every_function_goes_out_and_comes_back_as_the_standard_shows_it() {
    // The examples of the specification, 6.1 to 6.21.
    check(
        &Request::ReadCoils { start: 19, count: 19 },
        &[1, 0, 0x13, 0, 0x13],
        &[1, 3, 0xCD, 0x6B, 0x05],
        Answer::Bits(
            [0xCD_u8, 0x6B, 0x05].iter().flat_map(|b| (0..8).map(move |i| b >> i & 1 == 1)).take(19).collect(),
        ),
    );
    check(
        &Request::ReadDiscreteInputs { start: 196, count: 3 },
        &[2, 0, 0xC4, 0, 3],
        &[2, 1, 0b1111_1101],
        Answer::Bits(vec![true, false, true]),
    );
    check(
        &Request::ReadHolding { start: 107, count: 3 },
        &[3, 0, 0x6B, 0, 3],
        &[3, 6, 2, 0x2B, 0, 0, 0, 0x64],
        Answer::Registers(vec![555, 0, 100]),
    );
    check(&Request::ReadInput { start: 8, count: 1 }, &[4, 0, 8, 0, 1], &[4, 2, 0, 10], Answer::Registers(vec![10]));
    check(
        &Request::WriteCoil { address: 172, on: true },
        &[5, 0, 0xAC, 0xFF, 0],
        &[5, 0, 0xAC, 0xFF, 0],
        Answer::Bits(vec![true]),
    );
    check(
        &Request::WriteRegister { address: 1, value: 3 },
        &[6, 0, 1, 0, 3],
        &[6, 0, 1, 0, 3],
        Answer::Registers(vec![3]),
    );
    check(
        &Request::WriteCoils { start: 19, bits: vec![true, false, true, true, false, false, true, true, true, false] },
        &[15, 0, 0x13, 0, 10, 2, 0xCD, 0x01],
        &[15, 0, 0x13, 0, 10],
        Answer::Written,
    );
    check(
        &Request::WriteRegisters { start: 1, values: vec![10, 0x0102] },
        &[16, 0, 1, 0, 2, 4, 0, 10, 1, 2],
        &[16, 0, 1, 0, 2],
        Answer::Written,
    );
    check(
        &Request::MaskWrite { address: 4, and: 0xF2, or: 0x25 },
        &[22, 0, 4, 0, 0xF2, 0, 0x25],
        &[22, 0, 4, 0, 0xF2, 0, 0x25],
        Answer::Written,
    );
    check(
        &Request::ReadWrite { read_start: 3, read_count: 2, write_start: 14, values: vec![255, 255, 255] },
        &[23, 0, 3, 0, 2, 0, 14, 0, 3, 6, 0, 255, 0, 255, 0, 255],
        &[23, 4, 0, 0xFE, 0x0A, 0xCD],
        Answer::Registers(vec![0xFE, 0x0ACD]),
    );
    check(
        &Request::Identify { level: 1, object: 0 },
        &[43, 14, 1, 0],
        b"\x2B\x0E\x01\x01\x00\x00\x02\x00\x04ACME\x01\x02P1",
        Answer::Identification(Identification {
            conformity: 1,
            next: None,
            objects: vec![(0, b"ACME".to_vec()), (1, b"P1".to_vec())],
        }),
    );
}

#[test]
fn an_identification_with_more_to_come_says_where_to_go_on() {
    let request = Request::Identify { level: 2, object: 0 };
    let Ok(Answer::Identification(part)) = parse(&request, b"\x2B\x0E\x02\x82\xFF\x01\x01\x00\x01A") else {
        panic!("an identification")
    };
    assert_eq!((part.next, part.conformity), (Some(1), 0x82));
    assert_eq!(
        nonsense_in(&request, b"\x2B\x0E\x02\x82\x07\x01\x00"),
        "the identification says 7 where only yes or no can stand"
    );
    assert_eq!(
        nonsense_in(&request, b"\x2B\x0E\x01\x82\x00\x00\x00"),
        "the answer is to another kind of identification"
    );
    assert_eq!(
        nonsense_in(&request, b"\x2B\x0E\x02\x82\x00\x00\x01\x00\xFFA"),
        "object 0 of the identification is cut off"
    );
}

#[test]
fn a_function_of_the_makers_own_is_carried_as_it_is() {
    let request = Request::Raw { function: 65, data: vec![1, 2] };
    assert_eq!(request.encode(), [65, 1, 2]);
    assert_eq!(parse(&request, &[65, 9, 8]), Ok(Answer::Raw(vec![9, 8])));
    assert_eq!(parse(&request, &[0xC1, 1]), Err(BadAnswer::Exception(Exception(1))));
    assert_eq!(nonsense_in(&request, &[66, 9, 8]), "the answer is to another function");
}

#[test]
fn a_device_that_holds_another_value_than_was_written_is_heard() {
    let request = Request::WriteRegister { address: 7, value: 500 };
    assert_eq!(parse(&request, &[6, 0, 7, 0, 100]), Ok(Answer::Registers(vec![100])));
    let request = Request::WriteCoil { address: 7, on: true };
    assert_eq!(parse(&request, &[5, 0, 7, 0, 0]), Ok(Answer::Bits(vec![false])));
}

#[test]
fn what_does_not_fit_the_request_is_nonsense_in_words() {
    let read = Request::ReadHolding { start: 0, count: 1 };
    let cases: [(&Request, &[u8], &str); 9] = [
        (&read, &[], "the answer is empty"),
        (&read, &[4, 2, 0, 1], "the answer is to another function"),
        (&read, &[3], "the answer is too short"),
        (&read, &[3, 0], "0 bytes came where 2 were due"),
        (&read, &[3, 4, 0, 1, 0, 2], "4 bytes came where 2 were due"),
        (&read, &[3, 2, 0], "the answer speaks of 2 bytes and holds 1"),
        (&read, &[0x83, 2, 0], "the answer is an exception of a wrong length"),
        (&Request::WriteCoil { address: 1, on: true }, &[5, 0, 1, 0xFF, 1], "the device confirmed another write"),
        (
            &Request::WriteRegisters { start: 1, values: vec![1, 2] },
            &[16, 0, 1, 0, 1],
            "the device confirmed another write",
        ),
    ];
    for (request, answer, expected) in cases {
        assert_eq!(nonsense_in(request, answer), expected, "{answer:02x?}");
    }
}

#[test]
fn what_the_protocol_does_not_allow_is_refused_in_words() {
    let refused = |request: Request| request.check().unwrap_err();
    assert_eq!(refused(Request::ReadCoils { start: 0, count: 2001 }), "one request reads 1 to 2000 bits, not 2001");
    assert_eq!(refused(Request::ReadInput { start: 0, count: 0 }), "one request reads 1 to 125 registers, not 0");
    assert_eq!(
        refused(Request::ReadHolding { start: 65_535, count: 2 }),
        "2 registers from 65535 on end beyond the last one, 65535"
    );
    assert_eq!(
        refused(Request::WriteRegisters { start: 0, values: vec![0; 124] }),
        "one request writes 1 to 123 registers, not 124"
    );
    assert_eq!(
        refused(Request::ReadWrite { read_start: 0, read_count: 1, write_start: 0, values: vec![0; 122] }),
        "one request writes 1 to 121 registers, not 122"
    );
    assert_eq!(
        refused(Request::WriteCoils { start: 0, bits: vec![true; 1969] }),
        "one request writes 1 to 1968 bits, not 1969"
    );
    assert_eq!(refused(Request::Identify { level: 5, object: 0 }), "there is no level 5 of identification (1–4)");
    assert_eq!(refused(Request::Raw { function: 0x81, data: vec![] }), "129 is not the code of a function (1–127)");
    assert!(refused(Request::Raw { function: 65, data: vec![0; 253] }).contains("at most 252 bytes"));
}

fn any_request() -> impl Strategy<Value = Request> {
    let short = any::<u16>;
    prop_oneof![
        (short(), 0..2100_u16).prop_map(|(start, count)| Request::ReadCoils { start, count }),
        (short(), 0..2100_u16).prop_map(|(start, count)| Request::ReadDiscreteInputs { start, count }),
        (short(), 0..130_u16).prop_map(|(start, count)| Request::ReadHolding { start, count }),
        (short(), 0..130_u16).prop_map(|(start, count)| Request::ReadInput { start, count }),
        (short(), any::<bool>()).prop_map(|(address, on)| Request::WriteCoil { address, on }),
        (short(), short()).prop_map(|(address, value)| Request::WriteRegister { address, value }),
        (short(), prop::collection::vec(any::<bool>(), 0..2100))
            .prop_map(|(start, bits)| Request::WriteCoils { start, bits }),
        (short(), prop::collection::vec(short(), 0..300))
            .prop_map(|(start, values)| Request::WriteRegisters { start, values }),
        (short(), short(), short()).prop_map(|(address, and, or)| Request::MaskWrite { address, and, or }),
        (short(), 0..130_u16, short(), prop::collection::vec(short(), 0..300)).prop_map(
            |(read_start, read_count, write_start, values)| Request::ReadWrite {
                read_start,
                read_count,
                write_start,
                values
            }
        ),
        (any::<u8>(), any::<u8>()).prop_map(|(level, object)| Request::Identify { level, object }),
        (any::<u8>(), prop::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(function, data)| Request::Raw { function, data }),
    ]
}

proptest! {
    #[test]
    fn a_request_that_is_allowed_fits_a_frame(request in any_request()) {
        let pdu = request.encode();
        if request.check().is_ok() {
            prop_assert!(pdu.len() <= LONGEST, "{} bytes", pdu.len());
        }
        prop_assert_eq!(pdu[0], request.function());
    }

    #[test]
    fn whatever_comes_an_answer_has_what_was_asked_for_or_there_is_none(
        request in any_request(),
        mut pdu in prop::collection::vec(any::<u8>(), 0..260),
        fits: bool,
    ) {
        // Half of the time it begins as a good answer would.
        if let (true, [function, count, ..]) = (fits, &mut pdu[..]) {
            *function = request.function();
            if let Request::ReadHolding { count: asked, .. } | Request::ReadInput { count: asked, .. } = request {
                *count = u8::try_from(asked * 2).unwrap_or(0);
            }
        }
        match (&request, parse(&request, &pdu)) {
            (Request::ReadCoils { count, .. } | Request::ReadDiscreteInputs { count, .. }, Ok(Answer::Bits(bits))) => {
                prop_assert_eq!(bits.len(), usize::from(*count));
            }
            (
                Request::ReadHolding { count, .. }
                | Request::ReadInput { count, .. }
                | Request::ReadWrite { read_count: count, .. },
                Ok(Answer::Registers(registers)),
            ) => prop_assert_eq!(registers.len(), usize::from(*count)),
            (
                Request::ReadCoils { .. } | Request::ReadHolding { .. } | Request::ReadInput { .. },
                Ok(other),
            ) => prop_assert!(false, "{other:?}"),
            _ => {}
        }
    }
}
