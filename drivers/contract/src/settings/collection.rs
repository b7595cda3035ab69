//! Values made of values: named maps, lists, and values that remember their place.

use std::ops::Deref;

use serde_json::json;

use super::{Context, Name, Node, NodeKind, Schema, Setting, Span};

/// A value that may be absent. That is said by leaving the key out, not by an empty value.
impl<T: Setting> Setting for Option<T> {
    fn schema() -> Schema {
        T::schema()
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        T::decode(node, cx).map(Some)
    }
}

/// A value in a box: for what is large and rarely there.
impl<T: Setting> Setting for Box<T> {
    fn schema() -> Schema {
        T::schema()
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        T::decode(node, cx).map(Self::new)
    }
}

/// A list, perhaps empty.
impl<T: Setting> Setting for Vec<T> {
    fn schema() -> Schema {
        json!({ "type": ["array", "null"], "items": T::schema() })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        match &node.kind {
            NodeKind::Sequence(items) => decode_items(items, cx),
            _ if node.is_null() => Some(Self::new()),
            _ => {
                cx.unexpected::<()>(node, "a list");
                cx.help_last("a list is written [a, b], or one item per line after a dash");
                None
            }
        }
    }
}

fn decode_items<T: Setting>(items: &[Node], cx: &mut Context) -> Option<Vec<T>> {
    // Collected before they are judged, so that each item's mistakes are found.
    let decoded =
        items.iter().enumerate().map(|(index, item)| cx.within_item(index, item, |cx, item| T::decode(item, cx)));
    decoded.collect::<Vec<_>>().into_iter().collect()
}

/// One value, or a list of at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct OneOrMany<T>(Vec<T>);

impl<T> OneOrMany<T> {
    /// A single value, for defaults.
    pub fn one(value: T) -> Self {
        Self(vec![value])
    }
}

impl<T> Deref for OneOrMany<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Setting> Setting for OneOrMany<T> {
    fn schema() -> Schema {
        json!({ "anyOf": [T::schema(), { "type": "array", "items": T::schema(), "minItems": 1 }] })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        match &node.kind {
            NodeKind::Sequence(items) if items.is_empty() => {
                cx.problem(node.span, "the list is empty");
                None
            }
            NodeKind::Sequence(items) => decode_items(items, cx).map(Self),
            _ => T::decode(node, cx).map(Self::one),
        }
    }
}

/// A value that remembers where it was written, for checks that come after decoding.
#[derive(Clone, Debug, PartialEq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written; all zero for a default.
    pub span: Span,
    /// The keys that lead there.
    pub path: String,
}

impl<T> Spanned<T> {
    /// A value that stands nowhere, for defaults.
    pub fn nowhere(value: T) -> Self {
        Self { value, span: Span::default(), path: String::new() }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Setting> Setting for Spanned<T> {
    fn schema() -> Schema {
        T::schema()
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        let path = cx.path().to_owned();
        T::decode(node, cx).map(|value| Self { value, span: node.span, path })
    }
}

/// Settings by name, in the order written: links, devices, points.
#[derive(Clone, Debug, PartialEq)]
pub struct Named<T>(Vec<NamedEntry<T>>);

/// One of [`Named`].
#[derive(Clone, Debug, PartialEq)]
pub struct NamedEntry<T> {
    /// Its name, with the place of the key.
    pub name: Spanned<Name>,
    /// Its settings.
    pub value: T,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Named<T> {
    /// None, for defaults.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Names with their settings.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &T)> {
        self.0.iter().map(|entry| (&entry.name.value, &entry.value))
    }

    /// The entries, with the places of the names.
    pub fn entries(&self) -> &[NamedEntry<T>] {
        &self.0
    }

    /// The settings of that name.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.iter().find(|(candidate, _)| candidate.as_str() == name).map(|(_, value)| value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> IntoIterator for Named<T> {
    type Item = NamedEntry<T>;
    type IntoIter = std::vec::IntoIter<NamedEntry<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T: Setting> Setting for Named<T> {
    fn schema() -> Schema {
        json!({
            "type": ["object", "null"],
            "propertyNames": { "pattern": Name::PATTERN },
            "additionalProperties": T::schema(),
        })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        if !matches!(node.kind, NodeKind::Mapping(_)) {
            return if node.is_null() { Some(Self::none()) } else { cx.unexpected(node, "names with settings") };
        }
        let entries: Vec<_> = node
            .entries()
            .iter()
            .map(|entry| {
                cx.within_entry(entry, |cx, node| {
                    let name = Name::new(&entry.key).map_err(|why| cx.problem(entry.key_span, why).help = None);
                    let value = T::decode(node, cx);
                    let name = Spanned { value: name.ok()?, span: entry.key_span, path: cx.path().to_owned() };
                    Some(NamedEntry { name, value: value? })
                })
            })
            .collect();
        entries.into_iter().collect::<Option<_>>().map(Self)
    }
}
