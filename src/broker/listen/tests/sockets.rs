//! Listeners on loopback, and clients of other makers: TLS, certificates, web sockets.

use std::fs;
use std::path::Path;
use std::time::Duration;

use async_tungstenite::tokio::connect_async;
use async_tungstenite::tungstenite::client::IntoClientRequest;
use async_tungstenite::tungstenite::http::HeaderValue;
use async_tungstenite::tungstenite::{self, Message};
use bytes::Bytes;
use futures_util::{Sink, Stream};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rumqttc_v4 as mqtt3;
use rumqttc_v5 as mqtt5;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// A listener that serves until it is dropped.
struct Running {
    address: SocketAddr,
    common: Arc<Common>,
    _task: JoinSet<()>,
}

async fn listen(tls: Option<TlsFiles>, web_socket: bool) -> Running {
    listen_by(Rules::open(), tls, web_socket).await
}

async fn listen_by(rules: Rules, tls: Option<TlsFiles>, web_socket: bool) -> Running {
    let common = with_rules(Limits::default(), rules);
    let listener = Listener { address: ([127, 0, 0, 1], 0).into(), tls, web_socket };
    let bound = Bound::bind(&listener).await.unwrap();
    let address = bound.address();
    let mut task = JoinSet::new();
    task.spawn(bound.run(common.clone(), CancellationToken::new()));
    Running { address, common, _task: task }
}

/// A CA that exists for one test.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str, dir: &Path) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// What a client needs that trusts this CA, and shows a certificate if it has one.
    fn client(&self, shown: Option<&Path>) -> mqtt5::TlsConfiguration {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.0.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let chain = vec![CertificateDer::from_pem_file(file).unwrap()];
                let key = PrivateKeyDer::from_pem_file(file.with_extension("key")).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.into()
    }
}

/// A folder with a CA and a broker's certificate.
fn certificates() -> (tempfile::TempDir, Ca) {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::new("the site's CA");
    fs::write(dir.path().join("ca.pem"), ca.0.pem()).unwrap();
    ca.issue("broker", dir.path());
    (dir, ca)
}

fn files(dir: &Path, client_certificates: ClientCertificates) -> TlsFiles {
    let client_ca = (client_certificates != ClientCertificates::None).then(|| dir.join("ca.pem"));
    TlsFiles { cert: dir.join("broker.pem"), key: dir.join("broker.key"), client_ca, client_certificates }
}

/// Whether a client of MQTT 5 hears what it publishes itself.
async fn echoes(options: mqtt5::MqttOptions) -> Result<(), String> {
    let (client, mut events) = mqtt5::AsyncClient::builder(options).capacity(10).build();
    client.subscribe("echo/#", mqtt5::mqttbytes::QoS::ExactlyOnce).await.map_err(|error| error.to_string())?;
    // More than one buffer, record or message holds.
    let payload = vec![b'x'; 200_000];
    let hear = async {
        loop {
            match events.poll().await.map_err(|error| error.to_string())? {
                mqtt5::Event::Incoming(mqtt5::Packet::SubAck(_)) => {
                    let sent = mqtt5::PublishOptions::new(mqtt5::mqttbytes::QoS::ExactlyOnce);
                    client.publish("echo/a", payload.clone(), sent).await.map_err(|error| error.to_string())?;
                }
                mqtt5::Event::Incoming(mqtt5::Packet::Publish(publish)) if publish.payload == payload => return Ok(()),
                _ => {}
            }
        }
    };
    timeout(PATIENCE, hear).await.map_err(|_| "nothing came back".to_owned())?
}

