//! `wharf explain`: what the gateway is going to ask of which device, how often, and whether its
//! links have the time for it. Everything follows from the site file and from what the gateway has
//! remembered of the devices; nothing is touched.

use std::sync::Arc;

use clap::Args;
use serde_json::{Value as Json, json};
use wharf_contract::plan::{percent, spell};
use wharf_contract::{DevicePlan, Driver, LinkPlan, RequestPlan};

use super::exit::Exit;
use super::place::Place;
use super::words::{counted, table};
use crate::drivers;

/// How many points of a request are named; of the others it is said how many they are.
const NAMED: usize = 6;

/// How many places that a device refuses are named; of the others it is said how many they are.
const REFUSED_NAMED: usize = 20;

/// Show what is going to be asked of which device, and what that takes.
#[derive(Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    place: Place,
    /// Only this link
    #[arg(long, value_name = "NAME")]
    link: Option<String>,
    /// Print everything as one JSON object
    #[arg(long)]
    json: bool,
}

/// Explains the site: exit code 78 if its file is wrong, 2 if it has no such link.
pub fn run(args: &ExplainArgs) -> Result<(), Exit> {
    let (site, state_dir) = args.place.open()?;
    let mut drivers = drivers::build(&site, Some(&state_dir));
    if let Some(wanted) = &args.link {
        drivers.retain(|driver| driver.name().as_str() == wanted);
        if drivers.is_empty() {
            super::exit::complain(&format_args!("wharf: the site has no link `{wanted}`"));
            return Err(Exit::USAGE);
        }
    }
    if args.json {
        let links: Vec<Json> = drivers.iter().map(|driver| link_json(driver, driver.plan())).collect();
        let whole = json!({
            "gateway": site.gateway.as_str(),
            "state_dir": state_dir,
            "command_deadline_ms": millis(site.commands.deadline.get()),
            "links": links,
        });
        return super::say(&whole.to_string());
    }
    let mut parts = vec![format!(
        "gateway {}, state in {}, commands wait up to {}",
        site.gateway,
        state_dir.display(),
        spell(site.commands.deadline.get())
    )];
    parts.extend(drivers.iter().map(|driver| human(driver, driver.plan())));
    super::say(&parts.join("\n\n"))
}

/// One link for people.
fn human(driver: &Arc<dyn Driver>, plan: Option<LinkPlan>) -> String {
    let head = format!("{} {}", driver.kind(), driver.name());
    let Some(plan) = plan else { return format!("{head}: listens, and asks for nothing at a rhythm") };
    if requests(&plan).next().is_none() {
        return listening(&head, &plan);
    }
    let asked: f64 = requests(&plan).map(|(_, request)| 1.0 / request.every.as_secs_f64()).sum();
    let mut lines = vec![format!(
        "{head}: {}, {} in {}, {} requests a second, {} of its time ({})",
        plan.place,
        counted(points(&plan), "point"),
        counted(requests(&plan).count() as u64, "request"),
        rate(asked),
        percent(plan.load()),
        plan.pace,
    )];
    lines.extend(spelt(&plan.settings));
    lines.extend(plan.warning().map(|warning| format!("warning: {warning}")));
    lines.extend(plan.advice().map(|advice| format!("help: {advice}")));
    let devices: Vec<Vec<String>> = plan.devices.iter().map(device_row).collect();
    lines.push(table(&["DEVICE", "LOAD", "SETTINGS"], 1, 2, &devices));
    let rows: Vec<Vec<String>> = requests(&plan).map(|(device, request)| request_row(device, request)).collect();
    if !rows.is_empty() {
        lines.push(table(&["DEVICE", "READS", "EVERY", "TAKES", "LOAD", "POINTS"], 2, 5, &rows));
    }
    lines.extend(plan.devices.iter().filter_map(refused));
    lines.extend(plan.forget.map(|how| format!("to have it forgotten and looked for anew: {how}")));
    lines.join("\n")
}

