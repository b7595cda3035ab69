//! A controller's stay at a door: every message goes to it, and what it sends becomes an ask.
//!
//! Nobody waits for it: one that does not read is dropped. What it asks is answered as a gateway
//! answers: a set with the echo wanted comes back when the node, or the device behind it, has confirmed it,
//! and the keep-alive (a question for the gateway's version) at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use wharf_mysensors::message::LONGEST_LINE;
use wharf_mysensors::message::{Command, GATEWAY, Message, SELF};
use wharf_mysensors::types;
use wharf_stream::Frames;

use super::super::Way;
use super::super::feed::Feed;
use super::super::nodes::LIBRARY;
use super::tally::Tally;
use crate::downlink::Asker;
use crate::seldom::Seldom;

/// How long a controller may take to accept what waits for it.
const TAKES: Duration = Duration::from_secs(5);
/// The most bytes that are written at once.
const AT_ONCE: usize = 4096;
/// The most asks of one controller that may be under way; one more is not obeyed. What waits for a node that
/// sleeps does not count: it may do so for hours, and the network has bounds of its own for that.
const UNDER_WAY: usize = 64;

/// What a controller is told when it attaches: a gateway has started, whose nodes may be asked for.
const READY: &str = "Gateway startup complete.";

/// How a stay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The controller went, or broke off.
    Gone,
    /// It did not read what it was sent.
    Dropped,
    /// The gateway is stopping.
    Stopped,
}

/// One controller at a door.
pub struct Conversation {
    name: Arc<str>,
    tally: Arc<Tally>,
    lines: broadcast::Receiver<Arc<str>>,
    way: Way,
    asks: JoinSet<Option<Message>>,
    places: Arc<Semaphore>,
    complaints: Seldom,
}

impl Conversation {
    /// With a controller of that name; `None` if there are no messages for doors.
    pub fn new(name: Arc<str>, tally: Arc<Tally>, feed: &Feed, way: Way) -> Option<Self> {
        let lines = feed.lines()?;
        let (asks, places) = (JoinSet::new(), Arc::new(Semaphore::new(UNDER_WAY)));
        Some(Self { name, tally, lines, way, asks, places, complaints: Seldom::default() })
    }

    /// Talks until the controller goes, or the gateway stops.
    pub async fn run(
        mut self,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
        stop: CancellationToken,
    ) -> End {
        let _attached = self.tally.attach();
        info!(controller = %self.name, "attached");
        let end = self.talk(&mut reader, &mut writer, &stop).await;
        match end {
            End::Gone => info!(controller = %self.name, "gone"),
            End::Dropped => {
                self.tally.dropped();
                warn!(controller = %self.name, "dropped: it does not read what it is sent");
            }
            End::Stopped => {}
        }
        end
    }

    async fn talk(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        writer: &mut (impl AsyncWrite + Unpin),
        stop: &CancellationToken,
    ) -> End {
        let (mut cut, mut chunk, mut too_long) = (Frames::lines(LONGEST_LINE), [0; 1024], 0);
        let ready = internal(types::READY, READY).to_line();
        if let Err(end) = self.write(writer, &ready).await {
            return end;
        }
        loop {
            let said = tokio::select! {
                () = stop.cancelled() => return End::Stopped,
                line = self.lines.recv() => match line {
                    Ok(line) => self.waiting(&line),
                    Err(RecvError::Lagged(_)) => return End::Dropped,
                    Err(RecvError::Closed) => return End::Stopped,
                },
                received = reader.read(&mut chunk) => match received {
                    Ok(0) | Err(_) => return End::Gone,
                    Ok(count) => {
                        let lines = cut.push(&chunk[..count]);
                        let thrown_away = cut.tally().too_long - too_long;
                        too_long += thrown_away;
                        self.tally.heard(lines.len().saturating_add(usize::try_from(thrown_away).unwrap_or_default()));
                        (0..thrown_away).for_each(|_| self.complain("the line was too long"));
                        lines.iter().filter_map(|line| self.take(line)).map(|message| message.to_line()).collect()
                    }
                },
                Some(answered) = self.asks.join_next() => match answered {
                    Ok(Some(echo)) => echo.to_line(),
                    _ => continue,
                },
            };
            if let Err(end) = self.write(writer, &said).await {
                return end;
            }
        }
    }

    /// This line and those that wait behind it, as far as they are written at once.
    fn waiting(&mut self, first: &str) -> String {
        let mut said = format!("{first}\n");
        while said.len() < AT_ONCE
            && let Ok(line) = self.lines.try_recv()
        {
            said.push_str(&line);
            said.push('\n');
        }
        said
    }

    /// Takes a line from the controller; gives what is answered at once, if anything is.
    fn take(&mut self, line: &[u8]) -> Option<Message> {
        let message = match Message::parse(line) {
            Ok(message) => message,
            Err(error) => {
                self.complain(&error.to_string());
                return None;
            }
        };
        if is_keep_alive(&message) {
            return Some(internal(types::VERSION, LIBRARY));
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.complain("too many of its messages are under way");
            return None;
        };
        let (asker, answer) = Asker::new();
        let asker = (asker.at(place), answer);
        let (way, name) = (self.way.clone(), self.name.clone());
        self.asks.spawn(async move {
            let Message { node, child, command, ack, kind, payload } = &message;
            let below = format!("{node}/{child}/{}/{}/{kind}", command.number(), u8::from(*ack));
            match way.ask_as(asker, &name, &below, payload.clone()).await {
                // What its node has confirmed comes back as it went.
                Ok(answer) => (*ack && *command == Command::Set && answer.get("observed").is_some()).then_some(message),
                Err(error) => {
                    debug!(controller = %name, %message, error, "not carried out");
                    None
                }
            }
        });
        None
    }

    async fn write(&self, writer: &mut (impl AsyncWrite + Unpin), said: &str) -> Result<(), End> {
        match timeout(TAKES, writer.write_all(said.as_bytes())).await {
            Ok(Ok(())) => {
                self.tally.said(said.lines().count());
                Ok(())
            }
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Dropped),
        }
    }

    fn complain(&mut self, why: &str) {
        self.tally.not_taken();
        if let Some(line) = self.complaints.note(1) {
            warn!(controller = %self.name, why, count = line.count, "a message was not taken");
        }
    }
}

/// Whether the controller only wants to know that the gateway is there.
fn is_keep_alive(message: &Message) -> bool {
    message.node == GATEWAY && message.command == Command::Internal && message.kind == types::VERSION
}

/// What the gateway says of itself.
fn internal(kind: u8, payload: &str) -> Message {
    Message { node: GATEWAY, child: SELF, command: Command::Internal, ack: false, kind, payload: payload.into() }
}
