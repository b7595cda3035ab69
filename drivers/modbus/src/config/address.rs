//! Addresses, and the two ways of counting them.
//!
//! On the wire each table is counted from 0. Manuals often count from 1 and put the table's digit in
//! front: holding register 0 is 40001, or 400001. What can only be such a number is a mistake, and what
//! may be one a warning.

use wharf_contract::settings::{Context, Node, Schema, Setting, Typed};

/// An address as it goes over the wire, 0–65535. `DIGIT` is what manuals put in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<const DIGIT: u8>(u16);

impl<const DIGIT: u8> Address<DIGIT> {
    /// The address on the wire.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl<const DIGIT: u8> Setting for Address<DIGIT> {
    fn schema() -> Schema {
        u16::schema()
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let address = u16::decode(node, cx);
        if let (None, Some(on_wire)) = (address, whole(node).and_then(|number| on_wire(number, DIGIT))) {
            cx.help_last(format!("addresses are counted from 0: {} in a manual is {on_wire}", node.describe()));
        }
        address.map(Self)
    }
}

/// The tables with the digits that manuals put in front of their addresses. Coils have none that could
/// be told from a short address.
const DIGITS: [(&str, u8); 3] = [("discrete", 1), ("input", 3), ("holding", 4)];

/// Warns of the first address of a device that looks like one from a manual, such as 40001. An
/// address in hexadecimal is surely meant as it stands.
pub(super) fn warn(device: &Node, cx: &mut Context<'_>) {
    let Some(points) = device.get("points") else { return };
    let suspects = points.value.entries().iter().filter_map(|point| Some((point, suspect(&point.value)?)));
    let suspects: Vec<_> = suspects.collect();
    let Some((point, (key, number, on_wire))) = suspects.first() else { return };
    let others = match suspects.len() - 1 {
        0 => String::new(),
        1 => ", and so does one more address of this device".into(),
        more => format!(", and so do {more} more addresses of this device"),
    };
    cx.within_entry(points, |cx, _| {
        cx.within_entry(point, |cx, node| {
            cx.field_warning(node, key, format!("{number} looks like a number from a manual{others}")).help(format!(
                "addresses are counted from 0: {number} in a manual is `{key}: {on_wire}`; \
                 if {number} is what goes over the wire, write {number:#X}",
            ));
        });
    });
}

/// The table, the address as written and the one probably meant.
fn suspect(point: &Node) -> Option<(&'static str, i128, i128)> {
    DIGITS.iter().find_map(|(key, digit)| {
        let value = &point.get(key)?.value;
        let number = whole(value).filter(|_| !value.text().is_some_and(|text| text.starts_with("0x")))?;
        let on_wire = number - i128::from(*digit) * 10_000 - 1;
        (0..9_999).contains(&on_wire).then_some((*key, number, on_wire))
    })
}

/// What a number of six digits, such as 400001, is on the wire.
fn on_wire(number: i128, digit: u8) -> Option<i128> {
    let on_wire = number - i128::from(digit) * 100_000 - 1;
    (digit > 0 && (0..=65_535).contains(&on_wire)).then_some(on_wire)
}

fn whole(node: &Node) -> Option<i128> {
    match node.typed() {
        Some(Typed::Int(number)) => Some(number),
        _ => None,
    }
}
