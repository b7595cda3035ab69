//! How a driver declares its part of the site file: once, for decoder and JSON Schema.
//!
//! [`settings!`](crate::settings!) defines a struct, and with it how it is read and what editors
//! are told about it. [`setting_enum!`](crate::setting_enum!) does the same for a choice of words.
//!
//! ```
//! use wharf_contract::settings::{HostPort, Name, Named, Period, Ranged, WriteSettings};
//! use wharf_contract::{setting_enum, settings};
//!
//! setting_enum! {
//!     /// Which register of a wide value comes first.
//!     pub enum WordOrder {
//!         /// The more significant one.
//!         HighFirst = "high_first",
//!         /// The less significant one. More spellings may follow after `|`.
//!         LowFirst = "low_first" | "swapped",
//!     }
//! }
//!
//! settings! {
//!     /// One point of a device. This text and those of the fields become the schema's.
//!     pub struct PointSettings {
//!         /// The coil, by its address on the wire.
//!         coil: Option<u16> = None,
//!         /// The holding register, by its address on the wire.
//!         holding: Option<u16> = None,
//!         /// The word order. (Not `pub`: every field is public. A keyword is written `r#type`.)
//!         word_order: WordOrder = WordOrder::HighFirst,
//!         /// What may be written to it.
//!         write: Option<WriteSettings> = None,
//!     }
//!     exactly_one_of: [coil, holding];
//!     check: |this, node, cx| {
//!         if this.coil.is_some() && this.word_order == WordOrder::LowFirst {
//!             cx.field_problem(node, "word_order", "a coil has no words").help("remove it");
//!         }
//!     };
//! }
//!
//! settings! {
//!     /// One bus.
//!     pub struct LinkSettings {
//!         /// Where it is. No default, so it has to be there.
//!         tcp: HostPort<502>,
//!         /// How often its points are read.
//!         every: Period = Period::secs(10),
//!         /// How many requests may be under way.
//!         window: Ranged<u16, 1, 16> = Ranged::new(1),
//!         /// Its points, by name.
//!         points: Named<PointSettings> = Named::none(),
//!     }
//! }
//! ```
//!
//! Such a struct derives `Clone, Debug, PartialEq`, and has a `Default` if every field has one and
//! no `exactly_one_of` stands in the way. The clauses after it are optional and come in
//! this order: any number of `exactly_one_of`, `at_most_one_of` and `together`, which decoder and
//! schema both know; then one `check`, which only the decoder can run. It takes a closure or a
//! function `fn(&Self, &Node, &mut Context)` and is called when every field could be read.
//!
//! Types that need more than the macros give implement [`Setting`] by hand; most of the time by
//! wrapping one of the types here. A decoder reports every mistake it finds and returns `None`
//! only when no value can be made, so a file shows all its mistakes at once.
//!
//! One rule about empty values (`write:` with nothing behind it, `~`, `null`): they stand for an
//! empty mapping or list, wherever an empty one is allowed, and are a mistake everywhere else.

pub mod collection;
pub mod context;
pub mod define;
pub mod names;
pub mod network;
pub mod node;
pub mod quantity;
pub mod scalar;
pub mod serial;
pub mod text;
pub mod write;

#[cfg(test)]
mod tests;

pub use collection::{Named, NamedEntry, OneOrMany, Spanned};
pub use context::{Context, Problem, SecretResolver, Severity, suggest, suggestion};
pub use names::{Names, RawNumber};
pub use network::Network;
pub use node::{Entries, Entry, Node, NodeKind, Span, Style, Typed, clip};
pub use quantity::{ByteSize, Period, parse_duration};
pub use scalar::Ranged;
pub use serial::{Frame, NoFrame, Parity, SerialPath};
pub use text::{FilePath, HostPort, Name, Secret};
pub use write::{FailSafeSettings, WriteSettings};

/// A JSON Schema, or a part of one.
pub type Schema = serde_json::Value;

/// A type that can stand in the site file.
pub trait Setting: Sized {
    /// What may be written there, for editors. It accepts whatever [`decode`](Self::decode) does.
    fn schema() -> Schema;

    /// Reads a value. Reports every mistake to `cx`, and returns `None` only when no value can be
    /// made.
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self>;
}
