//! Manufacturer data whose company id is none: some sensors put readings, or bytes of their address,
//! where the id belongs.

use super::{Advert, Refusal};

/// Apple's id, under which sensors send an iBeacon beside their readings.
const APPLE: u16 = 0x004c;

/// How an iBeacon begins: its kind and its length.
const BEACON: [u8; 2] = [0x02, 0x15];

/// An iBeacon as a whole, its company id and the two bytes it begins with included.
const BEACON_LENGTH: usize = 25;

/// The only manufacturer data there is apart from an iBeacon: what stands in the place of the company
/// id, and what follows. With two of them nobody can tell which is the newer one.
pub(super) fn sole(advert: &Advert) -> Result<Option<(u16, &[u8])>, Refusal> {
    let is_beacon = |id: u16, data: &[u8]| id == APPLE && data.starts_with(&BEACON);
    let mut entries = advert.manufacturer_data.iter().filter(|(id, data)| !is_beacon(**id, data));
    let first = entries.next().map(|(id, data)| (*id, data.as_slice()));
    match entries.next() {
        None => Ok(first),
        Some(_) => Err(two_at_once()),
    }
}

pub(super) fn two_at_once() -> Refusal {
    Refusal::Unknown("two readings at once, and which is the newer one cannot be told".into())
}

/// As it was on the air: the id's low byte leads.
pub(super) fn on_air((id, data): (u16, &[u8])) -> Vec<u8> {
    [&id.to_le_bytes()[..], data].concat()
}

/// Takes an iBeacon away that a radio has glued on behind.
pub(super) fn without_beacon(data: &[u8]) -> &[u8] {
    let start = [&APPLE.to_le_bytes()[..], &BEACON[..]].concat();
    match data.len().checked_sub(BEACON_LENGTH).and_then(|at| data.split_at_checked(at)) {
        Some((before, behind)) if behind.starts_with(&start) => before,
        _ => data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::testing::{advert, hex};

    const BEACON_DATA: &str = "0215494e54454c4c495f524f434b535f48575075f2ffc2";

    #[test]
    fn a_beacon_beside_the_readings_is_passed_over() {
        let heard = advert("aa:bb:cc:dd:ee:ff").with_company(0xf1c2, "001d022c").with_company(APPLE, BEACON_DATA);
        let found = sole(&heard).unwrap().unwrap();
        assert_eq!(on_air(found), hex("c2f1001d022c"));
        assert_eq!(sole(&advert("aa:bb:cc:dd:ee:ff")), Ok(None));
    }

    #[test]
    fn two_readings_at_once_are_refused() {
        let heard = advert("aa:bb:cc:dd:ee:ff").with_company(0xf1c2, "001d022c").with_company(0xf2c2, "001d022c");
        assert!(matches!(sole(&heard), Err(Refusal::Unknown(_))));
    }

    #[test]
    fn a_beacon_glued_on_behind_is_cut_off() {
        let glued = hex(&format!("00034db264004c00{BEACON_DATA}"));
        assert_eq!(without_beacon(&glued), hex("00034db26400"));
        assert_eq!(without_beacon(&hex("00034db26400")), hex("00034db26400"));
    }
}
