//! A Modbus TCP slave in the test's own process: it knows exactly when it was asked, and costs
//! next to nothing.
//!
//! Every two registers it is asked for hold, as one number of 32 bits, how often that block has
//! been asked for, so each point read as `u32` counts up by one with every poll.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One request, as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub at: Instant,
    pub unit: u8,
}

/// A running slave; it ends when dropped.
pub struct Meter {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Meter {
    /// One that answers for every unit and every holding register.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let stop: Arc<AtomicBool> = Arc::default();
        let thread = std::thread::spawn({
            let (asked, stop) = (asked.clone(), stop.clone());
            move || serve(&listener, &asked, &stop)
        });
        Self { port, asked, stop, thread: Some(thread) }
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One connection after the other, as a gateway has one at a time.
fn serve(listener: &TcpListener, asked: &Mutex<Vec<Asked>>, stop: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    let mut counts = HashMap::new();
    while !stop.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((connection, _)) => {
                connection.set_nonblocking(false).unwrap();
                connection.set_nodelay(true).unwrap();
                connection.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                converse(connection, asked, stop, &mut counts);
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn converse(
    mut connection: TcpStream,
    asked: &Mutex<Vec<Asked>>,
    stop: &AtomicBool,
    counts: &mut HashMap<(u8, u16), u32>,
) {
    let mut request = [0; 12];
    let mut have = 0;
    while !stop.load(Ordering::SeqCst) {
        match connection.read(&mut request[have..]) {
            Ok(0) => return,
            Ok(read) => have += read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return,
        }
        if have < request.len() {
            continue;
        }
        have = 0;
        let unit = request[6];
        asked.lock().unwrap().push(Asked { at: Instant::now(), unit });
        if connection.write_all(&answer(&request, counts)).is_err() {
            return;
        }
    }
}

/// To "read holding registers": transaction, protocol, length, unit, function, address, count.
fn answer(request: &[u8; 12], counts: &mut HashMap<(u8, u16), u32>) -> Vec<u8> {
    let word = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
    let (unit, function, address, registers) = (request[6], request[7], word(8), word(10));
    assert_eq!(function, 3, "this slave has holding registers alone");
    let count = counts.entry((unit, address)).or_default();
    *count += 1;
    let data: Vec<u8> = count.to_be_bytes().into_iter().cycle().take(usize::from(registers) * 2).collect();
    let bytes = u8::try_from(data.len()).unwrap();
    let mut answer = request[..4].to_vec();
    answer.extend((u16::from(bytes) + 3).to_be_bytes());
    answer.extend([unit, function, bytes]);
    answer.extend(data);
    answer
}
