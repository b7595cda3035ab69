//! What BTHome's object ids mean. Versions 1 and 2 share them; they differ in how lengths are told.
//!
//! Source: <https://bthome.io/format/>.

use crate::advert::{Quantity, quantity::*};

/// What an object id stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Object {
    /// The number of the packet, one byte.
    PacketId,
    /// A number.
    Number(Number),
    /// On or off, one byte.
    Binary(Quantity),
    /// A press of a button, one byte.
    Button,
    /// A turn of a dimmer: direction, steps.
    Dimmer,
    /// A command: length of the arguments, opcode, arguments.
    Command,
    /// Text: length, UTF-8.
    Text,
    /// Bytes: length, bytes.
    Raw,
    /// What kind of device it is, two bytes.
    DeviceType,
    /// The firmware's version in as many bytes, the last part first.
    Firmware(usize),
    /// One byte of no interest to anybody outside: the revision of the device's settings.
    Settings,
}

/// How a number is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    pub(super) quantity: Quantity,
    /// How many bytes version 2 has for it.
    pub(super) bytes: usize,
    pub(super) signed: bool,
    /// Times this …
    times: u32,
    /// … and divided by this, it has the quantity's unit.
    by: u32,
    /// Whether it counts something rather than measuring it.
    pub(super) whole: bool,
}

impl Number {
    /// `raw` in the unit of the quantity. The product is exact, so that the division rounds once.
    pub(super) fn scaled(&self, raw: f64) -> f64 {
        raw * f64::from(self.times) / f64::from(self.by)
    }
}

const fn number(quantity: Quantity, bytes: usize, by: u32) -> Object {
    Object::Number(Number { quantity, bytes, signed: false, times: 1, by, whole: false })
}

const fn signed(quantity: Quantity, bytes: usize, by: u32) -> Object {
    Object::Number(Number { quantity, bytes, signed: true, times: 1, by, whole: false })
}

const fn times(quantity: Quantity, bytes: usize, times: u32) -> Object {
    Object::Number(Number { quantity, bytes, signed: false, times, by: 1, whole: false })
}

const fn whole(quantity: Quantity, bytes: usize) -> Object {
    Object::Number(Number { quantity, bytes, signed: false, times: 1, by: 1, whole: true })
}

const fn signed_whole(quantity: Quantity, bytes: usize) -> Object {
    Object::Number(Number { quantity, bytes, signed: true, times: 1, by: 1, whole: true })
}

