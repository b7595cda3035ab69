//! MQTT 5.

use std::time::Duration;

use rumqttc_v5 as mqtt;

use super::{
    Connected, ConnectionError, Full, Happening, Incoming, LARGEST_INCOMING, Options, REQUESTS_BEYOND_WINDOW,
    WRITTEN_AT_ONCE, refused, words,
};
use crate::message::{Message, Qos};

/// The half that sends.
#[derive(Clone)]
pub struct Sender(mqtt::AsyncClient);

/// The half that connects and receives.
pub struct Connection {
    // One event loop for good: the library takes a broker's session up again only if the loop that
    // began it is still there.
    events: mqtt::EventLoop,
    client: mqtt::AsyncClient,
    ids: u16,
}

impl Connection {
    /// A connection that is not made yet.
    pub fn new(options: Options) -> Self {
        let ids = packet_ids(options.window);
        let mut settings = mqtt::MqttOptions::new(options.client_id, mqtt::Broker::tcp(options.host, options.port));
        settings.set_keep_alive(keep_alive(options.keep_alive));
        settings.set_session_expiry_interval(Some(seconds(options.session_expiry)));
        settings.set_incoming_packet_size_limit(mqtt::IncomingPacketSizeLimit::Bytes(LARGEST_INCOMING));
        settings.set_outgoing_inflight_upper_limit(ids);
        settings.set_connect_timeout(options.connect_timeout);
        settings.set_max_request_batch(WRITTEN_AT_ONCE);
        let mut network = mqtt::NetworkOptions::new();
        network.set_tcp_nodelay(true);
        settings.set_network_options(network);
        if let Some((user, password)) = options.credentials {
            settings.set_credentials(user, password.into_bytes());
        }
        if let Some(tls) = options.tls {
            settings.set_transport(mqtt::Transport::tls_with_config(mqtt::TlsConfiguration::Rustls(tls)));
        }
        let will = options.will;
        settings.set_last_will(mqtt::LastWill::new(
            will.topic,
            will.payload.to_vec(),
            mqtt::mqttbytes::QoS::AtLeastOnce,
            will.retain,
            None,
        ));
        let capacity = usize::from(options.window) + REQUESTS_BEYOND_WINDOW;
        let (client, events) = mqtt::AsyncClient::builder(settings).capacity(capacity).build();
        Self { events, client, ids }
    }

    /// Forgets the last connection.
    pub fn start_over(&mut self, clean: bool) {
        self.events.clean();
        self.events.drain_pending_as_failed(mqtt::NoticeFailureReason::SessionReset);
        // Draining alone would leave the packet ids of what was drained reserved.
        self.events.state = mqtt::MqttStateBuilder::new(self.ids).build();
        self.events.options.set_clean_start(clean);
    }

    /// The half that sends.
    pub fn sender(&self) -> Sender {
        Sender(self.client.clone())
    }

    /// What happens next.
    pub async fn next(&mut self) -> Result<Happening, ConnectionError> {
        let event = self.events.poll().await.map_err(|error| explain(&error))?;
        Ok(match event {
            mqtt::Event::Outgoing(mqtt::Outgoing::Publish(id)) => Happening::Sent(id),
            mqtt::Event::Incoming(packet) => incoming(packet),
            _ => Happening::Other,
        })
    }
}

impl Sender {
    /// Hands a publication to the library.
    pub fn publish(&self, message: &Message) -> Result<(), Full> {
        let qos = match message.qos {
            Qos::AtMostOnce => mqtt::mqttbytes::QoS::AtMostOnce,
            Qos::AtLeastOnce => mqtt::mqttbytes::QoS::AtLeastOnce,
        };
        let mut options = mqtt::PublishOptions::new(qos).retain(message.retain);
        if let Some(correlation) = &message.correlation {
            options = options.properties(mqtt::PublishProperties {
                correlation_data: Some(correlation.clone()),
                ..mqtt::PublishProperties::default()
            });
        }
        self.0.try_publish(message.topic.clone(), message.payload.clone(), options).map_err(|_| Full)
    }

    /// Asks for commands, with the retain flag as their sender set it: a command that was
    /// published to be kept is refused at once, and not first obeyed and refused at the next start.
    pub fn subscribe(&self, filter: &str) -> Result<(), Full> {
        let filter = mqtt::SubscribeFilterInput::new(filter, mqtt::mqttbytes::QoS::AtLeastOnce).preserve_retain(true);
        self.0.try_subscribe_many([filter]).map_err(|_| Full)
    }

    /// Says goodbye.
    pub fn disconnect(&self) {
        // Full means that the connection is not working anyway.
        let _ = self.0.try_disconnect();
    }
}

fn incoming(packet: mqtt::Packet) -> Happening {
    match packet {
        mqtt::Packet::ConnAck(ack) => {
            let properties = ack.properties.as_ref();
            Happening::Connected(Connected {
                session_present: ack.session_present,
                receive_maximum: properties.and_then(|p| p.receive_max),
                largest_packet: properties.and_then(|p| p.max_packet_size),
            })
        }
        mqtt::Packet::PubAck(ack) => Happening::Acknowledged { id: ack.pkid, refusal: refusal(&ack) },
        mqtt::Packet::SubAck(ack) => {
            let accepted = |code: &mqtt::SubscribeReasonCode| matches!(code, mqtt::SubscribeReasonCode::Success(_));
            Happening::Subscribed { refused: !ack.return_codes.iter().all(accepted) }
        }
        mqtt::Packet::Publish(publish) => {
            let properties = publish.properties.unwrap_or_default();
            Happening::Incoming(Incoming {
                topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                payload: publish.payload,
                retained: publish.retain,
                duplicate: publish.dup,
                id: publish.pkid,
                expires_in: properties.message_expiry_interval.map(|s| Duration::from_secs(s.into())),
                response_topic: properties.response_topic,
                correlation: properties.correlation_data,
            })
        }
        _ => Happening::Other,
    }
}

fn refusal(ack: &mqtt::PubAck) -> Option<String> {
    match ack.reason {
        mqtt::PubAckReason::Success | mqtt::PubAckReason::NoMatchingSubscribers => None,
        reason => {
            let words = ack.properties.as_ref().and_then(|p| p.reason_string.as_deref());
            Some(words.map_or_else(|| format!("{reason:?}"), |words| format!("{reason:?}: {words}")))
        }
    }
}

fn explain(error: &mqtt::ConnectionError) -> ConnectionError {
    match error {
        mqtt::ConnectionError::ConnectionRefused(code)
        | mqtt::ConnectionError::MqttState(mqtt::StateError::ConnFail { reason: code }) => {
            refused(&format!("{code:?}"))
        }
        mqtt::ConnectionError::MqttState(mqtt::StateError::AwaitPingResp) => {
            ConnectionError("the broker stopped answering".into())
        }
        mqtt::ConnectionError::MqttState(mqtt::StateError::ConnectionAborted) => {
            ConnectionError("the broker closed the connection".into())
        }
        mqtt::ConnectionError::Timeout(_) => ConnectionError("the broker did not answer in time".into()),
        // The library does not name this one as the source of the other.
        mqtt::ConnectionError::MqttState(mqtt::StateError::Deserialization(cause)) => words(cause),
        other => words(other),
    }
}

/// More packet ids than the window uses, so that a late acknowledgement does not block the ids
/// behind it.
pub(super) fn packet_ids(window: u16) -> u16 {
    window.saturating_mul(4).max(1000)
}

pub(super) fn keep_alive(time: Duration) -> u16 {
    u16::try_from(time.as_secs()).unwrap_or(u16::MAX)
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
