//! What is written for one change, and how it looks in bytes.
//!
//! The layout is in the [module's front page](super). A publication that several receivers share is written
//! once in a commit; the others refer to the frame it is in.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::packet::{RetainedWanted, Wanted};
use super::super::publication::{Origin, Properties, Publication, Qos};
use super::super::saved::{Stage, Waiting};
use super::bytes::{Reader, put_bytes, put_number, put_text};
use crate::clock::{BootId, Stamp};

/// One frame's meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The end of a commit: what came since the one before counts from here on.
    Commit,
    /// The clock that stamps the frames from here on.
    Clock(Era),
    /// A message is retained for its topic.
    Retained(Arc<Publication>),
    /// Nothing is retained for a topic.
    Cleared(Arc<str>),
    /// A session, its user, and how long it outlives its connection, in seconds.
    Session {
        /// The client id.
        client: Arc<str>,
        /// The user.
        user: Option<Arc<str>>,
        /// In seconds.
        expiry: u32,
        /// For how long the client has been away, in milliseconds.
        away_for: Option<u64>,
    },
    /// A session is gone.
    Ended(Arc<str>),
    /// A subscription, and its number.
    Subscribed(Arc<str>, Wanted, Option<u32>),
    /// A subscription is gone.
    Unsubscribed(Arc<str>, Arc<str>),
    /// A message waits for a client.
    Queued(Arc<str>, Waiting),
    /// How far one is that waits.
    Stage(Arc<str>, u64, Stage),
    /// Messages from one number to another, inclusive, do not wait any more.
    Done(Arc<str>, u64, u64),
    /// Whether a packet id of the client's own is taken.
    Incoming(Arc<str>, u16, bool),
}

/// A boot, and what the wall clock shows beyond the time since then, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Era {
    /// The boot.
    pub boot: BootId,
    /// In milliseconds.
    pub offset: i64,
}

/// One moment, as it is needed to write down how long something is still worth delivering.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By the clock that publications go by.
    pub instant: Instant,
    /// By the others.
    pub stamp: Stamp,
}

/// Encodes entries. Remembers which publications have been written since the last commit.
#[derive(Default)]
pub struct Encoder {
    /// By address: each is kept, so that none can take another's place.
    written: HashMap<usize, (Arc<Publication>, u64)>,
}

impl Encoder {
    /// Appends the body of frame `seq`.
    pub fn encode(&mut self, out: &mut Vec<u8>, seq: u64, entry: &Entry, moment: Moment) {
        match entry {
            Entry::Commit => {
                out.push(0);
                self.written.clear();
            }
            Entry::Clock(era) => {
                out.push(1);
                out.extend_from_slice(&era.boot.0);
                out.extend_from_slice(&era.offset.to_le_bytes());
            }
            Entry::Retained(publication) => {
                out.push(2);
                self.publication(out, seq, publication, moment);
            }
            Entry::Cleared(topic) => {
                out.push(3);
                put_text(out, topic);
            }
            Entry::Session { client, user, expiry, away_for } => {
                out.push(4);
                put_text(out, client);
                out.push(u8::from(user.is_some()) | u8::from(away_for.is_some()) << 1);
                put_number(out, u64::from(*expiry));
                user.iter().for_each(|user| put_text(out, user));
                away_for.iter().for_each(|millis| put_number(out, *millis));
            }
            Entry::Ended(client) => {
                out.push(5);
                put_text(out, client);
            }
            Entry::Subscribed(client, wanted, identifier) => {
                out.push(6);
                put_text(out, client);
                put_text(out, &wanted.filter);
                let retained = match wanted.retained {
                    RetainedWanted::All => 0,
                    RetainedWanted::IfNew => 1,
                    RetainedWanted::None => 2,
                };
                let flags = [wanted.no_local, wanted.retain_as_published, identifier.is_some()];
                let flags = flags.iter().enumerate().fold(0, |bits, (at, flag)| bits | u8::from(*flag) << (4 + at));
                out.push(wanted.qos as u8 | retained << 2 | flags);
                identifier.iter().for_each(|number| put_number(out, u64::from(*number)));
            }
            Entry::Unsubscribed(client, filter) => {
                out.push(7);
                put_text(out, client);
                put_text(out, filter);
            }
            Entry::Queued(client, waiting) => {
                out.push(8);
                put_text(out, client);
                put_number(out, waiting.number);
                out.push(waiting.qos as u8 | u8::from(waiting.retain) << 2);
                put_stage(out, waiting.stage);
                put_number(out, waiting.subscriptions.len() as u64);
                waiting.subscriptions.iter().for_each(|number| put_number(out, u64::from(*number)));
                self.publication(out, seq, &waiting.publication, moment);
            }
            Entry::Stage(client, number, stage) => {
                out.push(9);
                put_text(out, client);
                put_number(out, *number);
                put_stage(out, *stage);
            }
            Entry::Done(client, first, last) => {
                out.push(10);
                put_text(out, client);
                put_number(out, *first);
                put_number(out, last.saturating_sub(*first));
            }
            Entry::Incoming(client, id, taken) => {
                out.push(11);
                put_text(out, client);
                put_number(out, u64::from(*id));
                out.push(u8::from(*taken));
            }
        }
    }