/// What an id stands for, if it is known.
pub(super) fn object(id: u8) -> Option<Object> {
    use Object::Binary;
    Some(match id {
        0x00 => Object::PacketId,
        0x01 => whole(BATTERY, 1),
        0x02 => signed(TEMPERATURE, 2, 100),
        0x03 => number(HUMIDITY, 2, 100),
        0x04 => number(PRESSURE, 3, 100),
        0x05 => number(ILLUMINANCE, 3, 100),
        0x06 => number(MASS, 2, 100),
        0x07 => number(MASS_POUNDS, 2, 100),
        0x08 => signed(DEW_POINT, 2, 100),
        0x09 => whole(COUNT, 1),
        0x0a => number(ENERGY, 3, 1000),
        0x0b => number(POWER, 3, 100),
        0x0c => number(VOLTAGE, 2, 1000),
        0x0d => number(PM2_5, 2, 1),
        0x0e => number(PM10, 2, 1),
        0x0f => Binary(STATE),
        0x10 => Binary(POWERED),
        0x11 => Binary(OPENING),
        0x12 => whole(CO2, 2),
        0x13 => whole(TVOC, 2),
        0x14 => number(MOISTURE, 2, 100),
        0x15 => Binary(BATTERY_LOW),
        0x16 => Binary(CHARGING),
        0x17 => Binary(CO),
        0x18 => Binary(COLD),
        0x19 => Binary(CONNECTIVITY),
        0x1a => Binary(DOOR),
        0x1b => Binary(GARAGE_DOOR),
        0x1c => Binary(GAS_ALARM),
        0x1d => Binary(HEAT),
        0x1e => Binary(LIGHT),
        0x1f => Binary(LOCK),
        0x20 => Binary(WATER_LEAK),
        0x21 => Binary(MOTION),
        0x22 => Binary(MOVING),
        0x23 => Binary(OCCUPANCY),
        0x24 => Binary(PLUG),
        0x25 => Binary(PRESENCE),
        0x26 => Binary(PROBLEM),
        0x27 => Binary(RUNNING),
        0x28 => Binary(SAFETY),
        0x29 => Binary(SMOKE),
        0x2a => Binary(SOUND_ALARM),
        0x2b => Binary(TAMPER),
        0x2c => Binary(VIBRATION),
        0x2d => Binary(WINDOW),
        0x2e => number(HUMIDITY, 1, 1),
        0x2f => number(MOISTURE, 1, 1),
        0x3a => Object::Button,
        0x3b => Object::Command,
        0x3c => Object::Dimmer,
        0x3d => whole(COUNT, 2),
        0x3e => whole(COUNT, 4),
        0x3f => signed(ROTATION, 2, 10),
        0x40 => number(DISTANCE, 2, 1),
        0x41 => times(DISTANCE, 2, 100), // tenths of a metre
        0x42 => number(DURATION, 3, 1000),
        0x43 => number(CURRENT, 2, 1000),
        0x44 => number(SPEED, 2, 100),
        0x45 => signed(TEMPERATURE, 2, 10),
        0x46 => number(UV_INDEX, 1, 10),
        0x47 => number(VOLUME, 2, 10),
        0x48 => number(VOLUME, 2, 1000), // millilitres
        0x49 => number(FLOW, 2, 1000),
        0x4a => number(VOLTAGE, 2, 10),
        0x4b => number(GAS, 3, 1000),
        0x4c => number(GAS, 4, 1000),
        0x4d => number(ENERGY, 4, 1000),
        0x4e => number(VOLUME, 4, 1000),
        0x4f => number(WATER, 4, 1000),
        0x50 => whole(TIMESTAMP, 4),
        0x51 => number(ACCELERATION, 2, 1000),
        0x52 => number(GYROSCOPE, 2, 1000),
        0x53 => Object::Text,
        0x54 => Object::Raw,
        0x55 => number(VOLUME_STORED, 4, 1000),
        0x56 => number(CONDUCTIVITY, 2, 1),
        0x57 => signed(TEMPERATURE, 1, 1),
        0x58 => {
            Object::Number(Number { quantity: TEMPERATURE, bytes: 1, signed: true, times: 35, by: 100, whole: false })
        }
        0x59 => signed_whole(COUNT, 1),
        0x5a => signed_whole(COUNT, 2),
        0x5b => signed_whole(COUNT, 4),
        0x5c => signed(POWER, 4, 100),
        0x5d => signed(CURRENT, 2, 1000),
        0x5e => number(DIRECTION, 2, 100),
        0x5f => number(PRECIPITATION, 2, 10),
        0x60 => whole(CHANNEL, 1),
        0x61 => number(ROTATIONAL_SPEED, 2, 1),
        0x62 => signed(SPEED, 4, 1_000_000),
        0x63 => signed(ACCELERATION, 4, 1_000_000),
        0x64 => whole(LIGHT_LEVEL, 1),
        0x65 => Object::Settings,
        0xf0 => Object::DeviceType,
        0xf1 => Object::Firmware(4),
        0xf2 => Object::Firmware(3),
        _ => return None,
    })
}

/// What a button says, where it says anything that is known. 0 is no event.
pub(super) fn press(code: u8) -> Option<&'static str> {
    Some(match code {
        0x01 => "press",
        0x02 => "double_press",
        0x03 => "triple_press",
        0x04 => "long_press",
        0x05 => "long_double_press",
        0x06 => "long_triple_press",
        0x80 => "hold_press",
        0x81 => "hold_release",
        _ => return None,
    })
}

/// What a command says.
pub(super) fn command(opcode: u8) -> Option<&'static str> {
    Some(match opcode {
        0x00 => "off",
        0x01 => "on",
        0x02 => "toggle",
        0x03 => "step_up",
        0x04 => "step_down",
        _ => return None,
    })
}
