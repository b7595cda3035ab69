//! How long packets become, in bytes: for what writes them, and for what asks before whether a client takes them.

use super::super::publication::{Publication, Qos};

/// A whole PUBLISH packet of MQTT 5 (chapter 3.3 of the standard).
pub fn publish_packet(publication: &Publication, qos: Qos, subscriptions: &[u32]) -> usize {
    let properties = publish_properties(publication, publication.expires.is_some(), subscriptions);
    packet(publish_rest(publication, qos != Qos::AtMostOnce, Some(properties)))
}

/// What comes after the fixed header of a PUBLISH packet; with properties of that size if it is one of MQTT 5.
pub fn publish_rest(publication: &Publication, has_id: bool, properties: Option<usize>) -> usize {
    let id = if has_id { 2 } else { 0 };
    let properties = properties.map_or(0, |properties| variable(properties) + properties);
    2 + publication.topic.len() + id + properties + publication.payload.len()
}

/// The properties of a PUBLISH packet (MQTT 5, chapter 3.3.2.3), their length not among them.
pub fn publish_properties(publication: &Publication, expires: bool, subscriptions: &[u32]) -> usize {
    let field = |bytes: usize| 3 + bytes;
    let mut size = if expires { 5 } else { 0 };
    size += subscriptions.iter().map(|number| 1 + variable(*number as usize)).sum::<usize>();
    let Some(properties) = &publication.properties else { return size };
    size += properties.is_text.map_or(0, |_| 2);
    size += properties.content_type.as_ref().map_or(0, |text| field(text.len()));
    size += properties.response_topic.as_ref().map_or(0, |text| field(text.len()));
    size += properties.correlation.as_ref().map_or(0, |bytes| field(bytes.len()));
    size + properties.user.iter().map(|(key, value)| 5 + key.len() + value.len()).sum::<usize>()
}

/// A packet with so much after its fixed header.
pub fn packet(rest: usize) -> usize {
    1 + variable(rest) + rest
}

/// A number of one to four bytes (chapter 1.5.5).
pub fn variable(number: usize) -> usize {
    match number {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;

    use super::super::super::publication::Properties;

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
