//! Which device is meant, and how it is reached: one that a site file names, through its gateway if
//! that runs, or one that only the command line knows.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value as Json, json};
use wharf_contract::settings::suggestion;
use wharf_modbus::LinkSettings;
use wharf_modbus::commission::Tester;

use super::form::{decode, mapping, plain, wrong};
use super::through::Through;
use crate::cli::exit::{self, Exit};
use crate::cli::place::Place;
use crate::config::Site;
use crate::control::{self, AskError};
use crate::drivers;

/// The name of a device that only the command line knows.
const NAMELESS: &str = "device";

/// How long a unit on a serial line is waited for in a scan. Most answer within 50 ms.
const SERIAL_SCAN: &str = "300ms";

/// How a device is reached that no site file names.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Without a site file")]
pub struct Way {
    /// A device or gateway that speaks Modbus TCP
    #[arg(long, value_name = "HOST[:PORT]", group = "way")]
    tcp: Option<String>,
    /// A serial server that carries RTU over TCP
    #[arg(long, value_name = "HOST:PORT", group = "way")]
    rtu_over_tcp: Option<String>,
    /// A device that speaks Modbus over UDP
    #[arg(long, value_name = "HOST[:PORT]", group = "way")]
    udp: Option<String>,
    /// A serial port, best by /dev/serial/by-id/…
    #[arg(long, value_name = "PATH", group = "way")]
    serial: Option<String>,
    /// The speed of the serial line; a scan takes several, such as 9600,19200 [default: 9600]
    #[arg(long, value_name = "BAUD", requires = "serial", value_delimiter = ',')]
    pub baud: Vec<String>,
    /// Its data bits, parity and stop bits; a scan takes several, such as 8N1,8E1 [default: 8N1]
    #[arg(long, value_name = "FRAME", requires = "serial", value_delimiter = ',')]
    pub frame: Vec<String>,
    /// How long a request waits for its answer [default: 1s; in a scan of a serial line 300ms]
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
}

impl Way {
    /// A device at this address that may take its time.
    pub fn tcp(place: &str) -> Self {
        Self { tcp: Some(place.to_owned()), timeout: Some("5s".to_owned()), ..Self::default() }
    }

    /// Whether the command line says how the device is reached.
    pub fn is_given(&self) -> bool {
        self.tcp.is_some() || self.rtu_over_tcp.is_some() || self.udp.is_some() || self.serial.is_some()
    }

    /// Whether it is a serial line.
    pub fn is_serial(&self) -> bool {
        self.serial.is_some()
    }

    /// The same with one speed and one frame of a serial line.
    pub fn set_to(&self, baud: Option<&str>, frame: Option<&str>) -> Self {
        let one = |word: Option<&str>| word.map(str::to_owned).into_iter().collect();
        let timeout = self.timeout.clone().or(self.is_serial().then(|| SERIAL_SCAN.to_owned()));
        Self { baud: one(baud), frame: one(frame), timeout, ..self.clone() }
    }

    /// The link's own keys, as they would stand in the site file.
    pub fn keys(&self) -> Vec<(&'static str, &str)> {
        let given = [
            ("tcp", self.tcp.as_ref()),
            ("rtu_over_tcp", self.rtu_over_tcp.as_ref()),
            ("udp", self.udp.as_ref()),
            ("serial", self.serial.as_ref()),
            ("baud", self.baud.first()),
            ("frame", self.frame.first()),
        ];
        given.into_iter().filter_map(|(key, value)| Some((key, value?.as_str()))).collect()
    }

    /// A link with one device of this unit id.
    pub fn link(&self, unit: &str) -> Result<LinkSettings, Exit> {
        if self.baud.len() > 1 || self.frame.len() > 1 {
            return Err(wrong("several speeds or frames can only be scanned"));
        }
        let device = mapping([("unit", plain(unit))]);
        let keys = self.keys().into_iter().map(|(key, value)| (key, plain(value)));
        let timeout = self.timeout.as_ref().map(|timeout| ("timeout", plain(timeout)));
        let devices = ("devices", mapping([(NAMELESS, device)]));
        decode(&mapping(keys.chain(timeout).chain([devices])))
    }

    /// The device of this unit id, asked directly.
    pub fn device(&self, unit: &str) -> Result<Device, Exit> {
        Ok(Device { tester: Tester::new(self.link(unit)?), name: NAMELESS.to_owned(), is_named: false })
    }
}

/// Whom `read`, `write` and `probe` ask, and how they print what comes of it.
#[derive(Args)]
pub struct Whom {
    /// Where the gateway's state is, if that is not what the site file says
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Print a JSON object a line, also on a terminal
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    way: Way,
    /// The unit id of the device
    #[arg(long, value_name = "ID", default_value = "1", requires = "way", help_heading = "Without a site file")]
    unit: String,
}

impl Whom {
    /// Whether the command line says how the device is reached, without a site file.
    pub fn is_given(&self) -> bool {
        self.way.is_given()
    }

    /// The device that only the command line knows, asked directly.
    pub fn device(&self) -> Result<Device, Exit> {
        self.way.device(&self.unit)
    }

    /// The site of this file, with its state where the command line says, or elsewhere.
    pub fn at(&self, site: &str) -> Result<AtSite, Exit> {
        AtSite::open(site, self.state_dir.clone())
    }
}

