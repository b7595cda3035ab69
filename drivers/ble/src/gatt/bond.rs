//! Pairing with a device whose settings ask for it, before it is connected to.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::config::Pairing;
use crate::radio::{NotPaired, Reach};

/// How often a device may be tried that its settings do not fit. Locks shut out whoever tries for longer.
const MOST_TRIES: u32 = 3;

/// How a device is paired with, and how often that was tried. It outlives connections and sessions.
#[derive(Clone, Debug)]
pub(crate) struct Bond {
    how: Pairing,
    /// How often in a row its passkey was handed over, or not even asked for, in vain.
    tries: Arc<AtomicU32>,
    /// What became of the last of them.
    last: Arc<Mutex<Option<NotPaired>>>,
}

impl Bond {
    pub(crate) fn new(how: Pairing) -> Self {
        Self { how, tries: Arc::default(), last: Arc::default() }
    }

    /// Sees to it that there is a bond, if there is to be one, or says why there is none.
    pub(crate) async fn see_to(bond: Option<&Self>, reach: &Reach, limit: Duration) -> Result<(), String> {
        match bond {
            Some(bond) => bond.make(reach, limit).await,
            None => Ok(()),
        }
    }

    async fn make(&self, reach: &Reach, limit: Duration) -> Result<(), String> {
        let words = |error: NotPaired| error.to_string();
        if !reach.is_paired().await.map_err(words)? {
            self.may_try()?;
            if let Err(error) = reach.pair(self.how, limit, Arc::clone(&self.tries)).await {
                self.tries.fetch_add(u32::from(error == NotPaired::NotAsked), Ordering::Relaxed);
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
                return Err(words(error));
            }
        }
        self.tries.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn may_try(&self) -> Result<(), String> {
        let tries = self.tries.load(Ordering::Relaxed);
        if tries < MOST_TRIES {
            return Ok(());
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let last = last.unwrap_or_else(|| NotPaired::WrongPasskey("no reason given".to_owned()));
        Err(format!(
            "{last}; this was tried {tries} times and is not tried again: correct `pair` and restart the gateway, or \
             pair with `bluetoothctl`"
        ))
    }
}
