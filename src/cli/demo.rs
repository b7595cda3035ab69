//! `wharf demo`: the whole product, without hardware.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::demo;

/// Run simulated devices and a gateway that reads them.
#[derive(Args)]
pub struct DemoArgs {
    /// Where the local broker listens; a free port is chosen when this one is taken
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:1883")]
    listen: SocketAddr,
    /// Print the demo's site file and end
    #[arg(long)]
    print_site: bool,
    /// End after so many seconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
}

/// Runs the demo until `stop`.
pub async fn run(args: DemoArgs, stop: CancellationToken) -> anyhow::Result<()> {
    if args.print_site {
        print!("{}", demo::example_site(args.listen));
        return Ok(());
    }
    let options = demo::Options { listen: args.listen, lasting: args.seconds.map(Duration::from_secs) };
    demo::run(options, stop).await
}
