//! `wharf sunspec`: what a SunSpec device has, ready to paste.

use anyhow::anyhow;
use clap::Args;
use wharf_modbus::commission::Content;

use super::form::Form;
use super::target::{Device, Way};
use crate::cli::exit::Exit;
use crate::sunspec::{devices, walk};

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
pub async fn run(args: &SunspecArgs) -> Result<(), Exit> {
    let mut device = Way::tcp(&args.host).device(&args.unit.to_string())?;
    let failed = |why: String| Exit::failure(&anyhow!("{why}"));
    // Of what is not there the others are asked for, but not of who is not there.
    device.tester.connect().await.map_err(|trouble| failed(trouble.to_string()))?;
    let mut read = async |start, count| holding(&mut device, start, count).await;
    let models = walk(&mut read).await.map_err(failed)?;
    let yaml = devices(&models, args.unit, &mut read).await.map_err(failed)?;
    crate::cli::say(yaml.trim_end())
}

/// So many holding registers from a place on, all of them or none.
async fn holding(device: &mut Device, start: u16, count: u16) -> Result<Vec<u16>, String> {
    let point = Form::default().at(&format!("holding:{start}")).map_err(|_| "no such register".to_owned())?;
    let spot = device.tester.spot(&device.name, &point).ok_or("no such device")?;
    let seen = device.tester.read(&spot, count).await.map_err(|trouble| trouble.to_string())?;
    let mut registers = Vec::with_capacity(usize::from(count));
    for seen in seen {
        let seen = seen.map_err(|(address, trouble)| format!("register {address}: {trouble}"))?;
        if let Content::Registers(words) = seen.content {
            registers.extend(words);
        }
    }
    Ok(registers)
}
