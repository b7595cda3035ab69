//! The requests, and what the protocol allows in each.

use super::{READABLE_BITS, READABLE_REGISTERS, WRITABLE_BITS, WRITABLE_REGISTERS, WRITABLE_WHILE_READING, short};

/// The type of encapsulated exchange that device identification is (function 43).
pub(super) const IDENTIFICATION: u8 = 14;

/// What is asked of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "complete, whoever may ask for it")]
#[rustfmt::skip] // one line for each function
pub(crate) enum Request {
    /// Function 1.
    ReadCoils { start: u16, count: u16 },
    /// Function 2.
    ReadDiscreteInputs { start: u16, count: u16 },
    /// Function 3.
    ReadHolding { start: u16, count: u16 },
    /// Function 4.
    ReadInput { start: u16, count: u16 },
    /// Function 5.
    WriteCoil { address: u16, on: bool },
    /// Function 6.
    WriteRegister { address: u16, value: u16 },
    /// Function 15.
    WriteCoils { start: u16, bits: Vec<bool> },
    /// Function 16.
    WriteRegisters { start: u16, values: Vec<u16> },
    /// Function 22: the register becomes (itself AND `and`) OR (`or` AND NOT `and`).
    MaskWrite { address: u16, and: u16, or: u16 },
    /// Function 23: writes first, then reads.
    ReadWrite { read_start: u16, read_count: u16, write_start: u16, values: Vec<u16> },
    /// Function 43/14: what the device says it is. Level 1 is basic, 2 regular, 3 extended, 4 a single
    /// object; `object` is where to begin.
    Identify { level: u8, object: u8 },
    /// Any other function, 1–127, with its data as it goes onto the wire.
    Raw { function: u8, data: Vec<u8> },
}

impl Request {
    /// The function code.
    pub(crate) fn function(&self) -> u8 {
        match self {
            Self::ReadCoils { .. } => 1,
            Self::ReadDiscreteInputs { .. } => 2,
            Self::ReadHolding { .. } => 3,
            Self::ReadInput { .. } => 4,
            Self::WriteCoil { .. } => 5,
            Self::WriteRegister { .. } => 6,
            Self::WriteCoils { .. } => 15,
            Self::WriteRegisters { .. } => 16,
            Self::MaskWrite { .. } => 22,
            Self::ReadWrite { .. } => 23,
            Self::Identify { .. } => 43,
            Self::Raw { function, .. } => *function,
        }
    }

    /// The PDU: function and data. Of a request that does not keep to [`check`](Self::check), one
    /// that no device takes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut pdu = vec![self.function()];
        let mut put = |words: &[u16]| pdu.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        match self {
            Self::ReadCoils { start, count }
            | Self::ReadDiscreteInputs { start, count }
            | Self::ReadHolding { start, count }
            | Self::ReadInput { start, count } => put(&[*start, *count]),
            Self::WriteCoil { address, on } => put(&[*address, if *on { 0xFF00 } else { 0 }]),
            Self::WriteRegister { address, value } => put(&[*address, *value]),
            Self::WriteCoils { start, bits } => {
                put(&[*start, short(bits.len())]);
                pdu.push(count_of_bytes(bits.len().div_ceil(8)));
                pdu.extend(bits.chunks(8).map(packed));
            }
            Self::WriteRegisters { start, values } => {
                put(&[*start, short(values.len())]);
                pdu.push(count_of_bytes(values.len() * 2));
                pdu.extend(values.iter().flat_map(|value| value.to_be_bytes()));
            }
            Self::MaskWrite { address, and, or } => put(&[*address, *and, *or]),
            Self::ReadWrite { read_start, read_count, write_start, values } => {
                put(&[*read_start, *read_count, *write_start, short(values.len())]);
                pdu.push(count_of_bytes(values.len() * 2));
                pdu.extend(values.iter().flat_map(|value| value.to_be_bytes()));
            }
            Self::Identify { level, object } => pdu.extend([IDENTIFICATION, *level, *object]),
            Self::Raw { data, .. } => pdu.extend_from_slice(data),
        }
        pdu
    }

    /// Whether the protocol allows it.
    ///
    /// # Errors
    /// What it does not allow, in words.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::ReadCoils { start, count } | Self::ReadDiscreteInputs { start, count } => {
                within("reads", "bits", *start, usize::from(*count), usize::from(READABLE_BITS))
            }
            Self::ReadHolding { start, count } | Self::ReadInput { start, count } => {
                within("reads", "registers", *start, usize::from(*count), usize::from(READABLE_REGISTERS))
            }
            Self::WriteCoils { start, bits } => within("writes", "bits", *start, bits.len(), WRITABLE_BITS),
            Self::WriteRegisters { start, values } => {
                within("writes", "registers", *start, values.len(), WRITABLE_REGISTERS)
            }
            Self::ReadWrite { read_start, read_count, write_start, values } => {
                let read_count = usize::from(*read_count);
                within("reads", "registers", *read_start, read_count, usize::from(READABLE_REGISTERS))?;
                within("writes", "registers", *write_start, values.len(), WRITABLE_WHILE_READING)
            }
            Self::Identify { level, .. } if !(1..=4).contains(level) => {
                Err(format!("there is no level {level} of identification (1–4)"))
            }
            Self::Raw { function, .. } if !(1..=127).contains(function) => {
                Err(format!("{function} is not the code of a function (1–127)"))
            }
            Self::Raw { data, .. } if data.len() >= super::LONGEST => {
                Err(format!("one request holds at most {} bytes of data, not {}", super::LONGEST - 1, data.len()))
            }
            Self::WriteCoil { .. }
            | Self::WriteRegister { .. }
            | Self::MaskWrite { .. }
            | Self::Identify { .. }
            | Self::Raw { .. } => Ok(()),
        }
    }
}

fn within(verb: &str, items: &str, start: u16, count: usize, most: usize) -> Result<(), String> {
    if !(1..=most).contains(&count) {
        return Err(format!("one request {verb} 1 to {most} {items}, not {count}"));
    }
    if usize::from(start) + count > 1 << 16 {
        return Err(format!("{count} {items} from {start} on end beyond the last one, 65535"));
    }
    Ok(())
}

fn count_of_bytes(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

/// Up to eight bits as a byte, the first one as its least significant.
fn packed(bits: &[bool]) -> u8 {
    bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit))
}
