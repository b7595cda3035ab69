//! One client's connection to the broker, in MQTT 3.1.1.
//!
//! It begins with [`Request::Connect`] and ends with [`Request::Leave`] or [`Request::Lose`]; then it may
//! begin again. What is published above QoS 0 is carried through here until the broker has it; what is
//! delivered is acknowledged when [`Request::Done`] says so.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc_v4::mqttbytes::v4::{
    Connect, ConnectAuth, ConnectReturnCode, LastWill, Packet, PubAck, PubComp, PubRec, PubRel, Publish, Subscribe,
    SubscribeReasonCode, Unsubscribe,
};
use rumqttc_v4::mqttbytes::{Error, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use wharf_contract::Dial;
use wharf_contract::dial;
use wharf_contract::settings::Secret;

use super::{Delivery, News, Receipt, Request, Will};
use crate::message::Qos;

/// How long the broker may take to take what is written, and to answer a CONNECT or a ping.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the connection may be silent before it is tested, in seconds. The broker gives up after one
/// and a half times that.
const KEEP_ALIVE: u16 = 30;

/// The largest packet that is taken from the broker, in bytes. Of itself the gateway's own broker takes packets of 1 MiB, and
/// a topic that its publisher had a number for is longer when it goes out again.
const LARGEST: usize = 2 << 20;

/// How many requests may wait for a connection.
pub const REQUESTS_WAITING: usize = 256;

/// How a connection names itself to the broker.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// The user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
}

/// Serves one client until nobody is left to ask. What the broker says goes out with `key` and the session
/// it belongs to.
pub async fn run<K: Copy>(
    key: K,
    dial: &dyn Dial,
    login: &Login,
    requests: &mut mpsc::Receiver<Request>,
    news: &mpsc::Sender<(K, u32, News)>,
) {
    while let Some(request) = requests.recv().await {
        // What was asked of a connection that has broken means nothing to the next.
        let Request::Connect { session, client, clean, will } = request else { continue };
        // Where nobody listens any more, what was asked is still done.
        let say = |what| async move {
            let _ = news.send((key, session, what)).await;
        };
        let ended = match open(dial, login, client, clean, will, requests).await {
            Ok(Some(mut connection)) => {
                say(News::Connected).await;
                connection.serve(requests, say).await
            }
            Ok(None) => Ok(()),
            Err(error) => {
                say(News::Refused(error.to_string())).await;
                continue;
            }
        };
        if let Err(error) = ended {
            say(News::Lost(error.to_string())).await;
        }
    }
}

/// Connects. `None`: the client has left meanwhile.
async fn open(
    dial: &dyn Dial,
    login: &Login,
    client: String,
    clean: bool,
    will: Option<Will>,
    requests: &mut mpsc::Receiver<Request>,
) -> io::Result<Option<Connection>> {
    let mut opening = Box::pin(async {
        let mut connection = Connection::new(dial.dial().await?);
        connection.greet(login, client, clean, will).await?;
        Ok(connection)
    });
    loop {
        tokio::select! {
            opened = &mut opening => return opened.map(Some),
            request = requests.recv() => if matches!(request, None | Some(Request::Leave | Request::Lose)) {
                return Ok(None);
            },
        }
    }
}

/// How far a message of QoS 2 has come on its way to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Message,
    Release,
}

struct Connection {
    stream: Box<dyn dial::Connection>,
    received: BytesMut,
    to_send: BytesMut,
    last_id: u16,
    /// What is on its way to the broker, by packet id.
    publishing: HashMap<u16, (Option<u16>, Sent)>,
    subscribing: HashMap<u16, u16>,
    unsubscribing: HashMap<u16, u16>,
    /// Messages of QoS 2 that were delivered and are not released.
    unreleased: HashSet<u16>,
    fencing: bool,
    heard: Instant,
    said: Instant,
    /// Since when a ping is not answered, and how many are not.
    pinged: Option<Instant>,
    pings: u32,
}

impl Connection {
    fn new(stream: Box<dyn dial::Connection>) -> Self {
        let now = Instant::now();
        Self {
            stream,
            received: BytesMut::new(),
            to_send: BytesMut::new(),
            last_id: 0,
            publishing: HashMap::new(),
            subscribing: HashMap::new(),
            unsubscribing: HashMap::new(),
            unreleased: HashSet::new(),
            fencing: false,
            heard: now,
            said: now,
            pinged: None,
            pings: 0,
        }
    }

