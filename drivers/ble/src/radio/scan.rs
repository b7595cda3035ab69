//! Starting the scan, what to make of a refusal, and what is done about silence.

use std::time::{Duration, Instant};

use btleplug::api::{Central as _, CentralState};

use crate::advert::Address;

use super::bus::{Fault, within};
use super::listen::Listener;
use super::monitor::{Monitor, Scope};
use super::session::Ended;
use super::watchdog::Remedy;
use super::{RadioState, ScanMode};

/// How long a controller is left switched off in a power cycle.
const SWITCHED_OFF: Duration = Duration::from_millis(500);

/// How often a start may be refused before the connection is given up.
const REFUSALS: u32 = 5;

/// How often it may be said that another scan is still being ended. After a daemon was killed that
/// is so for ten seconds.
const BUSY: u32 = 30;

/// Whether the scan runs, and when to see to it.
pub(super) struct Scan {
    running: bool,
    due: Option<Instant>,
    pause: Duration,
    refusals: u32,
    busy: u32,
    monitor: Option<Monitor>,
}

impl Scan {
    /// To be started now.
    pub(super) fn new(now: Instant) -> Self {
        Self { running: false, due: Some(now), pause: Duration::ZERO, refusals: 0, busy: 0, monitor: None }
    }

    /// When to see to it, if at all.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it runs, as far as we know.
    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    /// The adapter was switched on or off: to be looked at now.
    pub(super) fn look_at_power(&mut self) {
        self.due = Some(Instant::now());
    }

    /// The next device the daemon says was heard.
    pub(super) async fn found(&mut self) -> Address {
        match &mut self.monitor {
            Some(monitor) => monitor.found().await,
            None => std::future::pending().await,
        }
    }

    fn later(&mut self, now: Instant, first: Duration, most: Duration) {
        self.pause = (self.pause * 2).clamp(first, most);
        self.due = Some(now + self.pause);
    }
}

