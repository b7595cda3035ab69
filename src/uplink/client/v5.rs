//! MQTT 5.

use std::pin::Pin;
use std::time::Duration;

use rumqttc_v5 as mqtt;

use super::error::{disconnected, no_mqtt_over_web_socket, no_web_socket, refused};
use super::{
    Aim, Cause, Connected, ConnectionError, Extras, Full, Happening, Incoming, LARGEST_INCOMING, Options,
    REQUESTS_BEYOND_WINDOW, Refusal, WRITTEN_AT_ONCE, error,
};
use crate::message::{Message, Properties, Qos};
use crate::uplink::dial::dial;

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
    pub fn start_over(&mut self, aim: &Aim, clean: bool) -> Result<(), ConnectionError> {
        (self.client, self.events) = fresh(&self.options, aim, clean)?;
        Ok(())
    }

    /// The half that sends.
    pub fn sender(&self) -> Sender {
        Sender(self.client.clone())
    }

    /// What happens next.
    pub async fn next(&mut self) -> Result<Happening, ConnectionError> {
        let event = match self.events.poll().await {
            Ok(event) => event,
            Err(error) => {
                self.learn(&error);
                return Err(explain(&error, &self.events.options.client_id()));
            }
        };
        if let mqtt::Event::Incoming(mqtt::Packet::ConnAck(_)) = event {
            // It has served its purpose, and would be told of every packet.
            self.events.options.clear_session_store();
        }
        Ok(match event {
            mqtt::Event::Outgoing(mqtt::Outgoing::Publish(id)) => Happening::Sent(id),
            mqtt::Event::Incoming(packet) => incoming(packet),
            _ => Happening::Other,
        })
    }

    /// A broker that does not let us in because of what it cannot do with the will is not asked for
    /// that again.
    fn learn(&mut self, error: &mqtt::ConnectionError) {
        match refusal_code(error) {
            Some(mqtt::ConnectReturnCode::RetainNotSupported) => self.options.will.retain = false,
            Some(mqtt::ConnectReturnCode::QoSNotSupported) => self.options.will.qos = Qos::AtMostOnce,
            _ => {}
        }
    }
}

fn fresh(options: &Options, aim: &Aim, clean: bool) -> Result<(mqtt::AsyncClient, mqtt::EventLoop), ConnectionError> {
    let mut settings = target(&options.client_id, aim)?;
    settings.set_clean_start(clean);
    settings.set_session_store(NothingUnderWay {
        client_id: options.client_id.clone(),
        packet_ids: packet_ids(options.window),
    });
    settings.set_socket_connector(|address, _| async move { Ok(dial(&address).await?) });
    settings.set_keep_alive(keep_alive(options.keep_alive));
    settings.set_session_expiry_interval(Some(seconds(options.session_expiry)));
    settings.set_incoming_packet_size_limit(mqtt::IncomingPacketSizeLimit::Bytes(LARGEST_INCOMING));
    settings.set_outgoing_inflight_upper_limit(packet_ids(options.window));
    settings.set_connect_timeout(options.connect_timeout);
    settings.set_max_request_batch(WRITTEN_AT_ONCE);
    if let Some((user, password)) = &aim.keys.credentials {
        settings.set_credentials(user.clone(), password.clone().into_bytes());
    }
    let will = &options.will;
    settings.set_last_will(mqtt::LastWill::new(
        will.topic.clone(),
        will.payload.to_vec(),
        qos(will.qos),
        will.retain,
        None,
    ));
    let capacity = usize::from(options.window) + REQUESTS_BEYOND_WINDOW;
    Ok(mqtt::AsyncClient::builder(settings).capacity(capacity).build())
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
    /// Hands a publication to the library.
    pub fn publish(&self, message: &Message, extras: &Extras) -> Result<(), Full> {
        let mut options = mqtt::PublishOptions::new(qos(message.qos)).retain(message.retain);
        let said = message.properties.as_deref();
        if said.is_some() || message.correlation.is_some() || *extras != Extras::default() {
            let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
            let theirs = said.into_iter().flat_map(|said| said.user.iter().cloned());
            options = options.properties(mqtt::PublishProperties {
                payload_format_indicator: said.and_then(|said| said.is_text).map(u8::from),
                content_type: said.and_then(|said| said.content_type.clone()),
                response_topic: said.and_then(|said| said.response_topic.clone()),
                correlation_data: message.correlation.clone(),
                message_expiry_interval: extras.expiry_seconds(),
                user_properties: theirs.chain(extras.user_properties.iter().map(own)).collect(),
                ..mqtt::PublishProperties::default()
            });
        }
        self.0.try_publish(message.topic.clone(), message.payload.clone(), options).map_err(|_| Full)
    }

    /// Asks for commands, with the retain flag as their sender set it (`as_sent`): a command that was
    /// published to be kept is refused at once, and not first obeyed and refused at the next start. Else
    /// the flag says only what comes from the broker's store. Asks for what else is to come down, too: as
    /// others have published it, and not what this gateway has.
    pub fn subscribe(&self, commands: &str, others: &[String], as_sent: bool) -> Result<(), Full> {
        let input = |filter: &str| mqtt::SubscribeFilterInput::new(filter, mqtt::mqttbytes::QoS::AtLeastOnce);
        let others = others.iter().map(|filter| input(filter).preserve_retain(true).no_local(true));
        let filters = std::iter::once(input(commands).preserve_retain(as_sent)).chain(others);
        self.0.try_subscribe_many(filters).map_err(|_| Full)
    }

    /// Says goodbye.
    pub fn disconnect(&self) {
        // Full means that the connection is not working anyway.
        let _ = self.0.try_disconnect();
    }
}

