//! The fuzz target for packets of MQTT, as the broker reads them: arbitrary bytes come in as a stream, over a
//! connection of one version or the other. Whatever can be read and sent on is
//! read the same again.

use std::sync::Arc;

use bytes::BytesMut;

use super::packet::incoming::{Requests, connect, frame};
use super::packet::outgoing::Manner;
use super::packet::{Delivery, Reply, Request, Version};
use super::publication::Publication;

const LARGEST: usize = 1 << 16;

/// Tries one input: the first byte chooses a version, the rest is what a client sends.
pub fn run(input: &[u8]) {
    let Some((&choice, mut stream)) = input.split_first() else { return };
    let version = if choice & 1 == 0 { Version::V3 } else { Version::V5 };
    let mut requests = Requests::new(version);
    while let Ok(Some(found)) = frame(stream, LARGEST) {
        assert!(found.size <= LARGEST && found.size >= 2 + found.body.len());
        if let Ok(connect) = connect(&found) {
            assert!(connect.receive_maximum > 0 && connect.maximum_packet != Some(0));
        }
        if let Ok(Request::Publish(publish)) = requests.read(&found) {
            assert!(!publish.topic.contains(['+', '#', '\0']));
            assert_eq!(publish.id == 0, publish.qos == super::publication::Qos::AtMostOnce);
            if !publish.topic.is_empty() {
                let publication = Publication {
                    qos: publish.qos,
                    properties: publish.properties.clone(),
                    ..Publication::new(publish.topic.clone(), publish.payload.clone())
                };
                let delivery = Delivery {
                    publication: Arc::new(publication),
                    qos: publish.qos,
                    retain: publish.retain,
                    duplicate: publish.duplicate,
                    id: publish.id,
                    subscriptions: Vec::new(),
                    expiry: publish.expiry.map(|expiry| expiry.as_secs() as u32),
                };
                let mut out = BytesMut::new();
                assert!(Manner::plain(version).write(&Reply::Publish(delivery), &mut out));
                let again = frame(&out, 2 * LARGEST).expect("a packet").expect("a whole one");
                let Ok(Request::Publish(again)) = Requests::new(version).read(&again) else { panic!("a PUBLISH") };
                assert_eq!(again, super::packet::Publish { alias: None, ..publish });
            }
        }
        stream = &stream[found.size..];
    }
}
