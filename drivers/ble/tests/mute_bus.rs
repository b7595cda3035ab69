//! A bus that takes the connection and then says nothing: so does one that does not know the user's number.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "everything here is a test")]

#[expect(dead_code, reason = "each test binary uses a part")]
mod lab;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use lab::{Listening, unwatched};
use wharf_ble::radio::RadioState;

/// Whether this is the program that was started again, with the bus's address in its environment.
const AGAIN: &str = "WHARF_TEST_MUTE_BUS";

/// Lets a client in, as a bus does, and hears what it has to say.
fn take_in(stream: UnixStream) {
    let (mut lines, mut stream) = (BufReader::new(stream.try_clone().unwrap()), stream);
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|length| length > 0) && !line.starts_with("BEGIN") {
        let answer = if line.contains("AUTH") { "OK 0123456789abcdef0123456789abcdef" } else { "ERROR" };
        let _ = writeln!(stream, "{answer}\r");
        line.clear();
    }
    let mut rest = Vec::new();
    let _ = lines.read_to_end(&mut rest);
}

/// Takes half a minute: so long libdbus waits for the bus's welcome.
#[test]
fn a_bus_that_answers_nothing_is_called_so() {
    if std::env::var_os(AGAIN).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listening = Listening::start(unwatched());
            let state = listening.is(|state| matches!(state, RadioState::NoBus { .. })).await;
            assert_eq!(state.to_string(), "no D-Bus system bus: it takes the connection and answers nothing");
        });
        // The radio's thread waits for the bus again; it ends with the process.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("bus")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || take_in(stream));
        }
    });
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["a_bus_that_answers_nothing_is_called_so", "--exact", "--nocapture"])
        .env(AGAIN, "1")
        .env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", folder.path().join("bus").display()))
        .status()
        .unwrap();
    assert!(status.success(), "{status}; its words are above");
}
