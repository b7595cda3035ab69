//! From an uplink's settings to its parts: queue, credentials, TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;
use tracing::info;
use wharf_contract::settings::{FilePath, Spanned};

use crate::classic;
use crate::clock::Clock;
use crate::config::site::{self, Protocol, TlsVersion, WhenFull};
use crate::config::{self, Site};
use crate::downlink::Ask;
use crate::north::Outlet;
use crate::queue::disk::{Disk, Kind};
use crate::queue::{self, Queue};
use crate::topics::Topics;
use crate::uplink::{self, Delivery, Down, Keyring, Options, Sources, TlsSettings, Uplink};

/// How long a connect may take: DNS, TCP, TLS and MQTT together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens each uplink's queue, with whatever an earlier run left in it.
pub fn open_queues(site: &Site, state_dir: &Path, clock: &Clock) -> anyhow::Result<Vec<(Arc<str>, Queue)>> {
    let mut queues = Vec::new();
    for (name, settings) in site.uplinks.iter() {
        let dir = state_dir.join("queue").join(name.as_str());
        let queue = Queue::open(settings_of(&settings.queue, &dir, clock))
            .with_context(|| format!("opening the queue of uplink {name} in {}", dir.display()))?;
        let waiting = queue.counters().queued;
        if waiting > 0 {
            info!(uplink = %name, waiting, "messages from before wait to be delivered");
        }
        queues.push((Arc::from(name.as_str()), queue));
    }
    Ok(queues)
}

/// The way to these queues, each with its uplink's filter.
pub fn outlets(site: &Site, queues: &[(Arc<str>, Queue)]) -> Vec<Outlet> {
    let filter = |name: &str| site.uplinks.get(name).map(|settings| config::matcher(&settings.r#match));
    let outlet = |(name, queue): &(Arc<str>, Queue)| Outlet {
        name: name.clone(),
        queue: queue.clone(),
        filter: filter(name).unwrap_or_default(),
    };
    queues.iter().map(outlet).collect()
}

/// Reads each uplink's password and certificates, to see whether that works.
///
/// # Errors
///
/// A file that cannot be read or does not hold what it should.
pub fn preflight(site: &Site) -> anyhow::Result<()> {
    for (name, settings) in site.uplinks.iter() {
        sources(settings).read(None).with_context(|| format!("uplink {name}"))?;
    }
    Ok(())
}

/// Makes an uplink, ready to be started.
pub fn make(
    site: &Site,
    name: &Arc<str>,
    queue: &Queue,
    topics: &Topics,
    asks: &mpsc::Sender<Ask>,
    down: Option<Down>,
    clock: &Clock,
) -> anyhow::Result<(Uplink, Keyring)> {
    let settings = site.uplinks.get(name).context("an uplink without settings")?;
    let keyring = Keyring::new(name.clone(), sources(settings)).with_context(|| format!("uplink {name}"))?;
    let options = Options {
        protocol: match settings.protocol {
            Protocol::V5 => uplink::Protocol::V5,
            Protocol::V311 => uplink::Protocol::V311,
        },
        client_id: settings.client_id(topics.gateway(), name),
        keep_alive: settings.keep_alive.get(),
        will: uplink::will(topics),
        window: settings.in_flight.get(),
        session_expiry: settings.command_age.get(),
        connect_timeout: CONNECT_TIMEOUT,
        for_controllers: classic::is_for_controllers(site),
    };
    let uplink = Uplink {
        name: name.clone(),
        urls: settings.url.iter().map(|url| url.value.clone()).collect(),
        return_after: settings.return_after.get(),
        options,
        command_age: settings.command_age.get(),
        queue: queue.clone(),
        delivery: Delivery {
            share: settings.replay.share.get(),
            rate: settings.replay.rate.map(site::Rate::per_second),
            max_age: settings.queue.max_age.map(Into::into),
            clock: clock.clone(),
            ..Delivery::default()
        },
        topics: topics.clone(),
        asks: asks.clone(),
        down,
    };
    Ok((uplink, keyring))
}

/// Where password and certificates come from.
fn sources(settings: &site::Uplink) -> Sources {
    let path = |file: &Option<Spanned<FilePath>>| file.as_ref().map(|file| file.as_path().to_owned());
    let given = |tls: &site::Tls| TlsSettings {
        ca: path(&tls.ca),
        identity: path(&tls.cert).zip(path(&tls.key)),
        alpn: tls.alpn.iter().map(|protocol| protocol.0.clone()).collect(),
        only_1_3: tls.min_version == TlsVersion::V13,
    };
    Sources {
        username: settings.username.clone(),
        password: settings.password.clone(),
        tls: settings.any_tls().then(|| settings.tls.as_ref().map(given).unwrap_or_default()),
    }
}

/// How the queue of an uplink is kept in `dir`; one the site does not name any more, as usual.
pub fn queue_settings(site: &Site, uplink: &str, dir: &Path) -> queue::Settings {
    match site.uplinks.get(uplink) {
        Some(settings) => settings_of(&settings.queue, dir, &Clock::system()),
        None => queue::Settings::new(dir),
    }
}

fn settings_of(settings: &site::Queue, dir: &Path, clock: &Clock) -> queue::Settings {
    let by_disk = || Disk::of(dir).map_or(Kind::Unknown, |disk| disk.kind).commit_interval();
    let commit_interval = settings.commit.map_or_else(by_disk, Into::into);
    queue::Settings {
        max_size: settings.max_size.get(),
        max_age: settings.max_age.map(Into::into),
        min_free: settings.min_free.get(),
        when_full: match settings.when_full {
            WhenFull::DropOldest => queue::WhenFull::DropOldest,
            WhenFull::DropNewest => queue::WhenFull::DropNewest,
            WhenFull::Block => queue::WhenFull::Block,
        },
        commit_interval,
        clock: clock.clone(),
        ..queue::Settings::new(dir)
    }
}
