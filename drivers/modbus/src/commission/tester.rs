//! A link in a person's hand: connected when something is asked, read and written one thing at a
//! time.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use wharf_contract::Value;

use super::{Relay, Trouble};
use crate::line::{Fault, Line, identify};
use crate::link::{Device, Link, Point, Table};
use crate::pdu::{self, Answer, READABLE_BITS, READABLE_REGISTERS, Request};
use crate::value::Raw;
use crate::value::decode::decode;
use crate::value::encode::{encode, mask};
use crate::{DeviceSettings, LinkSettings, Modbus, PointSettings, build_point};

/// One link, asked by hand.
pub struct Tester {
    settings: LinkSettings,
    link: Link,
    way: Way,
    /// How long a unit may take for an answer that is no device of the settings.
    timeout: Duration,
    /// How long the link rests between two requests, whoever else may be asking on it.
    pause: Duration,
    /// When the last request was over.
    last: Instant,
}

/// How requests get to the link.
enum Way {
    /// It is ours.
    Own(Box<Line>),
    /// Somebody else holds it.
    Through(Box<dyn Relay>),
}

/// A place on a device, and how its value is written there.
#[derive(Clone, Debug)]
pub struct Spot {
    unit_id: u8,
    /// How long the device may take for an answer.
    timeout: Duration,
    point: Point,
}

/// What was read of one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The address of its first bit or register.
    pub address: u16,
    /// The bits or registers themselves.
    pub content: Content,
    /// What they come to, or why they come to nothing.
    pub value: Result<Value, String>,
}

/// Bits or registers, as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// From coils and discrete inputs.
    Bits(Vec<bool>),
    /// From holding and input registers.
    Registers(Vec<u16>),
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq)]
pub struct Wrote {
    /// What went onto the wire.
    pub content: Content,
    /// The same as a value: rounded to what the device can hold.
    pub written: Value,
    /// What was read back, if it could be.
    pub observed: Result<Seen, Trouble>,
}

impl Tester {
    /// A tester for settings that were decoded, and thereby checked. Nothing is opened yet.
    pub fn new(settings: LinkSettings) -> Self {
        let Modbus { link, .. } = Modbus::new("by-hand".into(), &settings);
        let (way, timeout) = (Way::Own(Box::new(Line::new(&link))), settings.timeout.get());
        Self { settings, link, way, timeout, pause: Duration::ZERO, last: Instant::now() }
    }

    /// The same, with somebody else putting the requests to the link.
    #[must_use]
    pub fn through(self, relay: Box<dyn Relay>) -> Self {
        Self { way: Way::Through(relay), ..self }
    }

