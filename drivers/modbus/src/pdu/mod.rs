//! What is asked of a device, and what its answers say: the protocol data unit, which is the same
//! over every transport. Pure, and hard to impress: an answer that does not fit its request to the
//! last byte is none.
//!
//! Source: "MODBUS Application Protocol Specification V1.1b3".

mod exception;
mod identification;
mod request;
#[cfg(test)]
mod tests;

pub(crate) use exception::Exception;
pub(crate) use identification::Identification;
pub(crate) use request::Request;

/// The longest PDU, in bytes.
pub(crate) const LONGEST: usize = 253;

/// The most bits that one request reads.
pub(crate) const READABLE_BITS: u16 = 2000;
/// The most registers that one request reads.
pub(crate) const READABLE_REGISTERS: u16 = 125;
/// The most bits that one request writes.
pub(crate) const WRITABLE_BITS: usize = 1968;
/// The most registers that one request writes.
pub(crate) const WRITABLE_REGISTERS: usize = 123;
/// The most registers that one request writes while it reads others.
pub(crate) const WRITABLE_WHILE_READING: usize = 121;

/// What a device answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// As many bits as were asked for; of a write of one coil, the state that the device confirms.
    Bits(Vec<bool>),
    /// As many registers as were asked for; of a write of one register, the value that the device
    /// confirms. Some hold another one than was written, and say so.
    Registers(Vec<u16>),
    /// The device confirmed exactly the write that was asked for.
    Written,
    /// A part of what the device says it is.
    Identification(Identification),
    /// What came after the function code of a request that was sent raw.
    Raw(Vec<u8>),
}

/// Why there is no answer in what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadAnswer {
    /// The device said no.
    Exception(Exception),
    /// It is no answer to this request, in words.
    Nonsense(String),
}

/// The answer that the PDU holds.
///
/// # Errors
/// The device's refusal, or why this is no answer to the request.
pub(crate) fn parse(request: &Request, pdu: &[u8]) -> Result<Answer, BadAnswer> {
    let function = request.function();
    let data = match pdu {
        [] => return nonsense("the answer is empty"),
        [code, rest @ ..] if *code == function | 0x80 => {
            return match rest {
                [exception] => Err(BadAnswer::Exception(Exception(*exception))),
                _ => nonsense("the answer is an exception of a wrong length"),
            };
        }
        [code, ..] if *code != function => return nonsense("the answer is to another function"),
        [_, data @ ..] => data,
    };
    match request {
        Request::ReadCoils { count, .. } | Request::ReadDiscreteInputs { count, .. } => {
            let bytes = counted(data, usize::from(*count).div_ceil(8))?;
            let bits = bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
            // Bits come in whole bytes; those past the last one asked for mean nothing.
            Ok(Answer::Bits(bits.take(usize::from(*count)).collect()))
        }
        Request::ReadHolding { count, .. }
        | Request::ReadInput { count, .. }
        | Request::ReadWrite { read_count: count, .. } => {
            let bytes = counted(data, usize::from(*count) * 2)?;
            Ok(Answer::Registers(words(bytes)))
        }
        Request::WriteCoil { address, .. } => match words(data)[..] {
            [at, state @ (0 | 0xFF00)] if data.len() == 4 && at == *address => Ok(Answer::Bits(vec![state != 0])),
            _ => another_write(),
        },
        Request::WriteRegister { address, .. } => match words(data)[..] {
            [at, held] if data.len() == 4 && at == *address => Ok(Answer::Registers(vec![held])),
            _ => another_write(),
        },
        Request::WriteCoils { start, bits } => confirmed(data, &[*start, short(bits.len())]),
        Request::WriteRegisters { start, values } => confirmed(data, &[*start, short(values.len())]),
        Request::MaskWrite { address, and, or } => confirmed(data, &[*address, *and, *or]),
        Request::Identify { level, .. } => {
            identification::parse(*level, data).map(Answer::Identification).map_err(BadAnswer::Nonsense)
        }
        Request::Raw { .. } => Ok(Answer::Raw(data.to_vec())),
    }
}

/// The bytes behind a count that says how many they are, if they are as many as are due.
fn counted(data: &[u8], due: usize) -> Result<&[u8], BadAnswer> {
    let Some((&said, bytes)) = data.split_first() else { return nonsense("the answer is too short") };
    if usize::from(said) != due {
        return nonsense(format!("{said} bytes came where {due} were due"));
    }
    if bytes.len() != due {
        return nonsense(format!("the answer speaks of {due} bytes and holds {}", bytes.len()));
    }
    Ok(bytes)
}

fn confirmed(data: &[u8], due: &[u16]) -> Result<Answer, BadAnswer> {
    if data.len() == due.len() * 2 && words(data) == due { Ok(Answer::Written) } else { another_write() }
}

/// The bytes as 16-bit words, the more significant byte first.
fn words(bytes: &[u8]) -> Vec<u16> {
    bytes.as_chunks().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect()
}

/// A number of items as it stands on the wire. What is larger cannot have been asked for.
fn short(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn another_write<T>() -> Result<T, BadAnswer> {
    nonsense("the device confirmed another write")
}

fn nonsense<T>(reason: impl Into<String>) -> Result<T, BadAnswer> {
    Err(BadAnswer::Nonsense(reason.into()))
}
