//! Which units there are on a link, and what they say they are. It only reads: functions 1 to 4 and
//! 43/14.

use std::time::{Duration, Instant};

use super::{Tester, Trouble};
use crate::line::Fault;
use crate::pdu::{Answer, Identification, Request};

/// The functions a unit is asked for, and the table each reads.
const FUNCTIONS: [(u8, &str); 4] = [(3, "holding"), (4, "input"), (1, "coil"), (2, "discrete")];

/// The levels of an identification: basic, which every device that has one knows, and regular.
const LEVELS: [u8; 2] = [1, 2];

/// A unit that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its unit id.
    pub unit: u8,
    /// What it said when the first item of each table was asked for.
    pub tables: Vec<(&'static str, Told)>,
    /// What it says it is: what each part is called, and the part.
    pub identification: Vec<(String, String)>,
    /// How long its first answer took.
    pub took: Duration,
}

/// What a unit said to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A value: it has the table, and something at address 0.
    Value(u16),
    /// An exception, in words.
    Refusal(String),
    /// Nothing, though it answers otherwise.
    Nothing,
    /// Something that is no answer: disturbed, or from several devices at once.
    Garbled(String),
}

impl Told {
    /// What an outcome says. A device that closes the connection instead of answering says nothing;
    /// damage leaves the connection as it is.
    fn from(outcome: Result<Answer, Fault>, is_connected: bool) -> Self {
        match outcome {
            Ok(Answer::Registers(registers)) => Self::Value(registers.first().copied().unwrap_or_default()),
            Ok(Answer::Bits(bits)) => Self::Value(bits.first().copied().unwrap_or_default().into()),
            Ok(_) => Self::Nothing,
            Err(Fault::Refused { reason, .. }) => Self::Refusal(reason),
            Err(Fault::Broken(reason)) if is_connected => Self::Garbled(reason),
            Err(_) => Self::Nothing,
        }
    }
}

impl Found {
    /// Whether a device answered, and not just noise.
    pub fn is_clear(&self) -> bool {
        self.tables.iter().any(|(_, told)| matches!(told, Told::Value(_) | Told::Refusal(_)))
    }

    /// Whether another unit said the same to everything.
    fn is_like(&self, other: &Self) -> bool {
        (&self.tables, &self.identification) == (&other.tables, &other.identification)
    }
}

/// Whether so many units were asked, all of them answered, and all alike: then there is one device,
/// and it does not look at the unit id.
pub fn is_one_device(found: &[Found], asked: usize) -> bool {
    const ENOUGH: usize = 8;
    let all = found.len() == asked && asked >= ENOUGH;
    all && found.first().is_some_and(|first| found.iter().all(|other| other.is_like(first)))
}

impl Tester {
    /// Looks for a unit: reads one holding register, and if there is an answer asks for everything
    /// else that a scan shows. `None` if nobody answers. A `thorough` look asks a silent unit for the
    /// other tables as well: there are devices that do not answer to a function they lack.
    ///
    /// # Errors
    /// There is no connection any more.
    pub async fn look_for(&mut self, unit: u8, thorough: bool, timeout: Duration) -> Result<Option<Found>, Trouble> {
        let mut found = Found { unit, tables: Vec::new(), identification: Vec::new(), took: Duration::ZERO };
        let mut heard = false;
        for (function, table) in FUNCTIONS {
            self.rest().await;
            self.connect().await?;
            let begin = Instant::now();
            let outcome = self.ask(unit, &first_of(function), timeout).await;
            let told = Told::from(outcome, self.is_connected());
            if told != Told::Nothing && !heard {
                (heard, found.took) = (true, begin.elapsed());
            }
            found.tables.push((table, told));
            if !heard && !thorough {
                return Ok(None);
            }
        }
        if !heard {
            return Ok(None);
        }
        if found.is_clear() {
            found.identification = self.identification(unit, timeout).await;
        }
        Ok(Some(found))
    }

    /// What a unit says it is; nothing if it says nothing.
    pub async fn identification(&mut self, unit: u8, timeout: Duration) -> Vec<(String, String)> {
        let mut objects: Vec<(u8, Vec<u8>)> = Vec::new();
        for level in LEVELS {
            match self.identify(unit, level, timeout).await {
                Ok(more) => {
                    let new = more.into_iter().filter(|(id, _)| !objects.iter().any(|(known, _)| known == id));
                    let new: Vec<_> = new.collect();
                    objects.extend(new);
                }
                Err(_) => break,
            }
        }
        objects.sort_by_key(|(id, _)| *id);
        objects.into_iter().map(|(id, bytes)| (name(id), text(&bytes))).filter(|(_, text)| !text.is_empty()).collect()
    }
}

/// The request for the first item of a function's table.
fn first_of(function: u8) -> Request {
    let (start, count) = (0, 1);
    match function {
        1 => Request::ReadCoils { start, count },
        2 => Request::ReadDiscreteInputs { start, count },
        4 => Request::ReadInput { start, count },
        _ => Request::ReadHolding { start, count },
    }
}

fn name(object: u8) -> String {
    Identification::name(object).map_or_else(|| format!("object {object}"), str::to_owned)
}

/// What stands in an object as text: some devices fill it up with zeros or blanks.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(unit: u8, value: u16) -> Found {
        Found { unit, tables: vec![("holding", Told::Value(value))], identification: Vec::new(), took: Duration::ZERO }
    }

    #[test]
    fn a_device_that_answers_to_every_unit_id_is_one_device() {
        let all: Vec<Found> = (1..=247).map(|unit| found(unit, 7)).collect();
        assert!(is_one_device(&all, 247));
        assert!(!is_one_device(&all[..246], 247), "one unit is silent");
        assert!(!is_one_device(&all[..3], 3), "three alike are no proof");
        let mut other = all;
        other[100] = found(101, 8);
        assert!(!is_one_device(&other, 247), "one unit says something else");
    }

    #[test]
    fn only_an_answer_of_the_device_counts_as_its_presence() {
        let with = |told: Told| Found { tables: vec![("holding", told)], ..found(1, 0) }.is_clear();
        assert!(with(Told::Value(0)) && with(Told::Refusal("illegal function".into())));
        assert!(!with(Told::Nothing) && !with(Told::Garbled("crc".into())));
    }

    #[test]
    fn an_identification_loses_its_padding() {
        assert_eq!(text(b"SDM120\0\0 "), "SDM120");
        assert_eq!(name(1), "product code");
        assert_eq!(name(0x80), "object 128");
    }
}
