//! Which column is which. Makers call the same thing by many names.

use super::csv::Row;

/// How many rows may stand before the headings.
const PREAMBLE: usize = 20;

/// What a column can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Name,
    Address,
    Table,
    Type,
    Length,
    Order,
    Scale,
    Divisor,
    Offset,
    Unit,
    Access,
}

/// Headings, without blanks and signs, in the order of preference; whichever column comes first
/// in it wins. A heading that only begins so counts where no other does.
const HEADINGS: &[(Field, &[&str])] = &[
    (
        Field::Address,
        &[
            "address",
            "addr",
            "adresse",
            "registeraddress",
            "modbusaddress",
            "startaddress",
            "startingaddress",
            "register",
            "reg",
            "registernumber",
            "offset",
        ],
    ),
    (
        Field::Name,
        &[
            "name",
            "point",
            "pointname",
            "tag",
            "tagname",
            "variable",
            "signal",
            "signalname",
            "parameter",
            "registername",
            "label",
            "bezeichnung",
            "description",
            "beschreibung",
        ],
    ),
    (
        Field::Table,
        &[
            "table",
            "area",
            "function",
            "functioncode",
            "fc",
            "fn",
            "registertype",
            "objecttype",
            "modbustype",
            "memory",
        ],
    ),
    (Field::Type, &["type", "datatype", "dataformat", "format", "encoding", "datentyp", "valuetype"]),
    (
        Field::Length,
        &[
            "length",
            "len",
            "size",
            "words",
            "registers",
            "count",
            "quantity",
            "nrofregisters",
            "numberofregisters",
            "laenge",
            "lnge",
        ],
    ),
    (Field::Order, &["order", "byteorder", "wordorder", "endian", "endianness"]),
    (Field::Scale, &["scale", "scaling", "scalefactor", "factor", "multiplier", "gain", "resolution", "faktor"]),
    (Field::Divisor, &["divisor", "divider", "divideby", "div"]),
    (Field::Offset, &["offset", "valueoffset", "bias"]),
    (Field::Unit, &["unit", "units", "engineeringunit", "engunit", "uom", "einheit"]),
    (Field::Access, &["access", "rw", "readwrite", "accesstype", "mode", "zugriff"]),
];

/// The columns that were recognised.
#[derive(Debug)]
pub(super) struct Columns(Vec<(Field, usize)>);

impl Columns {
    /// Finds the headings, and the row they stand in: the first with a name and an address.
    pub(super) fn find(rows: &[Row]) -> Result<(Self, usize), String> {
        let candidates = rows.iter().take(PREAMBLE).map(|row| Self::read(&row.cells)).enumerate();
        let complete = |columns: &Self| columns.index(Field::Name).is_some() && columns.index(Field::Address).is_some();
        candidates.into_iter().find(|(_, columns)| complete(columns)).map(|(row, columns)| (columns, row)).ok_or_else(
            || "no line of headings: there has to be one with a column called `name` and one called `address`".into(),
        )
    }

    fn read(cells: &[String]) -> Self {
        let headings: Vec<String> = cells.iter().map(|cell| bare(cell)).collect();
        let mut columns = Vec::new();
        for (field, names) in HEADINGS {
            let free = |index: &usize| !columns.iter().any(|(_, taken)| taken == index);
            let exactly = |name: &&str| {
                headings.iter().enumerate().filter(|(_, heading)| heading == name).map(|(i, _)| i).find(free)
            };
            let nearly = |name: &&str| {
                headings
                    .iter()
                    .enumerate()
                    .filter(|(_, heading)| name.len() > 3 && heading.starts_with(*name))
                    .map(|(i, _)| i)
                    .find(free)
            };
            if let Some(index) = names.iter().find_map(exactly).or_else(|| names.iter().find_map(nearly)) {
                columns.push((*field, index));
            }
        }
        Self(columns)
    }

    fn index(&self, field: Field) -> Option<usize> {
        self.0.iter().find(|(candidate, _)| *candidate == field).map(|(_, index)| *index)
    }

    /// What a row says of it; `None` for nothing and for a dash.
    pub(super) fn cell<'r>(&self, row: &'r Row, field: Field) -> Option<&'r str> {
        let cell = row.cells.get(self.index(field)?)?.as_str();
        (!matches!(cell, "" | "-" | "–" | "—" | "n/a" | "N/A")).then_some(cell)
    }
}

/// A heading without what is written differently every time.
fn bare(heading: &str) -> String {
    // What stands in brackets explains: `Address (hex)`.
    let heading = heading.split(['(', '[']).next().unwrap_or_default();
    heading.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect()
}
