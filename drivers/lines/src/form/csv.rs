//! Columns between separators, with or without quotes.

use std::borrow::Cow;

use super::Misfit;

/// The most columns in a line.
pub const MOST_COLUMNS: usize = 256;

/// What the columns of a line are.
#[derive(Clone, Debug, PartialEq)]
pub struct Csv {
    /// What stands between two columns. A blank stands for a run of blanks and tabs.
    pub separator: char,
    /// The names of the columns; empty if they have none. A line then has just as many.
    pub columns: Vec<String>,
    /// How many columns a line has at least, where they have no names.
    pub least: usize,
}

impl Csv {
    /// The columns of a line.
    ///
    /// # Errors
    /// It has another number of them, a quote is not closed, or it is the heading.
    pub fn split<'t>(&self, line: &'t str) -> Result<Vec<Cow<'t, str>>, Misfit> {
        let line = line.trim_matches([' ', '\r', '\n']);
        let columns: Vec<Cow<str>> = if self.separator == ' ' {
            line.split([' ', '\t']).filter(|part| !part.is_empty()).take(MOST_COLUMNS + 1).map(Cow::Borrowed).collect()
        } else {
            quoted(line, self.separator).ok_or(Misfit::Other)?
        };
        let fits = if self.columns.is_empty() {
            (self.least.max(1)..=MOST_COLUMNS).contains(&columns.len())
        } else {
            columns.len() == self.columns.len()
        };
        if !fits {
            return Err(Misfit::Other);
        }
        let is_heading = columns.len() == self.columns.len() && columns.iter().eq(&self.columns);
        if is_heading { Err(Misfit::Heading) } else { Ok(columns) }
    }

    /// The place of a column, from 0, by its name or its number from 1.
    ///
    /// # Errors
    /// There is none, in words.
    pub fn place(&self, name: &str) -> Result<usize, String> {
        place(&self.columns, name).filter(|place| *place < MOST_COLUMNS).ok_or_else(|| {
            if self.columns.is_empty() {
                format!(
                    "`{name}` is not the number of a column, from 1 to {MOST_COLUMNS}, and the columns have no names"
                )
            } else {
                format!("there is no column `{name}`: there are {}", self.columns.join(", "))
            }
        })
    }
}

/// As [`Csv::place`].
pub fn place(names: &[String], name: &str) -> Option<usize> {
    let named = names.iter().position(|column| column == name);
    let numbered = || name.parse::<usize>().ok()?.checked_sub(1).filter(|at| names.is_empty() || *at < names.len());
    named.or_else(numbered)
}

/// The columns of a line, quotes undone; `None` if a quote is not closed.
fn quoted(line: &str, separator: char) -> Option<Vec<Cow<'_, str>>> {
    let mut columns = Vec::new();
    let mut rest = line;
    loop {
        if columns.len() > MOST_COLUMNS {
            return Some(columns);
        }
        let begin = rest.trim_start_matches(' ');
        let after = if let Some(quoted) = begin.strip_prefix('"') {
            let (text, after) = unquote(quoted)?;
            columns.push(text);
            after.trim_start_matches(' ')
        } else {
            let end = rest.find(separator).unwrap_or(rest.len());
            let (text, after) = rest.split_at(end);
            columns.push(Cow::Borrowed(text.trim()));
            after
        };
        match after.strip_prefix(separator) {
            Some(next) => rest = next,
            None => return after.is_empty().then_some(columns),
        }
    }
}

/// What stands before the closing quote, where two quotes are one; and what stands behind it.
fn unquote(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.find('"')?;
        let after = text.get(at + 1..)?;
        if after.starts_with('"') {
            from = at + 2;
            continue;
        }
        let inside = text.get(..at)?;
        let inside =
            if inside.contains('"') { Cow::Owned(inside.replace("\"\"", "\"")) } else { Cow::Borrowed(inside) };
        return Some((inside, after));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(separator: char, columns: &[&str], least: usize) -> Csv {
        Csv { separator, columns: columns.iter().map(|&name| name.into()).collect(), least }
    }

    fn check(csv: &Csv, line: &str, expected: Result<&[&str], Misfit>) {
        let found = csv.split(line);
        assert_eq!(
            found.map(|columns| columns.iter().map(ToString::to_string).collect::<Vec<_>>()),
            expected.map(|e| e.iter().map(ToString::to_string).collect()),
            "{line:?}"
        );
    }

    #[test]
    fn columns_are_told_apart_with_and_without_quotes() {
        let any = csv(',', &[], 0);
        check(&any, "1, 2 ,,3", Ok(&["1", "2", "", "3"]));
        check(&any, "\"a,b\", \"say \"\"hi\"\"\" ,c", Ok(&["a,b", "say \"hi\"", "c"]));
        check(&any, "\"open,1", Err(Misfit::Other));
        check(&any, "\"a\"b,1", Err(Misfit::Other));
        check(&any, "1,", Ok(&["1", ""]));
        check(&csv(' ', &[], 2), "  21.5 \t 60\r", Ok(&["21.5", "60"]));
        check(&csv('\t', &[], 2), "21.5\t\t60", Ok(&["21.5", "", "60"]));
    }

    #[test]
    fn a_line_has_as_many_columns_as_it_should() {
        let named = csv(';', &["time", "temp"], 0);
        check(&named, "12:00;21.5", Ok(&["12:00", "21.5"]));
        check(&named, "12:00;21.5;1", Err(Misfit::Other));
        check(&named, "time;temp", Err(Misfit::Heading));
        check(&csv(',', &[], 3), "1,2", Err(Misfit::Other));
        let many = vec!["1"; MOST_COLUMNS + 1].join(",");
        check(&csv(',', &[], 0), &many, Err(Misfit::Other));
    }

    #[test]
    fn a_column_is_named_or_counted_from_one() {
        let named = csv(';', &["time", "temp"], 0);
        assert_eq!((named.place("temp"), named.place("1")), (Ok(1), Ok(0)));
        assert!(named.place("3").unwrap_err().contains("time, temp"));
        let counted = csv(';', &[], 0);
        assert_eq!(counted.place("7"), Ok(6));
        for wrong in ["0", "temp", "257", ""] {
            assert!(counted.place(wrong).is_err(), "{wrong}");
        }
    }
}
