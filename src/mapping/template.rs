//! Topic and payload templates: text with `{words}`, checked when the site file is read.
//!
//! `{{` and `}}` stand for a brace, so that a payload template can be JSON.

use wharf_contract::topic;

/// A template that has been checked: every word in it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Word(String),
}

/// What is wrong with a template.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// In words.
    pub message: String,
    /// What to write instead, if that can be guessed.
    pub help: Option<String>,
}

impl TemplateError {
    /// Without a suggestion.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    /// With a suggestion.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Template {
    /// Compiles a payload template; `words` are those that may be used.
    pub fn payload(text: &str, words: &[&str]) -> Result<Self, TemplateError> {
        Self::parse(text, words)
    }

    /// Compiles a topic template. What is fixed in it must be valid as a topic; what is filled in
    /// later is made safe level by level.
    pub fn topic(text: &str, words: &[&str]) -> Result<Self, TemplateError> {
        let template = Self::parse(text, words)?;
        if text.is_empty() {
            return Err(TemplateError::new("a topic cannot be empty"));
        }
        if text.len() > 1024 {
            return Err(TemplateError::new("a topic template can have at most 1024 bytes"));
        }
        for part in &template.parts {
            if let Part::Text(text) = part
                && let Some(bad) = text.chars().find(|c| matches!(c, '+' | '#') || c.is_control())
            {
                return Err(TemplateError::new(format!("{bad:?} cannot stand in a topic")));
            }
        }
        if topic::is_system(text) {
            return Err(TemplateError::new("topics that begin with `$` belong to the broker"));
        }
        if text.starts_with('/') || text.ends_with('/') || text.contains("//") {
            return Err(TemplateError::new("a topic level is empty"));
        }
        Ok(template)
    }

    /// Fills the template into `out`. `fill` writes the value of a word.
    pub fn render<F>(&self, out: &mut String, mut fill: F)
    where
        F: FnMut(&str, &mut String),
    {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Word(word) => fill(word, out),
            }
        }
    }

    /// Whether the template uses a word.
    pub fn uses(&self, word: &str) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Word(used) if used == word))
    }

    fn parse(text: &str, words: &[&str]) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = rest.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let Some((word, after)) = after.split_once('}') else {
                    return Err(TemplateError::new("a `{` is not closed; write `{{` for a brace"));
                };
                known(word, words)?;
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(Part::Word(word.to_owned()));
                rest = after;
            } else {
                return Err(TemplateError::new("a `}` has no `{`; write `}}` for a brace"));
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { parts })
    }
}

fn known(word: &str, words: &[&str]) -> Result<(), TemplateError> {
    if words.contains(&word) {
        return Ok(());
    }
    let near = words
        .iter()
        .map(|known| (strsim::damerau_levenshtein(word, known), *known))
        .filter(|(distance, _)| *distance <= 2)
        .min();
    let help = match near {
        Some((_, known)) => format!("did you mean `{{{known}}}`?"),
        None => format!("the words here are {}", words.join(", ")),
    };
    Err(TemplateError::new(format!("`{{{word}}}` is not known here")).with_help(help))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &[&str] = &["gateway", "device", "point"];

    fn rendered(text: &str) -> String {
        let mut out = String::new();
        let template = Template::payload(text, WORDS).unwrap();
        template.render(&mut out, |word, out| out.push_str(&word.to_uppercase()));
        out
    }

    #[test]
    fn words_are_filled_in_and_doubled_braces_are_braces() {
        assert_eq!(rendered("{gateway}-out/{device}/x"), "GATEWAY-out/DEVICE/x");
        assert_eq!(rendered(r#"{{"d":"{device}"}}"#), r#"{"d":"DEVICE"}"#);
        assert_eq!(rendered("{{{point}}}"), "{POINT}");
        assert_eq!(rendered(""), "");
    }

    #[test]
    fn a_topic_that_could_not_be_sent_is_refused() {
        let check = |text: &str, message: &str| {
            assert_eq!(Template::topic(text, WORDS).unwrap_err().message, message, "{text}");
        };
        check("", "a topic cannot be empty");
        check("a/+/b", "'+' cannot stand in a topic");
        check("a/#", "'#' cannot stand in a topic");
        check("a\0b", "'\\0' cannot stand in a topic");
        check("$SYS/{device}", "topics that begin with `$` belong to the broker");
        check("a//b", "a topic level is empty");
        check("{device}/", "a topic level is empty");
        check("{device", "a `{` is not closed; write `{{` for a brace");
        check("device}", "a `}` has no `{`; write `}}` for a brace");
    }

    #[test]
    fn an_unknown_word_gets_a_suggestion() {
        let error = Template::topic("{devise}", WORDS).unwrap_err();
        assert_eq!(error.message, "`{devise}` is not known here");
        assert_eq!(error.help.as_deref(), Some("did you mean `{device}`?"));
        let error = Template::topic("{node}/x", WORDS).unwrap_err();
        assert_eq!(error.help.as_deref(), Some("the words here are gateway, device, point"));
    }
}
