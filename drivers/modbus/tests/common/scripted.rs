//! A counterpart over Modbus TCP that misbehaves on purpose, request by request.

#![expect(clippy::unwrap_used, reason = "for tests alone")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{PATIENCE, Running, start};

/// One request as it came over the wire.
#[derive(Clone, Debug)]
pub struct Request {
    /// Counts from 0 over all connections.
    pub number: usize,
    pub transaction: [u8; 2],
    pub unit: u8,
    pub pdu: Vec<u8>,
}

/// What the script does about it.
pub enum Reply {
    /// These bytes, after a while.
    Bytes(Vec<u8>, Duration),
    /// These bytes, as soon as the gate lets one more through.
    Held(Vec<u8>, Arc<Semaphore>),
    /// Nothing, and the connection stays.
    Silence,
    /// These bytes, and the connection is closed.
    Close(Vec<u8>),
}

impl Request {
    /// A proper answer: each register holds the number of the request, modulo 256.
    pub fn answer(&self) -> Vec<u8> {
        let number = u8::try_from(self.number % 256).unwrap();
        let pdu = match self.pdu[0] {
            3 => {
                let count = self.pdu[4];
                let mut pdu = vec![3, count * 2];
                pdu.extend([0, number].repeat(usize::from(count)));
                pdu
            }
            _ => self.pdu[..5].to_vec(),
        };
        self.frame(&pdu)
    }

    pub fn frame(&self, pdu: &[u8]) -> Vec<u8> {
        let length = u16::try_from(pdu.len() + 1).unwrap().to_be_bytes();
        [&self.transaction[..], &[0, 0], &length, &[self.unit], pdu].concat()
    }
}

pub fn now(bytes: Vec<u8>) -> Reply {
    Reply::Bytes(bytes, Duration::ZERO)
}

/// A slave that acts by a script, and what it was asked.
pub struct Scripted {
    pub port: u16,
    pub requests: mpsc::UnboundedReceiver<Request>,
    pub connections: Arc<AtomicUsize>,
    pub listening: JoinHandle<()>,
}

impl Scripted {
    pub async fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, requests) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let accepted = Arc::clone(&connections);
        let script = Arc::new(script);
        let numbers = Arc::new(AtomicUsize::new(0));
        let listening = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let (script, seen, numbers) = (Arc::clone(&script), seen.clone(), Arc::clone(&numbers));
                tokio::spawn(async move {
                    let mut header = [0; 7];
                    while socket.read_exact(&mut header).await.is_ok() {
                        let mut pdu = vec![0; usize::from(u16::from_be_bytes([header[4], header[5]])) - 1];
                        socket.read_exact(&mut pdu).await.unwrap();
                        let number = numbers.fetch_add(1, Ordering::SeqCst);
                        let request = Request { number, transaction: [header[0], header[1]], unit: header[6], pdu };
                        let _ = seen.send(request.clone());
                        match script(&request) {
                            Reply::Bytes(bytes, wait) => {
                                sleep(wait).await;
                                let _ = socket.write_all(&bytes).await;
                            }
                            Reply::Held(bytes, gate) => {
                                gate.acquire().await.unwrap().forget();
                                let _ = socket.write_all(&bytes).await;
                            }
                            Reply::Silence => {}
                            Reply::Close(bytes) => {
                                let _ = socket.write_all(&bytes).await;
                                return;
                            }
                        }
                    }
                });
            }
        });
        Self { port, requests, connections, listening }
    }

    /// One that answers, and that closes each connection at its next request once the switch is thrown.
    pub async fn start_with_switch() -> (Self, Arc<AtomicBool>) {
        let gone = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&gone);
        let script = move |request: &Request| {
            if gone.load(Ordering::SeqCst) { Reply::Close(Vec::new()) } else { now(request.answer()) }
        };
        (Self::start(script).await, switch)
    }

    /// A driver for one device `tank` with one register `level`, writable.
    pub fn drive(&self, every: &str) -> Running {
        start(&self.link(every, json!({ "tank": device(1) })))
    }

    /// The same, with a short timeout, for scripts that do not answer.
    pub fn drive_impatiently(&self, every: &str) -> Running {
        start(&impatient(self.link(every, json!({ "tank": device(1) }))))
    }

    pub fn link(&self, every: &str, devices: Json) -> Json {
        let tcp = format!("127.0.0.1:{}", self.port);
        json!({ "tcp": tcp, "every": every, "timeout": "10s", "devices": devices })
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub async fn request(&mut self) -> Request {
        timeout(PATIENCE, self.requests.recv()).await.expect("a request in time").expect("the slave runs")
    }
}

pub fn impatient(mut link: Json) -> Json {
    link["timeout"] = json!("500ms");
    link["retries"] = json!(0);
    link
}

pub fn device(unit: u8) -> Json {
    json!({ "unit": unit, "points": { "level": { "holding": 0, "write": {} } } })
}
