//! What a running gateway tells those who ask on its own machine.
//!
//! It listens on a Unix socket, `control.sock` in its state directory, for the user it runs as and
//! nobody else. A client sends one line of JSON and gets one line of JSON; then the connection is
//! over.
//!
//! | request | answer |
//! |---|---|
//! | `{"do":"status"}` | `{"ok":true,…}`: the [status](Desk::status) |
//! | `{"do":"purge","uplink":"central"}` | `{"ok":true,"purged":17}` |
//! | anything else | `{"ok":false,"error":"…"}` |
//!
//! A request has at most 64 KiB and an answer 1 MiB; eight clients are served at once, for 5 s
//! each. A gateway that cannot have its socket, on a read-only file system say, warns and goes on
//! without.
//!
//! [`Socket`] owns the file and makes sure that one gateway has it; [`serve`] talks; [`Desk`] knows
//! the answers, with `rates` and [`wear`] to reckon; [`ask()`] is the other end. [`metrics`] turns a
//! status into what Prometheus reads.

mod ask;
mod desk;
pub mod metrics;
mod rates;
mod server;
mod socket;
pub mod wear;

pub use ask::{AskError, ask};
pub use desk::{Desk, dropped_json};
pub use server::serve;
pub use socket::{Socket, Taken};

/// The longest request, in bytes.
const LONGEST_REQUEST: usize = 64 << 10;

/// The longest answer, in bytes: some thousand links.
const LONGEST_ANSWER: usize = 1 << 20;

/// How long a conversation may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