    fn publication(&mut self, out: &mut Vec<u8>, seq: u64, publication: &Arc<Publication>, moment: Moment) {
        let address = Arc::as_ptr(publication).addr();
        if let Some((_, written)) = self.written.get(&address) {
            return put_number(out, seq - written);
        }
        put_number(out, 0);
        put_publication(out, publication, moment.instant);
        self.written.insert(address, (publication.clone(), seq));
    }

    /// Frame `seq` was not written after all.
    pub fn take_back(&mut self, seq: u64) {
        self.written.retain(|_, (_, written)| *written != seq);
    }
}

/// Decodes bodies.
#[derive(Default)]
pub struct Decoder {
    /// The publications of a commit, by frame.
    read: HashMap<u64, Arc<Publication>>,
    /// Texts that came before: client ids and topics come often.
    texts: HashSet<Arc<str>>,
}

impl Decoder {
    /// The meaning of frame `seq`, which was written `elapsed` ago. `None` if it has none.
    pub fn decode(&mut self, body: &[u8], seq: u64, elapsed: Duration, now: Instant) -> Option<Entry> {
        let (tag, rest) = body.split_first()?;
        let mut reader = Reader(rest);
        let from = &mut reader;
        let entry = match tag {
            0 => {
                self.read.clear();
                Entry::Commit
            }
            1 => {
                let boot = BootId(*from.array()?);
                Entry::Clock(Era { boot, offset: i64::from_le_bytes(*from.array()?) })
            }
            2 => Entry::Retained(self.publication(from, seq, elapsed, now)?),
            3 => Entry::Cleared(self.text(from)?),
            4 => {
                let client = self.text(from)?;
                let flags = from.byte()?;
                let expiry = from.u32()?;
                let user = if flags & 1 != 0 { Some(self.text(from)?) } else { None };
                let away_for = if flags & 2 != 0 { Some(from.number()?) } else { None };
                Entry::Session { client, user, expiry, away_for }
            }
            5 => Entry::Ended(self.text(from)?),
            6 => {
                let client = self.text(from)?;
                let filter = from.text()?.to_owned();
                let flags = from.byte()?;
                let retained = match flags >> 2 & 3 {
                    0 => RetainedWanted::All,
                    1 => RetainedWanted::IfNew,
                    2 => RetainedWanted::None,
                    _ => return None,
                };
                let wanted = Wanted {
                    filter,
                    qos: qos(flags)?,
                    no_local: flags & 0x10 != 0,
                    retain_as_published: flags & 0x20 != 0,
                    retained,
                };
                let identifier = if flags & 0x40 != 0 { Some(from.u32()?) } else { None };
                Entry::Subscribed(client, wanted, identifier)
            }
            7 => Entry::Unsubscribed(self.text(from)?, self.text(from)?),
            8 => {
                let client = self.text(from)?;
                let number = from.number()?;
                let flags = from.byte()?;
                let stage = stage(from)?;
                let count = from.number()?;
                // Each takes a byte at least, so a count that lies ends the loop soon.
                let mut subscriptions = Vec::new();
                for _ in 0..count {
                    subscriptions.push(from.u32()?);
                }
                let publication = self.publication(from, seq, elapsed, now)?;
                let (qos, retain) = (qos(flags)?, flags & 4 != 0);
                Entry::Queued(client, Waiting { number, publication, qos, retain, subscriptions, stage })
            }
            9 => Entry::Stage(self.text(from)?, from.number()?, stage(from)?),
            10 => {
                let (client, first) = (self.text(from)?, from.number()?);
                Entry::Done(client, first, first.checked_add(from.number()?)?)
            }
            11 => Entry::Incoming(self.text(from)?, u16::try_from(from.number()?).ok()?, from.byte()? != 0),
            _ => return None,
        };
        Some(entry)
    }

    fn text(&mut self, from: &mut Reader<'_>) -> Option<Arc<str>> {
        let text = from.text()?;
        if let Some(known) = self.texts.get(text) {
            return Some(known.clone());
        }
        let text: Arc<str> = text.into();
        self.texts.insert(text.clone());
        Some(text)
    }

    fn publication(
        &mut self,
        from: &mut Reader<'_>,
        seq: u64,
        elapsed: Duration,
        now: Instant,
    ) -> Option<Arc<Publication>> {
        match from.number()? {
            0 => {
                let publication = Arc::new(self.whole_publication(from, elapsed, now)?);
                self.read.insert(seq, publication.clone());
                Some(publication)
            }
            back => self.read.get(&seq.checked_sub(back)?).cloned(),
        }
    }

