//! `wharf read`: what does it hold now?

use clap::Args;
use serde_json::json;
use wharf_contract::settings::suggestion;
use wharf_modbus::commission::{Spot, Trouble};

use super::form::{Form, wrong};
use super::show::{Outcome, Row, human, is_for_people};
use super::target::{AtSite, Device, Kind, Whom};
use crate::cli::exit::{self, Exit};

/// The most values that one command reads.
const MOST: u16 = 2000;

/// Read a device.
#[derive(Args)]
#[command(override_usage = "wharf read <SITE> <DEVICE>[/<POINT>]
       wharf read <SITE> <DEVICE> <ADDRESS> [COUNT]
       wharf read --tcp <HOST[:PORT]> [--unit <ID>] <ADDRESS> [COUNT]
       wharf read --serial <PATH> [--baud <BAUD>] [--unit <ID>] <ADDRESS> [COUNT]")]
pub struct ReadArgs {
    /// What to read: a site file and a device, or a point of it; or an address such as holding:100,
    /// and how many values from there on
    #[arg(value_name = "WHAT", required = true, num_args = 1..=4)]
    what: Vec<String>,
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    form: Form,
}

/// Reads and prints. Exit code 1 if anything could not be read.
pub async fn run(args: &ReadArgs) -> Result<(), Exit> {
    let what: Vec<&str> = args.what.iter().map(String::as_str).collect();
    let mut yaml = None;
    let rows = match (args.whom.is_given(), what.as_slice()) {
        (true, [address, count @ ..]) if count.len() <= 1 => {
            yaml = Some(args.form.yaml(address));
            addresses(args, args.whom.device()?, address, count.first().copied().unwrap_or("1")).await?
        }
        (true, _) => return Err(wrong("too much is said: write an address, and perhaps a count")),
        (false, [_]) => return Err(wrong("which device? write it after the site file, or --tcp or --serial before")),
        (false, [site, name]) => match name.split_once('/') {
            Some((device, point)) => points(args, site, device, Some(point)).await?,
            None => points(args, site, name, None).await?,
        },
        (false, [site, device, address, count @ ..]) => {
            let at_site = args.whom.at(site)?;
            let device = at_site.device(device, false)?;
            yaml = Some(args.form.yaml(address));
            addresses(args, device, address, count.first().copied().unwrap_or("1")).await?
        }
        (false, []) => return Err(Exit::USAGE),
    };
    print(&rows, yaml.as_deref(), args.whom.json)
}

/// Values one after the other, from an address on.
async fn addresses(args: &ReadArgs, mut device: Device, address: &str, count: &str) -> Result<Vec<Row>, Exit> {
    let count = count.parse().ok().filter(|count| (1..=MOST).contains(count));
    let count = count.ok_or_else(|| wrong(&format!("the count is a number from 1 to {MOST}")))?;
    let point = args.form.at(address)?;
    let Some(spot) = device.tester.spot(&device.name, &point) else { return Err(Exit::USAGE) };
    Ok(rows(&mut device, &spot, count).await)
}

/// A point of a device, or all of them.
async fn points(args: &ReadArgs, site: &str, device: &str, point: Option<&str>) -> Result<Vec<Row>, Exit> {
    let at_site = args.whom.at(site)?;
    let (link, kind) = at_site.find(device)?;
    if let Kind::Other = kind {
        return through_gateway(&at_site, link, device, point);
    }
    let mut target = at_site.device(device, false)?;
    let spots = target.tester.spots(device).unwrap_or_default();
    let names: Vec<&str> = spots.iter().map(Spot::name).collect();
    let wanted: Vec<Spot> =
        spots.iter().filter(|spot| point.is_none_or(|point| spot.name() == point)).cloned().collect();
    if wanted.is_empty() {
        return Err(wrong(&match point {
            Some(point) => format!("`{device}` has no point `{point}`; {}", suggestion(point, &names)),
            None => format!("`{device}` has no points in the site file; write an address such as holding:100"),
        }));
    }
    let mut all = Vec::new();
    for spot in wanted {
        all.extend(rows(&mut target, &spot, 1).await);
    }
    Ok(all)
}

/// What only a running gateway can read.
fn through_gateway(at_site: &AtSite, link: &str, device: &str, point: Option<&str>) -> Result<Vec<Row>, Exit> {
    let Some(point) = point else {
        let points = at_site.points(device);
        let said = if points.is_empty() { String::new() } else { format!("; it has {}", points.join(", ")) };
        return Err(wrong(&format!("which point? write {device}/POINT{said}")));
    };
    if !at_site.is_held(link) {
        let why = format!("`{device}` can only be read through a running gateway, and none is running");
        return Err(Exit::failure(&anyhow::anyhow!(why)));
    }
    let answer = at_site.ask(&json!({ "do": "read", "device": device, "point": point }))?;
    let outcome = match answer["error"].as_str() {
        Some(error) => Outcome::Nothing(None, error.to_owned()),
        None => Outcome::Value(answer["observed"].clone()),
    };
    Ok(vec![Row { device: Some(device.to_owned()), point: Some(point.to_owned()), spot: None, outcome }])
}

async fn rows(device: &mut Device, spot: &Spot, count: u16) -> Vec<Row> {
    let name = device.is_named.then(|| device.name.clone());
    let seen = device.tester.read(spot, count).await;
    let seen = seen.unwrap_or_else(|trouble: Trouble| vec![Err((spot.address(), trouble))]);
    seen.into_iter().map(|seen| Row::read(name.as_deref(), spot, seen)).collect()
}

/// Prints the rows, and for people how a point of the site file would read the first of them. What is
/// missing is also a failure.
fn print(rows: &[Row], yaml: Option<&str>, json: bool) -> Result<(), Exit> {
    if is_for_people(json) {
        let yaml = yaml.filter(|_| rows.iter().any(Row::is_good));
        let yaml = yaml.map(|point| format!("\n\nfor the site file:\n          name: {point}")).unwrap_or_default();
        crate::cli::say(&(human(rows) + &yaml))?;
    } else {
        for row in rows {
            crate::cli::say(&row.to_json().to_string())?;
        }
    }
    let missing = rows.iter().filter(|row| !row.is_good()).count();
    if missing == 0 {
        return Ok(());
    }
    if rows.len() > 1 {
        exit::complain(&format_args!("wharf: {missing} of {} have no value", rows.len()));
    }
    Err(Exit::FAILED)
}
