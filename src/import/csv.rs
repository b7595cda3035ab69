//! CSV as spreadsheets write it: commas, semicolons or tabs, quotes where needed.

/// The longest cell, so that a quote that is never closed is found out.
const LONGEST_CELL: usize = 10_000;

/// One row, with the number of the line it begins in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) line: usize,
    pub(super) cells: Vec<String>,
}

impl Row {
    /// Whether nothing stands in it.
    pub(super) fn is_empty(&self) -> bool {
        self.cells.iter().all(String::is_empty)
    }
}

/// The rows of a text. Cells come without the blanks around them.
pub(super) fn rows(text: &str) -> Result<Vec<Row>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let separator = separator(text);
    let mut rows = Vec::new();
    let mut row = Row { line: 1, cells: Vec::new() };
    let mut cell = String::new();
    let mut quoted_from = None;
    let mut line = 1;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quoted_from) {
            // A doubled quote inside quotes is a quote.
            ('"', Some(_)) if chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            ('"', Some(_)) => quoted_from = None,
            ('"', None) if cell.trim().is_empty() => quoted_from = Some(line),
            ('\n', None) => {
                row.cells.push(std::mem::take(&mut cell).trim().to_owned());
                rows.push(std::mem::replace(&mut row, Row { line: line + 1, cells: Vec::new() }));
            }
            (c, None) if c == separator => row.cells.push(std::mem::take(&mut cell).trim().to_owned()),
            (c, _) => cell.push(c),
        }
        line += usize::from(c == '\n');
        if cell.len() > LONGEST_CELL {
            let from = quoted_from.unwrap_or(line);
            return Err(format!("line {from}: a quote that is not closed, or no CSV"));
        }
    }
    if let Some(from) = quoted_from {
        return Err(format!("line {from}: a quote that is not closed"));
    }
    row.cells.push(cell.trim().to_owned());
    if !row.is_empty() {
        rows.push(row);
    }
    Ok(rows)
}

/// What separates the cells: whichever is there most in the first lines.
fn separator(text: &str) -> char {
    let start: String = text.lines().take(20).collect();
    let count = |separator: &char| start.matches(*separator).count();
    [',', '\t', ';'].into_iter().max_by_key(count).unwrap_or(',')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(text: &str) -> Vec<Vec<String>> {
        rows(text).unwrap().into_iter().map(|row| row.cells).collect()
    }

    #[test]
    fn cells_are_told_apart_by_commas_semicolons_or_tabs() {
        for text in ["a,b\n1,2", "a;b\r\n1;2\r\n", "\u{feff}a\tb\n1\t2\n"] {
            assert_eq!(cells(text), [["a", "b"], ["1", "2"]], "{text:?}");
        }
    }

    #[test]
    fn quotes_keep_a_cell_together_and_lines_are_counted_through_them() {
        let rows = rows("a,b\n\"x, \"\"y\"\"\nz\", 1\nlast,2\n").unwrap();
        assert_eq!(rows[1].cells, ["x, \"y\"\nz", "1"]);
        assert_eq!((rows[1].line, rows[2].line), (2, 4));
    }

    #[test]
    fn a_quote_that_is_never_closed_is_named() {
        assert_eq!(super::rows("a,b\n\"x,1\n"), Err("line 2: a quote that is not closed".into()));
        assert!(super::rows(&format!("a,b\n\"{}", "x\n".repeat(20_000))).unwrap_err().starts_with("line 2: a quote"));
    }
}
