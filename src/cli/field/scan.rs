//! `wharf scan modbus`: which devices are there? It only reads. (`wharf scan ble` has a file of its own.)

#[cfg(feature = "ble")]
mod ble;
#[cfg(feature = "ble")]
mod heard;
mod report;
mod units;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;
use wharf_contract::settings::{Period, suggestion};
use wharf_modbus::LinkSettings;
use wharf_modbus::commission::scan::Found;
use wharf_modbus::commission::{Tester, Trouble};

use super::form::{decode, plain, wrong};
use super::show::is_for_people;
use super::target::{AtSite, Way};
use super::through::Through;
use crate::cli::exit::{self, Exit};
use crate::cli::words::{counted, lasting};
use report::Place;
use units::Units;

/// Look for devices.
#[derive(Args)]
pub struct ScanArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Look for Modbus units at an address, on a serial line, or on a link of a site file
    ///
    /// Each unit id is asked for one holding register; a unit that answers is asked for the first item
    /// of the other tables and for its identification (43/14). Nothing is ever written. A serial line
    /// has one master: stop whatever else asks on it before you scan. With several speeds or frames
    /// the scan ends with the first at which somebody answers.
    ///
    /// Exit code 1 if nobody answers.
    Modbus(ModbusArgs),
    /// Listen for Bluetooth sensors: who is there, what they say, and why some cannot be read
    ///
    /// Through the gateway of a site file if that runs, else with its adapter and its keys; without a
    /// site file with an adapter of the command line. What is no device yet is printed as lines for the
    /// site file.
    ///
    /// Exit code 1 if nothing is heard.
    #[cfg(feature = "ble")]
    Ble(ble::BleArgs),
}

#[derive(Args)]
#[command(override_usage = "wharf scan modbus --tcp <HOST[:PORT]> [OPTIONS]
       wharf scan modbus --serial <PATH> [--baud <BAUD,…>] [--frame <FRAME,…>] [OPTIONS]
       wharf scan modbus <SITE> [LINK] [OPTIONS]")]
struct ModbusArgs {
    /// The site file
    #[arg(value_name = "SITE", conflicts_with = "way", required_unless_present = "way")]
    site: Option<String>,
    /// The link of the site file; not needed if it has only one for Modbus
    #[arg(value_name = "LINK")]
    link: Option<String>,
    /// The unit ids to ask, such as 1-10,20 [default: 1-247; over TCP also 255 and 0]
    #[arg(long, value_name = "IDS")]
    units: Option<Units>,
    /// How long the line rests between two requests
    #[arg(long, value_name = "TIME", default_value = "50ms")]
    pause: String,
    /// Ask a silent unit for the other tables, too: some devices do not answer to what they lack
    #[arg(long)]
    thorough: bool,
    /// Try all speeds and frames, also after somebody has answered
    #[arg(long)]
    all: bool,
    /// Scan a link that a running gateway is using: through it, between its own requests, with the
    /// timeout of its site file
    #[arg(long)]
    in_use: bool,
    /// Where the gateway's state is, if that is not what the site file says
    #[arg(long, value_name = "DIR", requires = "site")]
    state_dir: Option<PathBuf>,
    /// Print a JSON object a line, also on a terminal
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    way: Way,
}

/// Looks, and prints what was found; also when it is interrupted.
pub async fn run(args: &ScanArgs, stop: CancellationToken) -> Result<(), Exit> {
    #[cfg_attr(
        not(feature = "ble"),
        expect(clippy::infallible_destructuring_match, reason = "there is more with Bluetooth")
    )]
    let args = match &args.what {
        What::Modbus(args) => args,
        #[cfg(feature = "ble")]
        What::Ble(args) => return ble::run(args, stop).await,
    };
    let stages = stages(args)?;
    let units = args.units.clone().unwrap_or_else(|| Units::usual(stages.iter().any(|stage| stage.is_bus)));
    let people = is_for_people(args.json);
    let (mut reports, mut last, mut noise) = (Vec::new(), None, false);
    for mut stage in stages {
        let warning = if stage.is_bus { "; whoever else asks on this line now will be disturbed" } else { "" };
        exit::complain(&format_args!(
            "wharf: asking {} on {}, one request at a time; nothing is written{warning}",
            counted(units.len() as u64, "unit"),
            stage.place
        ));
        let scan = Scan { args, units: &units, people, stop: &stop };
        let (found, trouble) = scan.run(&mut stage).await;
        noise |= stage.tester.hears_noise();
        stage.tester.close().await;
        let anybody = found.iter().any(Found::is_clear);
        reports.push((stage.place, found));
        last = trouble;
        if last.is_some() || stop.is_cancelled() || anybody && !args.all {
            break;
        }
    }
    let anybody = reports.iter().any(|(_, found)| found.iter().any(Found::is_clear));
    if people && anybody {
        crate::cli::say(&report::human(&reports, units.len()))?;
    }
    if let Some(trouble) = last {
        exit::complain(&format_args!("wharf: {trouble}"));
        return Err(Exit::FAILED);
    }
    if stop.is_cancelled() {
        exit::complain(&"wharf: interrupted; not all units were asked");
        return Err(Exit::FAILED);
    }
    if !anybody {
        exit::complain(&format_args!("wharf: {}", report::nobody(&reports, noise)));
        return Err(Exit::FAILED);
    }
    Ok(())
}

