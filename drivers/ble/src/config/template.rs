//! The names that adopted sensors get.

use serde_json::json;
use wharf_contract::settings::{Context, Name, Node, Schema, Setting, Typed};

use crate::advert::Address;

/// The words that may stand in a template.
const WORDS: [&str; 3] = ["address", "short", "model"];

/// The longest model in a name. An address and some words of the site file fit beside it.
const LONGEST_MODEL: usize = 24;

/// A name with an address in it: `th-{address}` becomes `th-a4c138565384`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTemplate(String);

impl NameTemplate {
    /// The one that is used where the site file has none.
    pub fn usual() -> Self {
        Self("{model}-{address}".to_owned())
    }

    /// The name of a device; the same on every gateway that hears it.
    pub fn render(&self, address: Address, model: &str) -> String {
        let digits: String = address.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let short = digits.get(6..).unwrap_or_default();
        let name = self.0.replace("{address}", &digits).replace("{short}", short);
        name.replace("{model}", &slug(model))
    }

    /// A template, or what is wrong with the text.
    ///
    /// # Errors
    /// In words, without the text itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text;
        while let Some((_, after)) = rest.split_once('{') {
            let (word, after) = after.split_once('}').ok_or("the brace `{` is not closed")?;
            if !WORDS.contains(&word) {
                return Err(format!("`{{{word}}}` is not known here; {{address}}, {{short}} and {{model}} are"));
            }
            rest = after;
        }
        let template = Self(text.to_owned());
        if !text.contains("{address}") && !text.contains("{short}") {
            return Err("without {address} or {short} all of them would have the same name".to_owned());
        }
        // The longest there can be, so that no name is too long on the day the sensor is heard.
        Name::new(&template.render(Address([0xff; 6]), &"m".repeat(LONGEST_MODEL)))?;
        Ok(template)
    }
}

/// A model as part of a name: small letters and digits, with dashes for everything else.
fn slug(model: &str) -> String {
    let mut slug = String::new();
    for c in model.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() || c == '.' {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == LONGEST_MODEL {
            break;
        }
    }
    match slug.trim_end_matches('-') {
        "" => "sensor".to_owned(),
        slug => slug.to_owned(),
    }
}

impl Setting for NameTemplate {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "\\{(address|short)\\}" })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Some(Typed::Text(text)) = node.typed() else {
            return cx.unexpected(node, "a name with {address} in it");
        };
        Self::parse(text).map_err(|why| cx.problem(node.span, why).help = None).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_the_address_and_the_model() {
        let address: Address = "A4:C1:38:56:53:84".parse().unwrap();
        let check = |template: &str, model: &str, name: &str| {
            assert_eq!(NameTemplate::parse(template).unwrap().render(address, model), name);
        };
        check("th-{address}", "ATC", "th-a4c138565384");
        check("{model}.{short}", "BTHome v2", "bthome-v2.565384");
        check("{model}-{address}", "/#+", "sensor-a4c138565384");
        check(
            "{model}-{address}",
            &"Ä very long model with (brackets)".repeat(3),
            "very-long-model-with-bra-a4c138565384",
        );
    }

    #[test]
    fn a_template_that_could_not_name_two_sensors_is_refused() {
        for wrong in ["th", "{model}", "{address", "{mac}-{address}", "a/{address}", &"x".repeat(60)] {
            assert!(NameTemplate::parse(wrong).is_err(), "{wrong}");
        }
        assert!(NameTemplate::parse(&format!("{}{{address}}", "x".repeat(60))).is_err());
    }
}
