//! The embedded broker: what local clients attach to, with or without an uplink.
//!
//! Local clients see every message under the same topics as upstream, and may send commands. The
//! broker crate is known to this folder alone, behind [`LocalBroker`].

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use mqtt5::QoS;
use mqtt5::broker::config::{BrokerConfig, StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerEventHandler, ClientPublishEvent, MqttBroker, PublishAction};
use mqtt5::packet::publish::PublishPacket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::classic::feed::Feed;
use crate::downlink::{Ask, Source};
use crate::message::{Message, Qos};
use crate::topics::{self, Topics};
use crate::uplink::Incoming;

/// Bounds of the local broker. A client that reads nothing costs at most two lanes of waiting
/// packets, 32 MiB each, and its queue; retained messages cost 32 MiB together.
const CLIENTS: usize = 100;
const LARGEST_PACKET: usize = 32 * 1024;
const RETAINED_MESSAGES: usize = 2048;
const LARGEST_RETAINED: usize = 16 * 1024;
const SUBSCRIPTIONS_PER_CLIENT: usize = 100;
const WAITING_PER_CLIENT: usize = 1024;
/// What may wait for a client that is away or reads too slowly; the oldest goes first.
const QUEUED_MESSAGES: usize = 10_000;
const QUEUED_BYTES: usize = 8 * 1024 * 1024;
const RECEIVE_MAXIMUM: u16 = 100;
/// How long the session of a local client that is away is kept: memory only, so not for ever.
const SESSION_EXPIRY: Duration = Duration::from_secs(3600);
/// How long one message may wait for clients that do not read, before the others get theirs.
const SLOW_CLIENTS: Duration = Duration::from_millis(20);
/// How long clients have to take the last messages before the broker closes.
const LAST_DELIVERY: Duration = Duration::from_millis(100);
/// How long a command may wait for its turn before the client that sent it goes on.
const ASK_PATIENCE: Duration = Duration::from_secs(1);

/// The running local broker.
pub struct LocalBroker {
    addresses: Vec<SocketAddr>,
    shutdown: mqtt5::broker::BrokerShutdownHandle,
    serve: JoinHandle<()>,
    show: JoinHandle<()>,
}

impl LocalBroker {
    /// Listens on these addresses. Messages to show come in through `messages`, commands go out
    /// through `asks`.
    ///
    /// # Errors
    ///
    /// An address that is taken or is not this machine's.
    pub async fn start(
        listen: &[SocketAddr],
        topics: &Topics,
        mut messages: mpsc::Receiver<Message>,
        asks: mpsc::Sender<Ask>,
        feed: Feed,
    ) -> anyhow::Result<Self> {
        for address in listen {
            // The broker crate starts with the addresses it could have and says little about the
            // rest, so each is tried first.
            if let Err(error) = tokio::net::TcpListener::bind(address).await {
                bail!("the local broker cannot listen on {address}: {error}; is another broker running there?");
            }
        }
        let mut broker = MqttBroker::with_config(config(listen, Commands { topics: topics.clone(), asks, feed }))
            .await
            .context("starting the local broker")?;
        let addresses = match broker.local_addr() {
            // A port of 0 was chosen by the system; this is how tests run side by side.
            Some(first) if listen.len() == 1 => vec![first],
            _ => listen.to_vec(),
        };
        let router = broker.router();
        let shutdown = broker.shutdown_handle();
        let mut ready = broker.ready_receiver();
        let serve = tokio::spawn(async move {
            if let Err(error) = broker.run().await {
                error!(%error, "the local broker stopped");
            }
        });
        tokio::time::timeout(Duration::from_secs(5), ready.wait_for(|ready| *ready))
            .await
            .context("the local broker did not start in time")?
            .context("the local broker ended while starting")?;
        let show = tokio::spawn(async move {
            while let Some(message) = messages.recv().await {
                let deadline = Instant::now() + SLOW_CLIENTS;
                router.route_message_with_deadline(&packet(message), None, deadline).await;
            }
        });
        for address in &addresses {
            info!(%address, "local broker listening");
        }
        Ok(Self { addresses, shutdown, serve, show })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Waits until the broker ends, which it does not by itself.
    pub async fn ended(&mut self) {
        tokio::select! {
            _ = &mut self.serve => {}
            _ = &mut self.show => {}
        }
    }

    /// Shows what is still waiting, then ends. Every sender of messages has to be gone by now.
    pub async fn stop(mut self, patience: Duration) {
        if !self.show.is_finished() && tokio::time::timeout(patience, &mut self.show).await.is_err() {
            warn!("local clients did not take the last messages in time");
            self.show.abort();
        }
        // The crate does not say when clients have got what was routed to them; a moment is enough
        // for those that read.
        tokio::time::sleep(LAST_DELIVERY).await;
        self.shutdown.shutdown();
        if !self.serve.is_finished() && tokio::time::timeout(patience, &mut self.serve).await.is_err() {
            self.serve.abort();
        }
    }
}

fn config(listen: &[SocketAddr], commands: Commands) -> BrokerConfig {
    let mut config = BrokerConfig::default()
        .with_bind_addresses(listen.to_vec())
        .with_max_clients(CLIENTS)
        .with_max_packet_size(LARGEST_PACKET)
        .with_session_expiry(SESSION_EXPIRY)
        .with_max_subscriptions_per_client(SUBSCRIPTIONS_PER_CLIENT)
        .with_max_retained_messages(RETAINED_MESSAGES)
        .with_max_retained_message_size(LARGEST_RETAINED)
        .with_client_channel_capacity(WAITING_PER_CLIENT)
        .with_server_receive_maximum(RECEIVE_MAXIMUM)
        .with_storage(StorageConfig {
            backend: StorageBackend::Memory,
            max_queued_messages_per_client: QUEUED_MESSAGES,
            max_queued_bytes_per_client: QUEUED_BYTES,
            ..StorageConfig::default()
        });
    config.event_handler = Some(Arc::new(commands));
    config
}

fn packet(message: Message) -> PublishPacket {
    let qos = match message.qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    };
    let mut packet = PublishPacket::new(message.topic, message.payload, qos).with_retain(message.retain);
    if let Some(correlation) = message.correlation {
        packet = packet.with_correlation_data(correlation.to_vec());
    }
    packet
}

