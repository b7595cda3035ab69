//! The two macros that define settings, and the plain code they expand to.
//!
//! [`settings!`](crate::settings!) writes a [`Definition`] beside the struct; reading and schema
//! both go by it, so they cannot drift apart.

use serde_json::json;

use super::{Context, Entry, Node, NodeKind, Schema, Setting, Typed, suggestion};

/// One key of a struct of settings.
#[derive(Debug)]
pub struct FieldDefinition {
    /// The field's name, perhaps with `r#` before it.
    pub name: &'static str,
    /// The lines of its doc comment.
    pub docs: &'static [&'static str],
    /// Whether it has no default.
    pub required: bool,
    /// The schema of its value.
    pub schema: fn() -> Schema,
}

/// A rule over several keys.
#[derive(Debug)]
pub enum Group {
    /// One of the keys has to be there, and no other.
    ExactlyOneOf(&'static [&'static str]),
    /// No two of the keys may be there.
    AtMostOneOf(&'static [&'static str]),
    /// All of the keys, or none of them.
    Together(&'static [&'static str]),
}

/// What [`settings!`](crate::settings!) knows of a struct.
#[derive(Debug)]
pub struct Definition {
    /// The lines of the struct's doc comment.
    pub docs: &'static [&'static str],
    /// Its keys.
    pub fields: &'static [FieldDefinition],
    /// The rules over several keys.
    pub groups: &'static [Group],
}

impl Definition {
    /// The JSON Schema of the struct.
    pub fn schema(&self) -> Schema {
        let properties = self.fields.iter().map(|field| {
            let mut schema = (field.schema)();
            if let Some(object) = schema.as_object_mut()
                && !field.docs.is_empty()
            {
                object.insert("description".into(), prose(field.docs).into());
            }
            (bare(field.name).to_owned(), schema)
        });
        let required: Vec<_> = self.fields.iter().filter(|field| field.required).map(|f| bare(f.name)).collect();
        let mut rules: Vec<Schema> = Vec::new();
        for group in self.groups {
            match group {
                Group::ExactlyOneOf(names) => rules.push(json!({ "oneOf": each(names) })),
                Group::AtMostOneOf(names) => {
                    rules.extend(pairs(names).map(|(a, b)| json!({ "not": { "required": [a, b] } })));
                }
                Group::Together(names) => rules.extend(names.iter().map(|name| {
                    let others: Vec<_> = names.iter().filter(|other| *other != name).map(|n| bare(n)).collect();
                    json!({ "dependencies": { bare(name): others } })
                })),
            }
        }
        let needs_nothing =
            required.is_empty() && !self.groups.iter().any(|group| matches!(group, Group::ExactlyOneOf(_)));
        let mut schema = json!({
            "description": prose(self.docs),
            "type": if needs_nothing { json!(["object", "null"]) } else { json!("object") },
            "properties": properties.collect::<serde_json::Map<_, _>>(),
            "additionalProperties": false,
        });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        if !rules.is_empty() {
            schema["allOf"] = json!(rules);
        }
        schema
    }

    /// Checks the shape of `node` against the definition: is it a mapping, are all keys known, is
    /// any missing. An empty value counts as a mapping without keys.
    ///
    /// What is returned can be read in any case, so that the mistakes inside are found too.
    pub fn open<'n>(&self, node: &'n Node, cx: &mut Context) -> Fields<'n> {
        let entries = match &node.kind {
            NodeKind::Mapping(entries) => entries.as_slice(),
            _ if node.is_null() => &[],
            _ => {
                cx.unexpected::<()>(node, "a mapping");
                if let Some(Typed::Bool(_)) = node.typed().filter(|_| self.fields.iter().all(|field| !field.required)) {
                    cx.help_last("write {} where nothing is to be said, or leave the key out");
                }
                return Fields { entries: &[], whole: false };
            }
        };
        let known: Vec<_> = self.fields.iter().map(|field| bare(field.name)).collect();
        // What was probably meant is not called missing on top.
        let mut meant = Vec::new();
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            meant.extend(super::suggest(&entry.key, known.iter().copied()));
            // Perhaps a password under a misspelt key.
            cx.hide_if_secret(entry);
            cx.within_entry(entry, |cx, _| {
                cx.problem(entry.key_span, format!("`{}` is not known here", super::clip(&entry.key)))
                    .help(suggestion(&entry.key, &known));
            });
        }
        for name in self.fields.iter().filter(|field| field.required).map(|field| bare(field.name)) {
            if node.get(name).is_none() && !meant.contains(&name) {
                cx.problem(cx.here(node), format!("`{name}` is missing"));
            }
        }
        let broken = self.groups.iter().filter(|group| !group.check(node, &meant, cx)).count();
        Fields { entries, whole: broken == 0 }
    }
}

