//! The fuzz target for lines of the MySensors protocol. Arbitrary bytes come in as a stream; what is a
//! message has to be the same when it is written and read again, and so has a value of every kind.

use wharf_contract::Value;
use wharf_mysensors::message::{LONGEST_LINE, Message};
use wharf_mysensors::{types, values};
use wharf_stream::Frames;

/// Tries one input: the first byte chooses a type for payloads, the rest are lines.
pub fn run(input: &[u8]) {
    let Some((&kind, stream)) = input.split_first() else { return };
    let mut frames = Frames::lines(LONGEST_LINE);
    for line in frames.push(stream) {
        let Ok(message) = Message::parse(&line) else { continue };
        assert_eq!(Message::parse(message.to_line().trim_end_matches('\n').as_bytes()).as_ref(), Ok(&message));
        for row in [types::value_type(message.kind), types::internal_type(message.kind), types::value_type(kind)] {
            let Some(row) = row else { continue };
            let Ok(value) = values::decode(row.kind, &message.payload) else { continue };
            if let Value::Float(number) = value {
                assert!(number.is_finite());
            }
            if let Ok(payload) = values::encode(row.kind, &value) {
                assert!(payload.len() <= values::LONGEST_PAYLOAD && !payload.contains('\n'));
                assert_eq!(values::decode(row.kind, &payload), Ok(value), "{payload:?} as {}", row.name);
            }
        }
    }
    assert!(frames.held() <= LONGEST_LINE);
}