    async fn greet(&mut self, login: &Login, client: String, clean: bool, will: Option<Will>) -> io::Result<()> {
        let password = login.password.as_ref().map(|password| Bytes::copy_from_slice(password.expose().as_bytes()));
        let auth = match (login.user.clone(), password) {
            (Some(username), Some(password)) => ConnectAuth::UsernamePassword { username, password },
            (Some(username), None) => ConnectAuth::Username { username },
            _ => ConnectAuth::None,
        };
        let last_will = will.map(|will| LastWill {
            topic: will.topic,
            message: will.payload,
            qos: qos(will.qos),
            retain: will.retain,
        });
        let connect = Connect { keep_alive: KEEP_ALIVE, client_id: client, clean_session: clean, last_will, auth };
        self.put(&Packet::Connect(connect))?;
        self.flush().await?;
        let answer = timeout(PATIENCE, self.next()).await.map_err(|_| silent())??;
        match answer {
            Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => Ok(()),
            Packet::ConnAck(answer) => Err(io::Error::other(format!("the broker refuses: {:?}", answer.code))),
            _ => Err(unexpected()),
        }
    }

    /// Until the client leaves, or the connection breaks.
    async fn serve<F: Future<Output = ()>>(
        &mut self,
        requests: &mut mpsc::Receiver<Request>,
        say: impl Fn(News) -> F,
    ) -> io::Result<()> {
        loop {
            while let Some(packet) = self.cut()? {
                if let Some(news) = self.take(packet)? {
                    say(news).await;
                }
            }
            self.flush().await?;
            let due = match self.pinged {
                Some(pinged) => pinged + PATIENCE,
                None => self.heard.min(self.said) + Duration::from_secs(KEEP_ALIVE.into()),
            };
            tokio::select! {
                request = requests.recv() => match request {
                    Some(Request::Leave) => return self.leave().await,
                    // Without a word, so that the broker publishes the will.
                    None | Some(Request::Lose) => return Ok(()),
                    Some(request) => self.ask(request)?,
                },
                read = self.stream.read_buf(&mut self.received) => match read? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    _ => self.heard = Instant::now(),
                },
                () = sleep_until(due) => {
                    if self.pinged.is_some() {
                        return Err(silent());
                    }
                    self.ping()?;
                }
            }
        }
    }

    fn ask(&mut self, request: Request) -> io::Result<()> {
        match request {
            Request::Publish { topic, payload, qos: hard, retain, tag, repeated } => {
                let mut publish = Publish::from_bytes(topic, qos(hard), payload);
                publish.retain = retain;
                if hard != Qos::AtMostOnce {
                    // Under the client's own number, so that the broker knows again what the client repeats over a
                    // connection that is not the first.
                    let own = tag.filter(|tag| !self.is_used(*tag));
                    publish.dup = repeated && own.is_some();
                    publish.pkid = own.map_or_else(|| self.free_id(), Ok)?;
                    self.publishing.insert(publish.pkid, (tag, Sent::Message));
                }
                self.put(&Packet::Publish(publish))
            }
            Request::Subscribe { filter, qos: hard, tag } => {
                let mut subscribe = Subscribe::new(filter, qos(hard));
                subscribe.pkid = self.free_id()?;
                self.subscribing.insert(subscribe.pkid, tag);
                self.put(&Packet::Subscribe(subscribe))
            }
            Request::Unsubscribe { filter, tag } => {
                let mut unsubscribe = Unsubscribe::new(filter);
                unsubscribe.pkid = self.free_id()?;
                self.unsubscribing.insert(unsubscribe.pkid, tag);
                self.put(&Packet::Unsubscribe(unsubscribe))
            }
            Request::Done(Receipt { id, qos: Qos::ExactlyOnce }) => self.put(&Packet::PubRec(PubRec::new(id))),
            Request::Done(Receipt { id, .. }) => self.put(&Packet::PubAck(PubAck::new(id))),
            Request::Fence => {
                self.fencing = true;
                self.ping()
            }
            // It is connected, and the others end it.
            Request::Connect { .. } | Request::Leave | Request::Lose => Ok(()),
        }
    }

    fn take(&mut self, packet: Packet) -> io::Result<Option<News>> {
        Ok(match packet {
            Packet::Publish(publish) => self.delivered(publish)?,
            Packet::PubAck(answer) => self.published(answer.pkid),
            Packet::PubRec(answer) => {
                if let Some((_, sent)) = self.publishing.get_mut(&answer.pkid) {
                    *sent = Sent::Release;
                }
                self.put(&Packet::PubRel(PubRel::new(answer.pkid)))?;
                None
            }
            Packet::PubComp(answer) => self.published(answer.pkid),
            Packet::PubRel(release) => {
                self.unreleased.remove(&release.pkid);
                self.put(&Packet::PubComp(PubComp::new(release.pkid)))?;
                None
            }
            Packet::SubAck(answer) => self.subscribing.remove(&answer.pkid).map(|tag| {
                let granted = match answer.return_codes.first() {
                    Some(SubscribeReasonCode::Success(granted)) => Some(qos_of(*granted)),
                    _ => None,
                };
                News::Subscribed(tag, granted)
            }),
            Packet::UnsubAck(answer) => self.unsubscribing.remove(&answer.pkid).map(News::Unsubscribed),
            Packet::PingResp => {
                self.pings = self.pings.saturating_sub(1);
                if self.pings > 0 {
                    return Ok(None);
                }
                self.pinged = None;
                std::mem::take(&mut self.fencing).then_some(News::Fenced)
            }
            _ => return Err(unexpected()),
        })
    }

    fn delivered(&mut self, publish: Publish) -> io::Result<Option<News>> {
        let hard = qos_of(publish.qos);
        let id = publish.pkid;
        // One that is repeated is known until it is released.
        if hard == Qos::ExactlyOnce && !self.unreleased.insert(id) {
            return Ok(None);
        }
        let topic = String::from_utf8(publish.topic.to_vec()).map_err(|_| unexpected())?;
        let receipt = (hard != Qos::AtMostOnce).then_some(Receipt { id, qos: hard });
        let (payload, retain) = (publish.payload, publish.retain);
        Ok(Some(News::Delivery(Delivery { topic, payload, qos: hard, retain, receipt })))
    }

    fn published(&mut self, id: u16) -> Option<News> {
        self.publishing.remove(&id).and_then(|(tag, _)| tag).map(News::Published)
    }

    /// A packet id that is not in use.
    fn free_id(&mut self) -> io::Result<u16> {
        for _ in 0..=u16::MAX {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.is_used(self.last_id) {
                return Ok(self.last_id);
            }
        }
        Err(io::Error::other("the broker acknowledges nothing"))
    }

    fn is_used(&self, id: u16) -> bool {
        id == 0
            || self.publishing.contains_key(&id)
            || self.subscribing.contains_key(&id)
            || self.unsubscribing.contains_key(&id)
    }

    fn ping(&mut self) -> io::Result<()> {
        self.pinged.get_or_insert_with(Instant::now);
        self.pings = self.pings.saturating_add(1);
        self.put(&Packet::PingReq)
    }

    async fn leave(&mut self) -> io::Result<()> {
        self.put(&Packet::Disconnect)?;
        self.flush().await?;
        // Whoever waits for the end need not wait for the broker.
        let _ = timeout(PATIENCE, self.stream.shutdown()).await;
        Ok(())
    }

    fn put(&mut self, packet: &Packet) -> io::Result<()> {
        packet.write(&mut self.to_send, LARGEST).map_err(io::Error::other)?;
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.to_send.is_empty() {
            return Ok(());
        }
        let writing = async {
            self.stream.write_all(&self.to_send).await?;
            self.stream.flush().await
        };
        timeout(PATIENCE, writing).await.map_err(|_| silent())??;
        self.to_send.clear();
        self.said = Instant::now();
        Ok(())
    }

    /// The next packet, however long it takes.
    async fn next(&mut self) -> io::Result<Packet> {
        loop {
            if let Some(packet) = self.cut()? {
                return Ok(packet);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next packet, if it is there.
    fn cut(&mut self) -> io::Result<Option<Packet>> {
        if self.received.is_empty() {
            return Ok(None);
        }
        match Packet::read(&mut self.received, LARGEST) {
            Ok(packet) => Ok(Some(packet)),
            Err(Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the broker does not answer")
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the broker says what does not belong there")
}

fn qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce | Qos::Unconnected => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
        Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn qos_of(qos: QoS) -> Qos {
    match qos {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce => Qos::AtLeastOnce,
        QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
}