    fn whole_publication(&mut self, from: &mut Reader<'_>, elapsed: Duration, now: Instant) -> Option<Publication> {
        let flags = from.byte()?;
        let topic = self.text(from)?;
        let payload = Bytes::copy_from_slice(from.bytes()?);
        let origin = flags >> 5 & 3;
        let from_client = match origin {
            0 => None,
            _ => {
                let client = self.text(from)?;
                let user = if flags & 0x80 != 0 { Some(self.text(from)?) } else { None };
                Some((client, user))
            }
        };
        let publisher = match (origin, from_client) {
            (0, _) => Origin::Gateway,
            (1, Some((client, user))) => Origin::Client { client, user },
            (2, Some((client, user))) => Origin::Will { client, user },
            _ => return None,
        };
        let expires = match flags & 0x10 {
            0 => None,
            // What no clock can show does not come to its end either.
            _ => now.checked_add(Duration::from_millis(from.number()?).saturating_sub(elapsed)),
        };
        let properties = if flags & 8 != 0 { Some(Box::new(properties(from)?)) } else { None };
        let (qos, retain) = (qos(flags)?, flags & 4 != 0);
        Some(Publication { topic, payload, qos, retain, from: publisher, properties, expires })
    }
}

fn put_publication(out: &mut Vec<u8>, publication: &Publication, now: Instant) {
    let (origin, client, user) = match &publication.from {
        Origin::Gateway => (0, None, None),
        Origin::Client { client, user } => (1, Some(client), user.as_ref()),
        Origin::Will { client, user } => (2, Some(client), user.as_ref()),
    };
    let flags = [publication.retain, publication.properties.is_some(), publication.expires.is_some()];
    let flags = flags.iter().enumerate().fold(0, |bits, (at, flag)| bits | u8::from(*flag) << (2 + at));
    out.push(publication.qos as u8 | flags | origin << 5 | u8::from(user.is_some()) << 7);
    put_text(out, &publication.topic);
    put_bytes(out, &publication.payload);
    client.into_iter().chain(user).for_each(|name| put_text(out, name));
    if let Some(remaining) = publication.remaining(now) {
        put_number(out, u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX));
    }
    publication.properties.iter().for_each(|properties| put_properties(out, properties));
}

fn put_properties(out: &mut Vec<u8>, properties: &Properties) {
    let flags = [
        properties.is_text.is_some(),
        properties.is_text == Some(true),
        properties.content_type.is_some(),
        properties.response_topic.is_some(),
        properties.correlation.is_some(),
    ];
    out.push(flags.iter().enumerate().fold(0, |bits, (at, flag)| bits | u8::from(*flag) << at));
    properties.content_type.iter().chain(&properties.response_topic).for_each(|text| put_text(out, text));
    properties.correlation.iter().for_each(|data| put_bytes(out, data));
    put_number(out, properties.user.len() as u64);
    for (key, value) in &properties.user {
        put_text(out, key);
        put_text(out, value);
    }
}

fn properties(from: &mut Reader<'_>) -> Option<Properties> {
    let flags = from.byte()?;
    let is_text = (flags & 1 != 0).then_some(flags & 2 != 0);
    let content_type = if flags & 4 != 0 { Some(from.text()?.to_owned()) } else { None };
    let response_topic = if flags & 8 != 0 { Some(from.text()?.to_owned()) } else { None };
    let correlation = if flags & 16 != 0 { Some(Bytes::copy_from_slice(from.bytes()?)) } else { None };
    let mut user = Vec::new();
    for _ in 0..from.number()? {
        user.push((from.text()?.to_owned(), from.text()?.to_owned()));
    }
    Some(Properties { is_text, content_type, response_topic, correlation, user })
}

fn put_stage(out: &mut Vec<u8>, stage: Stage) {
    let (step, id) = match stage {
        Stage::Waiting => (0, None),
        Stage::Sent(id) => (1, Some(id)),
        Stage::Released(id) => (2, Some(id)),
    };
    out.push(step);
    id.iter().for_each(|id| put_number(out, u64::from(*id)));
}

fn stage(from: &mut Reader<'_>) -> Option<Stage> {
    let step = from.byte()?;
    if step == 0 {
        return Some(Stage::Waiting);
    }
    let id = u16::try_from(from.number()?).ok()?;
    match step {
        1 => Some(Stage::Sent(id)),
        2 => Some(Stage::Released(id)),
        _ => None,
    }
}

fn qos(flags: u8) -> Option<Qos> {
    match flags & 3 {
        0 => Some(Qos::AtMostOnce),
        1 => Some(Qos::AtLeastOnce),
        2 => Some(Qos::ExactlyOnce),
        _ => None,
    }
}
