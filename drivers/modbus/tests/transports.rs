//! Each way to a device, against a counterpart of others where there is one: pymodbus.

#![expect(clippy::unwrap_used, reason = "everything here is a test")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{PATIENCE, start, write};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use wharf_contract::{Done, DriverError, Quality, Value};
use wharf_test_support::lab::free_port;

/// A slave of pymodbus, for as long as the test runs.
struct Slave {
    process: Child,
    port: u16,
}

impl Slave {
    fn start(arguments: &[&str]) -> Self {
        let port = free_port();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/slave.py");
        let mut process = Command::new("/usr/bin/python3");
        process.args([script, &port.to_string()]).args(arguments);
        let process = process.stdin(Stdio::piped()).spawn().expect("python runs");
        Self { process, port }
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn link(transport: Json, points: Json) -> Json {
    let mut link = json!({ "every": "100ms", "timeout": "1s", "devices": { "tank": { "unit": 7, "points": points } } });
    for (key, value) in transport.as_object().unwrap() {
        link[key] = value.clone();
    }
    link
}

/// A driver whose first session finds the slave listening.
async fn started(link: &Json) -> common::Running {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let driver = start(link);
        sleep(Duration::from_millis(300)).await;
        if !driver.task.is_finished() {
            return driver;
        }
        assert!(Instant::now() < deadline, "{:?}", driver.task.await);
    }
}

/// Reads, writes and a refusal over this transport.
async fn everything_works(transport: Json) {
    let points = json!({
        "long": { "holding": 2, "type": "u32" },
        "text": { "holding": 22, "type": "string", "length": 4 },
        "on": { "coil": 4 },
        "open": { "discrete": 0 },
        "input": { "input": 44 },
        "missing": { "holding": 34 },
        "valve": { "coil": 3, "write": {} },
        "setpoint": { "holding": 30, "type": "i16", "scale": 0.1, "write": { "verify": true } },
        "label": { "holding": 36, "type": "string", "length": 4, "write": {} },
    });
    let mut driver = started(&link(transport, points)).await;
    // A failure is told once, values come again and again.
    let missing = driver.reading("tank", "missing").await;
    assert_eq!(missing.quality, Quality::Bad);
    assert!(missing.reason.as_ref().unwrap().contains("(exception 2)"), "{missing:?}");
    let expected = [
        ("long", Value::Int(100_000)),
        ("text", Value::Text("AB 12".into())),
        ("on", Value::Bool(true)),
        ("open", Value::Bool(true)),
        ("input", Value::Int(7)),
    ];
    for (point, value) in expected {
        assert_eq!(driver.value("tank", point).await, value, "{point}");
    }
    let held = |value: Value| Ok(Done { written: Some(value.clone()), observed: Some(value), note: None });
    assert_eq!(driver.command("tank", "valve", write(true, true)).await, held(Value::Bool(true)));
    assert_eq!(driver.command("tank", "setpoint", write(60.0, true)).await, held(Value::Float(60.0)));
    assert_eq!(driver.command("tank", "label", write("boiler", true)).await, held(Value::Text("boiler".into())));
    driver.stop().await;
}

#[tokio::test]
async fn a_serial_server_that_carries_rtu_over_tcp_is_read_and_written() {
    let slave = Slave::start(&["rtu"]);
    everything_works(json!({ "rtu_over_tcp": format!("127.0.0.1:{}", slave.port) })).await;
}

#[tokio::test]
async fn a_device_that_speaks_udp_is_read_and_written() {
    let slave = Slave::start(&["udp"]);
    let probe = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    probe.connect(("127.0.0.1", slave.port)).await.unwrap();
    let answered = async {
        loop {
            let _ = probe.send(&[0, 1, 0, 0, 0, 6, 7, 4, 0, 44, 0, 1]).await;
            if let Ok(Ok(_)) = timeout(Duration::from_millis(200), probe.recv(&mut [0; 32])).await {
                return;
            }
        }
    };
    timeout(PATIENCE, answered).await.expect("the slave answers in time");
    everything_works(json!({ "udp": format!("127.0.0.1:{}", slave.port) })).await;
}

/// Writes a CA's certificate as `NAME.pem`, and one it signed for loopback as `NAME-leaf.pem` and `.key`.
fn certificates(name: &str, dir: &Path) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.join(format!("{name}.pem")), ca.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".into(), "relay-7".into()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, format!("{name} leaf"));
    let leaf = params.signed_by(&key, &ca).unwrap();
    std::fs::write(dir.join(format!("{name}-leaf.pem")), leaf.pem()).unwrap();
    std::fs::write(dir.join(format!("{name}-leaf.key")), key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn over_tls_both_sides_show_who_they_are() {
    let dir = tempfile::tempdir().unwrap();
    certificates("plant", dir.path());
    certificates("other", dir.path());
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let slave = Slave::start(&["tls", &file("plant.pem"), &file("plant-leaf.pem"), &file("plant-leaf.key")]);
    let tcp = format!("127.0.0.1:{}", slave.port);
    let (ca, cert, key) = (file("plant.pem"), file("plant-leaf.pem"), file("plant-leaf.key"));

    let good = json!({ "ca": ca, "cert": cert, "key": key });
    everything_works(json!({ "tcp": tcp, "tls": good })).await;
    let named = json!({ "ca": ca, "cert": cert, "key": key, "server_name": "relay-7" });
    let mut driver = start(&link(json!({ "tcp": tcp, "tls": named }), json!({ "input": { "input": 44 } })));
    assert_eq!(driver.value("tank", "input").await, Value::Int(7));
    driver.stop().await;

    let refused = [
        (json!({ "ca": file("other.pem"), "cert": cert, "key": key }), "UnknownIssuer"),
        (json!({ "ca": ca, "cert": cert, "key": key, "server_name": "relay-8" }), "not valid for name"),
        (json!({ "ca": file("nowhere.pem") }), "No such file"),
        (json!({ "ca": key }), "holds no certificate"),
    ];
    for (tls, words) in refused {
        let driver = start(&link(json!({ "tcp": tcp, "tls": tls }), json!({ "input": { "input": 44 } })));
        let error = timeout(PATIENCE, driver.task).await.unwrap().unwrap().unwrap_err();
        assert!(matches!(error, DriverError::Lost(_)), "{error:?}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }

    // Without a certificate of ours the slave hangs up: with TLS 1.3 only after the handshake.
    for tls in [json!({ "ca": ca }), json!({ "ca": ca, "cert": file("other-leaf.pem"), "key": file("other-leaf.key") })]
    {
        let mut driver = start(&link(json!({ "tcp": tcp, "tls": tls }), json!({ "input": { "input": 44 } })));
        let (alive, reason) = driver.device("tank").await;
        assert!(!alive, "{reason:?}");
        driver.stop().await;
    }
}

/// A device in this process: every register holds what `value` says of its address.
async fn serve(mut stream: TcpStream, requests: Arc<AtomicUsize>, value: fn(u16) -> u16) {
    let mut request = [0; 12];
    while stream.read_exact(&mut request).await.is_ok() {
        requests.fetch_add(1, Ordering::SeqCst);
        if stream.write_all(&answer(&request, value)).await.is_err() {
            return;
        }
    }
}

/// The answer to a read of registers.
fn answer(request: &[u8; 12], value: fn(u16) -> u16) -> Vec<u8> {
    let (start, count) = (u16::from_be_bytes([request[8], request[9]]), request[11]);
    let mut answer = vec![request[0], request[1], 0, 0, 0, 3 + count * 2, request[6], request[7], count * 2];
    answer.extend((0..u16::from(count)).flat_map(|at| value(start + at).to_be_bytes()));
    answer
}

/// A device that listens, and may be out of reach.
struct Device {
    port: u16,
    connections: Arc<AtomicUsize>,
    reachable: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Device {
    async fn start(value: fn(u16) -> u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, reachable) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
        let (accepted, open) = (Arc::clone(&connections), Arc::clone(&reachable));
        let task = tokio::spawn(async move {
            let mut listener = Some(listener);
            loop {
                if !open.load(Ordering::SeqCst) {
                    listener = None;
                    sleep(Duration::from_millis(5)).await;
                    continue;
                }
                let listening = match listener.take() {
                    Some(listener) => listener,
                    None => TcpListener::bind(("127.0.0.1", port)).await.unwrap(),
                };
                if let Ok(Ok((stream, _))) = timeout(Duration::from_millis(5), listening.accept()).await {
                    accepted.fetch_add(1, Ordering::SeqCst);
                    let open = Arc::clone(&open);
                    tokio::spawn(async move {
                        // Out of reach it hangs up on those that are connected too.
                        let cut = async {
                            while open.load(Ordering::SeqCst) {
                                sleep(Duration::from_millis(5)).await;
                            }
                        };
                        tokio::select! { () = serve(stream, Arc::default(), value) => {} () = cut => {} }
                    });
                }
                listener = Some(listening);
            }
        });
        Self { port, connections, reachable, task }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn the_second_address_serves_until_the_first_is_back() {
    let (first, second) = (Device::start(|_| 1).await, Device::start(|_| 2).await);
    let tcp = json!([format!("127.0.0.1:{}", first.port), format!("127.0.0.1:{}", second.port)]);
    let points = json!({ "level": { "holding": 0 } });
    let mut driver = start(&link(json!({ "tcp": tcp, "return_after": "1s" }), points));
    assert_eq!(driver.value("tank", "level").await, Value::Int(1));
    assert_eq!(second.connections(), 0);

    first.reachable.store(false, Ordering::SeqCst);
    while driver.value("tank", "level").await != Value::Int(2) {}
    first.reachable.store(true, Ordering::SeqCst);
    // It returns without a reading missed: what follows is good, first from one, then from the other.
    loop {
        let reading = driver.reading("tank", "level").await;
        assert_eq!(reading.quality, Quality::Good, "{reading:?}");
        if reading.value == Some(Value::Int(1)) {
            break;
        }
    }
    driver.stop().await;
}

#[tokio::test]
async fn an_address_that_takes_connections_and_answers_nothing_gives_way_to_the_other() {
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = mute.local_addr().unwrap().port();
    let task = tokio::spawn(async move { while mute.accept().await.is_ok() {} });
    let second = Device::start(|_| 2).await;
    let tcp = json!([format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", second.port)]);
    let mut driver = start(&link(json!({ "tcp": tcp }), json!({ "level": { "holding": 0 } })));
    assert_eq!(driver.value("tank", "level").await, Value::Int(2));
    driver.stop().await;
    task.abort();
}

#[tokio::test]
async fn when_no_address_answers_both_are_named() {
    let (first, second) = (free_port(), free_port());
    let tcp = json!([format!("127.0.0.1:{first}"), format!("127.0.0.1:{second}")]);
    let driver = start(&link(json!({ "tcp": tcp }), json!({})));
    let error = timeout(PATIENCE, driver.task).await.unwrap().unwrap().unwrap_err().to_string();
    assert!(error.contains(&format!("no connection to 127.0.0.1:{first}")), "{error}");
    assert!(error.contains(&format!("no connection to 127.0.0.1:{second}")), "{error}");
}

#[tokio::test]
async fn a_connection_that_is_released_is_made_anew_for_each_poll() {
    let device = Device::start(|_| 5).await;
    let tcp = format!("127.0.0.1:{}", device.port);
    let mut link = link(json!({ "tcp": tcp, "connection": "release" }), json!({ "level": { "holding": 0 } }));
    link["every"] = json!("300ms");
    let mut driver = start(&link);
    for _ in 0..4 {
        assert_eq!(driver.value("tank", "level").await, Value::Int(5));
    }
    assert!(device.connections() >= 4, "{} connections", device.connections());
    driver.stop().await;
}

#[tokio::test]
async fn a_connection_that_is_held_is_used_for_all_polls() {
    let device = Device::start(|_| 5).await;
    let tcp = format!("127.0.0.1:{}", device.port);
    let mut driver = start(&link(json!({ "tcp": tcp }), json!({ "level": { "holding": 0 } })));
    for _ in 0..10 {
        assert_eq!(driver.value("tank", "level").await, Value::Int(5));
    }
    assert_eq!(device.connections(), 1);
    driver.stop().await;
}

#[tokio::test]
async fn the_line_rests_between_requests_and_after_a_fresh_connection() {
    let device = Device::start(|address| address).await;
    let tcp = format!("127.0.0.1:{}", device.port);
    let points = json!({ "a": { "holding": 0 }, "b": { "holding": 1000 }, "c": { "holding": 2000 } });
    let begin = Instant::now();
    let settings = json!({ "tcp": tcp, "pause": "200ms", "pause_after_connect": "500ms" });
    let mut driver = start(&link(settings, points));
    for (point, value) in [("a", 0), ("b", 1000), ("c", 2000)] {
        assert_eq!(driver.value("tank", point).await, Value::Int(value));
    }
    // Two pauses between three requests, and the one before the first.
    assert!(begin.elapsed() >= Duration::from_millis(900), "{:?}", begin.elapsed());
    driver.stop().await;
}

#[tokio::test]
async fn a_device_that_dials_in_is_read_and_its_newest_connection_counts() {
    let port = free_port();
    let settings = json!({ "listen": format!("127.0.0.1:{port}") });
    let mut driver = start(&link(settings, json!({ "level": { "holding": 0 } })));
    let dial = async |value| {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            sleep(Duration::from_millis(20)).await;
        };
        let requests = Arc::new(AtomicUsize::new(0));
        (tokio::spawn(serve(stream, Arc::clone(&requests), value)), requests)
    };
    let (old, _) = dial(|_| 1).await;
    assert_eq!(driver.value("tank", "level").await, Value::Int(1));
    // The device restarts and dials in again, while its old connection still stands.
    let (new, requests) = dial(|_| 2).await;
    while driver.value("tank", "level").await != Value::Int(2) {}
    assert!(requests.load(Ordering::SeqCst) > 0);
    timeout(PATIENCE, old).await.expect("the old connection was closed").unwrap();

    // Then it goes, and comes back: the session waits for it.
    new.abort();
    let (_again, _) = dial(|_| 3).await;
    while driver.value("tank", "level").await != Value::Int(3) {}
    driver.stop().await;
}

#[tokio::test]
async fn who_is_not_allowed_to_dial_in_is_turned_away() {
    let port = free_port();
    let settings = json!({ "listen": format!("127.0.0.1:{port}"), "allow": ["10.9.8.0/24"] });
    let driver = start(&link(settings, json!({ "level": { "holding": 0 } })));
    let deadline = Instant::now() + PATIENCE;
    let mut stranger = loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        sleep(Duration::from_millis(20)).await;
    };
    let heard = timeout(PATIENCE, stranger.read(&mut [0; 16])).await.expect("it is hung up on");
    assert!(matches!(heard, Ok(0) | Err(_)), "{heard:?}");
    let error = timeout(PATIENCE, driver.task).await.unwrap().unwrap().unwrap_err().to_string();
    let expected = format!("no device has dialled in on 127.0.0.1:{port}; 127.0.0.1 tried, and is not allowed to");
    assert_eq!(error, expected);
}

#[tokio::test]
async fn datagrams_from_elsewhere_and_those_that_are_no_answer_are_passed_over() {
    let device = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let udp = format!("127.0.0.1:{}", device.local_addr().unwrap().port());
    let task = tokio::spawn(async move {
        let mut request = [0; 12];
        loop {
            let (_, from) = device.recv_from(&mut request).await.unwrap();
            let wrong = answer(&request, |_| 666);
            stranger.send_to(&wrong, from).await.unwrap();
            device.send_to(b"hello", from).await.unwrap();
            device.send_to(&wrong[..10], from).await.unwrap();
            device.send_to(&[&wrong[..], &[0]].concat(), from).await.unwrap();
            let mut late = wrong.clone();
            late[1] ^= 1;
            device.send_to(&late, from).await.unwrap();
            let mut foreign = wrong;
            foreign[6] = 99;
            device.send_to(&foreign, from).await.unwrap();
            device.send_to(&answer(&request, |_| 5), from).await.unwrap();
        }
    });
    let mut driver = start(&link(json!({ "udp": udp }), json!({ "level": { "holding": 0 } })));
    for _ in 0..10 {
        let reading = driver.reading("tank", "level").await;
        assert_eq!((reading.quality, reading.value), (Quality::Good, Some(Value::Int(5))));
    }
    driver.stop().await;
    task.abort();
}
