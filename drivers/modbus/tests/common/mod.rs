//! What the driver's integration tests share: settings from JSON, and a driver run on a port.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod scripted;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use wharf_contract::settings::Problem;
use wharf_contract::{
    Action, Answer, Command, Driver, DriverError, Event, Health, LinkEvent, Port, PortEnd, Quality, Reading, Value,
};
use wharf_modbus::{LinkSettings, Modbus};
use wharf_test_support::settings::{read, valid};

/// Far longer than anything here takes, however slow the machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Reads a link; gives what was read and all mistakes.
pub fn decode(json: &Json) -> (Option<LinkSettings>, Vec<Problem>) {
    read(json)
}

/// A driver at work, seen from the gateway's side.
pub struct Running {
    pub end: PortEnd,
    pub events: mpsc::Receiver<LinkEvent>,
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), DriverError>>,
}

/// Starts one session for the settings, which have to be right.
pub fn start(json: &Json) -> Running {
    run(driver(json))
}

/// The driver for the settings, which have to be right.
pub fn driver(json: &Json) -> Modbus {
    Modbus::new("bus".into(), &valid(json))
}

/// The same with a memory on disk.
pub fn start_remembering(json: &Json, file: &Path) -> Running {
    run(driver(json).remembering(file.to_owned()))
}

/// Starts one session.
pub fn run(driver: Modbus) -> Running {
    run_again(Arc::new(driver))
}

/// Starts a session of a driver that may have had others.
pub fn run_again(driver: Arc<Modbus>) -> Running {
    let (events_in, events) = mpsc::channel(1024);
    let stop = CancellationToken::new();
    let (mut port, end) = Port::new("bus".into(), events_in, stop.clone());
    let task = tokio::spawn(async move { driver.run(&mut port).await });
    Running { end, events, stop, task }
}

impl Running {
    /// The next event that the test has a use for.
    pub async fn event<T>(&mut self, wanted: impl Fn(&Event) -> Option<T>) -> T {
        let search = async {
            loop {
                let Some(LinkEvent { event, .. }) = self.events.recv().await else {
                    panic!("the driver has ended: {:?}", (&mut self.task).await);
                };
                if let Some(found) = wanted(&event) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, search).await.expect("the event comes in time")
    }

    /// The next reading of a point.
    pub async fn reading(&mut self, device: &str, point: &str) -> Reading {
        self.event(|event| match event {
            Event::Reading(reading) if reading.device.as_str() == device && reading.point.as_str() == point => {
                Some(reading.clone())
            }
            _ => None,
        })
        .await
    }

    /// The next good value of a point.
    pub async fn value(&mut self, device: &str, point: &str) -> Value {
        self.event(|event| match event {
            Event::Reading(reading)
                if reading.device.as_str() == device
                    && reading.point.as_str() == point
                    && reading.quality == Quality::Good =>
            {
                reading.value.clone()
            }
            _ => None,
        })
        .await
    }

    /// The next word about whether a device answers.
    pub async fn device(&mut self, name: &str) -> (bool, Option<String>) {
        self.event(|event| match event {
            Event::Device { device, alive, reason } if device.as_str() == name => Some((*alive, reason.clone())),
            _ => None,
        })
        .await
    }

    /// Sends a command and waits for its answer.
    pub async fn command(&mut self, device: &str, point: &str, action: Action) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        let (command, answer) = Command::new(device.into(), point.into(), action, deadline);
        self.end.commands.send(command).await.expect("the driver takes commands");
        timeout(PATIENCE, answer.wait()).await.expect("the answer comes in time")
    }

    /// Waits until the link's health is as wanted.
    pub async fn health(&mut self, wanted: impl Fn(&Health) -> bool) -> Health {
        let seen = timeout(PATIENCE, self.end.health.wait_for(wanted)).await.expect("the health changes in time");
        seen.expect("the driver still runs").clone()
    }

    /// Stops the session; it ends well.
    pub async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.expect("the driver stops in time").expect("no panic").expect("a good end");
    }
}

pub fn write(value: impl Into<Json>, verify: bool) -> Action {
    let value = match value.into() {
        Json::Bool(on) => Value::Bool(on),
        Json::String(text) => Value::Text(text),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64().expect("a number")),
        },
        other => panic!("{other} is no value"),
    };
    Action::Write { value, verify }
}
