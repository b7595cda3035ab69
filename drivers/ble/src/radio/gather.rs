//! From the pieces that events come in to one report.
//!
//! The daemon tells of an advertisement in one signal: its strength, its data, its services. btleplug
//! makes an event of each, always in that order and one after the other. They belong together: some
//! sensors put the model into one and the values into another. Here they are put together again, as
//! long as they are of one device and in the order of one signal.

use std::collections::HashMap;

use crate::advert::{Address, Uuid};

/// What one signal told of a device. What is `None` was not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub rssi: Option<i16>,
    pub manufacturer: Option<HashMap<u16, Vec<u8>>>,
    pub service: Option<HashMap<Uuid, Vec<u8>>>,
    pub services: Option<Vec<Uuid>>,
}

/// One of its pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Rssi(i16),
    Manufacturer(HashMap<u16, Vec<u8>>),
    Service(HashMap<Uuid, Vec<u8>>),
    Services(Vec<Uuid>),
}

/// The report that is being put together.
#[derive(Debug, Default)]
pub(super) struct Gather {
    pending: Option<(Address, Report)>,
}

impl Gather {
    /// Whether a piece belongs to the report that is being put together.
    pub(super) fn accepts(&self, address: Address, piece: &Piece) -> bool {
        self.pending.as_ref().is_some_and(|(of, report)| *of == address && report.accepts(piece))
    }

    /// Takes a piece. What was there that it does not belong to is to be taken before.
    pub(super) fn push(&mut self, address: Address, piece: Piece) {
        let (_, report) = self.pending.get_or_insert_with(|| (address, Report::default()));
        match piece {
            Piece::Rssi(rssi) => report.rssi = Some(rssi),
            Piece::Manufacturer(data) => report.manufacturer = Some(data),
            Piece::Service(data) => report.service = Some(data),
            Piece::Services(services) => report.services = Some(services),
        }
    }

    /// The report as far as it is.
    pub(super) fn take(&mut self) -> Option<(Address, Report)> {
        self.pending.take()
    }

    /// Whether it has more than a strength.
    pub(super) fn has_data(&self) -> bool {
        self.pending.as_ref().is_some_and(|(_, report)| report.manufacturer.is_some() || report.service.is_some())
    }

    /// Whether a report is being put together.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }
}

impl Report {
    /// Whether a piece can come after those that are there already.
    fn accepts(&self, piece: &Piece) -> bool {
        let Self { rssi, manufacturer, service, services } = self;
        match piece {
            Piece::Rssi(_) => rssi.is_none() && manufacturer.is_none() && service.is_none() && services.is_none(),
            Piece::Manufacturer(_) => manufacturer.is_none() && service.is_none() && services.is_none(),
            Piece::Service(_) => service.is_none() && services.is_none(),
            Piece::Services(_) => services.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Address = Address([0xc0, 0, 0, 0, 0, 1]);
    const TWO: Address = Address([0xc0, 0, 0, 0, 0, 2]);

    fn manufacturer(byte: u8) -> HashMap<u16, Vec<u8>> {
        HashMap::from([(0x0499, vec![byte])])
    }

    fn service(byte: u8) -> HashMap<Uuid, Vec<u8>> {
        HashMap::from([(Uuid::short(0xfcd2), vec![byte])])
    }

    /// The reports that come of pieces.
    fn gathered(pieces: Vec<(Address, Piece)>) -> Vec<(Address, Report)> {
        let mut gather = Gather::default();
        let mut reports = Vec::new();
        for (address, piece) in pieces {
            if !gather.accepts(address, &piece) {
                reports.extend(gather.take());
            }
            gather.push(address, piece);
        }
        reports.extend(gather.take());
        assert!(!gather.is_pending());
        reports
    }

    #[test]
    fn the_pieces_of_one_signal_become_one_report() {
        let pieces = vec![
            (ONE, Piece::Rssi(-60)),
            (ONE, Piece::Manufacturer(manufacturer(1))),
            (ONE, Piece::Service(service(2))),
        ];
        let report =
            Report { rssi: Some(-60), manufacturer: Some(manufacturer(1)), service: Some(service(2)), services: None };
        assert_eq!(gathered(pieces), [(ONE, report)]);
    }

    #[test]
    fn a_repetition_is_a_report_of_its_own() {
        let once = [(ONE, Piece::Rssi(-60)), (ONE, Piece::Service(service(2)))];
        let report = Report { rssi: Some(-60), service: Some(service(2)), ..Report::default() };
        assert_eq!(gathered([once.clone(), once].concat()), [(ONE, report.clone()), (ONE, report)]);
    }

    #[test]
    fn another_device_ends_a_report() {
        let pieces = vec![
            (ONE, Piece::Rssi(-60)),
            (TWO, Piece::Manufacturer(manufacturer(1))),
            (ONE, Piece::Manufacturer(manufacturer(2))),
        ];
        let of = |address, manufacturer| (address, Report { manufacturer: Some(manufacturer), ..Report::default() });
        let first = (ONE, Report { rssi: Some(-60), ..Report::default() });
        assert_eq!(gathered(pieces), [first, of(TWO, manufacturer(1)), of(ONE, manufacturer(2))]);
    }
}