/// Takes commands out of what local clients publish.
struct Commands {
    topics: Topics,
    asks: mpsc::Sender<Ask>,
    /// Whom a controller's start is of interest to.
    feed: Feed,
}

impl BrokerEventHandler for Commands {
    fn on_client_publish<'a>(
        &'a self,
        event: ClientPublishEvent,
    ) -> Pin<Box<dyn Future<Output = PublishAction> + Send + 'a>> {
        Box::pin(async move {
            if topics::is_birth_of_a_controller(&event.topic, &event.payload) {
                self.feed.birth();
            }
            if !self.topics.is_command(&event.topic) {
                return PublishAction::Continue;
            }
            let ask = Ask {
                source: Source::Local,
                incoming: Incoming {
                    topic: event.topic.to_string(),
                    payload: event.payload,
                    // What a client sends is never from a store: a MySensors controller wants a value kept, and obeyed.
                    retained: event.retain
                        && !(self.feed.is_for_controllers() && self.topics.is_classic_value(&event.topic)),
                    duplicate: false,
                    id: event.packet_id.unwrap_or(0),
                    expires_in: None,
                    response_topic: event.response_topic.map(|topic| topic.to_string()),
                    correlation: event.correlation_data,
                },
            };
            if self.asks.send_timeout(ask, ASK_PATIENCE).await.is_ok() {
                return PublishAction::Continue;
            }
            warn!(client = %event.client_id, topic = %event.topic, "command not obeyed: the gateway is busy");
            // Nobody south of here has heard of it, so its answer takes its place.
            let mut answer = PublishPacket::new(
                self.topics.answer_to_unknown(&event.topic),
                r#"{"ok":false,"error":"too many commands are waiting for the gateway"}"#,
                event.qos,
            );
            answer.packet_id = event.packet_id;
            PublishAction::Transform(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_command_that_finds_no_room_is_answered_in_its_own_place() {
        let (asks, _waiting) = mpsc::channel(1);
        let commands = Commands { topics: Topics::new("gw1"), asks, feed: Feed::new(None, false, false) };
        let event = |topic: &str| ClientPublishEvent {
            client_id: "panel".into(),
            user_id: None,
            topic: topic.into(),
            payload: Bytes::from_static(b"1"),
            qos: QoS::AtLeastOnce,
            retain: false,
            packet_id: Some(7),
            response_topic: None,
            correlation_data: None,
        };
        let taken = commands.on_client_publish(event("gw1-in/tank/valve")).await;
        assert!(matches!(taken, PublishAction::Continue));
        let PublishAction::Transform(answer) = commands.on_client_publish(event("gw1-in/tank/valve")).await else {
            panic!("there was room for one alone");
        };
        assert_eq!(answer.topic_name, "gw1-sys/answer/tank/valve");
        assert_eq!((answer.packet_id, answer.qos), (Some(7), QoS::AtLeastOnce));
        let payload: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(payload["ok"], false);
    }
}
