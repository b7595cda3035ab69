//! What a link has learnt about its sensors, kept over restarts in a small file: which were adopted,
//! and the models of those that do not always say it. Without the file nothing is wrong: it is learnt
//! anew.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tracing::warn;
use wharf_contract::LinkId;
use wharf_contract::small_file::Keeper;

use crate::advert::Address;

/// The largest file that is read. A thousand sensors have a tenth of that.
const LARGEST: u64 = 1 << 20;

const FIRST_LINE: &str = "# What this link has learnt about its sensors, as wharf found out. May be deleted.";

/// What stands for a device of the site file where an adopted one has its name.
const LISTED: &str = "-";

/// What is kept of one sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) address: Address,
    /// The name it was adopted by; `None` if it stands in the site file.
    pub(crate) adopted: Option<String>,
    /// Whether it speaks only when something happens.
    pub(crate) on_event_only: bool,
    pub(crate) model: Option<String>,
}

/// The file, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    file: Option<Keeper>,
    /// What is to stand in it, as it was noted last.
    latest: Mutex<String>,
}

impl Memory {
    pub(crate) fn in_file(file: PathBuf) -> Self {
        Self { file: Some(Keeper::new(file)), latest: Mutex::default() }
    }

    /// What was kept.
    pub(crate) async fn recall(&self, link: &LinkId) -> Vec<Kept> {
        let Some(keeper) = &self.file else { return Vec::new() };
        let text = keeper.read(LARGEST).await.unwrap_or_else(|error| {
            warn!(%link, %error, "what was learnt about the sensors cannot be read; it is learnt anew");
            String::new()
        });
        parse(&text)
    }

    /// Notes what is to be kept instead. The file is written beside the session, by [`keep_up`](Self::keep_up).
    pub(crate) fn note(&self, kept: &[Kept]) {
        if let Some(keeper) = &self.file {
            *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = render(kept);
            keeper.note();
        }
    }

    /// Writes the file for as long as a session runs.
    pub(crate) async fn keep_up(&self, link: &LinkId) -> Infallible {
        let Some(keeper) = &self.file else { return std::future::pending().await };
        loop {
            keeper.noted().await;
            self.keep(link).await;
        }
    }

    /// Writes the file if something was noted, and waits for a write under way.
    pub(crate) async fn keep(&self, link: &LinkId) {
        let Some(keeper) = &self.file else { return };
        let text = || self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Err(error) = keeper.keep(text).await {
            warn!(%link, %error, "what was learnt about the sensors cannot be kept over a restart");
        }
    }
}

/// One line for each: address, name, `sleeps` or `speaks`, and the model up to the line's end.
fn render(kept: &[Kept]) -> String {
    let mut text = format!("{FIRST_LINE}\n");
    for Kept { address, adopted, on_event_only, model } in kept {
        let name = adopted.as_deref().unwrap_or(LISTED);
        let rhythm = if *on_event_only { "sleeps" } else { "speaks" };
        // What came over the air must not become a line of its own.
        let model: String = model.iter().flat_map(|model| model.chars()).filter(|c| !c.is_control()).collect();
        text += &format!("{address} {name} {rhythm} {model}\n");
    }
    text
}

/// What a file's lines tell; those that make no sense are left out.
fn parse(text: &str) -> Vec<Kept> {
    let mut lines = text.lines();
    if lines.next() != Some(FIRST_LINE) {
        return Vec::new();
    }
    lines.filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Kept> {
    let mut words = line.splitn(4, ' ');
    let address = words.next()?.parse().ok()?;
    let name = words.next().filter(|name| !name.is_empty())?;
    let on_event_only = match words.next()? {
        "sleeps" => true,
        "speaks" => false,
        _ => return None,
    };
    let model = words.next().filter(|model| !model.is_empty()).map(str::to_owned);
    Some(Kept { address, adopted: Some(name).filter(|name| *name != LISTED).map(str::to_owned), on_event_only, model })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(address: &str, adopted: Option<&str>, on_event_only: bool, model: Option<&str>) -> Kept {
        let owned = |text: &str| text.to_owned();
        Kept { address: address.parse().unwrap(), adopted: adopted.map(owned), on_event_only, model: model.map(owned) }
    }

    #[tokio::test]
    async fn what_is_kept_is_recalled() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ble").join("hall.sensors");
        let all = [
            kept("A4:C1:38:56:53:84", Some("th-a4c138565384"), false, Some("BTHome v2 with blanks")),
            kept("A4:C1:38:56:53:85", None, true, None),
        ];
        assert_eq!(Memory::in_file(file.clone()).recall(&"hall".into()).await, []);
        let memory = Memory::in_file(file.clone());
        memory.note(&all);
        memory.keep(&"hall".into()).await;
        assert_eq!(Memory::in_file(file).recall(&"hall".into()).await, all);
    }

    #[test]
    fn a_model_from_the_air_stays_on_its_line() {
        let text = render(&[kept("A4:C1:38:56:53:84", None, false, Some("a\nA4:C1:38:56:53:85 x speaks b"))]);
        assert_eq!(parse(&text).len(), 1);
    }

    #[test]
    fn lines_that_make_no_sense_are_left_out() {
        let text = format!("{FIRST_LINE}\nA4:C1:38:56:53:84\nx y speaks z\nA4:C1:38:56:53:84 y dances z\n");
        assert_eq!(parse(&text), []);
        assert_eq!(parse("A4:C1:38:56:53:84 y speaks z\n"), [], "not ours");
    }
}