/// A link whose devices speak by themselves.
fn listening(head: &str, plan: &LinkPlan) -> String {
    let mut lines = vec![format!("{head}: {}, listens, and asks for nothing at a rhythm", plan.place)];
    lines.extend(spelt(&plan.settings));
    let devices: Vec<Vec<String>> = plan
        .devices
        .iter()
        .map(|device| vec![device.device.to_string(), spelt(&device.settings).unwrap_or_default()])
        .collect();
    if !devices.is_empty() {
        lines.push(table(&["DEVICE", "SETTINGS"], 1, 1, &devices));
    }
    lines.join("\n")
}

/// What a device is not asked for any more, or only alone.
fn refused(device: &DevicePlan) -> Option<String> {
    let mut places: Vec<String> = device.refuses.iter().take(REFUSED_NAMED).cloned().collect();
    if device.refuses.len() > REFUSED_NAMED {
        places.push(format!("{} more", device.refuses.len() - REFUSED_NAMED));
    }
    let name = &device.device;
    (!places.is_empty())
        .then(|| format!("remembered: {name} refuses {}; the others are read without it", places.join(", ")))
}

fn device_row(device: &DevicePlan) -> Vec<String> {
    vec![device.device.to_string(), percent(device.load()), spelt(&device.settings).unwrap_or_default()]
}

fn request_row(device: &DevicePlan, request: &RequestPlan) -> Vec<String> {
    let name = |(point, every): &(wharf_contract::PointId, std::time::Duration)| {
        if *every == request.every { point.to_string() } else { format!("{point} ({})", spell(*every)) }
    };
    let mut names: Vec<String> = request.points.iter().take(NAMED).map(name).collect();
    if request.points.len() > NAMED {
        names.push(format!("{} more", request.points.len() - NAMED));
    }
    vec![
        device.device.to_string(),
        request.what.clone(),
        spell(request.every),
        format!("{:.1} ms", request.takes.as_secs_f64() * 1000.0),
        percent(request.load()),
        names.join(", "),
    ]
}

