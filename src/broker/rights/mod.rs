//! Who may log in, and who may do what.
//!
//! [`Rules`] are what the site file says of users; [`Door`] lets clients in by them, and has each try to log in
//! again wait the longer the more have failed. [`Allowed`] is what one client may do, made once, when it logs in. Connections ask it
//! before they publish, the hub when they subscribe and, where a subscription asks for more than is allowed, with every
//! delivery. [`Audit`] keeps the log of refusals and commands; [`PasswordFile`] is the file that `wharf passwd` writes.
//!
//! A [`Visitor`] comes from inside the gateway.
//!
//! A password is never kept, only its [`Hash`]; neither is printed.

mod allowed;
mod audit;
mod door;
pub mod filter;
mod hash;
mod password_file;
mod remembered;
mod rules;
mod subject;
mod sums;
#[cfg(test)]
mod tests;
mod throttle;
mod visitor;

pub use allowed::{Allowed, Topics};
pub use audit::{Act, Audit, Refusal};
pub use door::{Door, Judge, Login, Peer, Refused, TAKEN};
pub use hash::{Hash, LONGEST_PASSWORD};
pub use password_file::{LARGEST as LARGEST_PASSWORD_FILE, PasswordFile, check_name};
pub use rules::{CLIENT, Granted, Grants, Rules, USER, User};
pub(in crate::broker) use subject::Der;
pub use subject::Subject;
pub use visitor::{Visitor, is_inside};
