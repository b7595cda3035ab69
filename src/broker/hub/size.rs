//! How long a PUBLISH packet of MQTT 5 becomes (chapter 3.3 of the standard).

use crate::broker::publication::{Publication, Qos};

/// The whole packet, in bytes.
pub fn publish_packet(publication: &Publication, qos: Qos, subscriptions: &[u32]) -> usize {
    let id = if qos == Qos::AtMostOnce { 0 } else { 2 };
    let properties = properties(publication, subscriptions);
    let rest = 2 + publication.topic.len() + id + varint(properties) + properties + publication.payload.len();
    1 + varint(rest) + rest
}

fn properties(publication: &Publication, subscriptions: &[u32]) -> usize {
    let expiry = if publication.expires.is_some() { 5 } else { 0 };
    let numbers: usize = subscriptions.iter().map(|number| 1 + varint(*number as usize)).sum();
    let given = publication.properties.as_ref().map_or(0, |given| {
        let field = |bytes: usize| 3 + bytes;
        let is_text = if given.is_text.is_some() { 2 } else { 0 };
        let content_type = given.content_type.as_ref().map_or(0, |text| field(text.len()));
        let response_topic = given.response_topic.as_ref().map_or(0, |text| field(text.len()));
        let correlation = given.correlation.as_ref().map_or(0, |bytes| field(bytes.len()));
        let user: usize = given.user.iter().map(|(key, value)| 5 + key.len() + value.len()).sum();
        is_text + content_type + response_topic + correlation + user
    });
    expiry + numbers + given
}

/// A variable byte integer.
fn varint(value: usize) -> usize {
    match value {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;

    use crate::broker::publication::Properties;

    use super::*;

    #[test]
    fn the_length_of_a_packet_is_what_the_standard_makes_of_it() {
        let plain = Publication::new("a/b", "xyz");
        // 32 09 | 0003 a/b | 0001 | 00 | xyz
        assert_eq!(publish_packet(&plain, Qos::AtLeastOnce, &[]), 2 + 5 + 2 + 1 + 3);
        assert_eq!(publish_packet(&plain, Qos::AtMostOnce, &[]), 2 + 5 + 1 + 3);
        assert_eq!(publish_packet(&plain, Qos::AtMostOnce, &[1, 300]), 2 + 5 + 1 + 2 + 3 + 3);
        let properties = Properties {
            is_text: Some(true),
            content_type: Some("t".into()),
            response_topic: Some("rr".into()),
            correlation: Some(Bytes::from_static(b"ccc")),
            user: vec![("k".into(), "vv".into())],
        };
        let full = Publication { properties: Some(Box::new(properties)), expires: Some(Instant::now()), ..plain };
        assert_eq!(publish_packet(&full, Qos::AtMostOnce, &[]), 2 + 5 + 1 + (5 + 2 + 4 + 5 + 6 + 8) + 3);
        let large = Publication::new("a", vec![0; 200]);
        assert_eq!(publish_packet(&large, Qos::AtMostOnce, &[]), 3 + 3 + 1 + 200);
    }
}
