//! The rules over several settings.

use wharf_contract::settings::{Context, Named, Node, OneOrMany, Spanned, write::check_write};

use super::{DiscoverSettings, LinkSettings, MOST_POINTS, PointSettings, PublishWrite, Whose};
use crate::topic::Pattern;
use crate::value::ValueType;

pub(super) fn link(this: &LinkSettings, node: &Node, cx: &mut Context<'_>) {
    if this.password.is_some() && this.username.is_none() {
        cx.field_problem(node, "password", "MQTT 3.1.1 knows no password without a username");
    }
    if this.tls.is_some() && this.broker.as_ref().is_none_or(|broker| !broker.tls) {
        cx.field_problem(node, "tls", "`tls` has no effect: the connection is not encrypted")
            .help("write broker: mqtts://host:8883, or leave `tls` out");
    }
}

pub(super) fn device(
    points: &Named<PointSettings>,
    topic: Option<&OneOrMany<Spanned<Pattern>>>,
    node: &Node,
    cx: &mut Context<'_>,
) {
    if points.len() > MOST_POINTS {
        cx.field_problem(node, "points", format!("a device has {MOST_POINTS} points at most"));
    }
    for entry in points.entries() {
        // A point that is there to be written alone has nothing to be read from.
        let has_place = entry.value.topic.is_some() || topic.is_some();
        if !has_place && (entry.value.write.is_none() || entry.value.path.is_some()) {
            cx.problem(entry.name.span, "`topic` is missing").path.clone_from(&entry.name.path);
            cx.help_last("write one at the point, or at the device for all of its points");
        }
    }
}

pub(super) fn discover(this: &DiscoverSettings, node: &Node, cx: &mut Context<'_>) {
    device(&this.points, this.topic.as_ref(), node, cx);
    if this.points.is_empty() {
        cx.problem(cx.here(node), "`points` is missing");
    }
    let mut topics = this.topic.iter().flat_map(|topics| topics.iter());
    let mut own = this.points.iter().flat_map(|(_, point)| point.topic.iter()).flat_map(|topics| topics.iter());
    let nameless = |topic: &&Spanned<Pattern>| !topic.names_device();
    if let Some(topic) = topics.find(nameless).or_else(|| own.find(nameless)) {
        cx.problem(cx.here(node), format!("`{}` does not say which device it is", topic.value))
            .help("write {device} for the level that names it");
    }
    // What is said of a gateway is said of all that it hears.
    let available = this.available.iter().flat_map(|topics| topics.iter());
    let mut of_devices = available.filter(|available| available.of == Whose::Device).map(|available| &available.topic);
    if let Some(topic) = of_devices.find(nameless) {
        cx.problem(cx.here(node), format!("`{}` does not say which device it is", topic.value))
            .help("write {device} for the level that names it; or of: gateway, if it is about what hears them all");
    }
    if let Some(entry) = this.points.entries().iter().find(|entry| entry.value.write.is_some()) {
        cx.problem(entry.name.span, "a point of devices that are discovered cannot be written")
            .help("list the device under `devices`")
            .path
            .clone_from(&entry.name.path);
    }
}

pub(super) fn point(this: &PointSettings, node: &Node, cx: &mut Context<'_>) {
    let is_number = matches!(this.kind(), ValueType::Number | ValueType::Whole) && this.names.is_none();
    if !is_number {
        for key in ["scale", "offset", "precision", "min", "max"].into_iter().filter(|key| node.get(key).is_some()) {
            cx.field_problem(node, key, format!("`{key}` is about numbers"));
        }
    }
    if this.on.is_some() && this.kind() != ValueType::Bool {
        cx.field_problem(node, "on", "`on` and `off` are about points of the type bool");
    }
    if this.scale == Some(0.0) {
        cx.field_problem(node, "scale", "a scale of 0 would make every value the same");
    }
    if let (Some(min), Some(max)) = (this.min, this.max)
        && min > max
    {
        cx.field_problem(node, "max", format!("the maximum {max} is below the minimum {min}"));
    }
    if let (Some(on), Some(off)) = (&this.on, &this.off)
        && let Some(both) = on.iter().find(|word| off.contains(word))
    {
        cx.field_problem(node, "off", format!("`{}` cannot be both on and off", both.0));
    }
    // What confirms a write is what the device tells of the point.
    if let Some(write) = this.write.as_ref().filter(|write| write.verify)
        && !write.payload.has_value()
    {
        cx.field_problem(node, "write", "what is published does not depend on the value, so nothing can confirm it");
    }
}

pub(super) fn write(this: &PublishWrite, node: &Node, cx: &mut Context<'_>) {
    check_write(&this.rules(), node, cx);
    publishes(this.topic.as_deref(), node, cx);
    if !this.payload.has_value() && this.allowed.len() != 1 {
        cx.field_problem(node, "payload", "the value has no place in it")
            .help("write {value} where it stands, or name the one value it is for: allowed: [1]");
    }
}

/// What is published on is one topic.
pub(super) fn publishes(topic: Option<&Pattern>, node: &Node, cx: &mut Context<'_>) {
    match topic {
        None => {
            cx.problem(cx.here(node), "`topic` is missing");
        }
        Some(topic) if !topic.is_plain() => {
            cx.field_problem(node, "topic", format!("`{topic}` stands for many topics, and one is published on"));
        }
        Some(_) => {}
    }
}
