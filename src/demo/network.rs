//! A simulated MySensors gateway and the nodes around it: lines in, lines out, time as an argument.
//! [`super::nodes`] puts it on a serial port.
//!
//! | node | child | what |
//! |---|---|---|
//! | 1 | 1, 2 | a greenhouse: temperature (`V_TEMP`), humidity (`V_HUM`); battery |
//! | 2 | 1 | a tracker that walks in circles (`V_POSITION`) |
//! | 3 | 1, 3 | soil moisture (`V_LEVEL`), and a valve (`V_STATUS`) that waters it |
//!
//! The parts of the protocol it knows are written out here once more, rather than taken from the
//! driver, so that the two check each other.

use std::f64::consts::TAU;
use std::time::Duration;

use super::curve;

/// The gateway's own number.
const GATEWAY: u8 = 0;
/// As a node: everyone. As a child: the node itself.
const ALL: u8 = 255;
/// The version of the MySensors library that the gateway and its nodes are built with.
const LIBRARY: &str = "2.3.2";

const PRESENTATION: u8 = 0;
const SET: u8 = 1;
const REQ: u8 = 2;
const INTERNAL: u8 = 3;

const V_TEMP: u8 = 0;
const V_HUM: u8 = 1;
const V_STATUS: u8 = 2;
const V_LEVEL: u8 = 37;
const V_POSITION: u8 = 49;

const I_BATTERY_LEVEL: u8 = 0;
const I_VERSION: u8 = 2;
const I_SKETCH_NAME: u8 = 11;
const I_SKETCH_VERSION: u8 = 12;
const I_REBOOT: u8 = 13;
const I_GATEWAY_READY: u8 = 14;
const I_HEARTBEAT_REQUEST: u8 = 18;
const I_PRESENTATION: u8 = 19;
const I_DISCOVER_REQUEST: u8 = 20;
const I_DISCOVER_RESPONSE: u8 = 21;
const I_HEARTBEAT_RESPONSE: u8 = 22;

const S_BINARY: u8 = 3;
const S_TEMP: u8 = 6;
const S_HUM: u8 = 7;
const S_ARDUINO_NODE: u8 = 17;
const S_MOISTURE: u8 = 35;
const S_GPS: u8 = 38;

/// What a node says about itself.
struct Sketch {
    node: u8,
    name: &'static str,
    /// Child, sensor type and description.
    children: &'static [(u8, u8, &'static str)],
}

const SKETCHES: [Sketch; 3] = [
    Sketch { node: 1, name: "Greenhouse", children: &[(1, S_TEMP, "air"), (2, S_HUM, "air")] },
    Sketch { node: 2, name: "Tracker", children: &[(1, S_GPS, "goat")] },
    Sketch { node: 3, name: "Soil and valve", children: &[(1, S_MOISTURE, "bed 1"), (3, S_BINARY, "bed 1")] },
];

/// Something a node sends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Report {
    node: u8,
    child: u8,
    command: u8,
    kind: u8,
    every: Duration,
}

const fn report(node: u8, child: u8, command: u8, kind: u8, seconds: u64) -> Report {
    Report { node, child, command, kind, every: Duration::from_secs(seconds) }
}

const REPORTS: [Report; 6] = [
    report(1, 1, SET, V_TEMP, 3),
    report(1, 2, SET, V_HUM, 3),
    report(1, ALL, INTERNAL, I_BATTERY_LEVEL, 30),
    report(2, 1, SET, V_POSITION, 2),
    report(3, 1, SET, V_LEVEL, 4),
    report(3, 3, SET, V_STATUS, 4),
];

/// The nodes speak one after the other, so that the first values come soon and not all at once.
const STAGGER: Duration = Duration::from_millis(250);
/// How fast the soil takes up water and dries, in real time.
const SOIL_PACE: Duration = Duration::from_secs(90);
const WET: f64 = 68.0;
const DRY: f64 = 22.0;

/// The gateway and its nodes at a moment.
#[derive(Clone, Debug)]
pub struct Network {
    /// When each report is due; `None` while the gateway has not started.
    due: Option<[Duration; REPORTS.len()]>,
    open: bool,
    moisture: f64,
    /// The moment for which `moisture` holds.
    measured: Duration,
}

impl Default for Network {
    fn default() -> Self {
        Self { due: None, open: false, moisture: 41.0, measured: Duration::ZERO }
    }
}

impl Network {
    /// Starts the gateway, as opening the port of a real one does: it says that it is ready, its
    /// nodes present themselves, and their values follow.
    pub fn start(&mut self, now: Duration) -> Vec<String> {
        self.due = Some(std::array::from_fn(|place| now + STAGGER * u32::try_from(place).unwrap_or_default()));
        let ready = line(GATEWAY, ALL, INTERNAL, false, I_GATEWAY_READY, "Gateway startup complete.");
        std::iter::once(ready).chain(SKETCHES.iter().flat_map(presentation)).collect()
    }

    /// Falls silent, as a gateway does when its port is closed. What the nodes know stays.
    pub fn halt(&mut self) {
        self.due = None;
    }

    /// Whether it has started.
    pub fn is_running(&self) -> bool {
        self.due.is_some()
    }

    /// When the next node speaks by itself.
    pub fn next(&self) -> Option<Duration> {
        self.due.iter().flatten().min().copied()
    }

    /// What the nodes say by themselves, now that it is this late.
    pub fn speak(&mut self, now: Duration) -> Vec<String> {
        let Some(mut due) = self.due else { return Vec::new() };
        let mut lines = Vec::new();
        for (report, due) in REPORTS.iter().zip(&mut due).filter(|(_, due)| **due <= now) {
            *due = now + report.every;
            lines.extend(self.told(report, now));
        }
        self.due = Some(due);
        lines
    }

