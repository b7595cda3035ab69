//! This driver's part of the site file, and the rules it has to keep. Every mistake that can be
//! seen without hardware is found here.

mod address;
mod check;
mod point;
mod requires;
mod serial;
mod transport;

use wharf_contract::settings;
use wharf_contract::settings::{Context, HostPort, Named, Network, Node, OneOrMany, Period, Ranged, SerialPath};
pub use wharf_contract::settings::{Names, RawNumber};

pub use crate::value::layout::{Half, Order};
pub use address::Address;
pub use point::{PointSettings, PointType};
pub use requires::Requires;
pub use serial::{Rs485Settings, RtuFrame};
pub use transport::{Address as TcpAddress, Connection, ListenAddress, TlsSettings};

/// A rhythm: 10 ms to a day.
pub type Interval = Period<10, 86_400_000>;

/// How long an answer may take: 10 ms to a minute.
pub type Timeout = Period<10, 60_000>;

/// How often a read is asked again.
pub type Retries = Ranged<u8, 0, 5>;

/// How many registers one request may ask for.
pub type MaxRegisters = Ranged<u16, 1, 125>;

settings! {
    /// One Modbus connection and the devices behind it.
    pub struct LinkSettings {
        /// The device or gateway that speaks Modbus TCP, such as `192.168.1.40:502`. The port is 502 if
        /// left out, with `tls` 802. A list are addresses of the same device, tried in order.
        tcp: Option<OneOrMany<TcpAddress>> = None,
        /// Encrypts the connection and shows the device who we are: Modbus/TCP Security.
        tls: Option<TlsSettings> = None,
        /// With a list of addresses: how long another than the first is used before the gateway looks
        /// whether those before it are back.
        return_after: Period<1_000, 604_800_000> = Period::secs(600),
        /// A serial server that carries RTU frames over TCP as they are, `host:port`.
        rtu_over_tcp: Option<HostPort<0>> = None,
        /// The device that speaks Modbus over UDP. The port is 502 if left out.
        udp: Option<HostPort<502>> = None,
        /// Where the device dials in, speaking Modbus TCP: an address of this machine and a port. The
        /// newest connection counts.
        listen: Option<ListenAddress> = None,
        /// Who may dial in: addresses and networks. Needed where others than this machine could.
        allow: Vec<Network> = Vec::new(),
        /// The serial port of a bus, best by its lasting name under `/dev/serial/by-id`.
        serial: Option<SerialPath> = None,
        /// The speed of the serial port, 9600 if left out.
        baud: Option<Ranged<u32, 50, 4_000_000>> = None,
        /// What surrounds the eight data bits: `8N1` if left out, `8E1`, `8O1`, `8N2`.
        frame: Option<RtuFrame> = None,
        /// Has the kernel switch the line driver. Only for ports that need it; USB adapters do not.
        rs485: Option<Rs485Settings> = None,
        /// Whether the adapter hears what it sends. Found out by itself if left out.
        echo: Option<bool> = None,
        /// Whether the connection stays between polls.
        connection: Connection = Connection::Hold,
        /// How long the line rests between an answer and the next request.
        pause: Period<0, 60_000> = Period::millis(0),
        /// How long a fresh connection rests before the first request.
        pause_after_connect: Period<0, 60_000> = Period::millis(0),
        /// How often points are read, where neither they nor their device say otherwise.
        every: Interval = Interval::secs(10),
        /// How long one request waits for its answer.
        timeout: Timeout = Timeout::secs(1),
        /// How often a read that was not answered is asked again before it counts as failed.
        retries: Retries = Retries::new(1),
        /// The most registers that are asked for in one request; bits: sixteen times as many.
        max_registers: MaxRegisters = MaxRegisters::new(125),
        /// The order of the bytes of a number, where neither a point nor its device says otherwise.
        order: Option<Order> = None,
        /// The devices, by name. A name is unique in the whole site and stands in topics.
        devices: Named<DeviceSettings>,
    }
    exactly_one_of: [tcp, rtu_over_tcp, udp, listen, serial];
    check: transport::check;
}

settings! {
    /// One Modbus device, found by its unit id.
    pub struct DeviceSettings {
        /// Its unit id: 0–255 over TCP, 1–247 on a serial bus.
        unit: u8,
        /// The profile of its model: a file that describes its points. What stands beside it here
        /// comes before what the profile says.
        profile: Option<String> = None,
        /// Where the registers of its profile begin, for one whose addresses count from there, as those
        /// of SunSpec's models do.
        base: Option<u16> = None,
        /// How often its points are read, where they do not say otherwise.
        every: Option<Interval> = None,
        /// How long a request to it waits for its answer.
        timeout: Option<Timeout> = None,
        /// How often a read that it did not answer is asked again before it counts as failed.
        retries: Option<Retries> = None,
        /// The most registers that it takes in one request; bits: sixteen times as many.
        max_registers: Option<MaxRegisters> = None,
        /// The order of the bytes of a number, where its points do not say otherwise.
        order: Option<Order> = None,
        /// Whether this is every device on the bus at once, with unit 0. It is written and never
        /// read, and nobody confirms.
        broadcast: bool = false,
        /// Its points, by name.
        points: Named<PointSettings> = Named::none(),
    }
    check: check_device;
}

/// The rules over several keys of a device.
fn check_device(this: &DeviceSettings, node: &Node, cx: &mut Context<'_>) {
    if this.base.is_some() && this.profile.is_none() {
        cx.field_problem(node, "base", "only the addresses of a profile have a base").help("remove it");
    }
    address::warn(node, cx);
    check_broadcast(this, node, cx);
}

/// A broadcast is never answered, so whatever needs an answer is a mistake there.
fn check_broadcast(this: &DeviceSettings, node: &Node, cx: &mut Context<'_>) {
    if !this.broadcast {
        return;
    }
    if this.unit != 0 {
        cx.field_problem(node, "unit", "a broadcast has unit 0").help("write unit: 0");
    }
    if this.every.is_some() {
        cx.field_problem(node, "every", "a broadcast is never read").help("remove it");
    }
    for entry in this.points.entries() {
        let wrong = match &entry.value {
            PointSettings { write: None, .. } => "only what is written can be a broadcast's: it has no `write:`",
            PointSettings { write: Some(write), .. } if write.verify => {
                "nobody answers a broadcast, so there is no verify"
            }
            PointSettings { every: Some(_), .. } => "a broadcast is never read, so there is no every",
            _ => continue,
        };
        cx.problem(entry.name.span, wrong).path.clone_from(&entry.name.path);
    }
}
