//! From the adapter's events to advertisements.
//!
//! The first advertisement of a device is told by its discovery alone: no event carries its data, and
//! it is read from the device's properties. At the start btleplug replays the devices the daemon has
//! known for long; how old their data is nobody knows, and they are not advertisements.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use btleplug::api::{Central as _, CentralEvent, CentralState, Peripheral as _, PeripheralProperties};
use btleplug::platform::PeripheralId;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::runtime::Handle;

use crate::advert::{Address, Uuid};

use super::adapter::Named;
use super::backlog::Backlog;
use super::bus::{Bus, address_in, within};
use super::fresh::Told;
use super::gather::{Gather, Piece, Report};
use super::scan::Scan;
use super::session::{Ended, Memory};
use super::{Current, RadioState, Shared};

/// How long the pieces of one report may be apart, once there is data, and before: a strength is
/// seldom all that is told.
const APART: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(300));

/// How long to wait for a device's properties: advertisements pile up meanwhile.
const PROPERTIES: Duration = Duration::from_secs(2);

/// The pause between two questions for names.
const QUESTIONS: Duration = Duration::from_millis(200);

/// How far apart a monitor's word and the signal for the same advertisement may be.
const SIGNAL: Duration = Duration::from_millis(150);

/// How many that were found may wait for that.
const FOUND: usize = 1024;

/// How long after too much was on the air that is not logged again.
const LOG_AGAIN: Duration = Duration::from_secs(600);

type Events = Pin<Box<dyn Stream<Item = CentralEvent> + Send>>;

/// Listens to one adapter.
pub(super) struct Listener<'a> {
    pub shared: &'a Shared,
    pub memory: &'a mut Memory,
    pub bus: &'a Bus,
    pub adapter: Named,
    pub scan: Scan,
    gather: Gather,
    /// When the report that is being put together began, by both clocks.
    begun: (Instant, SystemTime),
    /// Whose it is.
    of: Option<PeripheralId>,
    /// Who was found, and when, by both clocks: the oldest first.
    found: VecDeque<(Instant, SystemTime, Address)>,
    /// The devices that are connected: by us or by others.
    linked: HashSet<Address>,
    backlog: Option<Backlog>,
}

impl<'a> Listener<'a> {
    pub(super) fn new(shared: &'a Shared, memory: &'a mut Memory, bus: &'a Bus, adapter: Named) -> Self {
        let now = Instant::now();
        Self {
            shared,
            memory,
            bus,
            adapter,
            scan: Scan::new(now),
            gather: Gather::default(),
            begun: (now, SystemTime::now()),
            of: None,
            found: VecDeque::new(),
            linked: HashSet::new(),
            backlog: None,
        }
    }

    /// Listens until the connection is of no more use.
    pub(super) async fn run(mut self) -> Ended {
        let mut events = match within(self.shared.settings.timeouts.call, self.adapter.adapter.events()).await {
            Ok(events) => events,
            Err(fault) => {
                self.shared.failed(&fault);
                let adapter = self.adapter.name.clone();
                self.shared.say(RadioState::Refused { adapter, reason: fault.to_string() });
                return Ended::Useless;
            }
        };
        self.pass_over_replay(&mut events);
        match Backlog::watch(self.bus, &self.adapter.name).await {
            Ok(backlog) => self.backlog = Some(backlog),
            Err(fault) => {
                self.shared.failed(&fault);
                return Ended::Lost;
            }
        }
        self.shared.current.send_replace(Some(Current {
            adapter: self.adapter.adapter.clone(),
            runtime: Handle::current(),
            connection: Arc::clone(&self.bus.connection),
        }));
        loop {
            if let Err(ended) = self.tend().await {
                return ended;
            }
            let wake = self.wake();
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.take(event).await,
                    None => return Ended::Useless,
                },
                address = self.scan.found() => self.found(address),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    /// The replay is there at once; whatever is news comes with a question to the daemon, and is not.
    fn pass_over_replay(&mut self, events: &mut Events) {
        while let Some(Some(event)) = events.next().now_or_never() {
            match event {
                CentralEvent::DeviceDiscovered(id) => self.remember(&id),
                CentralEvent::DeviceConnected(id) => self.link(&id, true),
                CentralEvent::StateUpdate(_) => self.scan.look_at_power(),
                _ => {}
            }
        }
    }

    /// When the report that is being put together is taken to be complete.
    fn complete_at(&self) -> Option<Instant> {
        let apart = if self.gather.has_data() { APART.0 } else { APART.1 };
        self.gather.is_pending().then(|| self.begun.0 + apart)
    }

    /// When something has to be done, if no event comes.
    fn wake(&self) -> Instant {
        let gathered = self.complete_at();
        let found = self.found.front().map(|(found, ..)| *found + SIGNAL);
        [gathered, found, self.scan.due(), Some(self.memory.watchdog.due())]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.begun.0)
    }