/// One link, set up one way.
struct Stage {
    place: Place,
    tester: Tester,
    timeout: Duration,
    /// Whether units share a line, so that there is no 0 and no 255.
    is_bus: bool,
}

/// What there is to scan: a link, or a serial line at each speed and frame.
fn stages(args: &ModbusArgs) -> Result<Vec<Stage>, Exit> {
    let pause: Period<0, 60_000> = decode(&plain(&args.pause))?;
    if let Some(file) = &args.site {
        return Ok(vec![of_site(args, file, pause)?]);
    }
    let each = |given: &[String]| -> Vec<Option<String>> {
        if given.is_empty() { vec![None] } else { given.iter().cloned().map(Some).collect() }
    };
    let mut stages = Vec::new();
    for baud in each(&args.way.baud) {
        for frame in each(&args.way.frame) {
            let way = args.way.set_to(baud.as_deref(), frame.as_deref());
            let settings = way.link("1")?;
            let keys = way.keys().into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            let is_bus = way.is_serial() || settings.rtu_over_tcp.is_some();
            stages.push(stage(Place::Keys(keys), settings, None, is_bus, pause.get()));
        }
    }
    Ok(stages)
}

/// A link of a site file. If a gateway is using it, that has to be meant.
fn of_site(args: &ModbusArgs, file: &str, pause: Period<0, 60_000>) -> Result<Stage, Exit> {
    let at_site = AtSite::open(file, args.state_dir.clone())?;
    let links: Vec<&str> = at_site.site.modbus.iter().map(|(name, _)| name.as_str()).collect();
    let name = match (&args.link, links.as_slice()) {
        (Some(name), _) => name.as_str(),
        (None, [only]) => only,
        (None, []) => return Err(wrong("the site file has no Modbus link")),
        (None, several) => return Err(wrong(&format!("which link? the site file has {}", several.join(", ")))),
    };
    let Some(settings) = at_site.site.modbus.get(name) else {
        return Err(wrong(&format!("there is no Modbus link `{name}` in the site file; {}", suggestion(name, &links))));
    };
    let held = at_site.is_held(name);
    if held && !args.in_use {
        let why = format!(
            "a running gateway is using the link `{name}`: stop it, or say --in-use to scan through it; its own \
             requests will wait for those of the scan"
        );
        return Err(Exit::failure(&anyhow::anyhow!(why)));
    }
    let mut settings = settings.clone();
    if let Some(timeout) = &args.way.timeout {
        settings.timeout = decode(&plain(timeout))?;
    }
    let through = held.then(|| Through::new(at_site.state_dir(), name, false));
    let is_bus = settings.rtu_over_tcp.is_some() || settings.serial.is_some();
    Ok(stage(Place::Link(name.to_owned()), settings, through, is_bus, pause.get()))
}

fn stage(place: Place, settings: LinkSettings, through: Option<Through>, is_bus: bool, pause: Duration) -> Stage {
    let tester = Tester::new(settings).paced(pause);
    let timeout = tester.timeout();
    let tester = match through {
        Some(through) => tester.through(Box::new(through)),
        None => tester,
    };
    Stage { place, tester, timeout, is_bus }
}

/// How a stage is gone through.
struct Scan<'a> {
    args: &'a ModbusArgs,
    units: &'a Units,
    people: bool,
    stop: &'a CancellationToken,
}

impl Scan<'_> {
    /// Asks every unit, and gives those that answered. Ends early if there is no connection.
    async fn run(&self, stage: &mut Stage) -> (Vec<Found>, Option<Trouble>) {
        let mut found = Vec::new();
        let begin = Instant::now();
        for (done, unit) in self.units.iter().enumerate() {
            if self.stop.is_cancelled() {
                break;
            }
            self.progress(done, found.len(), begin);
            match stage.tester.look_for(unit, self.args.thorough, stage.timeout).await {
                Ok(None) => {}
                Ok(Some(unit)) => {
                    if !self.people && crate::cli::say(&report::json(&stage.place, &unit).to_string()).is_err() {
                        break;
                    }
                    found.push(unit);
                }
                Err(trouble) => {
                    self.clear();
                    return (found, Some(trouble));
                }
            }
        }
        self.clear();
        (found, None)
    }

    /// Says how far it is, to someone who sits at a terminal.
    fn progress(&self, done: usize, found: usize, begin: Instant) {
        let all = self.units.len();
        let per_unit = begin.elapsed().checked_div(u32::try_from(done).unwrap_or(u32::MAX)).unwrap_or_default();
        let left = per_unit.saturating_mul(u32::try_from(all - done).unwrap_or(u32::MAX));
        let left = if done < 3 { String::new() } else { format!(", about {} left", lasting(left)) };
        self.line(&format!("{done} of {all} asked, {found} found{left}"));
    }

    fn clear(&self) {
        self.line("");
    }

    fn line(&self, text: &str) {
        let mut terminal = std::io::stderr();
        if terminal.is_terminal() {
            let _ = write!(terminal, "\r\x1b[K{text}").and_then(|()| terminal.flush());
        }
    }
}
