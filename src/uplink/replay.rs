//! What is said about a message beside what was stored: that it is replayed, and what became of
//! the time in it. Pure.
//!
//! The stored message stays as it was captured; marks and corrected times are put in on the way
//! out, and only where there is something to say.

use bytes::Bytes;

use crate::clock::Correction;
use crate::message::Message;

/// What is said of the clock that stamped a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockWord {
    /// It was wrong; the times in the message are corrected.
    Corrected,
    /// It was not set, and the true time is not known.
    Unset,
}

impl ClockWord {
    /// As it stands in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Corrected => "corrected",
            Self::Unset => "unset",
        }
    }
}

/// Puts the marks into a message: times are corrected, and an object that wharf has made says
/// that it is replayed and what became of its clock. Returns the word for the clock.
pub fn mark(message: &mut Message, replayed: bool, correction: Correction) -> Option<ClockWord> {
    let clock = match correction {
        Correction::None => None,
        Correction::Unknown => Some(ClockWord::Unset),
        Correction::By(ms) => correct(message, ms).then_some(ClockWord::Corrected),
    };
    if message.json && (replayed || clock.is_some()) {
        append(message, replayed, clock);
    }
    clock
}

/// Adds so many milliseconds to each time in the message. Returns whether there was one.
fn correct(message: &mut Message, ms: i64) -> bool {
    let old = message.payload.clone();
    let places: Vec<usize> = match message.json {
        true => time_in_object(&old).into_iter().collect(),
        false => message.times.iter().map(|place| *place as usize).collect(),
    };
    let mut new = Vec::with_capacity(old.len() + places.len());
    let mut copied = 0;
    for place in places {
        let digits = old.get(place..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = old.get(place..place + digits).and_then(|digits| str::from_utf8(digits).ok()?.parse::<u64>().ok());
        let Some(number) = number.filter(|_| place >= copied) else { continue };
        new.extend_from_slice(&old[copied..place]);
        new.extend_from_slice(number.saturating_add_signed(ms).to_string().as_bytes());
        copied = place + digits;
    }
    if copied == 0 {
        return false;
    }
    new.extend_from_slice(&old[copied..]);
    message.payload = Bytes::from(new);
    true
}

/// Where the digits of the time stand in an object that wharf has made: the number at `ts` or
/// `since` among its own members.
fn time_in_object(json: &[u8]) -> Option<usize> {
    let (mut depth, mut text_began, mut escaped) = (0usize, None, false);
    for (at, byte) in json.iter().enumerate() {
        match (text_began, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(began), b'"') => {
                text_began = None;
                let is_time = matches!(&json[began..at], b"ts" | b"since");
                let number = json.get(at + 1) == Some(&b':') && json.get(at + 2).is_some_and(u8::is_ascii_digit);
                if depth == 1 && is_time && number {
                    return Some(at + 2);
                }
            }
            (None, b'"') => text_began = Some(at + 1),
            (None, b'{' | b'[') => depth += 1,
            (None, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Adds the marks as members of the object.
fn append(message: &mut Message, replayed: bool, clock: Option<ClockWord>) {
    let Some(open) = message.payload.strip_suffix(b"}") else { return };
    let mut payload = Vec::with_capacity(open.len() + 40);
    payload.extend_from_slice(open);
    let mut add = |member: &str| {
        if !payload.ends_with(b"{") {
            payload.push(b',');
        }
        payload.extend_from_slice(member.as_bytes());
    };
    if replayed {
        add(r#""replay":true"#);
    }
    if let Some(clock) = clock {
        add(&format!(r#""clock":"{}""#, clock.as_str()));
    }
    payload.push(b'}');
    message.payload = payload.into();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;

    fn marked(payload: &str, replayed: bool, correction: Correction) -> (String, Option<ClockWord>) {
        let mut message = Message::new("t", payload.to_owned()).json();
        let clock = mark(&mut message, replayed, correction);
        (String::from_utf8(message.payload.to_vec()).unwrap(), clock)
    }

    #[test]
    fn a_replayed_object_says_so_and_keeps_the_time_it_was_taken() {
        let (payload, clock) = marked(r#"{"value":21.5,"ts":1795219869123}"#, true, Correction::None);
        assert_eq!((payload.as_str(), clock), (r#"{"value":21.5,"ts":1795219869123,"replay":true}"#, None));
        assert_eq!(marked("{}", true, Correction::None).0, r#"{"replay":true}"#);
    }

    #[test]
    fn a_wrong_time_is_corrected_and_an_unknown_one_is_marked() {
        let check = |payload: &str, correction, expected: &str, word| {
            assert_eq!(marked(payload, false, correction), (expected.to_owned(), Some(word)), "{payload}");
        };
        let (right, unset) = (ClockWord::Corrected, ClockWord::Unset);
        check(
            r#"{"value":1,"ts":5,"q":2}"#,
            Correction::By(995),
            r#"{"value":1,"ts":1000,"q":2,"clock":"corrected"}"#,
            right,
        );
        check(r#"{"since":5000}"#, Correction::By(-6000), r#"{"since":0,"clock":"corrected"}"#, right);
        check(r#"{"value":1,"ts":5}"#, Correction::Unknown, r#"{"value":1,"ts":5,"clock":"unset"}"#, unset);
        // What a device says looks like a time and is none.
        let tricky = r#"{"value":"\",\"ts\":7","a":{"ts":8},"b":["ts",9],"ts":10}"#;
        let expected = r#"{"value":"\",\"ts\":7","a":{"ts":8},"b":["ts",9],"ts":11,"clock":"corrected"}"#;
        check(tricky, Correction::By(1), expected, right);
    }

    #[test]
    fn a_message_without_a_time_has_nothing_to_correct() {
        assert_eq!(marked(r#"{"value":"ts"}"#, false, Correction::By(9)), (r#"{"value":"ts"}"#.into(), None));
        let mut raw = Message::new("t", "21.5");
        assert_eq!(mark(&mut raw, true, Correction::By(9)), None);
        assert_eq!(raw, Message::new("t", "21.5"), "the bare value stays bare");
    }

    #[test]
    fn a_template_is_corrected_where_it_has_its_times() {
        let mut message = Message { times: vec![1, 5], ..Message::new("t", "[995;998]") };
        assert_eq!(mark(&mut message, true, Correction::By(5)), Some(ClockWord::Corrected));
        assert_eq!(message.payload, "[1000;1003]");
    }

    proptest! {
        #[test]
        fn an_object_stays_an_object_with_its_members(
            text in ".{0,20}", key in "[a-z\"\\\\]{0,5}", ts in any::<u32>(), by in any::<i32>(), replayed in any::<bool>(),
        ) {
            let stored = serde_json::json!({ key.clone(): text, "ts": ts });
            let (payload, _) = marked(&stored.to_string(), replayed, Correction::By(by.into()));
            let sent: Json = serde_json::from_str(&payload).unwrap();
            prop_assert_eq!(sent["ts"].as_u64(), Some(u64::from(ts).saturating_add_signed(by.into())));
            prop_assert_eq!(&sent["clock"], "corrected");
            prop_assert_eq!(sent.get("replay").is_some(), replayed);
            if !matches!(key.as_str(), "ts" | "clock" | "replay") {
                prop_assert_eq!(&sent[&key], &stored[&key]);
            }
        }

        #[test]
        fn no_payload_and_no_place_makes_it_panic(
            payload: Vec<u8>, times in proptest::collection::vec(any::<u8>(), 0..5), json: bool, by: i64,
        ) {
            let times = times.into_iter().map(u32::from).collect();
            mark(&mut Message { times, json, ..Message::new("t", payload) }, true, Correction::By(by));
        }
    }
}
