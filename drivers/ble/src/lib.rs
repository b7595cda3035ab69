//! Bluetooth Low Energy sensors, as a wharf driver: one link per adapter.
//!
//! - [`config`]: the part of the site file.
//! - [`advert`]: what sensors broadcast, one file per format; pure functions from bytes to values.
//! - [`known`]: what is remembered of a device, to tell news from repetitions and replays.
//! - [`roster`], [`device`]: who is a device of the site, and what is told of it.
//! - [`heard`]: everything that is heard, for people who look for their sensors.
//! - [`gatt`]: devices that are connected to: characteristics read, told of and written.
//! - [`radio`]: the adapter, by way of BlueZ. `session`: from what it hears to the gateway.
//! - [`survey`]: looking around without a gateway. [`explain`]: an advertisement written down.
//! - `memory`: what is kept over a restart. `names`: which are taken in the whole site.

pub mod advert;
pub mod config;
pub mod device;
pub mod explain;
pub mod gatt;
pub mod heard;
pub mod known;
mod memory;
mod names;
pub mod radio;
pub mod roster;
mod session;
pub mod survey;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;
use wharf_contract::{Driver, DriverError, LinkId, LinkPlan, PointInfo, Port, async_trait};

pub use config::{DeviceSettings, LinkSettings, PointSettings};
pub use device::LABELS;
pub use names::Names;

use config::Scan;
use gatt::crew::Gatt;
use gatt::target::{self, Target};
use heard::Heard;
use memory::Memory;
use radio::{Radio, RadioSettings, RadioState, ScanMode};
use roster::Roster;
use session::{Ear, Session};

/// The name of the protocol, as the site file spells its section.
pub const KIND: &str = "ble";

/// How long a session that has ended waits for the disk. A stopping gateway gives its drivers little more.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// One Bluetooth adapter.
#[derive(Debug)]
pub struct Ble {
    name: LinkId,
    radio: RadioSettings,
    gatt: gatt::Settings,
    targets: Vec<Arc<Target>>,
    catalogue: Vec<PointInfo>,
    /// Held by the session that runs. What was told of the devices, and which of their counters were
    /// seen, outlives it.
    roster: tokio::sync::Mutex<Roster>,
    heard: Arc<Mutex<Heard>>,
    /// How the radio is, once a session has begun.
    radio_state: Mutex<Option<watch::Receiver<RadioState>>>,
    memory: Memory,
    recalled: tokio::sync::OnceCell<()>,
}

impl Ble {
    /// The driver of one link. All that could be wrong with the settings was found when they were
    /// decoded, and nothing is opened yet.
    pub fn new(name: LinkId, settings: &LinkSettings) -> Self {
        Self::beside(name, settings, Names::default())
    }

    /// The same, where other links have devices of these names: nothing is adopted by one that is taken.
    pub fn beside(name: LinkId, settings: &LinkSettings, names: Names) -> Self {
        let roster = Roster::beside(settings, names);
        let targets = target::targets(settings);
        let mut catalogue = roster.catalogue();
        // Where a value is both broadcast and read over a connection, the latter may be asked for.
        let connected = target::catalogue(&targets);
        catalogue
            .retain(|heard| !connected.iter().any(|read| (&read.device, &read.point) == (&heard.device, &heard.point)));
        catalogue.extend(connected);
        let usual = gatt::Settings::default();
        let most = usize::from(settings.connections.get());
        Self {
            name,
            radio: RadioSettings {
                connectable: targets.iter().map(|target| target.address).collect(),
                ..radio_settings(settings)
            },
            gatt: gatt::Settings { sharing: gatt::Sharing { most, ..usual.sharing }, ..usual },
            targets: targets.into_iter().map(Arc::new).collect(),
            catalogue,
            roster: tokio::sync::Mutex::new(roster),
            heard: Arc::default(),
            radio_state: Mutex::default(),
            memory: Memory::default(),
            recalled: tokio::sync::OnceCell::new(),
        }
    }

    /// The same, keeping what it learns over a restart in this file.
    #[must_use]
    pub fn remembering(self, file: PathBuf) -> Self {
        Self { memory: Memory::in_file(file), ..self }
    }

    /// The same with other waits than are good for real radios: for those who have no time.
    #[must_use]
    pub fn waiting(mut self, timeouts: radio::Timeouts, gatt: impl FnOnce(gatt::Settings) -> gatt::Settings) -> Self {
        self.radio.timeouts = timeouts;
        self.gatt = gatt(self.gatt);
        self
    }

    async fn listen(&self, ear: Ear, port: &mut Port) -> Result<(), DriverError> {
        *self.radio_state.lock().unwrap_or_else(PoisonError::into_inner) = Some(ear.state.clone());
        let mut roster = self.roster.lock().await;
        let recall = async { roster.recall(self.memory.recall(&self.name).await) };
        self.recalled.get_or_init(|| recall).await;
        let session = Session::new(&mut roster, &self.heard, &self.memory, ear);
        let ended = tokio::select! {
            ended = session.run(port) => ended,
            never = self.memory.keep_up(&self.name) => match never {},
        };
        if timeout(LAST_WRITE, self.memory.keep(&self.name)).await.is_err() {
            warn!(link = %self.name, waited = ?LAST_WRITE, "the disk does not take what was learnt about the sensors; it is not waited for any longer");
        }
        ended
    }
}

/// What a radio has to know, by the settings of its link.
fn radio_settings(settings: &LinkSettings) -> RadioSettings {
    RadioSettings {
        adapter: settings.adapter.as_ref().map(|adapter| adapter.as_str().to_owned()),
        mode: match settings.scan {
            Scan::Active => ScanMode::Active,
            Scan::Passive => ScanMode::Passive,
        },
        ..RadioSettings::default()
    }
}

#[async_trait]
impl Driver for Ble {
    fn name(&self) -> &LinkId {
        &self.name
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn labels(&self) -> &'static [&'static str] {
        &LABELS
    }

    fn catalogue(&self) -> Vec<PointInfo> {
        self.catalogue.clone()
    }

    fn plan(&self) -> Option<LinkPlan> {
        let targets = self.targets.iter().map(Arc::as_ref);
        gatt::load::explain(targets, self.radio.adapter.as_deref(), &self.gatt.sharing)
    }

    fn heard(&self) -> Option<serde_json::Value> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).to_json();
        if let Some(state) = &*self.radio_state.lock().unwrap_or_else(PoisonError::into_inner) {
            let state = state.borrow();
            heard["radio"] = state.to_string().into();
            heard["listens"] = state.is_listening().into();
        }
        Some(heard)
    }

    async fn run(&self, port: &mut Port) -> Result<(), DriverError> {
        let (radio, heard) = Radio::start(self.radio.clone()).map_err(DriverError::lost)?;
        let gatt = Gatt::start(&self.targets, radio.finder(), self.gatt, port);
        let ear = Ear { heard, state: radio.state(), tally: radio.tally(), gatt };
        let ended = self.listen(ear, port).await;
        radio.stop().await;
        ended
    }
}
