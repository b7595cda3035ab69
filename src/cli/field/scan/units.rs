//! The unit ids to ask, as people write them. Pure.

use std::str::FromStr;

/// The highest unit id on a serial bus.
const HIGHEST_ON_A_BUS: u8 = 247;

/// Unit ids in the order they are asked, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Units(Vec<u8>);

impl Units {
    /// All that a device may have: on a bus 1–247; over TCP also 255 and 0, which devices of their own
    /// address answer to.
    pub fn usual(bus: bool) -> Self {
        let others: &[u8] = if bus { &[] } else { &[255, 0] };
        Self((1..=HIGHEST_ON_A_BUS).chain(others.iter().copied()).collect())
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = u8> {
        self.0.iter().copied()
    }

    /// How many there are; never none.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Reads `1-10,20`.
impl FromStr for Units {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<u8>().map_err(|_| format!("`{text}` is not a unit id (0–255)"));
        let mut units = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once(['-', '–']).unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("`{part}` ends before it begins"));
            }
            units.extend((first..=last).filter(|unit| !units.contains(unit)).collect::<Vec<_>>());
        }
        Ok(Self(units))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_ids_are_read_as_people_write_them() {
        let check = |text: &str, units: &[u8]| assert_eq!(text.parse(), Ok(Units(units.to_vec())), "{text}");
        check("7", &[7]);
        check("1-3", &[1, 2, 3]);
        check("1-3, 2,255", &[1, 2, 3, 255]);
        for nonsense in ["", "x", "3-1", "256", "1-", "-1"] {
            assert!(nonsense.parse::<Units>().is_err(), "{nonsense}");
        }
    }

    #[test]
    fn over_tcp_there_are_two_more_units_than_on_a_bus() {
        assert_eq!((Units::usual(true).len(), Units::usual(false).len()), (247, 249));
    }
}