/// `timeout: 1s, retries: 1`
fn spelt(settings: &[(&'static str, String)]) -> Option<String> {
    let words: Vec<String> = settings.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// One link for programs.
fn link_json(driver: &Arc<dyn Driver>, plan: Option<LinkPlan>) -> Json {
    let (name, kind) = (driver.name().as_str(), driver.kind());
    let Some(plan) = plan else { return json!({ "link": name, "driver": kind, "devices": [] }) };
    json!({
        "link": name,
        "driver": kind,
        "place": plan.place,
        "pace": plan.pace,
        "certain": plan.is_certain,
        "load": plan.load(),
        "warning": plan.warning(),
        "advice": plan.advice(),
        "forget": plan.forget,
        "settings": settings_json(&plan.settings),
        "devices": plan.devices.iter().map(device_json).collect::<Vec<_>>(),
    })
}

fn device_json(device: &DevicePlan) -> Json {
    let request = |request: &RequestPlan| {
        let point = |(point, every): &(wharf_contract::PointId, std::time::Duration)| json!({ "point": point.as_str(), "every_ms": millis(*every) });
        json!({
            "reads": request.what,
            "every_ms": millis(request.every),
            "takes_ms": request.takes.as_secs_f64() * 1000.0,
            "load": request.load(),
            "points": request.points.iter().map(point).collect::<Vec<_>>(),
        })
    };
    json!({
        "device": device.device.as_str(),
        "settings": settings_json(&device.settings),
        "refuses": device.refuses,
        "load": device.load(),
        "requests": device.requests.iter().map(request).collect::<Vec<_>>(),
    })
}

fn settings_json(settings: &[(&'static str, String)]) -> Json {
    settings.iter().map(|(key, value)| ((*key).to_owned(), Json::from(value.as_str()))).collect()
}

fn requests(plan: &LinkPlan) -> impl Iterator<Item = (&DevicePlan, &RequestPlan)> {
    plan.devices.iter().flat_map(|device| device.requests.iter().map(move |request| (device, request)))
}

fn points(plan: &LinkPlan) -> u64 {
    requests(plan).map(|(_, request)| request.points.len() as u64).sum()
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn rate(number: f64) -> String {
    if number < 9.95 { format!("{number:.1}") } else { format!("{number:.0}") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn explained(text: &str) -> String {
        let site = crate::config::read(text, Path::new("site.yaml"), &|_| Ok(String::new())).unwrap();
        let parts: Vec<String> =
            drivers::build(&site, None).iter().map(|driver| human(driver, driver.plan())).collect();
        parts.join("\n\n")
    }

    #[test]
    fn a_site_is_explained_request_by_request() {
        let text = "
gateway: gw1
modbus:
  boiler-room:
    tcp: 192.168.1.40
    devices:
      tank:
        unit: 7
        timeout: 300ms
        points:
          level: { holding: 100, type: f32, every: 1s }
          pressure: { holding: 102, type: f32, every: 1s }
          total: { holding: 104, type: u32 }
          valve: { coil: 3 }
mysensors:
  garden: { serial: /dev/ttyACM0 }
";
        let expected = "\
modbus boiler-room: 192.168.1.40:502, 4 points in 2 requests, 1.1 requests a second, 0.3 % of its time (2ms a request, assumed)
DEVICE   LOAD  SETTINGS
tank    0.3 %  unit: 7, timeout: 300ms, retries: 1, max_registers: 125
DEVICE  READS            EVERY   TAKES   LOAD  POINTS
tank    coil 3             10s  2.0 ms  0.0 %  valve
tank    holding 100–105     1s  2.3 ms  0.2 %  level, pressure, total (10s)

mysensors garden: listens, and asks for nothing at a rhythm";
        assert_eq!(explained(text), expected);
    }

    #[cfg(feature = "ble")]
    #[test]
    fn of_an_adapter_it_is_explained_who_is_connected_to_and_what_is_read_when() {
        let text = "
gateway: gw1
ble:
  hall:
    adapter: hci0
    devices:
      fridge: { mac: A4C138565384 }
      probe:
        mac: C038565384A4
        gatt: battery
        points:
          temperature: { characteristic: 2a6e, notify: true }
          setpoint: { characteristic: fff1, type: i16, every: 5m }
      valve: { mac: C038565384A5, connect: poll, points: { state: { characteristic: fff2, type: u8, every: 10m } } }
";
        let expected = "\
ble hall: hci0, 3 points in 3 requests, 0.0 requests a second, 0.6 % of its time (1500ms a connection and as long a rest, 100ms a read, assumed)
connections: 3
DEVICE   LOAD  SETTINGS
probe   0.0 %  connect: keep, notify: temperature
valve   0.5 %  connect: poll
DEVICE  READS                        EVERY      TAKES   LOAD  POINTS
probe   characteristic 2a19 of 180f     1h   100.0 ms  0.0 %  battery
probe   characteristic fff1             5m   100.0 ms  0.0 %  setpoint
valve   characteristic fff2            10m  3100.0 ms  0.5 %  state";
        assert_eq!(explained(text), expected);
    }

    #[test]
    fn what_a_device_was_found_to_refuse_is_named_up_to_a_bound() {
        let refusing = |number: usize| DevicePlan {
            device: "tank".into(),
            settings: Vec::new(),
            requests: Vec::new(),
            refuses: (0..number).map(|n| format!("holding {n}")).collect(),
        };
        assert_eq!(refused(&refusing(0)), None);
        let said = refused(&refusing(2)).unwrap();
        assert_eq!(said, "remembered: tank refuses holding 0, holding 1; the others are read without it");
        assert!(refused(&refusing(30)).unwrap().contains("holding 19, 10 more;"));
    }

    #[test]
    fn a_link_with_too_much_to_do_is_said_to_be_so() {
        let points: String = (0..40).map(|n| format!("          p{n}: {{ holding: {} }}\n", n * 200)).collect();
        let text = format!(
            "gateway: g\nmodbus:\n  bus:\n    tcp: 10.0.0.1\n    every: 50ms\n    devices:\n      tank:\n        unit: 1\n        points:\n{points}"
        );
        let told = explained(&text);
        assert!(
            told.contains("warning: 10.0.0.1:502 needs about 164 % of its time at 2ms a request, assumed\n"),
            "{told}"
        );
        assert!(told.contains("help: raise `every` of tank from 50ms to 200ms or more\n"), "{told}");
    }
}
