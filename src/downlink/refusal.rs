//! Why a command was refused before any driver heard of it, in words for the one who sent it.

use std::time::Duration;

use wharf_contract::{DeviceId, LinkId, PointId, WriteRate};

use super::order::OrderError;

/// Why a command was refused before any driver heard of it.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("retained commands are not obeyed: publish it without the retain flag")]
    Retained,
    #[error("only set messages are obeyed when they are retained")]
    RetainedOther,
    #[error(
        "retained internal and stream messages are not obeyed: publish them without the retain flag (in Home Assistant, switch `MQTT retain` of the MySensors integration off)"
    )]
    RetainedInternal,
    #[error("an empty payload is no value: it only takes a retained message back")]
    NoValue,
    #[error("no such topic below {0}-in/")]
    NoSuchTopic(String),
    #[error("no device `{0}` in the site file")]
    NoDevice(String),
    #[error("`{0}` has no point `{1}`")]
    NoPoint(DeviceId, String),
    #[error(
        "no point is declared for node {node}, child {child}, type {kind}, and no link relays to that node: one whose site file says `controller: upstream` would"
    )]
    NoClassic { node: u8, child: u8, kind: u8 },
    #[error("no link takes messages for node {0}: one whose site file says `controller: upstream` does")]
    NoRelay(u8),
    #[error("node {node} may be on more than one link, and none knows it alone: {}", names(links))]
    ManyLinks { node: u8, links: Vec<LinkId> },
    #[error("the payload is no plain text of one line, and a MySensors message is")]
    NotALine,
    #[error("the payload has {0} bytes, and does not fit a MySensors message")]
    LongLine(usize),
    #[error("more than one link has a point for node {node}, child {child}, type {kind}")]
    Ambiguous { node: u8, child: u8, kind: u8 },
    #[error("`{0}/{1}` is read-only: the site file has no `write:` for it")]
    ReadOnly(DeviceId, PointId),
    #[error("{0}")]
    OutOfLimits(String),
    #[error("nothing was written, because of `{0}`: {1}")]
    OneOfMany(String, Box<Refusal>),
    #[error("{count} points are too many to be written at once: {most} are the most")]
    TooMany { count: usize, most: usize },
    #[error("it may be written {rate} and no more; one more write in {}", in_words(*left))]
    TooOften { rate: WriteRate, left: Duration },
    #[error("the id {0} was used for another command a while ago: a new command has a new id")]
    IdUsed(String),
    #[error("the id cannot be made safe on disk, so the command might be executed twice: {0}")]
    NoJournal(String),
    #[error("{0}")]
    Order(#[from] OrderError),
    #[error("the command has expired")]
    Expired,
    #[error("the link `{0}` is {1}")]
    LinkDown(LinkId, String),
    #[error("too many commands are waiting for this link")]
    Busy,
    #[error("the gateway is stopping")]
    Stopping,
}

fn names(links: &[LinkId]) -> String {
    links.iter().map(LinkId::as_str).collect::<Vec<_>>().join(", ")
}

/// A time as people say it, never less than it is.
fn in_words(time: Duration) -> String {
    match time.as_secs() + u64::from(time.subsec_nanos() > 0) {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h", seconds.div_ceil(3600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_words_and_never_too_short() {
        let told = |millis| in_words(Duration::from_millis(millis));
        assert_eq!(told(1), "1 s");
        assert_eq!(told(7_000), "7 s");
        assert_eq!(told(121_000), "3 min");
        assert_eq!(told(7_200_001), "3 h");
    }
}