    /// Does what is due.
    async fn tend(&mut self) -> Result<(), Ended> {
        let now = Instant::now();
        if self.backlog.as_ref().is_some_and(Backlog::is_too_long) {
            self.overrun(now);
            return Err(Ended::Lost);
        }
        if self.complete_at().is_some_and(|complete| complete <= now) {
            self.flush().await;
        }
        while let Some((found, at, address)) = self.found.front().copied().filter(|(found, ..)| *found + SIGNAL <= now)
        {
            self.found.pop_front();
            if let Some(told) = self.memory.fresh.repetition(address, found, SIGNAL, now) {
                self.tell(told, at, now);
            }
        }
        self.start_if_due(now).await?;
        self.remedy_silence(now, !self.linked.is_empty()).await
    }

    /// More comes than can be looked at: what waits goes with the connection.
    fn overrun(&mut self, now: Instant) {
        self.shared.tally.overruns.add(1);
        let told = self.memory.overrun_told.is_some_and(|at| now < at + LOG_AGAIN);
        if !told {
            self.memory.overrun_told = Some(now);
            let adapter = &self.adapter.name;
            tracing::warn!(%adapter, "more is on the air than this machine can look at; what waited was thrown away");
        }
    }

    async fn take(&mut self, event: CentralEvent) {
        let is_counted = matches!(
            event,
            CentralEvent::RssiUpdate { .. }
                | CentralEvent::ManufacturerDataAdvertisement { .. }
                | CentralEvent::ServiceDataAdvertisement { .. }
        );
        if let Some(backlog) = self.backlog.as_mut().filter(|_| is_counted) {
            backlog.take();
        }
        match event {
            CentralEvent::DeviceDiscovered(id) => self.discovered(&id).await,
            CentralEvent::RssiUpdate { id, rssi } => self.piece(&id, Piece::Rssi(rssi)).await,
            CentralEvent::ManufacturerDataAdvertisement { id, manufacturer_data } => {
                self.piece(&id, Piece::Manufacturer(manufacturer_data)).await;
            }
            CentralEvent::ServiceDataAdvertisement { id, service_data } => {
                let data = service_data.into_iter().map(|(uuid, data)| (Uuid(uuid.as_u128()), data)).collect();
                self.piece(&id, Piece::Service(data)).await;
            }
            CentralEvent::ServicesAdvertisement { id, services } => {
                self.piece(&id, Piece::Services(uuids(&services))).await;
            }
            CentralEvent::DeviceConnected(id) => self.link(&id, true),
            CentralEvent::DeviceDisconnected(id) => self.link(&id, false),
            CentralEvent::StateUpdate(CentralState::PoweredOff | CentralState::PoweredOn) => self.scan.look_at_power(),
            CentralEvent::StateUpdate(_) | CentralEvent::DeviceUpdated(_) | CentralEvent::DeviceServicesModified(_) => {
            }
        }
    }

    async fn piece(&mut self, id: &PeripheralId, piece: Piece) {
        let Some(address) = address(id) else { return };
        if self.gather.is_pending() && !self.gather.accepts(address, &piece) {
            self.flush().await;
        }
        if !self.gather.is_pending() {
            self.begun = (Instant::now(), SystemTime::now());
            self.of = Some(id.clone());
        }
        self.gather.push(address, piece);
    }

