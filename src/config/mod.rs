//! The site file: from text to a checked [`Site`], or to every mistake in it with its place.
//!
//! 1. [`tree`] reads YAML into a tree that knows line and column of every key and value. It is
//!    the only module that knows the YAML crate.
//! 2. [`site`] says what may be written; the drivers add their own parts. The same definitions
//!    give the JSON Schema in [`schema()`].
//! 3. [`profiles`] lays the device profiles under what the site file says of a device; [`sources`]
//!    keeps apart which line stands in which file.
//! 4. [`check`] looks for what no single part can see: names used twice, rules for nothing.
//! 5. [`errors`] shows mistakes to people and programs.
//!
//! [`load()`] does all of it for a file, [`load_sealed`] without opening secrets, [`read`] for a text.

mod adapters;
mod attached;
mod ble;
pub mod bridge;
pub mod broker;
pub mod check;
mod classic_form;
pub mod controllers;
pub mod errors;
pub mod load;
mod loops;
pub mod profiles;
pub mod replay;
pub mod rules;
pub mod schema;
mod sections;
pub mod site;
pub mod sources;
mod summary;
pub mod tree;
pub mod url;

#[cfg(feature = "ble")]
pub use ble::descriptions;
pub use broker::rights;
pub use errors::SiteErrors;
pub use load::{load, load_in_full, load_sealed, load_with_warnings, read, read_with_warnings, state_dir_of};
pub use rules::{matcher, rules};
pub use schema::schema;
pub use sections::Sections;
pub use site::Site;
