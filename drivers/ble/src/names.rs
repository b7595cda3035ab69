//! The names that the devices of a site have. Those that stand in the site file are told apart when it is
//! read; what is adopted gets its name when it is heard, perhaps by two adapters at once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The names that are taken, by the devices of all links. There are as many as devices in the site file,
/// and as may be adopted.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<Mutex<HashSet<String>>>);

impl Names {
    /// Takes a name, for good. Returns whether it was free.
    #[must_use]
    pub fn claim(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned())
    }
}

impl<'a> FromIterator<&'a str> for Names {
    fn from_iter<T: IntoIterator<Item = &'a str>>(names: T) -> Self {
        Self(Arc::new(Mutex::new(names.into_iter().map(str::to_owned).collect())))
    }
}
