//! How large a packet becomes, known before it is sent. Pure.

use super::client::Extras;
use crate::message::{Message, Qos};

/// The size of a PUBLISH packet of MQTT 5, the only version in which a broker tells its limit.
pub fn publish_size(message: &Message, extras: &Extras) -> usize {
    let id = if message.qos == Qos::AtMostOnce { 0 } else { 2 };
    let correlation = message.correlation.as_ref().map_or(0, |data| 3 + data.len());
    let expiry = if extras.expires_in.is_some() { 5 } else { 0 };
    let user: usize = extras.user_properties.iter().map(|(name, value)| 5 + name.len() + value.len()).sum();
    let said = message.properties.as_deref().map_or(0, |said| {
        let texts = said.content_type.iter().chain(&said.response_topic).map(|text| 3 + text.len()).sum::<usize>();
        let user: usize = said.user.iter().map(|(name, value)| 5 + name.len() + value.len()).sum();
        texts + user + if said.is_text.is_some() { 2 } else { 0 }
    });
    let properties = correlation + expiry + user + said;
    let body = 2 + message.topic.len() + id + length_of_length(properties) + properties + message.payload.len();
    1 + length_of_length(body) + body
}

/// How many bytes MQTT needs to say a length: seven bits of it go into each.
fn length_of_length(length: usize) -> usize {
    match length {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::Properties;

    /// Lengths counted by hand from the standard: fixed header, topic, packet id, properties.
    #[test]
    fn the_size_of_a_packet_is_known_to_the_byte() {
        let size = |message: &Message| publish_size(message, &Extras::default());
        let check = |message: Message, expected: usize| assert_eq!(size(&message), expected, "{message:?}");
        check(Message::new("a/b", "xyz"), 1 + 1 + (2 + 3) + 2 + 1 + 3);
        check(Message { qos: Qos::AtMostOnce, ..Message::new("a/b", "xyz") }, 1 + 1 + (2 + 3) + 1 + 3);
        let correlated = Message { correlation: Some("id".into()), ..Message::new("a/b", "xyz") };
        check(correlated, 1 + 1 + (2 + 3) + 2 + 1 + (1 + 2 + 2) + 3);
        // The length of what follows the fixed header needs a second byte from 128 on.
        check(Message::new("a/b", vec![0; 119]), 1 + 1 + 127);
        check(Message::new("a/b", vec![0; 120]), 1 + 2 + 128);
    }

    #[test]
    fn what_goes_with_a_publication_is_counted() {
        let message = Message::new("a/b", "xyz");
        let bare = publish_size(&message, &Extras::default());
        let extras = Extras { expires_in: Some(Duration::from_millis(1500)), user_properties: &[("replay", "1")] };
        assert_eq!(extras.expiry_seconds(), Some(2));
        assert_eq!(publish_size(&message, &extras), bare + (1 + 4) + (1 + 2 + 6 + 2 + 1));
        let said = Properties {
            is_text: Some(true),
            content_type: Some("text".into()),
            response_topic: Some("b".into()),
            user: vec![("k".into(), "value".into())],
            ..Properties::default()
        };
        let message = Message { properties: said.boxed(), ..message };
        let said = 2 + (1 + 2 + 4) + (1 + 2 + 1) + (1 + 2 + 1 + 2 + 5);
        assert_eq!(publish_size(&message, &Extras::default()), bare + said);
    }
}
