//! A MySensors gateway reached over TCP, and a node behind it that answers as the library's own do, and
//! tells its values and its battery twice a second.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const BATTERY: &str = "2;255;3;0;0;87\n";
const TEMPERATURE: &str = "2;1;1;0;0;21.50\n";

/// A running network; it ends when dropped. Node 2 is a garden bed: a thermometer (child 1) and a pump
/// (child 3).
pub struct Network {
    pub address: SocketAddr,
    told: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    /// One that waits for a gateway on loopback.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (told, stop): (Arc<Mutex<Vec<String>>>, Arc<AtomicBool>) = Default::default();
        let thread = std::thread::spawn({
            let (told, stop) = (told.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::SeqCst) {
                    match listener.accept() {
                        Ok((connection, _)) => converse(connection, &told, &stop),
                        Err(_) => std::thread::sleep(Duration::from_millis(10)),
                    }
                }
            }
        });
        Self { address, told, stop, thread: Some(thread) }
    }

    /// What a site file says of it, without its name.
    pub fn settings(&self) -> String {
        format!("tcp: {}", self.address)
    }

    /// Every line that came down.
    pub fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn converse(connection: TcpStream, told: &Mutex<Vec<String>>, stop: &AtomicBool) {
    connection.set_nonblocking(false).unwrap();
    connection.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut said = connection.try_clone().unwrap();
    let mut lines = BufReader::new(connection);
    let mut line = String::new();
    let mut pump = "0".to_owned();
    let mut ok = said.write_all(b"0;255;3;0;14;Gateway startup complete.\n").is_ok();
    let mut told_at = Instant::now();
    while ok && !stop.load(Ordering::SeqCst) {
        if told_at.elapsed() > Duration::from_millis(500) {
            told_at = Instant::now();
            ok = said.write_all(format!("{BATTERY}{TEMPERATURE}2;3;1;0;2;{pump}\n").as_bytes()).is_ok();
        }
        match lines.read_line(&mut line) {
            Ok(0) => return,
            Ok(_) => {
                let asked = std::mem::take(&mut line).trim_end().to_owned();
                ok = said.write_all(answer(&asked, &mut pump).as_bytes()).is_ok();
                told.lock().unwrap().push(asked);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

fn answer(asked: &str, pump: &mut String) -> String {
    match asked {
        "0;255;3;0;2;" => "0;255;3;0;2;2.3.2\n".into(),
        "255;255;3;0;20;" => "2;255;3;0;21;0\n".into(),
        "2;255;3;0;19;" => format!(
            "2;255;0;0;17;2.3.2\n2;255;3;0;11;Bed\n2;255;3;0;12;1.1\n2;1;0;0;6;soil\n2;3;0;0;3;pump\n\
             {BATTERY}{TEMPERATURE}2;3;1;0;2;{pump}\n"
        ),
        _ => match asked.strip_prefix("2;3;1;1;2;") {
            Some(value) => {
                *pump = value.to_owned();
                format!("{asked}\n")
            }
            None => String::new(),
        },
    }
}