/// A Modbus device, ready to be asked.
pub struct Device {
    pub tester: Tester,
    /// What the tester knows it by.
    pub name: String,
    /// Whether the site file gave it that name.
    pub is_named: bool,
}

/// A site file, and the gateway it describes.
pub struct AtSite {
    pub site: Site,
    state_dir: PathBuf,
    /// The links that a running gateway holds; `None` if none runs.
    held: Option<Vec<String>>,
}

impl AtSite {
    /// Reads the site file, and finds out whether its gateway runs.
    pub fn open(file: &str, state_dir: Option<PathBuf>) -> Result<Self, Exit> {
        let (site, state_dir) = Place::of(PathBuf::from(file), state_dir).open()?;
        let held = match control::ask(&state_dir, &json!({ "do": "status" })) {
            Ok(status) => Some(links(&status)),
            Err(AskError::Nobody) => None,
            // A gateway is there, and what it holds must not be touched behind its back.
            Err(error) => {
                let context = format!("{error} (state in {})", state_dir.display());
                return Err(Exit::failure(&anyhow::anyhow!(context)));
            }
        };
        Ok(Self { site, state_dir, held })
    }

    /// Whether a gateway runs and holds this link.
    pub fn is_held(&self, link: &str) -> bool {
        self.held.as_ref().is_some_and(|held| held.iter().any(|name| name == link))
    }

    /// Asks the gateway.
    pub fn ask(&self, request: &Json) -> Result<Json, Exit> {
        control::ask(&self.state_dir, request).map_err(|error| Exit::failure(&error.into()))
    }

    /// The link and kind of the driver that a device is on. Told if there is no such device.
    pub fn find(&self, device: &str) -> Result<(&str, Kind<'_>), Exit> {
        for (link, settings) in self.site.modbus.iter() {
            if settings.devices.get(device).is_some() {
                return Ok((link.as_str(), Kind::Modbus(settings)));
            }
        }
        for (link, settings) in self.site.ble.iter() {
            if settings.devices.get(device).is_some() {
                return Ok((link.as_str(), Kind::Other));
            }
        }
        for (link, settings) in self.site.mysensors.iter() {
            // The gateway of a network has a point of its own, listed or not: it opens it for new nodes.
            let is_gateway = device.strip_prefix(link.as_str()) == Some("-0");
            if is_gateway || settings.devices.get(device).is_some() {
                return Ok((link.as_str(), Kind::Other));
            }
        }
        for (link, settings) in self.site.lines.iter() {
            if settings.devices.get(device).is_some() {
                return Ok((link.as_str(), Kind::Other));
            }
        }
        for (link, settings) in self.site.mqtt.iter() {
            if settings.devices.get(device).is_some() {
                return Ok((link.as_str(), Kind::Other));
            }
        }
        let modbus = self.site.modbus.iter().flat_map(|(_, link)| link.devices.iter().map(|(name, _)| name.as_str()));
        let nodes = self.site.mysensors.iter().flat_map(|(_, link)| link.devices.iter().map(|(name, _)| name.as_str()));
        let sensors = self.site.ble.iter().flat_map(|(_, link)| link.devices.iter().map(|(name, _)| name.as_str()));
        let lines = self.site.lines.iter().flat_map(|(_, link)| link.devices.iter().map(|(name, _)| name.as_str()));
        let mqtt = self.site.mqtt.iter().flat_map(|(_, link)| link.devices.iter().map(|(name, _)| name.as_str()));
        let known: Vec<&str> = modbus.chain(sensors).chain(nodes).chain(lines).chain(mqtt).collect();
        Err(wrong(&format!("there is no device `{device}` in the site file; {}", suggestion(device, &known))))
    }

    /// The points of a device that the site file tells of.
    pub fn points(&self, device: &str) -> Vec<String> {
        let drivers = drivers::build(&self.site, None);
        let all = drivers.iter().flat_map(|driver| driver.catalogue());
        all.filter(|info| info.device.as_str() == device).map(|info| info.point.to_string()).collect()
    }

    /// A tester for a Modbus link: through the gateway if that holds it. `writing`: what it asks is
    /// meant to change something.
    pub fn tester(&self, link: &str, settings: &LinkSettings, writing: bool) -> Tester {
        let tester = Tester::new(settings.clone());
        if self.is_held(link) {
            return tester.through(Box::new(Through::new(&self.state_dir, link, writing)));
        }
        exit::complain(&format_args!(
            "wharf: no gateway is running with the state in {}: asking the device directly",
            self.state_dir.display()
        ));
        tester
    }

    /// A Modbus device of the site.
    pub fn device(&self, name: &str, writing: bool) -> Result<Device, Exit> {
        let (link, kind) = self.find(name)?;
        let Kind::Modbus(settings) = kind else {
            return Err(wrong(&format!("`{name}` is no Modbus device: it has no registers")));
        };
        Ok(Device { tester: self.tester(link, settings, writing), name: name.to_owned(), is_named: true })
    }
}

impl AtSite {
    /// Where the state of its gateway is.
    pub fn state_dir(&self) -> &std::path::Path {
        &self.state_dir
    }
}

/// What speaks to a device.
pub enum Kind<'a> {
    Modbus(&'a LinkSettings),
    /// A driver without registers.
    Other,
}

fn links(status: &Json) -> Vec<String> {
    let links = status["links"].as_array().into_iter().flatten();
    links.filter_map(|link| link["name"].as_str().map(str::to_owned)).collect()
}
