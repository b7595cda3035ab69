//! The driver as the gateway runs it, with a port whose other end the test holds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wharf_ble::Ble;
use wharf_ble::gatt::{Settings, Sharing, Waits};
use wharf_ble::radio::Timeouts;
use wharf_contract::port::Outcome;
use wharf_contract::{Action, Answer, Command, Driver, DriverError, Event, LinkEvent, Port, PortEnd, Quality, Value};
use wharf_test_support::settings::valid;

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits that are short.
pub fn hurried(settings: Settings) -> Settings {
    Settings {
        sharing: Sharing {
            turn: Duration::from_millis(500),
            back_off: Duration::from_millis(300),
            back_off_most: Duration::from_secs(2),
            look_again: Duration::from_millis(100),
            ..settings.sharing
        },
        waits: Waits {
            pair: Duration::from_secs(2),
            connect: Duration::from_secs(2),
            exchange: Duration::from_secs(1),
            disconnect: Duration::from_secs(2),
        },
        grace: Duration::from_secs(1),
    }
}

/// The driver, and all that it says.
pub struct Site {
    events: mpsc::Receiver<LinkEvent>,
    end: PortEnd,
    stop: CancellationToken,
    session: JoinHandle<Result<(), DriverError>>,
}

impl Site {
    pub fn start(link: &serde_json::Value, timeouts: Timeouts, waits: impl FnOnce(Settings) -> Settings) -> Self {
        let ble = Arc::new(Ble::new("hall".into(), &valid(link)).waiting(timeouts, waits));
        let (sender, events) = mpsc::channel(4096);
        let stop = CancellationToken::new();
        let (mut port, end) = Port::new("hall".into(), sender, stop.clone());
        let session = tokio::spawn(async move { ble.run(&mut port).await });
        Self { events, end, stop, session }
    }

    /// Waits until something is told that is as it is looked for.
    pub async fn told<T>(&mut self, what: &str, mut look: impl FnMut(&Event) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            match tokio::time::timeout_at(until, self.events.recv()).await {
                Ok(Some(LinkEvent { event, .. })) => match look(&event) {
                    Some(found) => return found,
                    None => seen.push(event),
                },
                Ok(None) => panic!("the driver has ended before {what}"),
                Err(_) => panic!("{what} was never told, but {seen:#?}"),
            }
        }
    }

    /// The next good value of a point.
    pub async fn value(&mut self, device: &str, point: &str) -> Value {
        self.told(&format!("{device}/{point}"), |event| match event {
            Event::Reading(reading) if reading.device.as_str() == device && reading.point.as_str() == point => {
                (reading.quality == Quality::Good).then(|| reading.value.clone()).flatten()
            }
            _ => None,
        })
        .await
    }

    /// Waits until the device is told to be there or not, and says why.
    pub async fn device(&mut self, name: &str, wanted: bool) -> String {
        self.told(&format!("{name} {wanted}"), |event| match event {
            Event::Device { device, alive, reason } if device.as_str() == name && *alive == wanted => {
                Some(reason.clone().unwrap_or_default())
            }
            _ => None,
        })
        .await
    }

    pub async fn command(&self, device: &str, point: &str, action: Action, within: Duration) -> Answer {
        let (command, answer) = Command::new(device.into(), point.into(), action, Instant::now() + within);
        self.end.commands.send(command).await.unwrap();
        tokio::time::timeout(PATIENCE, answer.wait()).await.expect("the command was never answered")
    }

    pub async fn write(&self, device: &str, point: &str, value: Value, verify: bool) -> Answer {
        self.command(device, point, Action::Write { value, verify }, Duration::from_secs(10)).await
    }

    /// Asks the driver to stop.
    pub fn begin_to_stop(&self) {
        self.stop.cancel();
    }

    /// How many requests to the device ended so, and what the link has counted under this name.
    pub fn counted(&self, device: &str, outcome: Outcome, what: &str) -> (u64, Option<u64>) {
        let device = self.end.devices.look(9).devices.into_iter().find(|known| known.name.as_str() == device);
        let counts = self.end.counts.read();
        let count = counts.iter().find(|(name, _)| *name == what).map(|(_, count)| *count);
        (device.map_or(0, |device| device.traffic.of(outcome)), count)
    }

    /// Stops the driver, and returns what it still had to say.
    pub async fn stop(mut self) -> Vec<Event> {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.session).await.expect("it does not stop").unwrap().unwrap();
        let mut last = Vec::new();
        while let Ok(LinkEvent { event, .. }) = self.events.try_recv() {
            last.push(event);
        }
        last
    }
}