    /// The same, at rest for at least this long between two requests.
    #[must_use]
    pub fn paced(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// The points of a device of this link, as its settings say; `None` if it has no such device.
    pub fn spots(&self, device: &str) -> Option<Vec<Spot>> {
        let device = self.device(device)?;
        let spot = |point: &Point| Spot { unit_id: device.unit_id, timeout: device.timeout, point: point.clone() };
        Some(device.points.iter().map(spot).collect())
    }

    /// A place on a device of this link that its settings do not name; `None` if there is no such
    /// device.
    pub fn spot(&self, device: &str, point: &PointSettings) -> Option<Spot> {
        let (settings, device): (&DeviceSettings, _) = (self.settings.devices.get(device)?, self.device(device)?);
        let point = build_point("".into(), point, settings, &self.settings);
        Some(Spot { unit_id: device.unit_id, timeout: device.timeout, point })
    }

    fn device(&self, name: &str) -> Option<&Device> {
        self.link.devices.iter().find(|device| device.name.as_str() == name)
    }

    /// The unit id of a device of this link.
    pub fn unit(&self, device: &str) -> Option<u8> {
        self.settings.devices.get(device).map(|device| device.unit)
    }

    /// Reads as many values of this kind as wanted, one after the other from the place on. What the
    /// device refuses as a whole is asked in parts, so that one wrong address costs no other its
    /// value.
    ///
    /// # Errors
    /// The device does not answer, or the values reach beyond the last address.
    pub async fn read(&mut self, spot: &Spot, count: u16) -> Result<Vec<Result<Seen, (u16, Trouble)>>, Trouble> {
        let Point { table, address, layout, .. } = &spot.point;
        let width = layout.width().max(1);
        let most = if table.is_bits() { READABLE_BITS } else { READABLE_REGISTERS } / width;
        let mut seen = Vec::new();
        // Ranges of values still to be read, by number.
        let mut parts: VecDeque<(u16, u16)> =
            (0..count).step_by(usize::from(most.max(1))).map(|first| (first, most.min(count - first))).collect();
        while let Some((first, number)) = parts.pop_front() {
            let start = u32::from(*address) + u32::from(first) * u32::from(width);
            let Ok(start) = u16::try_from(start) else {
                return Err(Trouble::Refused("there are no addresses beyond 65535".into()));
            };
            match self.raw(spot, start, number.saturating_mul(width)).await {
                Ok(raw) => seen.extend((0..number).filter_map(|index| {
                    let raw = raw.part(index * width, width)?;
                    Some(Ok(Seen::new(start + index * width, raw, &spot.point)))
                })),
                Err(fault) if fault.is_about_request() && number > 1 => {
                    let left = number / 2;
                    parts.push_front((first + left, number - left));
                    parts.push_front((first, left));
                }
                Err(fault @ Fault::Refused { .. }) => {
                    seen.extend((0..number).map(|index| Err((start + index * width, fault.clone().into()))));
                }
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(seen)
    }

    /// The registers from a place on: as many as the device lets anyone read at once there, and not
    /// more than wanted.
    ///
    /// # Errors
    /// Not even one can be read.
    pub async fn registers(&mut self, spot: &Spot, most: u16) -> Result<Vec<u16>, Trouble> {
        let (table, address) = (spot.point.table, spot.point.address);
        if table.is_bits() {
            return Err(Trouble::Refused(format!("a {table} is one bit: it is on or off and nothing else")));
        }
        let mut count = most.min((u16::MAX - address).saturating_add(1)).max(1);
        loop {
            match self.raw(spot, address, count).await {
                Ok(Raw::Registers(registers)) => return Ok(registers),
                Ok(Raw::Bits(_)) => return Err(Trouble::Refused("bits came".into())),
                Err(fault) if fault.is_about_request() && count > 1 => count -= 1,
                Err(fault) => return Err(fault.into()),
            }
        }
    }

    /// Writes one value, once, and reads it back. What is written is kept within the rule of the
    /// point, if it has one; where the settings do not open a point for writing, it is the caller's
    /// to ask whether that is meant.
    ///
    /// # Errors
    /// Nothing was written, or nobody knows whether it was: then the reason says so.
    pub async fn write(&mut self, spot: &Spot, value: &Value) -> Result<Wrote, Trouble> {
        let Point { table, address, layout, write, .. } = &spot.point;
        if !table.is_writable() {
            return Err(Trouble::Refused(format!("{table}s cannot be written")));
        }
        // Of a part of a register, what the whole is going to be.
        let part = if layout.form.is_partial() {
            let mask = mask(value, layout).map_err(Trouble::Refused)?;
            let Raw::Registers(held) = self.raw(spot, *address, 1).await? else {
                return Err(Trouble::Refused("no register came".into()));
            };
            Some((mask, Raw::Registers(held.iter().map(|held| mask.apply(*held)).collect())))
        } else {
            None
        };
        let raw = match &part {
            Some((_, register)) => register.clone(),
            None => encode(value, *table, layout).map_err(Trouble::Refused)?,
        };
        let written = decode(&raw, layout).map_err(Trouble::Refused)?;
        // Rounding may move a value past a limit that what was asked for keeps.
        if let Some(reason) = write.as_ref().and_then(|rule| rule.refuse(value).or_else(|| rule.refuse(&written))) {
            return Err(Trouble::Refused(reason));
        }
        let whole = whole(*address, &raw);
        let outcome = match part {
            Some((mask, _)) => {
                let masked = Request::MaskWrite { address: *address, and: mask.and, or: mask.or };
                match self.ask(spot.unit_id, &masked, spot.timeout).await {
                    // Few devices have function 22.
                    Err(Fault::Refused { .. }) => self.ask(spot.unit_id, &whole, spot.timeout).await,
                    outcome => outcome,
                }
            }
            None => self.ask(spot.unit_id, &whole, spot.timeout).await,
        };
        outcome.map_err(|fault| match Trouble::from(fault) {
            Trouble::Silent(reason) => Trouble::Silent(format!("{reason}; it may have been written or not")),
            Trouble::Broken(reason) => Trouble::Broken(format!("{reason}; it may have been written or not")),
            refused @ Trouble::Refused(_) => refused,
        })?;
        let observed = match self.read(spot, 1).await.map(|mut seen| seen.pop()) {
            Ok(Some(Ok(seen))) => Ok(seen),
            Ok(Some(Err((_, trouble)))) | Err(trouble) => Err(trouble),
            Ok(None) => Err(Trouble::Refused("nothing came back".into())),
        };
        Ok(Wrote { content: raw.into(), written, observed })
    }

    /// One read. Over a connection that turns out to be closed, or if the answer is damaged, it is
    /// asked once more.
    async fn raw(&mut self, spot: &Spot, start: u16, count: u16) -> Result<Raw, Fault> {
        let request = match spot.point.table {
            Table::Coil => Request::ReadCoils { start, count },
            Table::Discrete => Request::ReadDiscreteInputs { start, count },
            Table::Holding => Request::ReadHolding { start, count },
            Table::Input => Request::ReadInput { start, count },
        };
        let mut outcome = self.ask(spot.unit_id, &request, spot.timeout).await;
        if matches!(outcome, Err(Fault::Broken(_))) {
            outcome = self.ask(spot.unit_id, &request, spot.timeout).await;
        }
        match outcome? {
            Answer::Bits(bits) => Ok(Raw::Bits(bits)),
            Answer::Registers(registers) => Ok(Raw::Registers(registers)),
            _ => Err(Fault::not_sent("nobody answers a request to all units")),
        }
    }

    /// One request, asked once.
    pub(super) async fn ask(&mut self, unit_id: u8, request: &Request, timeout: Duration) -> Result<Answer, Fault> {
        self.rest().await;
        self.be_connected().await?;
        let outcome = match &mut self.way {
            Way::Own(line) => line.ask(unit_id, request, timeout).await,
            Way::Through(relay) => relayed(relay.as_mut(), unit_id, request).await,
        };
        self.last = Instant::now();
        outcome
    }

    /// Waits until the link has rested.
    pub(super) async fn rest(&self) {
        sleep_until(self.last + self.pause).await;
    }

    /// What the unit says it is: number and bytes of each object, in as many requests as it takes.
    /// Level 1 is basic, 2 regular, 3 extended.
    pub(super) async fn identify(
        &mut self,
        unit_id: u8,
        level: u8,
        timeout: Duration,
    ) -> Result<Vec<(u8, Vec<u8>)>, Fault> {
        identify(level, async |request| self.ask(unit_id, &request, timeout).await).await
    }

    pub(super) fn is_connected(&self) -> bool {
        match &self.way {
            Way::Own(line) => line.is_connected(),
            Way::Through(_) => true,
        }
    }

    async fn be_connected(&mut self) -> Result<(), Fault> {
        match &mut self.way {
            Way::Own(line) if !line.is_connected() => {
                line.connect().await.map_err(|error| Fault::Broken(error.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Connects now, for a first word on whether that can be.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn connect(&mut self) -> Result<(), Trouble> {
        Ok(self.be_connected().await?)
    }

    /// Whether bytes came and nothing that is a frame, as at a wrong speed. Only a serial line of one's own
    /// can tell.
    pub fn hears_noise(&self) -> bool {
        match &self.way {
            Way::Own(line) => line.is_noise(),
            Way::Through(_) => false,
        }
    }

    /// Ends the connection, and returns when the port is free for others.
    pub async fn close(mut self) {
        if let Way::Own(line) = &mut self.way {
            line.close().await;
        }
    }

    /// How long a unit may take for an answer, where the settings say nothing about its device.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

impl Spot {
    /// The point's name; empty where it has none.
    pub fn name(&self) -> &str {
        self.point.name.as_str()
    }

    /// The table as the site file spells it: `coil`, `discrete`, `holding`, `input`.
    pub fn table(&self) -> &'static str {
        self.point.table.key()
    }

    /// The address of its first bit or register.
    pub fn address(&self) -> u16 {
        self.point.address
    }

    /// The unit id of its device.
    pub fn unit_id(&self) -> u8 {
        self.unit_id
    }

    /// The unit of its value.
    pub fn unit(&self) -> Option<&str> {
        self.point.unit.as_ref().map(wharf_contract::Unit::as_str)
    }

    /// Whether the settings open it for writing.
    pub fn is_open(&self) -> bool {
        self.point.write.is_some()
    }
}

impl Seen {
    fn new(address: u16, raw: Raw, point: &Point) -> Self {
        Self { address, value: decode(&raw, &point.layout), content: raw.into() }
    }
}

/// One request, asked by somebody else.
async fn relayed(relay: &mut dyn Relay, unit_id: u8, request: &Request) -> Result<Answer, Fault> {
    request.check().map_err(Fault::not_sent)?;
    let answer = relay.exchange(unit_id, &request.encode()).await?;
    if answer.is_empty() {
        return Ok(Answer::Written);
    }
    Ok(pdu::parse(request, &answer)?)
}

/// The request that writes these bits or registers, by the function made for their number.
fn whole(address: u16, raw: &Raw) -> Request {
    match raw {
        Raw::Bits(bits) => match bits[..] {
            [on] => Request::WriteCoil { address, on },
            _ => Request::WriteCoils { start: address, bits: bits.clone() },
        },
        Raw::Registers(words) => match words[..] {
            [value] => Request::WriteRegister { address, value },
            _ => Request::WriteRegisters { start: address, values: words.clone() },
        },
    }
}

impl From<Raw> for Content {
    fn from(raw: Raw) -> Self {
        match raw {
            Raw::Bits(bits) => Self::Bits(bits),
            Raw::Registers(registers) => Self::Registers(registers),
        }
    }
}

/// Registers in hexadecimal, bits as 0 and 1: `4366 8000`.
impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let items: Vec<String> = match self {
            Self::Bits(bits) => bits.iter().map(|bit| u8::from(*bit).to_string()).collect(),
            Self::Registers(registers) => registers.iter().map(|register| format!("{register:04X}")).collect(),
        };
        f.write_str(&items.join(" "))
    }
}
