//! A Modbus TCP slave in the test's own process. It answers functions 1 to 4 from what it was given;
//! what it was not given is zero, so a wrong address does not go unseen.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Coils, discrete inputs, holding and input registers: the order of the functions that read them.
#[derive(Clone, Default)]
pub struct Tables(pub [BTreeMap<u16, u16>; 4]);

/// A running slave; it ends when dropped.
pub struct Slave {
    pub port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Slave {
    pub fn start(tables: Tables) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let stop: Arc<AtomicBool> = Arc::default();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((connection, _)) => converse(connection, &tables, &stopped),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Self { port, stop, thread: Some(thread) }
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers one connection until it closes or the slave is stopped.
fn converse(mut connection: TcpStream, tables: &Tables, stop: &AtomicBool) {
    connection.set_nonblocking(false).unwrap();
    connection.set_nodelay(true).unwrap();
    connection.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut received = Vec::new();
    let mut buffer = [0; 1024];
    while !stop.load(Ordering::SeqCst) {
        match connection.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => received.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return,
        }
        // A request to read has twelve bytes, its header among them.
        while received.len() >= 12 {
            let request: Vec<u8> = received.drain(..12).collect();
            if connection.write_all(&answer(&request, tables)).is_err() {
                return;
            }
        }
    }
}

fn answer(request: &[u8], tables: &Tables) -> Vec<u8> {
    let word = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
    let (function, start, count) = (request[7], word(8), word(10));
    let pdu = match function {
        1 | 2 => {
            let mut bytes = vec![0; usize::from(count).div_ceil(8)];
            for index in 0..count {
                let bit = tables.0[usize::from(function - 1)].get(&(start + index)).copied().unwrap_or(0);
                bytes[usize::from(index / 8)] |= u8::from(bit != 0) << (index % 8);
            }
            [vec![function, bytes.len() as u8], bytes].concat()
        }
        3 | 4 => {
            let table = &tables.0[usize::from(function - 1)];
            let words = (0..count).map(|index| table.get(&(start + index)).copied().unwrap_or(0));
            let bytes: Vec<u8> = words.flat_map(u16::to_be_bytes).collect();
            [vec![function, bytes.len() as u8], bytes].concat()
        }
        _ => vec![function | 0x80, 1],
    };
    let length = (pdu.len() as u16 + 1).to_be_bytes();
    [&request[..4], &length[..], &request[6..7], &pdu[..]].concat()
}
