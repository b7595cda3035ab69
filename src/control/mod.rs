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
//! | `{"do":"heard","link":"hall"}` | `{"ok":true,"links":[{"link":"hall","heard":[…]}]}`: whoever is on the air, known or not; without `link` for all |
//! | `{"do":"nodes","link":"garden"}` | `{"ok":true,"links":[{"link":"garden","nodes":[…]}]}`: what is known of the nodes of MySensors links; without `link` of all |
//! | `{"do":"read","device":"tank","point":"level"}` | as on `gw1-sys/answer/tank/level`: `{"ok":true,"observed":1.5,…}` |
//! | `{"do":"write","device":"tank","point":"valve","value":true,"expires":"30m"}` | the same, with `requested`, `written` and, where it is verified, `observed` |
//! | `{"do":"raw","link":"boiler-room","request":"070300640002"}` | `{"ok":true,"outcome":"answer","answer":"0304…"}`, or `silent`, `refused`, `broken` with a `reason` |
//! | `{"do":"firmware","link":"garden","node":5,"type":1,"version":3,"image":"0c94…"}` | `{"ok":true,"nodes":[{"node":5,"state":"waiting","percent":0}]}`; without `image` it only tells |
//! | `{"do":"mqttsn","link":"meadow"}` | `{"ok":true,"clients":[{"id":"s1","at":"127.0.0.1:4711","state":"asleep","waiting":0,"topics":2,"heard_s":41}]}` |
//! | anything else | `{"ok":false,"error":"…"}` |
//!
//! `read` and `write` are commands like those that come down: the rules of the site file hold. `raw`
//! puts a unit id and a PDU to a Modbus link; one that does not only read needs `"write":true`. These
//! three wait for their turn on the link, 10 s at most, and are answered within 22 s; four of them
//! are carried out at once. A `read` or `write` that `expires` later, within an hour, may wait for a device that sleeps, and is
//! answered within 72 s after that; there is room for four such. Each write is logged.
//!
//! A request has at most 1.25 MiB, for firmware, and an answer 1 MiB; sixteen clients are served at once. Each has 5 s
//! to ask and 5 s to take its answer. A gateway that cannot have its socket, on a read-only file system say, warns and goes on
//! without.
//!
//! [`Socket`] owns the file and makes sure that one gateway has it; [`serve`] talks; [`Desk`] knows
//! the answers, and [`Field`] those that take an exchange in the field, with `rates` and [`wear`] to reckon; [`ask()`] is the other end. [`metrics`] turns a
//! status into what Prometheus reads.

mod ask;
mod desk;
mod field;
pub mod metrics;
mod rates;
mod reloads;
mod server;
mod socket;
pub mod wear;

pub use ask::{AskError, ask};
pub use desk::{Desk, LinkEnd, dropped_json};
pub use field::{Field, unhex};
pub use reloads::Reloads;
pub use server::serve;
pub use socket::{Socket, Taken};

/// The longest request, in bytes: an image of firmware, in hexadecimal.
const LONGEST_REQUEST: usize = 1280 << 10;

/// The longest answer, in bytes: some thousand links.
const LONGEST_ANSWER: usize = 1 << 20;

/// How long a client may take to ask, and to take its answer; and how long most answers take at most.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
