//! What the counters of a link remember, kept over restarts in a small file. It is replaced as a
//! whole: soon after a counter went around, now and then while they count, and at the end of each
//! session. Without the file, or after a crash, at worst a way around is not known of.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;
use wharf_contract::small_file::Keeper;

use crate::link::{Link, Point};
use crate::value::counter::Counter;

/// How soon it is kept that a counter went around.
const SOON: Duration = Duration::from_secs(5);

/// How often the counters are kept while they only count, to spare the disk.
const NOW_AND_THEN: Duration = Duration::from_secs(600);

/// The largest file that is read. Ten thousand counters take a tenth of it.
const LARGEST: u64 = 8 << 20;

/// Where the counters are kept, if anywhere.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    file: Option<Keeper>,
    recalled: AtomicBool,
}

impl Counters {
    /// Counters that outlive the process.
    pub(crate) fn in_file(file: PathBuf) -> Self {
        Self { file: Some(Keeper::new(file)), ..Self::default() }
    }

    /// Gives the counters what the file knows of them; before the first session only.
    pub(crate) async fn recall(&self, link: &Link) {
        let Some(keeper) = &self.file else { return };
        if self.recalled.swap(true, Ordering::Relaxed) {
            return;
        }
        match keeper.read(LARGEST).await {
            Ok(text) => restore(&text, link),
            Err(error) => warn!(link = %link.name, %error, "what the counters counted before cannot be read"),
        }
    }

    /// Keeps the counters for as long as a session runs.
    pub(crate) async fn keep_up(&self, link: &Link) -> Infallible {
        let (mut kept, mut at) = (render(link, false), Instant::now());
        loop {
            sleep(SOON).await;
            let heights = render(link, false);
            if heights != kept || at.elapsed() >= NOW_AND_THEN {
                self.keep(link).await;
                (kept, at) = (heights, Instant::now());
            }
        }
    }

    /// Keeps the counters as they are now.
    pub(crate) async fn keep(&self, link: &Link) {
        let was_read = || counters(link).any(|(_, point)| point.memory.get().last.is_some());
        let Some(keeper) = self.file.as_ref().filter(|_| was_read()) else { return };
        if let Err(error) = keeper.replace(|| render(link, true)).await {
            warn!(link = %link.name, %error, "what the counters counted cannot be kept over a restart");
        }
    }
}

/// One line for each counter that was read: its place and range, by which it is found again, what was
/// added so far, and what it showed last. A counter that the site file has changed is not found.
fn render(link: &Link, with_last: bool) -> String {
    counters(link)
        .filter_map(|(place, point)| {
            let counter = point.memory.get();
            let last = counter.last?;
            let last = if with_last { last } else { 0 };
            Some(format!("{place} {} {last}\n", counter.height))
        })
        .collect()
}

fn restore(text: &str, link: &Link) {
    let known = text.lines().filter_map(|line| {
        let (rest, last) = line.rsplit_once(' ')?;
        let (place, height) = rest.rsplit_once(' ')?;
        Some((place, Counter { last: Some(last.parse().ok()?), height: height.parse().ok()? }))
    });
    let known: HashMap<&str, Counter> = known.collect();
    for (place, point) in counters(link) {
        if let (Some(counter), Some(wraps_at)) = (known.get(place.as_str()), point.layout.wraps_at)
            && counter.is_sound(wraps_at)
        {
            point.memory.set(*counter);
        }
    }
}

/// The counters of a link, each with the words that tell it from others.
fn counters(link: &Link) -> impl Iterator<Item = (String, &Point)> {
    let points = link.devices.iter().flat_map(|device| device.points.iter().map(move |point| (device, point)));
    points.filter_map(|(device, point)| {
        let Point { name, table, address, .. } = point;
        let wraps_at = point.layout.wraps_at?;
        Some((format!("{} {name} {} {address} {wraps_at}", device.name, table.key()), point))
    })
}
