//! An MQTT broker that does what its script says, right or wrong, and remembers what it saw.
//!
//! It speaks as much of 3.1.1 and 5 as a gateway needs, by hand, so that it can also say what no
//! library would. It serves one connection at a time, in one thread.

mod conversation;
mod script;
mod seen;
mod wire;

use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use conversation::Conversation;
pub use script::{Acks, Close, Command, Script, Session};
pub use seen::{Connect, Publish};

#[derive(Default)]
struct State {
    scripts: VecDeque<Script>,
    /// What comes when there is no script left.
    for_ever: Script,
    connects: Vec<Connect>,
    /// The session: whether it holds a subscription, and what it keeps for the gateway.
    session: Option<bool>,
    kept: Vec<Command>,
    to_send: Vec<Command>,
    away: bool,
    cut: bool,
    /// How many acknowledgements that are held back may go.
    released: usize,
    stop: bool,
}

/// A running broker; ended when dropped.
pub struct Scripted {
    pub port: u16,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    /// Starts it. Each connection takes the next script; when there is none left, the broker is
    /// honest. The short clean connection by which a 3.1.1 client has its session forgotten takes
    /// none, unless it is to be refused.
    pub fn start(scripts: &[Script]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { scripts: scripts.iter().copied().collect(), ..State::default() }));
        let thread = std::thread::spawn({
            let state = state.clone();
            move || {
                while !lock(&state).stop {
                    match listener.accept() {
                        Ok((stream, _)) if !lock(&state).away => Conversation::hold(stream, &state),
                        // Away: whoever comes is sent away.
                        Ok(_) => {}
                        Err(_) => sleep(Duration::from_millis(5)),
                    }
                }
            }
        });
        Self { port, state, thread: Some(thread) }
    }

    /// The script of every connection for which there is no other.
    pub fn for_ever(self, script: Script) -> Self {
        lock(&self.state).for_ever = script;
        self
    }

    /// Every connection so far.
    pub fn connects(&self) -> Vec<Connect> {
        lock(&self.state).connects.clone()
    }

    /// Sends a command on the connection there is.
    pub fn send(&self, command: Command) {
        lock(&self.state).to_send.push(command);
    }

    /// Keeps a command in the session, to be sent right behind CONNACK when it is resumed.
    pub fn keep(&self, command: Command) {
        lock(&self.state).kept.push(command);
    }

    /// Acknowledges what was held back, and the rest at once.
    pub fn release(&self) {
        lock(&self.state).released = usize::MAX;
    }

    /// Acknowledges so many of those held back.
    pub fn release_some(&self, count: usize) {
        lock(&self.state).released += count;
    }

    /// Closes the connection there is.
    pub fn cut(&self) {
        lock(&self.state).cut = true;
    }

    /// Goes away, or comes back.
    pub fn be_away(&self, away: bool) {
        let mut state = lock(&self.state);
        state.away = away;
        state.cut |= away;
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        lock(&self.state).stop = true;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
