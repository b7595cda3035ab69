//! Who attaches inside the gateway, without a socket, and as whom.

use std::sync::Arc;

use super::rules::Rules;

/// What the names begin with that are no user's of the site file.
const INSIDE: char = '$';
/// What the names of those begin with for whom a link speaks, and who are nobody.
const NOBODY: &str = "$nobody/";

/// Somebody who attaches inside the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visitor {
    /// A part of the gateway, by its kind and name, such as `mqtt/wifi`. It may do everything.
    Part(Arc<str>),
    /// A client that a link speaks for, and that has shown nothing of who it is: one of MQTT-SN.
    Client {
        /// The link.
        link: Arc<str>,
        /// The user as whom it comes, by the site file.
        user: Option<Arc<str>>,
    },
}

impl Visitor {
    /// What the broker calls it among its users. `None`: the user that the site file names is none.
    pub fn login(&self, rules: &Rules) -> Option<Arc<str>> {
        match self {
            Self::Part(name) => Some(format!("{INSIDE}{name}").into()),
            Self::Client { user: Some(user), .. } => rules.users.get_key_value(user).map(|(name, _)| name.clone()),
            Self::Client { link, user: None } => Some(format!("{NOBODY}{link}").into()),
        }
    }

    /// Whether it may have an id that is another's so far. Who has shown nothing may not, except for the id that is its
    /// link's own.
    pub fn may_take_over(&self, client: &str, rules: &Rules) -> bool {
        match self {
            Self::Part(_) => true,
            Self::Client { link, .. } => rules.ids_of_links.get(client) == Some(link),
        }
    }
}

/// Whether a name is that of somebody inside the gateway. No user of the site file is called so.
pub fn is_inside(name: &str) -> bool {
    name.starts_with(INSIDE)
}

/// Whether a name is that of nobody, for whom a link speaks.
pub fn is_nobody(name: &str) -> bool {
    name.starts_with(NOBODY)
}
