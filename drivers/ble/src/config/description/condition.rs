//! What has to stand in the data, in the words of a description.

use wharf_contract::settings;
use wharf_contract::settings::{OneOrMany, Ranged};

use super::words::{AddressOrder, HexBytes, Offset};
use crate::advert::described::condition::{Condition, Test};

settings! {
    /// Something that has to stand in the data.
    pub struct ConditionSettings {
        /// The byte of the data it begins at, counted from 0; from the end if it is negative, -1 being
        /// the last.
        at: Offset,
        /// The bytes that stand there, in hexadecimal; a list are several of which one does.
        is: Option<OneOrMany<HexBytes>> = None,
        /// Bytes that do not stand there.
        is_not: Option<OneOrMany<HexBytes>> = None,
        /// The bit of that byte that is set; 0 is the least significant.
        set: Option<Ranged<u8, 0, 7>> = None,
        /// The bit of that byte that is not set.
        clear: Option<Ranged<u8, 0, 7>> = None,
        /// The sender's own address stands there, as it is written or reversed.
        address: Option<AddressOrder> = None,
    }
    exactly_one_of: [is, is_not, set, clear, address];
}

impl ConditionSettings {
    pub(super) fn compile(&self) -> Condition {
        let bytes = |any: &OneOrMany<HexBytes>| any.iter().map(|bytes| bytes.0.clone()).collect();
        let is = self.is.as_ref().map(|any| Test::Is(bytes(any)));
        let is_not = self.is_not.as_ref().map(|none| Test::IsNot(bytes(none)));
        let set = self.set.map(|bit| Test::Set(bit.get()));
        let clear = self.clear.map(|bit| Test::Clear(bit.get()));
        let reversed = self.address == Some(AddressOrder::Reversed);
        // Exactly one of them is there once it is decoded.
        let test = is.or(is_not).or(set).or(clear).unwrap_or(Test::Address { reversed });
        Condition { at: self.at.0, test }
    }
}

/// All of them.
pub(super) fn compile(conditions: Option<&OneOrMany<ConditionSettings>>) -> Vec<Condition> {
    conditions.into_iter().flat_map(|all| all.iter()).map(ConditionSettings::compile).collect()
}
