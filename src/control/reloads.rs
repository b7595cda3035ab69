//! What became of the last time the site file was read anew.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value as Json, json};
use tokio::time::Instant;

/// The last reload; shared by the one who reloads and those who ask.
#[derive(Clone, Debug, Default)]
pub struct Reloads(Arc<Mutex<Option<Reload>>>);

#[derive(Debug)]
struct Reload {
    at: Instant,
    outcome: Result<Vec<String>, String>,
}

impl Reloads {
    /// The site file was read anew: the sections that wait for a restart, or why everything is as before.
    pub fn note(&self, outcome: Result<Vec<String>, String>) {
        let reload = Reload { at: Instant::now(), outcome };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reload);
    }

    /// The last one, if there was any; `wall` gives its time.
    pub fn to_json(&self, wall: impl FnOnce(Instant) -> u64) -> Option<Json> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.as_ref()?;
        let at = wall(last.at);
        Some(match &last.outcome {
            Ok(sections) => json!({ "at": at, "ok": true, "restart_for": sections }),
            Err(why) => json!({ "at": at, "ok": false, "error": why }),
        })
    }
}
