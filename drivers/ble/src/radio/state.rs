//! How a radio is, in words.

use std::fmt;
use std::time::{Duration, Instant};

/// How a radio is. Shown, it is what stands on status pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RadioState {
    /// On the way to scanning.
    Starting,
    /// It listens, and something is heard.
    Scanning,
    /// It listens, and nothing has been heard for a while.
    Quiet {
        /// When something was heard last, or the scan was started.
        since: Instant,
    },
    /// The adapter is switched off and cannot be switched on.
    Off {
        /// The adapter's name, such as `hci0`.
        adapter: String,
        /// What was said to switching it on.
        reason: String,
    },
    /// There is no such adapter, or no longer.
    Gone {
        /// What it is called in the site file or was called before; `None` where any would do.
        adapter: Option<String>,
    },
    /// The adapter is there and the scan cannot be started.
    Refused {
        /// The adapter's name.
        adapter: String,
        /// What was said.
        reason: String,
    },
    /// Passive scanning is asked for, and the daemon does not offer it.
    NoPassiveScan,
    /// The Bluetooth daemon does not run.
    NoDaemon,
    /// The Bluetooth daemon runs, and does not tell its adapters.
    Unanswered {
        /// What was said, if anything.
        reason: String,
    },
    /// There is no D-Bus system bus to reach the daemon by.
    NoBus {
        /// What was said.
        reason: String,
    },
    /// Stopped because it was asked to, or because the radio's thread has ended.
    Stopped,
}

impl RadioState {
    /// Whether advertisements can be heard.
    pub fn is_listening(&self) -> bool {
        matches!(self, Self::Scanning | Self::Quiet { .. })
    }

    /// The same, but for how long it has been so and what exactly was said: for telling a change from
    /// a repetition.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Quiet { .. }, Self::Quiet { .. })
            | (Self::NoBus { .. }, Self::NoBus { .. })
            | (Self::Unanswered { .. }, Self::Unanswered { .. }) => true,
            (this, other) => this == other,
        }
    }
}

impl fmt::Display for RadioState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Scanning => f.write_str("scanning"),
            Self::Quiet { since } => write!(f, "quiet for {}", InWords(since.elapsed())),
            Self::Off { adapter, reason } => write!(f, "adapter {adapter} is switched off: {reason}"),
            Self::Gone { adapter: Some(adapter) } => write!(f, "adapter {adapter} is not there"),
            Self::Gone { adapter: None } => f.write_str("there is no Bluetooth adapter"),
            Self::Refused { adapter, reason } => write!(f, "adapter {adapter} does not scan: {reason}"),
            Self::NoPassiveScan => f.write_str(
                "bluetoothd does not offer passive scanning: start it with --experimental, or scan actively",
            ),
            Self::NoDaemon => f.write_str("bluetoothd does not run"),
            Self::Unanswered { reason } => write!(f, "bluetoothd runs and cannot be used: {reason}"),
            Self::NoBus { reason } => write!(f, "no D-Bus system bus: {reason}"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// `41 s`, `12 min`, `3 h`.
struct InWords(Duration);

impl fmt::Display for InWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds @ ..120 => write!(f, "{seconds} s"),
            seconds @ 120..7200 => write!(f, "{} min", seconds / 60),
            seconds => write!(f, "{} h", seconds / 3600),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_in_words() {
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        let hci0 = || "hci0".to_owned();
        for (state, words) in [
            (RadioState::Scanning, "scanning"),
            (RadioState::Quiet { since: ago(41) }, "quiet for 41 s"),
            (RadioState::Quiet { since: ago(180) }, "quiet for 3 min"),
            (RadioState::Quiet { since: ago(7300) }, "quiet for 2 h"),
            (RadioState::Gone { adapter: Some(hci0()) }, "adapter hci0 is not there"),
            (RadioState::Gone { adapter: None }, "there is no Bluetooth adapter"),
            (
                RadioState::Off { adapter: hci0(), reason: "Blocked through rfkill".to_owned() },
                "adapter hci0 is switched off: Blocked through rfkill",
            ),
            (RadioState::NoDaemon, "bluetoothd does not run"),
        ] {
            assert_eq!(state.to_string(), words);
        }
    }
}
