//! A connection of a client that was let in, to its end.
//!
//! It goes round: read what has come, let it pass rights and gate, take the hub's lock once for all of it, take from
//! the hub what is to be sent, and write all of that at once. Nobody waits for a client that does not read: above
//! [`FULL`](super::wire::FULL) bytes nothing more is taken for it, and the hub keeps or drops what comes by its
//! bounds. After half a minute without taking anything it is closed.

mod ending;
mod passing;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use tokio::time::{Instant, Sleep, sleep_until};

use super::large::Large;
use super::wire::{FULL, Wire};
use crate::broker::common::{Common, TURN};
use crate::broker::figures::{add, count};
use crate::broker::hub::{Accepted, Aliases, Bell, ConnectionId, Ending};
use crate::broker::packet::incoming::{Requests, frame};
use crate::broker::packet::outgoing::Manner;
use crate::broker::packet::{Connect, Reply, Request, reason};
use crate::broker::rights::Login;
use ending::End;

/// How long a client may take nothing of what is written to it.
const STALLED: Duration = Duration::from_secs(30);
/// How many requests are handed to the hub at once, at most.
const STEPS: usize = 512;
/// After how many packets, heard or sent, others have their turn, whatever this client still has to say.
const STRETCH: usize = 512;
/// How far ahead a clock is set that is not to ring.
const NEVER: Duration = Duration::from_secs(86_400);
/// Lists that have become longer than this are given back.
const KEPT: usize = 1024;

/// A connection.
pub struct Connection {
    wire: Wire,
    large: Large,
    manner: Manner,
    requests: Requests,
    attachment: Attachment,
    client: Arc<str>,
    login: Login,
    /// The judgement its rights are from.
    judged: u64,
    bell: Arc<Bell>,
    /// The topics its aliases stand for.
    aliases: Aliases,
    /// After how long a silence it is gone.
    silence: Option<Duration>,
    timer: Pin<Box<Sleep>>,
    /// What it has said and the hub has not heard.
    steps: Vec<Step>,
    replies: Vec<Reply>,
    /// How many packets it has heard and sent since others had their turn.
    packets: usize,
    /// Whether there may be something for it at the hub.
    is_due: bool,
}

/// What the hub is told, in order.
enum Step {
    Accept(Accepted),
    Request(Request),
    /// Nothing, but the client is answered in its turn.
    Answer(Reply),
    /// It has been told.
    Nothing,
}

/// That the hub knows of the connection. However it ends, the hub hears of it.
struct Attachment {
    common: Arc<Common>,
    id: ConnectionId,
    ending: Ending,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.common.hub().detach(self.id, self.ending, Instant::now().into_std());
    }
}

impl Connection {
    /// Of a client that the hub has let in.
    #[expect(clippy::too_many_arguments, reason = "each is a part of what becomes the connection")]
    pub fn new(
        wire: Wire,
        manner: Manner,
        id: ConnectionId,
        client: Arc<str>,
        login: Login,
        judged: u64,
        bell: Arc<Bell>,
        connect: &Connect,
        common: Arc<Common>,
    ) -> Self {
        let aliases = Aliases::new(common.limits.topic_aliases);
        let silence = (connect.keep_alive > 0).then(|| Duration::from_millis(u64::from(connect.keep_alive) * 1500));
        Self {
            wire,
            large: Large::default(),
            manner,
            requests: Requests::new(connect.version),
            attachment: Attachment { common, id, ending: Ending::Broken },
            client,
            login,
            judged,
            bell,
            aliases,
            silence,
            timer: Box::pin(sleep_until(Instant::now() + NEVER)),
            steps: Vec::new(),
            replies: Vec::new(),
            packets: 0,
            is_due: true,
        }
    }

    /// Ends before it has begun.
    pub fn give_up(self) -> Wire {
        self.wire
    }

    /// Serves the client until one of the two has enough.
    pub async fn live(mut self) {
        let end = loop {
            if let Err(end) = self.turn().await {
                break end;
            }
        };
        self.end(end).await;
    }

    async fn turn(&mut self) -> Result<(), End> {
        self.hear().await?;
        self.pause().await;
        while self.is_due && !self.wire.is_full() {
            self.tell_hub().await?;
            // What is retained is looked through bit by bit, and others want their turn in between.
            tokio::task::consume_budget().await;
        }
        let deadline = self.deadline();
        if deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
        let (wire, figures) = (&mut self.wire, &*self.attachment.common.figures);
        tokio::select! {
            moved = std::future::poll_fn(|cx| wire.poll(cx, figures)) => moved.map_err(|_| End::Gone),
            () = self.bell.heard() => {
                self.is_due = true;
                self.bell.closing().map_or(Ok(()), |reason| Err(End::Told(reason)))
            }
            () = self.timer.as_mut() => self.look_at_the_clock(),
        }
    }

