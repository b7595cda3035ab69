//! Requests to a link that a running gateway holds: it puts them between its own.

use std::path::{Path, PathBuf};

use serde_json::json;
use wharf_contract::async_trait;
use wharf_modbus::commission::{Relay, Trouble};

use crate::control;

/// The way through the gateway's control socket.
pub struct Through {
    state_dir: PathBuf,
    link: String,
    writing: bool,
}

impl Through {
    /// To a link of the gateway with this state directory.
    pub fn new(state_dir: &Path, link: &str, writing: bool) -> Self {
        Self { state_dir: state_dir.to_owned(), link: link.to_owned(), writing }
    }
}

#[async_trait]
impl Relay for Through {
    async fn exchange(&mut self, unit: u8, pdu: &[u8]) -> Result<Vec<u8>, Trouble> {
        let request: String = std::iter::once(&unit).chain(pdu).map(|byte| format!("{byte:02x}")).collect();
        let request = json!({ "do": "raw", "link": self.link, "request": request, "write": self.writing });
        let state_dir = self.state_dir.clone();
        let asking = tokio::task::spawn_blocking(move || control::ask(&state_dir, &request));
        let answer = asking.await.map_err(|error| Trouble::Broken(error.to_string()))?;
        let answer = answer.map_err(|error| Trouble::Broken(error.to_string()))?;
        let reason = || answer["reason"].as_str().unwrap_or("the gateway gives no reason").to_owned();
        match answer["outcome"].as_str() {
            Some("answer") => control::unhex(answer["answer"].as_str().unwrap_or_default())
                .ok_or_else(|| Trouble::Broken("the gateway's answer is not hexadecimal".into())),
            Some("silent") => Err(Trouble::Silent(reason())),
            Some("refused") => Err(Trouble::Refused(reason())),
            _ => Err(Trouble::Broken(reason())),
        }
    }
}