impl Listener<'_> {
    /// Starts the scan if it is time to, and looks whether it still can run.
    pub(super) async fn start_if_due(&mut self, now: Instant) -> Result<(), Ended> {
        if self.scan.due.is_none_or(|due| now < due) {
            return Ok(());
        }
        self.scan.due = None;
        let timeouts = self.shared.settings.timeouts;
        if self.scan.running {
            // We were told of a change of power. By now it may be on again: that is how our own power cycle looks.
            let is_on =
                within(timeouts.call, self.adapter.adapter.adapter_state()).await == Ok(CentralState::PoweredOn);
            if is_on {
                return Ok(());
            }
            self.scan.running = false;
            self.shared.say(RadioState::Off { adapter: self.name(), reason: "by another program".to_owned() });
            self.scan.pause = Duration::ZERO;
            self.scan.later(now, timeouts.retry, timeouts.retry_most);
            return Ok(());
        }
        match self.start().await {
            Ok(()) => {
                self.shared.tally.scans.add(1);
                let now = Instant::now();
                self.scan = Scan { running: true, due: None, monitor: self.scan.monitor.take(), ..Scan::new(now) };
                self.memory.watchdog.restarted(now);
                self.shared.say(match self.memory.watchdog.quiet_since(now) {
                    Some(since) => RadioState::Quiet { since },
                    None => RadioState::Scanning,
                });
                Ok(())
            }
            Err(refusal) => self.refused(refusal, Instant::now()),
        }
    }

    /// What is to be done about silence.
    pub(super) async fn remedy_silence(&mut self, now: Instant, linked: bool) -> Result<(), Ended> {
        if !self.scan.running {
            // What is wrong is known, and being tried again.
            if now >= self.memory.watchdog.due() {
                self.memory.watchdog.restarted(now);
            }
            return Ok(());
        }
        if let Some(since) = self.memory.watchdog.quiet_since(now) {
            self.shared.say(RadioState::Quiet { since });
        }
        let Some(remedy) = self.memory.watchdog.remedy(now, linked) else { return Ok(()) };
        let adapter = self.name();
        tracing::info!(%adapter, "nothing heard over Bluetooth: {remedy}");
        match remedy {
            Remedy::ScanAgain => {
                if let Err(fault) = self.bus.stop_scan(&adapter).await {
                    // It may not have been running any more, which is why nothing was heard.
                    tracing::debug!(%fault, "ending a silent scan");
                }
            }
            Remedy::PowerCycle => {
                self.shared.tally.power_cycles.add(1);
                if let Err(fault) = self.bus.power(&adapter, false).await {
                    self.shared.failed(&fault);
                }
                tokio::time::sleep(SWITCHED_OFF).await;
            }
            Remedy::Reconnect => return Err(Ended::Lost),
        }
        self.scan.running = false;
        self.scan.due = Some(Instant::now());
        Ok(())
    }

    async fn start(&mut self) -> Result<(), Refusal> {
        let adapter = self.name();
        self.bus.power(&adapter, true).await.map_err(Refusal::Power)?;
        match self.shared.settings.mode {
            ScanMode::Active => {
                self.keep_monitor(&adapter).await;
                self.bus.start_scan(&adapter).await.map_err(Refusal::Scan)
            }
            ScanMode::Passive => {
                if let Some(monitor) = self.scan.monitor.take()
                    && let Err(fault) = monitor.unregister(self.bus, &adapter).await
                {
                    tracing::debug!(%fault, "taking an advertisement monitor away");
                }
                let monitor =
                    Monitor::register(self.bus, &adapter, Scope::Everything).await.map_err(Refusal::Monitor)?;
                self.scan.monitor = Some(monitor);
                Ok(())
            }
        }
    }

    /// A monitor beside the scan, where there can be one.
    async fn keep_monitor(&mut self, adapter: &str) {
        if self.scan.monitor.is_some() || self.memory.no_monitors {
            return;
        }
        match Monitor::register(self.bus, adapter, Scope::Token).await {
            Ok(monitor) => {
                self.scan.monitor = Some(monitor);
                self.memory.monitor_since = Some(Instant::now());
            }
            Err(fault @ (Fault::Timeout | Fault::InProgress)) => {
                // It offers them, and had no time; the next scan asks again.
                self.shared.failed(&fault);
                tracing::debug!(%adapter, %fault, "registering an advertisement monitor");
            }
            Err(fault) => {
                self.memory.no_monitors = true;
                tracing::info!(
                    %adapter, %fault,
                    "bluetoothd offers no advertisement monitors (some need --experimental): \
                     with some adapters changes are heard only every ten seconds",
                );
            }
        }
    }

    fn refused(&mut self, refusal: Refusal, now: Instant) -> Result<(), Ended> {
        let timeouts = self.shared.settings.timeouts;
        let adapter = self.name();
        let reason = refusal.fault().to_string();
        match refusal {
            Refusal::Scan(Fault::InProgress) => {
                self.scan.busy += 1;
                self.scan.due = Some(now + timeouts.retry);
                return if self.scan.busy > BUSY { Err(Ended::Useless) } else { Ok(()) };
            }
            Refusal::Monitor(Fault::Unknown(_)) => {
                self.shared.say(RadioState::NoPassiveScan);
                self.scan.due = Some(now + timeouts.retry_most);
                return Ok(());
            }
            Refusal::Power(Fault::Unknown(_)) | Refusal::Scan(Fault::Unknown(_)) => return Err(Ended::Lost),
            Refusal::Power(Fault::Other(_)) => {
                self.shared.say(RadioState::Off { adapter, reason });
                self.scan.later(now, timeouts.retry, timeouts.retry_most);
                return Ok(());
            }
            _ => {}
        }
        self.shared.failed(refusal.fault());
        self.shared.say(RadioState::Refused { adapter, reason });
        self.scan.refusals += 1;
        self.scan.later(now, timeouts.retry, timeouts.retry_most);
        if self.scan.refusals >= REFUSALS { Err(Ended::Useless) } else { Ok(()) }
    }

    fn name(&self) -> String {
        self.adapter.name.clone()
    }
}

/// What was refused.
enum Refusal {
    Power(Fault),
    Monitor(Fault),
    Scan(Fault),
}

impl Refusal {
    fn fault(&self) -> &Fault {
        let (Self::Power(fault) | Self::Monitor(fault) | Self::Scan(fault)) = self;
        fault
    }
}
