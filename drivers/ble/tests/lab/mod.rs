//! A mock BlueZ on a bus of its own, one for each test.
//!
//! libdbus reads the bus's address from the environment, once per process. So a test that needs a
//! bus starts the mock, and the mock starts the test's own program again for that one test, with the
//! address set. There the test's second half runs, and steers the mock by a socket.

#[allow(dead_code, reason = "the radio's tests drive no site")]
pub mod site;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::mpsc;
use wharf_ble::advert::{Address, Advert};
use wharf_ble::radio::{Counters, Heard, Radio, RadioSettings, RadioState, Timeouts};
use wharf_test_support::lab;

const CONTROL: &str = "WHARF_TEST_BLUEZ";

/// How long anything may take that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test beside a mock BlueZ in which only these sensors speak.
pub fn with_bluez<F>(speaking: &[&str], test: F)
where
    F: AsyncFnOnce(Bluez),
{
    if let Ok(socket) = std::env::var(CONTROL) {
        let mut bluez = Bluez::reach(Path::new(&socket));
        for name in ["bthome", "same", "counter", "gattsensor"] {
            if !speaking.contains(&name) {
                bluez.tell(&format!(r#"{{"off":"{name}"}}"#));
            }
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test(bluez));
        return;
    }
    let Some(python) = lab::python("ble") else { return };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control");
    let status = Command::new(python)
        .arg(lab::folder("ble").join("mock_bluez.py"))
        .args([Path::new("--control"), &socket, Path::new("--")])
        .arg(std::env::current_exe().unwrap())
        .args([&name_of::<F>(), "--exact", "--nocapture", "--include-ignored"])
        .env(CONTROL, &socket)
        .status()
        .unwrap();
    assert!(status.success(), "{status}; its words are above");
}

/// The test's name, from that of the closure in it: `radio::it_hears::{{closure}}`.
fn name_of<F>() -> String {
    let path = std::any::type_name::<F>();
    let path = path.split("::{{closure}}").next().unwrap();
    path.split_once("::").unwrap().1.to_owned()
}

/// The mock's reins.
pub struct Bluez {
    answers: BufReader<UnixStream>,
}

impl Bluez {
    fn reach(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        Self { answers: BufReader::new(stream) }
    }

    /// One line of control, see the head of `mock_bluez.py`.
    pub fn tell(&mut self, line: &str) -> Value {
        writeln!(self.answers.get_mut(), "{line}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["ok"], true, "{line}: {answer}");
        answer
    }

    /// How often a method was called.
    pub fn calls(&mut self, method: &str) -> u64 {
        self.tell(r#"{"stats":1}"#)["calls"][method].as_u64().unwrap_or(0)
    }
}

/// Settings whose waits are short.
pub fn brisk() -> RadioSettings {
    RadioSettings {
        timeouts: Timeouts {
            call: Duration::from_secs(3),
            silence: Duration::from_secs(2),
            retry: Duration::from_millis(100),
            retry_most: Duration::from_secs(1),
        },
        ..RadioSettings::default()
    }
}

/// The same, but silence is never long enough to do something about: whatever gets it going again,
/// the watchdog does not.
pub fn unwatched() -> RadioSettings {
    let brisk = brisk();
    RadioSettings { timeouts: Timeouts { silence: Duration::from_secs(600), ..brisk.timeouts }, ..brisk }
}

/// A radio and what it hears.
pub struct Listening {
    pub radio: Radio,
    pub heard: mpsc::Receiver<Heard>,
}

impl Listening {
    pub fn start(settings: RadioSettings) -> Self {
        let (radio, heard) = Radio::start(settings).unwrap();
        Self { radio, heard }
    }

    /// The next advertisement that is as it is looked for; others are passed over.
    pub async fn hears(&mut self, what: impl Fn(&Advert) -> bool) -> Advert {
        let until = Instant::now() + PATIENCE;
        loop {
            match tokio::time::timeout_at(until.into(), self.heard.recv()).await {
                Ok(Some(heard)) if what(&heard.advert) => return heard.advert,
                Ok(Some(_)) => {}
                Ok(None) => panic!("the radio has ended"),
                Err(_) => panic!("not heard; {}, {:?}", *self.radio.state().borrow(), self.radio.counters()),
            }
        }
    }

    /// Whether nothing at all is heard for so long.
    pub async fn hears_nothing(&mut self, long: Duration) -> bool {
        tokio::time::timeout(long, self.heard.recv()).await.is_err()
    }

    /// Throws away what was heard so far.
    pub fn forget(&mut self) {
        while self.heard.try_recv().is_ok() {}
    }

    /// Waits until the counters are as it is looked for.
    pub async fn counts(&self, what: impl Fn(&Counters) -> bool) -> Counters {
        let until = Instant::now() + PATIENCE * 3;
        loop {
            let counters = self.radio.counters();
            if what(&counters) {
                return counters;
            }
            assert!(Instant::now() < until, "still {counters:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the state is as it is looked for.
    pub async fn is(&self, what: impl Fn(&RadioState) -> bool) -> RadioState {
        let mut state = self.radio.state();
        let found = tokio::time::timeout(PATIENCE, state.wait_for(|state| what(state))).await;
        match found {
            Ok(state) => state.unwrap().clone(),
            Err(_) => panic!("still `{}`, {:?}", *self.radio.state().borrow(), self.radio.counters()),
        }
    }
}

/// The mock's sensors: C0:00:00:00:00:01 and so on.
pub const fn sensor(last: u8) -> Address {
    Address([0xc0, 0, 0, 0, 0, last])
}

pub const BTHOME: Address = sensor(1);
pub const SAME: Address = sensor(2);
pub const COUNTER: Address = sensor(3);

/// What this process has in memory, in kB.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
