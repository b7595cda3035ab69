//! MQTT 3.1.1.

use std::time::Duration;

use rumqttc_v4 as mqtt;

use super::error::{no_mqtt_over_web_socket, no_web_socket, refused};
use super::v5::{keep_alive, packet_ids};
use super::{
    Aim, Cause, Connected, ConnectionError, Full, Happening, Incoming, LARGEST_INCOMING, Options,
    REQUESTS_BEYOND_WINDOW, WRITTEN_AT_ONCE, error,
};
use crate::message::{Message, Qos};
use crate::uplink::dial::dial;

/// The largest packet that is sent: the protocol's own limit. A 3.1.1 broker does not tell its own.
const LARGEST_OUTGOING: usize = 268_435_455;

/// The half that sends.
#[derive(Clone)]
pub struct Sender(mqtt::AsyncClient);

/// The half that connects and receives.
pub struct Connection {
    options: Options,
    events: mqtt::EventLoop,
    client: mqtt::AsyncClient,
}

impl Connection {
    /// A connection that is not made yet. Where it leads is said when it is started.
    pub fn new(options: Options) -> Self {
        let nowhere = mqtt::MqttOptions::new(&options.client_id, mqtt::Broker::tcp("localhost", 1883));
        let (client, events) = mqtt::AsyncClient::builder(nowhere).build();
        Self { options, events, client }
    }

    /// Forgets the last connection.
    ///
    /// 3.1.1 has one switch for two things: "forget what you kept" and "keep nothing from now
    /// on". To have the first without the second a short connection of its own says it.
    pub async fn start_over(&mut self, aim: &Aim, clean: bool) -> Result<(), ConnectionError> {
        if clean {
            (self.client, self.events) = fresh(&self.options, aim, true)?;
            self.forget_session().await?;
        }
        (self.client, self.events) = fresh(&self.options, aim, false)?;
        Ok(())
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

    async fn forget_session(&mut self) -> Result<(), ConnectionError> {
        loop {
            match self.events.poll().await {
                Ok(mqtt::Event::Incoming(mqtt::Packet::ConnAck(_))) => {
                    let _ = self.client.try_disconnect();
                }
                Ok(mqtt::Event::Outgoing(mqtt::Outgoing::Disconnect)) | Err(mqtt::ConnectionError::RequestsDone) => {
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) => return Err(explain(&error)),
            }
        }
    }
}

fn fresh(options: &Options, aim: &Aim, clean: bool) -> Result<(mqtt::AsyncClient, mqtt::EventLoop), ConnectionError> {
    let mut settings = target(&options.client_id, aim)?;
    settings.set_socket_connector(|address, _| async move { Ok(dial(&address).await?) });
    settings.set_keep_alive(keep_alive(options.keep_alive));
    settings.set_clean_session(clean);
    settings.set_max_packet_size(LARGEST_INCOMING as usize, LARGEST_OUTGOING);
    settings.set_inflight(packet_ids(options.window));
    settings.set_max_request_batch(WRITTEN_AT_ONCE);
    if let Some((user, password)) = &aim.keys.credentials {
        settings.set_credentials(user.clone(), password.clone().into_bytes());
    }
    let will = &options.will;
    settings.set_last_will(mqtt::LastWill::new(
        will.topic.clone(),
        will.payload.to_vec(),
        mqtt::mqttbytes::QoS::AtLeastOnce,
        will.retain,
    ));
    let capacity = usize::from(options.window) + REQUESTS_BEYOND_WINDOW;
    let (client, mut events) = mqtt::AsyncClient::builder(settings).capacity(capacity).build();
    let mut network = mqtt::NetworkOptions::new();
    network.set_connection_timeout(options.connect_timeout.max(Duration::from_secs(1)).as_secs());
    events.set_network_options(network);
    Ok((client, events))
}

fn target(id: &str, aim: &Aim) -> Result<mqtt::MqttOptions, ConnectionError> {
    let url = &aim.url;
    let to = |broker| mqtt::MqttOptions::new(id, broker);
    match (&url.web_socket, aim.tls()) {
        (None, None) => Ok(to(mqtt::Broker::tcp(&url.host, url.port))),
        (None, Some(tls)) => {
            let mut settings = to(mqtt::Broker::tcp(&url.host, url.port));
            settings.set_transport(mqtt::Transport::tls_with_config(tls));
            Ok(settings)
        }
        (Some(_), None) => mqtt::Broker::websocket(url.to_string()).map(to),
        (Some(_), Some(tls)) => mqtt::MqttOptions::websocket_with_tls_config(id, url.to_string(), tls),
    }
    .map_err(|error| ConnectionError::new(Cause::Other, error.to_string()))
}

impl Sender {
    /// Hands a publication to the library. Correlation data has no place in 3.1.1.
    pub fn publish(&self, message: &Message) -> Result<(), Full> {
        let qos = match message.qos {
            Qos::AtMostOnce => mqtt::mqttbytes::QoS::AtMostOnce,
            Qos::AtLeastOnce => mqtt::mqttbytes::QoS::AtLeastOnce,
        };
        let options = mqtt::PublishOptions::new(qos).retain(message.retain);
        self.0.try_publish(message.topic.clone(), message.payload.clone(), options).map_err(|_| Full)
    }

