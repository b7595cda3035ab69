//! Why a connection ends, and what the client hears of that.

use std::time::Duration;

use tracing::debug;

use super::Connection;
use crate::broker::figures::count;
use crate::broker::hub::{Ending, Violation};
use crate::broker::packet::{Reply, Version, reason};

/// How long it may take to hear why its connection is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a connection ends.
pub enum End {
    /// The client took its leave.
    Left,
    /// The client took its leave and wants its will published.
    LeftWithWill,
    /// The connection is gone.
    Gone,
    /// Somebody else wants it closed.
    Told(u8),
    /// What came is against the rules.
    Wrong(u8, &'static str),
    /// Nothing has come for too long.
    Silent,
    /// Nothing was taken for too long.
    Stalled,
}

impl End {
    /// What came is against the rules of the hub.
    pub fn of(violation: Violation) -> Self {
        Self::Wrong(violation.reason, violation.words)
    }
}

impl Connection {
    /// Takes its leave of the client, as far as that listens.
    pub(super) async fn end(mut self, end: End) {
        let common = self.common().clone();
        let figures = &common.figures;
        let told = match end {
            End::Left => {
                self.attachment.ending = Ending::Left;
                None
            }
            End::LeftWithWill | End::Gone => None,
            End::Told(reason) => {
                if reason == reason::SESSION_TAKEN_OVER {
                    common.door.audit.changed_hands(&self.client, self.login.user.as_deref());
                }
                if reason == reason::SERVER_SHUTTING_DOWN {
                    // What is there for it already is the last that it gets.
                    while self.is_due && !self.wire.is_full() && self.tell_hub().await.is_ok() {}
                }
                Some((reason, words(reason)))
            }
            End::Wrong(reason, words) => {
                count(&figures.violations);
                common.door.audit.broke_rules(&self.client, self.login.user.as_deref(), words);
                Some((reason, words))
            }
            End::Silent => {
                count(&figures.silent);
                debug!(client = %self.client, "client closed: nothing has come from it for too long");
                Some((reason::KEEP_ALIVE_TIMEOUT, "nothing has come for too long"))
            }
            End::Stalled => {
                count(&figures.stalled);
                debug!(client = %self.client, "client closed: it reads nothing");
                None
            }
        };
        let Self { mut wire, manner, attachment, .. } = self;
        // The others need not wait until it has heard why.
        drop(attachment);
        let patience = if matches!(end, End::Gone | End::Stalled) { Duration::ZERO } else { FAREWELL };
        if let Some((reason, words)) = told {
            let reply = Reply::Disconnect { reason, words: Some(words).filter(|words| !words.is_empty()) };
            manner.write(&reply, &mut wire.output);
            if manner.version == Version::V5 {
                count(&figures.packets_sent);
            }
        }
        wire.finish(patience, figures).await;
    }
}

fn words(reason: u8) -> &'static str {
    match reason {
        reason::SESSION_TAKEN_OVER => "another connection has this client id now",
        reason::SERVER_SHUTTING_DOWN => "the broker is shutting down",
        reason::ADMINISTRATIVE_ACTION | reason::NOT_AUTHORIZED => "the rules have changed",
        _ => "",
    }
}