    /// Takes all the packets that have come as a whole.
    async fn hear(&mut self) -> Result<(), End> {
        loop {
            let read = match frame(&self.wire.input, self.common().limits.packet) {
                Ok(None) => match self.large.hold(self.wire.input.len(), &self.attachment.common.large) {
                    Ok(()) => break,
                    Err(wrong) => Err(wrong),
                },
                Ok(Some(packet)) => self.requests.read(&packet).map(|request| (request, packet.size)),
                Err(wrong) => Err(wrong),
            };
            let heard = match read {
                Ok((request, size)) => {
                    self.wire.input.advance(size);
                    self.packets += 1;
                    count(&self.common().figures.packets_received);
                    self.take(request).await
                }
                Err(wrong) => Err(End::Wrong(wrong.reason, wrong.words)),
            };
            if let Err(end) = heard {
                // What came before it was good.
                self.tell_hub().await?;
                return Err(end);
            }
            if self.steps.len() >= STEPS {
                self.tell_hub().await?;
                if self.wire.is_full() {
                    return Ok(());
                }
                self.pause().await;
            }
        }
        if self.steps.is_empty() { Ok(()) } else { self.tell_hub().await }
    }

    /// Gives others their turn, now and then. There is always more to read from a client at full speed, and the runtime
    /// alone would let it go on for many thousands of packets.
    async fn pause(&mut self) {
        if self.packets >= STRETCH {
            self.packets = 0;
            tokio::task::yield_now().await;
        }
    }

    /// Tells the hub what the client has said, takes what is to be sent to it, and has all that written.
    async fn tell_hub(&mut self) -> Result<(), End> {
        while self.take_turn()? {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Does that for as long as one has the hub at a time. Whether there is more to tell.
    fn take_turn(&mut self) -> Result<bool, End> {
        let room = FULL.saturating_sub(self.wire.output.len());
        let now = Instant::now().into_std();
        let (id, common, replies) = (self.attachment.id, &self.attachment.common, &mut self.replies);
        let mut hub = common.hub();
        let began = Instant::now();
        let (mut told, mut count) = (Ok(()), 0);
        for step in &mut self.steps {
            count += 1;
            told = match std::mem::replace(step, Step::Nothing) {
                Step::Accept(accepted) => hub.accept(id, accepted, now, replies),
                Step::Request(request) => hub.request(id, request, now, replies),
                Step::Answer(reply) => {
                    replies.push(reply);
                    Ok(())
                }
                Step::Nothing => Ok(()),
            };
            if told.is_err() || began.elapsed() >= TURN {
                break;
            }
        }
        self.is_due = match told.is_ok() && room > 0 {
            true => hub.deliver(id, room, now, replies),
            // Whatever there is, it has to wait.
            false => true,
        };
        drop(hub);
        match told {
            Ok(()) => drop(self.steps.drain(..count)),
            Err(_) => self.steps.clear(),
        }
        self.write_replies()?;
        told.map_err(End::of)?;
        Ok(!self.steps.is_empty())
    }

    fn write_replies(&mut self) -> Result<(), End> {
        if self.wire.output.is_empty() {
            self.wire.taken_at = Instant::now();
        }
        let figures = &self.attachment.common.figures;
        let mut too_large = 0;
        self.packets += self.replies.len();
        add(&figures.packets_sent, self.replies.len());
        for reply in self.replies.drain(..) {
            let is_publication = matches!(reply, Reply::Publish(_));
            let fits = self.manner.write(&reply, &mut self.wire.output);
            match (is_publication, fits) {
                (_, true) => {}
                (true, false) => too_large += 1,
                (false, false) => {
                    return Err(End::Wrong(reason::PACKET_TOO_LARGE, "an answer is larger than the client takes"));
                }
            }
        }
        add(&figures.dropped_large, too_large);
        self.replies.shrink_to(KEPT);
        Ok(())
    }

    /// When to look at the clock next.
    fn deadline(&self) -> Instant {
        let silent = self.silent_from();
        let stalled = self.stalled_from();
        silent.into_iter().chain(stalled).min().unwrap_or_else(|| Instant::now() + NEVER)
    }

    fn look_at_the_clock(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.stalled_from().is_some_and(|stalled| stalled <= now) {
            return Err(End::Stalled);
        }
        if self.silent_from().is_some_and(|silent| silent <= now) {
            return Err(End::Silent);
        }
        let deadline = self.deadline();
        self.timer.as_mut().reset(deadline);
        Ok(())
    }

    /// From when on it is gone unless it says something. A client that is not listened to, because it
    /// does not take what is there for it, is not expected to.
    fn silent_from(&self) -> Option<Instant> {
        self.silence.filter(|_| !self.wire.is_full()).map(|silence| self.wire.heard_at + silence)
    }

    /// From when on it is stalled unless it takes something.
    fn stalled_from(&self) -> Option<Instant> {
        (!self.wire.output.is_empty()).then(|| self.wire.taken_at + STALLED)
    }

    fn common(&self) -> &Arc<Common> {
        &self.attachment.common
    }
}
