//! From the site file's `broker` to the local broker and what it needs.

use std::path::Path;

use anyhow::{Context, anyhow};
use tokio::sync::mpsc;
use wharf_contract::settings::Problem;

use crate::bridge::Up;
use crate::broker::rights::Rules;
use crate::broker::{Listener, LocalBroker, Settings};
use crate::classic::feed::Feed;
use crate::config::{self, Site};
use crate::downlink::Ask;
use crate::message::Message;
use crate::topics::Topics;

/// Where what survives a restart is kept, within the state directory.
const STORE: &str = "broker";

/// Starts the local broker.
pub async fn start(
    site: &Site,
    state_dir: &Path,
    topics: &Topics,
    shown: mpsc::Receiver<Message>,
    asks: &mpsc::Sender<Ask>,
    feed: Feed,
    up: Up,
) -> anyhow::Result<LocalBroker> {
    let settings = Settings {
        listen: site.broker.listen.iter().map(|listen| listen.listener()).collect(),
        limits: site.broker.limits(),
        rules: rules(site)?,
        dir: Some(state_dir.join(STORE)),
    };
    LocalBroker::start(settings, topics, shown, asks.clone(), feed, up).await
}

/// The rules of the local broker.
///
/// # Errors
/// A password that cannot be read. Loading the site has told of it, with its place.
pub fn rules(site: &Site) -> anyhow::Result<Rules> {
    let (rules, problems) = config::rights(site);
    match problems.into_iter().find(|problem| !problem.is_warning()) {
        Some(Problem { path, message, .. }) => Err(anyhow!("{path}: {message}")),
        None => Ok(rules),
    }
}

/// Reads the certificates of the local broker, to see whether they can be used.
///
/// # Errors
/// A file that does not hold what it should.
pub fn preflight(site: &Site) -> anyhow::Result<()> {
    for Listener { address, tls, .. } in site.broker.listen.iter().map(|listen| listen.listener()) {
        tls.map_or(Ok(()), |files| files.check()).with_context(|| format!("the local broker on {address}"))?;
    }
    Ok(())
}