/// The library takes a broker's session up again only if it knows what was under way in it. That is
/// for the queue on disk to know, so for the library it is nothing.
#[derive(Debug)]
struct NothingUnderWay {
    client_id: String,
    packet_ids: u16,
}

type Stored<'a, T> = Pin<Box<dyn Future<Output = Result<T, mqtt::SessionStoreError>> + Send + 'a>>;

impl mqtt::SessionStore for NothingUnderWay {
    fn load<'a>(&'a self, _: &'a mqtt::SessionStoreKey) -> Stored<'a, Option<mqtt::PersistedSession>> {
        Box::pin(std::future::ready(Ok(Some(mqtt::PersistedSession {
            format_version: 1,
            client_id: self.client_id.clone(),
            clean_start: false,
            session_expiry_interval: None,
            outgoing_inflight_upper_limit: Some(self.packet_ids),
            ack_mode: mqtt::PersistedAckMode::Automatic,
            last_pkid: 0,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: Vec::new(),
        }))))
    }

    fn save<'a>(&'a self, _: &'a mqtt::SessionStoreKey, _: &'a mqtt::PersistedSession) -> Stored<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn clear<'a>(&'a self, _: &'a mqtt::SessionStoreKey) -> Stored<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
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
                retain_available: properties.and_then(|p| p.retain_available) != Some(0),
                maximum_qos: properties.and_then(|p| p.max_qos).unwrap_or(2),
            })
        }
        mqtt::Packet::PubAck(ack) => Happening::Acknowledged { id: ack.pkid, refusal: refusal(&ack) },
        mqtt::Packet::SubAck(ack) => {
            let accepted = |code: &mqtt::SubscribeReasonCode| matches!(code, mqtt::SubscribeReasonCode::Success(_));
            let (commands, others) = ack
                .return_codes
                .split_first()
                .map_or((false, true), |(commands, others)| (accepted(commands), others.iter().all(accepted)));
            Happening::Subscribed { commands, others }
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
                properties: Properties {
                    is_text: properties.payload_format_indicator.map(|is_text| is_text != 0),
                    content_type: properties.content_type,
                    user: properties.user_properties,
                    ..Properties::default()
                }
                .boxed(),
            })
        }
        _ => Happening::Other,
    }
}

fn refusal(ack: &mqtt::PubAck) -> Option<Refusal> {
    match ack.reason {
        mqtt::PubAckReason::Success | mqtt::PubAckReason::NoMatchingSubscribers => None,
        reason => {
            let words = ack.properties.as_ref().and_then(|p| p.reason_string.as_deref());
            let words = words.map_or_else(|| format!("{reason:?}"), |words| format!("{reason:?}: {words}"));
            Some(Refusal { code: reason as u8, words })
        }
    }
}

fn qos(qos: Qos) -> mqtt::mqttbytes::QoS {
    match qos {
        Qos::AtMostOnce => mqtt::mqttbytes::QoS::AtMostOnce,
        Qos::AtLeastOnce => mqtt::mqttbytes::QoS::AtLeastOnce,
    }
}

/// The code by which the broker did not let us in.
fn refusal_code(error: &mqtt::ConnectionError) -> Option<mqtt::ConnectReturnCode> {
    match error {
        mqtt::ConnectionError::ConnectionRefused(code)
        | mqtt::ConnectionError::MqttState(mqtt::StateError::ConnFail { reason: code }) => Some(*code),
        _ => None,
    }
}

fn explain(error: &mqtt::ConnectionError, client_id: &str) -> ConnectionError {
    if let Some(code) = refusal_code(error) {
        return refused(&format!("{code:?}"));
    }
    match error {
        mqtt::ConnectionError::MqttState(mqtt::StateError::ServerDisconnect { reason_code, reason_string }) => {
            disconnected(*reason_code as u8, &format!("{reason_code:?}"), client_id, reason_string.as_deref())
        }
        mqtt::ConnectionError::MqttState(mqtt::StateError::AwaitPingResp) => {
            ConnectionError::new(Cause::Timeout, "the broker stopped answering")
        }
        mqtt::ConnectionError::MqttState(mqtt::StateError::ConnectionAborted) => ConnectionError::closed(),
        mqtt::ConnectionError::Timeout(_) => ConnectionError::timeout(),
        mqtt::ConnectionError::Websocket(cause) => no_web_socket(cause),
        mqtt::ConnectionError::ResponseValidation(_) => no_mqtt_over_web_socket(),
        // The library does not name this one as the source of the other.
        mqtt::ConnectionError::MqttState(mqtt::StateError::Deserialization(cause)) => error::explain(cause),
        other => error::explain(other),
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