    /// The report is complete.
    async fn flush(&mut self) {
        let Some((address, report)) = self.gather.take() else { return };
        let (now, at) = (Instant::now(), self.begun.1);
        let may_ask = now >= self.memory.next_question && self.memory.fresh.wants_name(address, now);
        if let Some(id) = self.of.take().filter(|_| may_ask) {
            self.memory.next_question = now + QUESTIONS;
            self.ask_name(&id, address).await;
        }
        let told = self.memory.fresh.signal(address, &report, now);
        // Services alone are what a connection has found out, not an advertisement.
        let on_the_air = report.rssi.is_some() || report.manufacturer.is_some() || report.service.is_some();
        if on_the_air {
            self.tell(told, at, now);
        }
    }

    async fn discovered(&mut self, id: &PeripheralId) {
        self.flush().await;
        self.remember(id);
        let Some(address) = address(id) else { return };
        let (at, now) = (SystemTime::now(), Instant::now());
        let Some(properties) = self.properties(id).await else { return };
        // Without a strength it is not heard now but known from earlier.
        if properties.rssi.is_none() {
            return;
        }
        let report = Report {
            rssi: properties.rssi,
            services: Some(uuids(&properties.services)),
            manufacturer: Some(properties.manufacturer_data),
            service: Some(
                properties.service_data.into_iter().map(|(uuid, data)| (Uuid(uuid.as_u128()), data)).collect(),
            ),
        };
        let told = self.memory.fresh.discovered(address, properties.advertisement_name, report, now);
        self.tell(told, at, now);
    }

    /// While a monitor listens alone, what has not changed is told by the monitor alone. The signal, if
    /// there is one, comes on another connection and after a question.
    fn found(&mut self, address: Address) {
        if self.found.len() < FOUND {
            self.found.push_back((Instant::now(), SystemTime::now(), address));
        }
    }

    async fn ask_name(&mut self, id: &PeripheralId, address: Address) {
        let Some(properties) = self.properties(id).await else { return };
        let services = uuids(&properties.services);
        self.memory.fresh.named(address, properties.advertisement_name, services, Instant::now());
    }

    /// The devices we connect to are found again by what the daemon calls them.
    fn remember(&self, id: &PeripheralId) {
        if let Some(address) = address(id).filter(|address| self.shared.settings.connectable.contains(address)) {
            let mut reachable = self.shared.reachable.lock().unwrap_or_else(PoisonError::into_inner);
            reachable.insert(address, id.clone());
        }
    }

    async fn properties(&self, id: &PeripheralId) -> Option<PeripheralProperties> {
        let read = async { self.adapter.adapter.peripheral(id).await?.properties().await };
        match within(PROPERTIES, read).await {
            Ok(properties) => properties,
            Err(fault) => {
                self.shared.failed(&fault);
                None
            }
        }
    }

    fn tell(&mut self, told: Told, at: SystemTime, now: Instant) {
        self.memory.watchdog.heard(now);
        let tally = &self.shared.tally;
        tally.ambiguous.add(u64::from(told.ambiguous));
        tally.remembered.set(self.memory.fresh.len() as u64);
        tally.forgotten.set(self.memory.fresh.forgotten());
        self.shared.hand_over(told.advert, at);
        if self.scan.is_running() {
            self.shared.say(RadioState::Scanning);
        }
    }

    fn link(&mut self, id: &PeripheralId, is_linked: bool) {
        match address(id) {
            Some(address) if is_linked => self.linked.insert(address),
            Some(address) => {
                self.shared.cut(address);
                self.linked.remove(&address)
            }
            None => false,
        };
    }
}

fn address(id: &PeripheralId) -> Option<Address> {
    address_in(&id.to_string())
}

fn uuids(uuids: &[uuid::Uuid]) -> Vec<Uuid> {
    uuids.iter().map(|uuid| Uuid(uuid.as_u128())).collect()
}
