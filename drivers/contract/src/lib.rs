//! What a driver and the gateway say to each other.
//!
//! A driver owns one link (one bus, one serial port, one adapter). It turns what the devices on
//! that link say into [`Reading`]s, obeys [`Command`]s, and says how it is by [`Health`]. All of
//! that goes through its [`Port`]. A driver knows this crate and nothing else of wharf, so it can
//! be understood, tested and replaced alone.
//!
//! What happens further north never slows a driver down. A burst of readings waits a moment for
//! room; when the gateway is stalled, readings are dropped at the port and counted as an
//! [`Overrun`], and the driver goes on polling.
//!
//! - [`reading`]: values, qualities, readings and the names they carry.
//! - [`command`]: what the gateway asks of a driver, and the answer.
//! - [`catalogue`]: which points a driver knows before it has heard any of them.
//! - [`plan`]: what a driver means to do on its link.
//! - [`rule`]: what may be written to a point.
//! - [`relay`]: messages in MySensors classic form that no point is for, and devices that sleep.
//! - [`dial`]: how a link reaches the broker inside the gateway.
//! - [`port`]: the channel pair between the two sides, and what happens when it is full.
//! - [`meaning`]: what the numbers and words of a device mean.
//! - [`topic`]: MQTT topics and filters, for all who deal with them.
//! - [`settings`]: how a driver declares its part of the site file, once, for decoder and schema.
//! - [`small_file`]: what a driver keeps over a restart.

pub mod catalogue;
pub mod command;
pub mod dial;
pub mod meaning;
pub mod plan;
pub mod port;
pub mod presence;
pub mod reading;
pub mod relay;
pub mod rule;
pub mod settings;
pub mod small_file;
pub mod topic;

pub use async_trait::async_trait;
pub use catalogue::PointInfo;
pub use command::{Action, Answer, Command, CommandError, Done};
pub use dial::Dial;
pub use plan::{DevicePlan, LinkPlan, RequestPlan};
pub use port::{Counts, Event, Health, LateNews, LinkEvent, Overrun, Overruns, Port, PortEnd};
pub use presence::Presence;
pub use reading::{DeviceId, Labels, LinkId, PointId, Quality, Reading, Unit, Value};
pub use relay::{Recipient, Relay};
pub use rule::{FailSafe, WriteRate, WriteRule};

use std::time::Duration;

/// Any error, boxed: what a driver's own error becomes on its way to the supervisor.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Owns one link: one BLE adapter, one Modbus bus, one serial port.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// The name the site file gives this link, such as `boiler-room`.
    fn name(&self) -> &LinkId;

    /// The protocol, as the site file spells its section: `modbus`, `mysensors`.
    fn kind(&self) -> &'static str;

    /// The labels that its readings carry: the words its topics may use beside the common ones.
    fn labels(&self) -> &'static [&'static str] {
        &[]
    }

    /// The points that are known from the site file alone. Commands are checked against it, so a
    /// point that is not listed here, or is listed without a write rule, is never written.
    fn catalogue(&self) -> Vec<PointInfo>;

    /// What it means to ask for, if it asks at all: for people, and for warnings before it starts. A driver
    /// that keeps what it learns on disk reads it there.
    fn plan(&self) -> Option<LinkPlan> {
        None
    }

    /// What is to be heard on the link of late, whether the site file knows it or not: for people who
    /// look for their devices. `None` if the protocol has no strangers.
    fn heard(&self) -> Option<serde_json::Value> {
        None
    }

    /// Does what only this protocol knows, as somebody at the machine asks: `request` is what came over the
    /// control socket, the answer is told as it is, an error in words. `None` if it knows no such thing.
    /// Takes 10 s at most, session or not.
    async fn ask(&self, request: &serde_json::Value) -> Option<Result<serde_json::Value, String>> {
        let _ = request;
        None
    }

    /// Whether it takes a message in MySensors classic form for the node of that number, 255 being all of
    /// them. Such a message comes as [`Action::Raw`]: the line without its ending. Asked anew for each
    /// message, for nodes come and go.
    fn relays(&self, _node: u8) -> Relay {
        Relay::Not
    }

    /// How long a command that says nothing about it may wait for the recipient to wake; `None` if it
    /// does not sleep, as far as is known. Asked anew for each command.
    fn hold(&self, _recipient: Recipient<'_>) -> Option<Duration> {
        None
    }

    /// `run` is not called again, for this reason: whatever still waits is answered now.
    fn close(&self, _reason: &str) {}

    /// What is known of the nodes behind the link, whether they are heard now or not: for people who look
    /// after a network. `None` if the protocol has no such nodes.
    fn nodes(&self) -> Option<serde_json::Value> {
        None
    }

    /// Runs one session: connect, then read and obey commands until the link
    /// drops or the gateway stops. Returns `Ok` only after a requested stop.
    async fn run(&self, port: &mut Port) -> Result<(), DriverError>;
}

/// Why a session ended. The variants are what the supervisor does next.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// Worth another try: an unplugged cable, a timeout, an adapter switched off.
    #[error("{0}")]
    Lost(#[source] BoxError),
    /// Trying again cannot help: no permission, a port of the wrong kind.
    #[error("{0}")]
    Fatal(#[source] BoxError),
}

impl DriverError {
    /// A session that ended for a reason that may pass by itself.
    pub fn lost(error: impl Into<BoxError>) -> Self {
        Self::Lost(error.into())
    }

    /// A session that no retry can mend.
    pub fn fatal(error: impl Into<BoxError>) -> Self {
        Self::Fatal(error.into())
    }
}
