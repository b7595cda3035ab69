//! A topic filter in a rule, with levels that stand for names.

use std::ops::Deref;

use serde_json::json;
use wharf_contract::settings::{Context, Node, Schema, Setting, Severity, Typed};

use crate::broker::rights::{CLIENT, USER, filter};

/// A topic filter in which a level `%c` stands for the client id, and `%u` for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRule(String);

impl Deref for TopicRule {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Setting for TopicRule {
    fn schema() -> Schema {
        let level = "([^+#/\\u0000]*|\\+)";
        json!({ "type": "string", "minLength": 1, "pattern": format!("^(#|{level}(/{level})*(/#)?)$") })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        let Some(Typed::Text(text)) = node.typed() else {
            let wrong = cx.unexpected(node, "a topic filter such as gw1-out/#");
            if node.is_null() {
                cx.help_last("`#` alone begins a comment: write \"#\"");
            }
            return wrong;
        };
        if let Err(why) = filter::check(text) {
            cx.problem(node.span, why);
            return None;
        }
        for name in [CLIENT, USER] {
            if let Some(level) = text.split('/').find(|level| level.contains(name) && *level != name) {
                cx.problem(node.span, format!("in `{level}` `{name}` does not stand for a whole level"))
                    .help(format!("write it between slashes: tele/{name}/#"));
                return None;
            }
        }
        // `%U` and `%i` are taken for these two, and {user} is how other sections write it.
        let is_odd = |level: &&str| {
            level.starts_with('%') && ![CLIENT, USER].contains(level) || level.starts_with('{') && level.ends_with('}')
        };
        if let Some(level) = text.split('/').find(is_odd) {
            let problem = cx.problem(node.span, format!("`{level}` stands for nothing but itself"));
            problem.severity = Severity::Warning;
            problem.help(format!("{USER} stands for the user, {CLIENT} for the client id"));
        }
        Some(Self(text.to_owned()))
    }
}
