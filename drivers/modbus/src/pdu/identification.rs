//! What a device says it is (function 43, type 14): a list of numbered texts, in as many answers as it
//! takes.

use super::request::IDENTIFICATION;

/// One answer's part of the identification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identification {
    /// What the device knows to answer: 1 basic, 2 regular, 3 extended; with 0x80, single objects too.
    pub(crate) conformity: u8,
    /// The object to ask for next, if there are more than fitted this answer.
    pub(crate) next: Option<u8>,
    /// Number and bytes of each object: text, by the standard, though not every device keeps to it.
    pub(crate) objects: Vec<(u8, Vec<u8>)>,
}

impl Identification {
    /// What the standard calls the object: `vendor`, `product code`, `revision`…
    pub(crate) fn name(object: u8) -> Option<&'static str> {
        Some(match object {
            0 => "vendor",
            1 => "product code",
            2 => "revision",
            3 => "vendor url",
            4 => "product name",
            5 => "model name",
            6 => "application name",
            _ => return None,
        })
    }
}

/// Reads what follows the function code. The error says in words what is wrong.
pub(super) fn parse(level: u8, data: &[u8]) -> Result<Identification, String> {
    let [kind, said_level, conformity, more, next, count, list @ ..] = data else {
        return Err("the identification is too short".into());
    };
    let mut rest = list;
    if *kind != IDENTIFICATION || *said_level != level {
        return Err("the answer is to another kind of identification".into());
    }
    let mut objects = Vec::with_capacity(usize::from(*count).min(rest.len() / 2));
    for _ in 0..*count {
        let [number, length, following @ ..] = rest else {
            return Err(format!("the identification ends before the last of {count} objects"));
        };
        let Some((bytes, following)) = following.split_at_checked(usize::from(*length)) else {
            return Err(format!("object {number} of the identification is cut off"));
        };
        objects.push((*number, bytes.to_vec()));
        rest = following;
    }
    if !rest.is_empty() {
        return Err(format!("{} bytes follow the identification", rest.len()));
    }
    match more {
        0 => Ok(Identification { conformity: *conformity, next: None, objects }),
        0xFF => Ok(Identification { conformity: *conformity, next: Some(*next), objects }),
        _ => Err(format!("the identification says {more} where only yes or no can stand")),
    }
}
