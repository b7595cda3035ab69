//! Looking around without a gateway: an adapter of one's own, and everything that it hears.

use std::io;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::config::LinkSettings;
use crate::heard;
use crate::radio::{Heard, Radio, RadioState};
use crate::roster::Roster;

/// Somebody who looks around.
#[derive(Debug)]
pub struct Survey {
    radio: Radio,
    heard: mpsc::Receiver<Heard>,
    state: watch::Receiver<RadioState>,
    roster: Roster,
    table: heard::Heard,
}

impl Survey {
    /// Begins to listen with the adapter of these settings, with their keys for their devices.
    ///
    /// # Errors
    /// The radio cannot be started. Whatever is wrong with the adapter, [`state`](Self::state) tells.
    pub fn start(settings: &LinkSettings) -> io::Result<Self> {
        let (radio, heard) = Radio::start(crate::radio_settings(settings))?;
        let state = radio.state();
        // Nobody is adopted by somebody who only looks.
        let roster = Roster::new(&LinkSettings { adopt: Vec::new(), ..settings.clone() });
        Ok(Self { radio, heard, state, roster, table: heard::Heard::default() })
    }

    /// Listens for so long. Returns whether the radio goes on.
    pub async fn listen(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            match timeout_at(until, self.heard.recv()).await {
                Ok(Some(Heard { advert, at })) => {
                    let now = Instant::now();
                    let told = self.table.model(advert.address);
                    let hearing = self.roster.hear(&advert, told, at, now, &mut Vec::new());
                    self.table.note(&advert, &hearing.outcome, hearing.device.as_ref(), at, now);
                }
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// What was heard, as [`heard::Heard::to_json`] has it.
    pub fn to_json(&self) -> Json {
        self.table.to_json()
    }

    /// How the radio is, in words; and whether it can hear.
    pub fn state(&self) -> (String, bool) {
        let state = self.state.borrow();
        (state.to_string(), state.is_listening())
    }

    /// Stops, and waits until the radio has.
    pub async fn stop(self) {
        self.radio.stop().await;
    }
}
