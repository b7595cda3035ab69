//! `wharf sunspec`: what a SunSpec device has, ready to paste.

use anyhow::anyhow;
use clap::Args;

use super::exit::Exit;
use crate::sunspec::{Connection, devices, walk};

/// Walk through the models of a SunSpec device.
#[derive(Args)]
pub struct SunspecArgs {
    /// The device: a host, or host:port
    host: String,
    /// Its unit id
    #[arg(long, default_value_t = 1)]
    unit: u8,
}

/// Prints the devices of the site file that it comes to. Only ever reads.
pub fn run(args: &SunspecArgs) -> Result<(), Exit> {
    let (host, port) = match args.host.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
        Some((host, Ok(port))) => (host.trim_start_matches('[').trim_end_matches(']'), port),
        _ => (args.host.as_str(), 502),
    };
    let failed = |why: String| Exit::failure(&anyhow!("{why}"));
    let mut connection = Connection::open(host, port, args.unit).map_err(failed)?;
    let mut read = |start, count| connection.read(start, count);
    let models = walk(&mut read).map_err(failed)?;
    let yaml = devices(&models, args.unit, &mut read).map_err(failed)?;
    super::say(yaml.trim_end())
}