    /// What a line to the gateway causes. One that makes no sense, or is for a node that is not
    /// there, goes unanswered, as on the radio.
    pub fn hear(&mut self, heard: &str, now: Duration) -> Vec<String> {
        let Some(Heard { node, child, command, echo, kind, payload }) = Heard::parse(heard) else {
            return Vec::new();
        };
        if (node, command, kind) == (GATEWAY, INTERNAL, I_VERSION) {
            return vec![line(GATEWAY, ALL, INTERNAL, false, I_VERSION, LIBRARY)];
        }
        let mut lines = Vec::new();
        for sketch in SKETCHES.iter().filter(|sketch| node == sketch.node || node == ALL) {
            // The library sends the echo before the sketch looks at the message.
            if echo && node != ALL {
                lines.push(line(node, child, command, true, kind, payload));
            }
            match (command, kind) {
                (SET, V_STATUS) if (sketch.node, child) == (3, 3) => lines.extend(self.switch(payload, now)),
                (REQ, _) => {
                    let asked = |report: &&Report| {
                        (report.node, report.child, report.command, report.kind) == (sketch.node, child, SET, kind)
                    };
                    lines.extend(REPORTS.iter().find(asked).and_then(|report| self.told(report, now)));
                }
                (INTERNAL, I_PRESENTATION | I_REBOOT) => lines.extend(presentation(sketch)),
                (INTERNAL, I_HEARTBEAT_REQUEST) => {
                    let uptime = now.as_millis().to_string();
                    lines.push(line(sketch.node, ALL, INTERNAL, false, I_HEARTBEAT_RESPONSE, &uptime));
                }
                (INTERNAL, I_DISCOVER_REQUEST) => {
                    let parent = GATEWAY.to_string();
                    lines.push(line(sketch.node, ALL, INTERNAL, false, I_DISCOVER_RESPONSE, &parent));
                }
                _ => {}
            }
        }
        lines
    }

    /// Moves the valve and tells how it stands. A payload that is neither on nor off moves nothing.
    fn switch(&mut self, payload: &str, now: Duration) -> Option<String> {
        self.pass(now);
        match payload {
            "0" => self.open = false,
            "1" => self.open = true,
            _ => {}
        }
        REPORTS
            .iter()
            .find(|report| (report.node, report.kind) == (3, V_STATUS))
            .and_then(|report| self.told(report, now))
    }

    /// The line a report is at this moment.
    fn told(&mut self, report: &Report, now: Duration) -> Option<String> {
        let payload = match (report.command, report.kind) {
            (SET, V_TEMP) => format!("{:.1}", temperature(now)),
            (SET, V_HUM) => format!("{:.0}", curve::humidity(temperature(now))),
            (INTERNAL, I_BATTERY_LEVEL) => battery(now).to_string(),
            (SET, V_POSITION) => position(now),
            (SET, V_LEVEL) => {
                self.pass(now);
                format!("{:.1}", self.moisture)
            }
            (SET, V_STATUS) => u8::from(self.open).to_string(),
            _ => return None,
        };
        Some(line(report.node, report.child, report.command, false, report.kind, &payload))
    }

    /// Lets the soil take up water, or dry.
    fn pass(&mut self, now: Duration) {
        let target = if self.open { WET } else { DRY };
        self.moisture = curve::approach(self.moisture, target, now.saturating_sub(self.measured), SOIL_PACE);
        self.measured = self.measured.max(now);
    }
}

fn temperature(now: Duration) -> f64 {
    curve::air_temperature(curve::hour_of_day(now)) + 0.2 * curve::wobble(now, 6.0)
}

/// In %: one less each day.
fn battery(now: Duration) -> u64 {
    97_u64.saturating_sub(now.as_secs() / curve::DAY.as_secs()).max(5)
}

/// A figure of eight around the corner of a field.
fn position(now: Duration) -> String {
    let turn = now.as_secs_f64() / 120.0 * TAU;
    let latitude = 55.722_526 + 0.000_4 * turn.sin();
    let longitude = 13.017_972 + 0.000_6 * (2.0 * turn).sin();
    format!("{latitude:.6},{longitude:.6},18")
}

fn presentation(sketch: &Sketch) -> Vec<String> {
    let itself = |command, kind, payload: &str| line(sketch.node, ALL, command, false, kind, payload);
    let mut lines = vec![
        itself(PRESENTATION, S_ARDUINO_NODE, LIBRARY),
        itself(INTERNAL, I_SKETCH_NAME, sketch.name),
        itself(INTERNAL, I_SKETCH_VERSION, "1.0"),
    ];
    let children = sketch.children.iter();
    lines.extend(children.map(|&(child, kind, what)| line(sketch.node, child, PRESENTATION, false, kind, what)));
    lines
}

fn line(node: u8, child: u8, command: u8, echo: bool, kind: u8, payload: &str) -> String {
    format!("{node};{child};{command};{};{kind};{payload}", u8::from(echo))
}

/// A line, taken apart.
struct Heard<'a> {
    node: u8,
    child: u8,
    command: u8,
    echo: bool,
    kind: u8,
    payload: &'a str,
}

impl<'a> Heard<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim_end_matches('\r').splitn(6, ';');
        let mut number = || fields.next()?.parse::<u8>().ok();
        let (node, child, command, echo, kind) = (number()?, number()?, number()?, number()?, number()?);
        Some(Self { node, child, command, echo: echo == 1, kind, payload: fields.next()? })
    }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