fn mqtt5_options(running: &Running, tls: Option<mqtt5::TlsConfiguration>) -> mqtt5::MqttOptions {
    let mut options = mqtt5::MqttOptions::new("tester", mqtt5::Broker::tcp("127.0.0.1", running.address.port()));
    options.set_incoming_packet_size_limit(mqtt5::IncomingPacketSizeLimit::Bytes(1 << 20));
    if let Some(tls) = tls {
        options.set_transport(mqtt5::Transport::tls_with_config(tls));
    }
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_itself_over_tcp() {
    let running = listen(None, false).await;
    echoes(mqtt5_options(&running, None)).await.unwrap();
    assert_eq!(counted(&running.common.figures.connections), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_itself_over_tls() {
    let (dir, ca) = certificates();
    let running = listen(Some(files(dir.path(), ClientCertificates::None)), false).await;
    echoes(mqtt5_options(&running, Some(ca.client(None)))).await.unwrap();
    echoes(mqtt5_options(&running, Some(Ca::new("another").client(None)))).await.expect_err("it trusts another CA");
    echoes(mqtt5_options(&running, None)).await.expect_err("it speaks no TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_may_want_certificates_of_its_clients() {
    let (dir, ca) = certificates();
    ca.issue("panel", dir.path());
    let stranger = Ca::new("the neighbour's CA");
    stranger.issue("stranger", dir.path());
    let (panel, stranger) = (dir.path().join("panel.pem"), dir.path().join("stranger.pem"));
    for (asked, without) in [(ClientCertificates::Optional, true), (ClientCertificates::Required, false)] {
        let running = listen(Some(files(dir.path(), asked)), false).await;
        echoes(mqtt5_options(&running, Some(ca.client(Some(&panel))))).await.unwrap();
        let refused = echoes(mqtt5_options(&running, Some(ca.client(Some(&stranger))))).await;
        refused.expect_err("its certificate is no good");
        assert_eq!(echoes(mqtt5_options(&running, Some(ca.client(None)))).await.is_ok(), without);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_to_those_who_connect_from_then_on() {
    let (dir, ca) = certificates();
    let running = listen(Some(files(dir.path(), ClientCertificates::None)), false).await;
    echoes(mqtt5_options(&running, Some(ca.client(None)))).await.unwrap();
    fs::write(dir.path().join("broker.pem"), "nonsense").unwrap();
    tokio::time::sleep(Duration::from_secs(8)).await;
    echoes(mqtt5_options(&running, Some(ca.client(None)))).await.expect("what was good is kept");
    let successor = Ca::new("the new CA");
    successor.issue("broker", dir.path());
    let deadline = Instant::now() + PATIENCE;
    while echoes(mqtt5_options(&running, Some(successor.client(None)))).await.is_err() {
        assert!(Instant::now() < deadline, "the new certificate is not in use");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named() {
    let (dir, _) = certificates();
    let problem = |files: TlsFiles| async move {
        let listener = Listener { address: ([127, 0, 0, 1], 0).into(), tls: Some(files), web_socket: false };
        format!("{:#}", Bound::bind(&listener).await.err().expect("an error"))
    };
    let good = files(dir.path(), ClientCertificates::None);
    let gone = problem(TlsFiles { cert: dir.path().join("gone.pem"), ..good.clone() }).await;
    assert!(gone.contains("gone.pem"), "{gone}");
    Ca::new("another").issue("other", dir.path());
    let pair = problem(TlsFiles { key: dir.path().join("other.key"), ..good.clone() }).await;
    assert!(pair.contains("do not go together"), "{pair}");
    let nobody = problem(TlsFiles { client_certificates: ClientCertificates::Required, ..good }).await;
    assert!(nobody.contains("client_ca"), "{nobody}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = Bound::bind(&Listener { address, tls: None, web_socket: false }).await.err().expect("an error");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_itself_over_a_web_socket_and_over_one_with_tls() {
    let plain = listen(None, true).await;
    let url = format!("ws://127.0.0.1:{}/mqtt", plain.address.port());
    let mut options = mqtt5::MqttOptions::new("tester", mqtt5::Broker::websocket(url.clone()).unwrap());
    options.set_incoming_packet_size_limit(mqtt5::IncomingPacketSizeLimit::Bytes(1 << 20));
    echoes(options).await.unwrap();

    let mut older = mqtt3::MqttOptions::new("older", mqtt3::Broker::websocket(url).unwrap());
    older.set_keep_alive(30);
    let (_client, mut events) = mqtt3::AsyncClient::builder(older).capacity(10).build();
    let first = timeout(PATIENCE, events.poll()).await.unwrap().unwrap();
    assert!(matches!(first, mqtt3::Event::Incoming(mqtt3::Packet::ConnAck(_))), "{first:?}");

    let (dir, ca) = certificates();
    let secure = listen(Some(files(dir.path(), ClientCertificates::None)), true).await;
    let url = format!("wss://localhost:{}/mqtt", secure.address.port());
    let mut options = mqtt5::MqttOptions::websocket_with_tls_config("tester", url, ca.client(None)).unwrap();
    options.set_incoming_packet_size_limit(mqtt5::IncomingPacketSizeLimit::Bytes(1 << 20));
    echoes(options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_messages_of_a_web_socket_may_be_any_pieces_of_the_stream() {
    let running = listen(None, true).await;
    let mut socket = open(&running, Some("mqtt")).await.unwrap();
    let hello = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c\x82\x06\0\x01\0\x01a\0\x30\x04\0\x01ax\xc0\0";
    // A byte each, with a ping of the web socket's own in between, and an empty message.
    for byte in &hello[..10] {
        say(&mut socket, Message::Binary(Bytes::copy_from_slice(&[*byte]))).await;
        say(&mut socket, Message::Ping(Bytes::new())).await;
        say(&mut socket, Message::Binary(Bytes::new())).await;
    }
    // And all the rest at once.
    say(&mut socket, Message::Binary(Bytes::copy_from_slice(&hello[10..]))).await;
    let expected = b"\x20\x02\0\0\x90\x03\0\x01\0\xd0\0\x30\x04\0\x01ax";
    let mut heard = Vec::new();
    while heard.len() < expected.len() {
        if let Message::Binary(bytes) = hear(&mut socket).await.expect("an answer") {
            heard.extend(bytes);
        }
    }
    assert_eq!(heard, expected);
    say(&mut socket, Message::Text("hello".into())).await;
    while let Some(message) = hear(&mut socket).await {
        assert!(!matches!(message, Message::Binary(_)), "{message:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_for_something_else_is_refused() {
    let running = listen(None, true).await;
    open(&running, Some("chat, superchat")).await.expect_err("that is no MQTT");
    open(&running, Some("chat, mqtt")).await.expect("mqtt is among them");
    open(&running, None).await.expect("nothing else can be meant");
    // A client that has come to the wrong door.
    echoes(mqtt5_options(&running, None)).await.expect_err("no web socket");
    // The client hears of it before it is counted.
    let is_counted = async {
        while counted(&running.common.figures.violations) < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, is_counted).await.expect("both are counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_from_elsewhere_gets_a_web_socket_that_needs_no_login() {
    let ask = async |running: &Running, origin: &'static str| {
        let mut request = format!("ws://127.0.0.1:{}/", running.address.port()).into_client_request().unwrap();
        request.headers_mut().insert("origin", HeaderValue::from_static(origin));
        connect_async(request).await.map(drop)
    };
    let foreign =
        ["https://evil.example", "http://localhost.evil.example", "http://192.168.1.2:1880", "null", "http://", ""];
    let open = listen(None, true).await;
    for page in foreign {
        match ask(&open, page).await {
            Err(tungstenite::Error::Http(answer)) => assert_eq!(answer.status(), 403, "{page}"),
            other => panic!("{page}: {other:?}"),
        }
    }
    for page in ["http://localhost:1880", "https://127.0.0.1", "http://[::1]:8080", "file://"] {
        ask(&open, page).await.unwrap_or_else(|error| panic!("{page}: {error}"));
    }
    // Where everybody has to log in, a page has to as well.
    let closed = listen_by(Rules { loopback: false, ..Rules::open() }, None, true).await;
    ask(&closed, foreign[0]).await.unwrap();
}

type Socket = async_tungstenite::WebSocketStream<async_tungstenite::tokio::ConnectStream>;

async fn open(running: &Running, protocol: Option<&'static str>) -> Result<Socket, tungstenite::Error> {
    let mut request = format!("ws://127.0.0.1:{}/", running.address.port()).into_client_request().unwrap();
    if let Some(protocol) = protocol {
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
    }
    connect_async(request).await.map(|(socket, _)| socket)
}

async fn say(socket: &mut Socket, message: Message) {
    std::future::poll_fn(|cx| std::pin::Pin::new(&mut *socket).poll_ready(cx)).await.unwrap();
    std::pin::Pin::new(&mut *socket).start_send(message).unwrap();
    std::future::poll_fn(|cx| std::pin::Pin::new(&mut *socket).poll_flush(cx)).await.unwrap();
}

async fn hear(socket: &mut Socket) -> Option<Message> {
    let next = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *socket).poll_next(cx));
    timeout(PATIENCE, next).await.expect("in time")?.ok()
}