impl Group {
    fn check(&self, node: &Node, meant: &[&str], cx: &mut Context) -> bool {
        let (Self::ExactlyOneOf(names) | Self::AtMostOneOf(names) | Self::Together(names)) = self;
        let present: Vec<_> = names.iter().filter_map(|name| node.get(bare(name))).collect();
        match (self, present.as_slice()) {
            (Self::ExactlyOneOf(_), []) if names.iter().any(|name| meant.contains(&bare(name))) => false,
            (Self::ExactlyOneOf(_), []) => {
                cx.problem(cx.here(node), format!("one of {} is needed", list(names)));
                false
            }
            (Self::ExactlyOneOf(_) | Self::AtMostOneOf(_), [first, second, ..]) => {
                let message = format!("`{}` and `{}` exclude each other", first.key, second.key);
                cx.within_entry(second, |cx, _| {
                    cx.problem(second.key_span, message).help(format!("keep one of {}", list(names)));
                });
                false
            }
            (Self::Together(_), [first, ..]) if present.len() < names.len() => {
                let missing: Vec<_> = names.iter().filter(|name| node.get(bare(name)).is_none()).copied().collect();
                cx.within_entry(first, |cx, _| {
                    cx.problem(first.key_span, format!("`{}` needs {} beside it", first.key, list(&missing)));
                });
                false
            }
            _ => true,
        }
    }
}

/// The entries of a mapping whose shape was checked.
#[derive(Debug)]
pub struct Fields<'n> {
    entries: &'n [Entry],
    whole: bool,
}

impl Fields<'_> {
    /// Whether a value can be made of them: it is a mapping, and no rule over its keys is broken.
    pub fn whole(&self) -> bool {
        self.whole
    }

    /// Decodes the field, if it is there.
    pub fn decode<T: Setting>(&self, name: &str, cx: &mut Context) -> Option<Option<T>> {
        let entry = self.entries.iter().find(|entry| entry.key == bare(name))?;
        Some(cx.within_entry(entry, |cx, node| T::decode(node, cx)))
    }
}

/// Runs a cross-field rule; gives closures in [`settings!`](crate::settings!) their types.
pub fn check<T>(value: &T, node: &Node, cx: &mut Context, rule: impl FnOnce(&T, &Node, &mut Context)) {
    rule(value, node, cx);
}

/// Decodes one of a fixed set of words. Each row holds the spellings of one word, the usual first.
pub fn decode_word(node: &Node, cx: &mut Context, rows: &[&[&str]]) -> Option<usize> {
    let usual: Vec<_> = rows.iter().filter_map(|row| row.first().copied()).collect();
    let Some(text) = node.text().filter(|_| !node.is_null()) else {
        return cx.unexpected(node, &format!("one of {}", usual.join(", ")));
    };
    let index = rows.iter().position(|row| row.contains(&text));
    if index.is_none() {
        let all: Vec<_> = rows.iter().flat_map(|row| row.iter().copied()).collect();
        let help = match super::suggest(text, all) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("known here: {}", usual.join(", ")),
        };
        cx.problem(node.span, format!("{} is not known here", node.describe())).help(help);
    }
    index
}

/// The schema of a fixed set of words. A word that looks like a number may be written as one.
pub fn word_schema(docs: &[&str], rows: &[&[&str]]) -> Schema {
    let words = rows.iter().flat_map(|row| row.iter().copied());
    let values = words.flat_map(|word| {
        let number = serde_json::from_str::<serde_json::Number>(word).ok().map(Schema::from);
        number.into_iter().chain([Schema::from(word)])
    });
    json!({ "description": prose(docs), "enum": values.collect::<Vec<_>>() })
}

