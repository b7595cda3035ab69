//! The whole product without hardware: `wharf demo`.
//!
//! Nothing of the gateway is simulated. [`meter`] and [`nodes`] are devices that speak their real
//! protocols, over a real socket and a real (pseudo) serial port, to the real drivers; a real site
//! file describes them, and the embedded broker shows what comes of it.
//!
//! - `curve`: how simulated values move. Pure.
//! - `plant` and `network`: what the simulated devices are and say. Pure.
//! - [`meter`], [`nodes`] and `pty`: the same on a socket and on a serial port.
//! - `site`: the site file. `scroll`: what is printed. `folder`: a place for the time of the demo.

mod curve;
mod folder;
pub mod meter;
mod network;
pub mod nodes;
mod plant;
mod pty;
mod scroll;
mod site;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::message::Message;
use crate::{app, config};
use folder::Folder;
use meter::Meter;
use nodes::Nodes;
use scroll::Places;

pub use site::example as example_site;

/// How many messages may wait to be shown. More than that are not shown.
const MESSAGES_WAITING: usize = 1024;

/// How to run the demo.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where the local broker listens. When the port is taken, or 0, a free one is chosen.
    pub listen: SocketAddr,
    /// How long the demo lasts; without it, until it is told to stop.
    pub lasting: Option<Duration>,
}

/// Runs the demo and prints what it does, until `stop` or until its time is up.
///
/// # Errors
///
/// What keeps the demo from starting, in words for the person who wants to see it; a local broker
/// that may not listen where it should.
pub async fn run(options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let folder = Folder::new().context("making a temporary folder for the demo")?;
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let meter = Meter::start(anywhere).context("starting the simulated modbus link")?;
    let nodes = Nodes::start(folder.path()).context("starting the simulated mysensors gateway")?;
    let listen = free_address(options.listen).with_context(|| format!("looking for a port at {}", options.listen))?;

    let text = site::text(listen, meter.address(), nodes.path());
    let no_secrets = |name: &str| Err(format!("the demo has no secret {name}"));
    let site =
        config::read(&text, &folder.path().join("site.yaml"), &no_secrets).map_err(|errors| anyhow!("{errors}"))?;
    let (tap, messages) = mpsc::channel(MESSAGES_WAITING);
    let running = app::start(site, app::Options { state_dir: folder.path().join("state"), tap: Some(tap) }).await?;

    let broker = running.broker_addresses().first().copied().unwrap_or(listen);
    let places = Places { wanted: options.listen, broker, modbus: meter.address(), serial: nodes.path() };
    let shown = show(&places, messages, options.lasting, &stop).await;
    let stopped = running.stop().await;
    nodes.stop().await;
    meter.stop().await;
    shown.context("printing what the demo does")?;
    stopped
}

/// Prints until it is time to stop, or until nobody reads any more.
async fn show(
    places: &Places<'_>,
    messages: mpsc::Receiver<Message>,
    lasting: Option<Duration>,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut out = io::stdout();
    let showing = async {
        out.write_all(scroll::header(places).as_bytes())?;
        out.flush()?;
        scroll::run(&mut out, messages).await
    };
    let over = async {
        match lasting {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        shown = showing => match shown {
            // `wharf demo | head` has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            shown => shown,
        },
        () = stop.cancelled() => Ok(()),
        () = over => Ok(()),
    }
}

/// The address itself, or the same with a free port if its own is taken.
fn free_address(wanted: SocketAddr) -> io::Result<SocketAddr> {
    let found = match TcpListener::bind(wanted) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => TcpListener::bind((wanted.ip(), 0)),
        found => found,
    };
    // It is free again from here on, and the broker takes it a moment later.
    found?.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_replaced_by_a_free_one() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let wanted = taken.local_addr().unwrap();
        let chosen = free_address(wanted).unwrap();
        assert_eq!(chosen.ip(), wanted.ip());
        assert_ne!(chosen.port(), wanted.port());
        assert_ne!(chosen.port(), 0);
        drop(taken);
        assert_eq!(free_address(wanted).unwrap(), wanted);
    }
}
