//! Names with values: `T=21.5,H=60`, `temp: 21.5; hum: 60`.

/// The most pairs in a line.
const MOST_PAIRS: usize = 256;

/// What stands between names and values.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairs {
    /// Between a name and its value; without it `=` or `:`, whichever comes first.
    pub equals: Option<String>,
    /// Between two pairs; without it any of `,` `;` `&` `|`, blanks and tabs.
    pub separator: Option<String>,
}

impl Pairs {
    /// The pairs of a line: `None` if it has none. What is no pair among them is passed over.
    pub fn split<'t>(&self, line: &'t str) -> Option<Vec<(&'t str, &'t str)>> {
        let pair = |text: &'t str| {
            let (name, value) = match &self.equals {
                Some(equals) => text.split_once(equals.as_str())?,
                None => text.split_once(['=', ':'])?,
            };
            let name = name.trim();
            (!name.is_empty()).then(|| (name, value.trim().trim_matches('"')))
        };
        let line = line.trim();
        let found: Vec<_> = match &self.separator {
            Some(separator) => line.split(separator.as_str()).filter_map(pair).take(MOST_PAIRS).collect(),
            None => line.split([',', ';', '&', '|', ' ', '\t']).filter_map(pair).take(MOST_PAIRS).collect(),
        };
        (!found.is_empty()).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(equals: Option<&str>, separator: Option<&str>, line: &str, expected: Option<&[(&str, &str)]>) {
        let pairs = Pairs { equals: equals.map(Into::into), separator: separator.map(Into::into) };
        assert_eq!(pairs.split(line).as_deref(), expected, "{line}");
    }

    #[test]
    fn usual_signs_are_known_by_themselves() {
        let fields: &[_] = &[("T", "21.5"), ("H", "60")];
        for line in ["T=21.5,H=60", "T:21.5;H:60", "T=21.5 H=60\r", "T=\"21.5\"&H=60", "$DATA T=21.5|H=60"] {
            check(None, None, line, Some(fields));
        }
        check(None, None, "t=", Some(&[("t", "")]));
        check(None, None, "=5", None);
        check(None, None, "hello", None);
        check(None, None, "", None);
    }

    #[test]
    fn others_can_be_said() {
        let fields: &[_] = &[("temp in", "21,5 C"), ("time", "12:00")];
        check(Some("->"), Some(";"), "temp in -> 21,5 C ; time->12:00", Some(fields));
        check(Some(": "), Some(","), "temp: 21.5, hum: 60", Some(&[("temp", "21.5"), ("hum", "60")]));
    }
}