fn bare(name: &str) -> &str {
    name.strip_prefix("r#").unwrap_or(name)
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{}`", bare(name))).collect::<Vec<_>>().join(", ")
}

fn each(names: &[&str]) -> Vec<Schema> {
    names.iter().map(|name| json!({ "required": [bare(name)] })).collect()
}

fn pairs<'a>(names: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
    let after = |index: usize| names.iter().skip(index + 1);
    names.iter().enumerate().flat_map(move |(index, a)| after(index).map(move |b| (bare(a), bare(b))))
}

/// A doc comment as running text: lines joined, paragraphs kept.
fn prose(docs: &[&str]) -> String {
    let mut text = String::new();
    for line in docs.iter().map(|line| line.trim()) {
        if line.is_empty() {
            text.push_str("\n\n");
        } else {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push(' ');
            }
            text.push_str(line);
        }
    }
    text
}

/// Defines a struct of settings: see the [module](crate::settings) for an example.
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $doc:literal])*
        $visibility:vis struct $name:ident {
            $( $(#[doc = $field_doc:literal])* $field:ident : $type:ty $(= $default:expr)? ),* $(,)?
        }
        $( exactly_one_of: [$($exactly:ident),+ $(,)?]; )*
        $( at_most_one_of: [$($most:ident),+ $(,)?]; )*
        $( together: [$($together:ident),+ $(,)?]; )*
        $( check: $check:expr; )?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        $visibility struct $name {
            $( $(#[doc = $field_doc])* pub $field: $type, )*
        }

        impl $name {
            const DEFINITION: $crate::settings::define::Definition = $crate::settings::define::Definition {
                docs: &[$($doc),*],
                fields: &[$( $crate::settings::define::FieldDefinition {
                    name: stringify!($field),
                    docs: &[$($field_doc),*],
                    required: $crate::settings!(@required $($default)?),
                    schema: <$type as $crate::settings::Setting>::schema,
                } ),*],
                groups: &[
                    $( $crate::settings::define::Group::ExactlyOneOf(&[$(stringify!($exactly)),+]), )*
                    $( $crate::settings::define::Group::AtMostOneOf(&[$(stringify!($most)),+]), )*
                    $( $crate::settings::define::Group::Together(&[$(stringify!($together)),+]), )*
                ],
            };
        }

        $crate::settings!(@default [$($($exactly)+)*] $name $($field [$($default)?])*);

        impl $crate::settings::Setting for $name {
            fn schema() -> $crate::settings::Schema {
                Self::DEFINITION.schema()
            }

            fn decode(
                node: &$crate::settings::Node,
                cx: &mut $crate::settings::Context<'_>,
            ) -> ::std::option::Option<Self> {
                let fields = Self::DEFINITION.open(node, cx);
                $( let $field: ::std::option::Option<$type> =
                    $crate::settings!(@decode fields.decode(stringify!($field), cx), $($default)?); )*
                if !fields.whole() {
                    return None;
                }
                let this = Self { $($field: $field?),* };
                $( $crate::settings::define::check(&this, node, cx, $check); )?
                Some(this)
            }
        }
    };
    // Only where an empty mapping is allowed.
    (@default [] $name:ident $($field:ident [$default:expr])*) => {
        /// What an empty mapping stands for.
        impl ::std::default::Default for $name {
            fn default() -> Self {
                Self { $($field: $default),* }
            }
        }
    };
    (@default $($anything_else:tt)*) => {};
    (@required) => { true };
    (@required $default:expr) => { false };
    (@decode $decoded:expr,) => { $decoded.flatten() };
    (@decode $decoded:expr, $default:expr) => { $decoded.unwrap_or_else(|| Some($default)) };
}

/// Defines an enum of words: see the [module](crate::settings) for an example.
#[macro_export]
macro_rules! setting_enum {
    (
        $(#[doc = $doc:literal])*
        $visibility:vis enum $name:ident {
            $( $(#[doc = $word_doc:literal])* $variant:ident = $($word:literal)|+ ),+ $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $visibility enum $name {
            $( $(#[doc = $word_doc])* $variant, )+
        }

        impl $name {
            const WORDS: &'static [&'static [&'static str]] = &[$(&[$($word),+]),+];
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as the site file usually spells it.
            $visibility fn as_str(self) -> &'static str {
                Self::WORDS[self as usize][0]
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::settings::Setting for $name {
            fn schema() -> $crate::settings::Schema {
                $crate::settings::define::word_schema(&[$($doc),*], Self::WORDS)
            }

            fn decode(
                node: &$crate::settings::Node,
                cx: &mut $crate::settings::Context<'_>,
            ) -> ::std::option::Option<Self> {
                $crate::settings::define::decode_word(node, cx, Self::WORDS).map(|index| Self::ALL[index])
            }
        }
    };
}
