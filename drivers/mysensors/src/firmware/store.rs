//! The firmware of a link, where its session, those who ask, and the disk get at it.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};
use wharf_contract::LinkId;
use wharf_contract::small_file::Keeper;

use super::image::{Image, Name};
use super::settings::Plan;
use super::wire::unhex;
use super::{Firmware, News, Offer, Offers, hex, keep};

/// How long after a failed write it is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long somebody who gives an image waits for the disk.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a session that has ended waits for it. A stopping gateway gives its drivers little more.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// The firmware of a link and its file, if it has one.
#[derive(Debug, Default)]
pub struct Store {
    firmware: Mutex<Firmware>,
    plan: Plan,
    keeper: Option<Keeper>,
    recalled: OnceCell<()>,
}

impl Store {
    /// What this plan offers; what is given beside it is forgotten with the process.
    pub fn new(plan: Plan) -> Self {
        Self { plan, ..Self::default() }
    }

    /// The same, kept in this file.
    #[must_use]
    pub fn in_file(self, file: PathBuf) -> Self {
        Self { keeper: Some(Keeper::new(file)), ..self }
    }

    /// The firmware. Held for a moment only, never over a wait.
    pub fn firmware(&self) -> MutexGuard<'_, Firmware> {
        self.firmware.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the images and the file, once. Until then nothing is offered.
    pub async fn recall(&self, link: &LinkId) {
        let reading = self.recalled.get_or_init(async || {
            let plan = self.plan.clone();
            let (offers, troubles) = match timeout(PATIENCE, spawn_blocking(move || plan.offers())).await {
                Ok(Ok(read)) => read,
                _ => (Offers::default(), vec!["the disk does not answer".into()]),
            };
            for trouble in troubles {
                error!(%link, trouble, "firmware of the site file is not offered to any node");
            }
            self.firmware().settle(offers);
            let Some(keeper) = &self.keeper else { return };
            let recalled = match keeper.read(keep::LARGEST).await {
                Ok(text) => self.firmware().recall(&text),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = recalled {
                let file = keeper.file().display();
                warn!(%link, %file, error, "what firmware was given to nodes cannot be read; give it again");
            }
        });
        reading.await;
    }

    /// Sees to it that what has changed is written.
    pub fn note(&self) {
        if self.firmware().take_changed()
            && let Some(keeper) = &self.keeper
        {
            keeper.note();
        }
    }

    /// Writes the file for as long as a session runs.
    pub async fn keep_up(&self, link: &LinkId) -> Infallible {
        let Some(keeper) = &self.keeper else { return std::future::pending().await };
        loop {
            keeper.noted().await;
            if let Err(error) = keeper.keep(|| self.firmware().text()).await {
                let file = keeper.file().display();
                warn!(%link, %file, %error, "what firmware nodes get cannot be kept; tried again");
                sleep(AGAIN).await;
                keeper.note();
            }
        }
    }

    /// Writes what waits, at the end of a session.
    pub async fn keep_last(&self) {
        self.note();
        if let Some(keeper) = &self.keeper {
            // If it fails it is tried again in the next session.
            let _ = timeout(LAST_WRITE, keeper.keep(|| self.firmware().text())).await;
        }
    }

    /// Has a node get an image, as somebody at the machine asks: `node`, `type`, `version`, the bytes of
    /// the `image` in hexadecimal, perhaps `change_type` and `rle`. Without an image it only tells how
    /// every node is.
    ///
    /// # Errors
    /// Says why it is not done.
    pub async fn answer(&self, link: &LinkId, request: &Json) -> Result<Json, String> {
        self.recall(link).await;
        if !request["image"].is_null() {
            self.give(link, request).await?;
        }
        let nodes = self
            .firmware()
            .states()
            .into_iter()
            .map(|News { node, state, percent, .. }| json!({ "node": node, "state": state, "percent": percent }));
        Ok(json!({ "ok": true, "nodes": nodes.collect::<Vec<_>>() }))
    }

    async fn give(&self, link: &LinkId, request: &Json) -> Result<(), String> {
        let word = |key: &str| {
            let word = request[key].as_u64().and_then(|word| u16::try_from(word).ok());
            word.ok_or_else(|| format!("`{key}` is a number from 0 to 65535"))
        };
        let node = word("node")?;
        let node = u8::try_from(node).map_err(|_| format!("{node} is not the number of a node: 1 to 254"))?;
        let name = Name { kind: word("type")?, version: word("version")? };
        let bytes = request["image"].as_str().and_then(unhex).ok_or("`image` is not in hexadecimal")?;
        let image = Image::new(name, bytes, hex::LARGEST, None).map_err(|error| error.to_string())?;
        let crc = image.crc();
        let (may_change_type, may_repeat) = (request["change_type"] == true, request["rle"] == true);
        let given = self.firmware().give(node, Offer { image, may_change_type, may_repeat });
        given.map_err(|refusal| refusal.to_string())?;
        info!(%link, node, %name, crc, "a node is to get firmware, as somebody at this machine asked");
        self.note();
        let Some(keeper) = &self.keeper else { return Ok(()) };
        match timeout(PATIENCE, keeper.keep(|| self.firmware().text())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("the node gets it, but it could not be kept for a restart: {error}")),
            Err(_) => Err("the node gets it, but the disk has not taken it yet: a restart may forget it".into()),
        }
    }
}