    /// Asks for commands, and for what else is to come down.
    pub fn subscribe(&self, commands: &str, others: &[String]) -> Result<(), Full> {
        let filters = std::iter::once(commands).chain(others.iter().map(String::as_str));
        let filters = filters.map(|filter| mqtt::SubscribeFilterInput::new(filter, mqtt::mqttbytes::QoS::AtLeastOnce));
        self.0.try_subscribe_many(filters).map_err(|_| Full)
    }

    /// Says goodbye.
    pub fn disconnect(&self) {
        // Full means that the connection is not working anyway.
        let _ = self.0.try_disconnect();
    }
}

fn incoming(packet: mqtt::Packet) -> Happening {
    match packet {
        mqtt::Packet::ConnAck(ack) => Happening::Connected(Connected {
            session_present: ack.session_present,
            receive_maximum: None,
            largest_packet: None,
            retain_available: true,
            maximum_qos: 2,
        }),
        mqtt::Packet::PubAck(ack) => Happening::Acknowledged { id: ack.pkid, refusal: None },
        mqtt::Packet::SubAck(ack) => {
            let accepted = |code: &mqtt::SubscribeReasonCode| matches!(code, mqtt::SubscribeReasonCode::Success(_));
            let (commands, others) = ack
                .return_codes
                .split_first()
                .map_or((false, true), |(commands, others)| (accepted(commands), others.iter().all(accepted)));
            Happening::Subscribed { commands, others }
        }
        mqtt::Packet::Publish(publish) => Happening::Incoming(Incoming {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload,
            retained: publish.retain,
            duplicate: publish.dup,
            id: publish.pkid,
            expires_in: None,
            response_topic: None,
            correlation: None,
            properties: None,
        }),
        _ => Happening::Other,
    }
}

fn explain(error: &mqtt::ConnectionError) -> ConnectionError {
    match error {
        mqtt::ConnectionError::ConnectionRefused(code) => refused(&format!("{code:?}")),
        mqtt::ConnectionError::MqttState(mqtt::StateError::AwaitPingResp) => {
            ConnectionError::new(Cause::Timeout, "the broker stopped answering")
        }
        mqtt::ConnectionError::MqttState(mqtt::StateError::ConnectionAborted) => ConnectionError::closed(),
        mqtt::ConnectionError::NetworkTimeout | mqtt::ConnectionError::FlushTimeout => ConnectionError::timeout(),
        mqtt::ConnectionError::Websocket(cause) => no_web_socket(cause),
        mqtt::ConnectionError::ResponseValidation(_) => no_mqtt_over_web_socket(),
        // The library does not name this one as the source of the other.
        mqtt::ConnectionError::MqttState(mqtt::StateError::Deserialization(cause)) => error::explain(cause),
        other => error::explain(other),
    }
}
