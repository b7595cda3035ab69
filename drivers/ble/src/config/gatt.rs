//! What a device tells and takes over a connection: characteristics, by service or one by one.

use serde_json::json;
use wharf_contract::settings::{Context, NamedEntry, Node, Schema, Setting, Severity, Typed};
use wharf_contract::{Value, setting_enum};

use super::{DeviceSettings, PointSettings, ValueType};
use crate::advert::Uuid;
use crate::gatt::value::Codec;
use crate::gatt::{standard, target};

setting_enum! {
    /// How long a device stays connected.
    pub enum Connect {
        /// All the time. Most devices send no advertisements meanwhile.
        Keep = "keep",
        /// As long as it takes to read what is due.
        Poll = "poll",
    }
}

setting_enum! {
    /// A service whose characteristics are known.
    pub enum Profile {
        /// How full the battery is.
        Battery = "battery",
        /// Who has made it, and what runs on it.
        DeviceInformation = "device-information",
        /// Temperature, humidity, pressure and more: whatever of these there is.
        Environmental = "environmental",
        /// A health thermometer, as Nordic's examples and many clinical ones speak.
        NordicThermometer = "nordic-thermometer",
    }
}

impl Profile {
    /// The service's number.
    pub(crate) fn service(self) -> u16 {
        let index = match self {
            Self::Battery => 0,
            Self::DeviceInformation => 1,
            Self::Environmental => 2,
            Self::NordicThermometer => 3,
        };
        standard::SERVICES.get(index).map_or(0, |(_, service)| *service)
    }
}

setting_enum! {
    /// The order of the bytes of a number.
    pub enum ByteOrder {
        /// The least significant byte leads, as Bluetooth itself has it.
        Little = "little" | "DCBA" | "BA",
        /// The most significant byte leads.
        Big = "big" | "ABCD" | "AB",
    }
}

/// A service or a characteristic, by its UUID: four, eight or thirty-two hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributeId(pub(crate) Uuid);

impl Setting for AttributeId {
    fn schema() -> Schema {
        json!({ "type": ["string", "number"] })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = match node.typed() {
            Some(Typed::Text(_) | Typed::Int(_) | Typed::Float(_)) => node.text()?,
            _ => return cx.unexpected(node, "a UUID such as 2a6e"),
        };
        match text.strip_prefix("0x").unwrap_or(text).parse() {
            Ok(uuid) => Some(Self(uuid)),
            Err(_) => {
                let help = "it has four hexadecimal digits, such as 2a6e, or a UUID's thirty-two";
                cx.problem(node.span, format!("{} is no UUID", node.describe())).help(help);
                None
            }
        }
    }
}

/// The keys that mean nothing without a characteristic.
const OF_CHARACTERISTICS: [&str; 11] =
    ["service", "type", "at", "bit", "order", "length", "invalid", "names", "flags", "notify", "write"];

/// What the keys of a point keep together, as far as characteristics go.
pub(super) fn point(point: &PointSettings, node: &Node, cx: &mut Context<'_>) {
    let Some(characteristic) = point.characteristic else {
        for key in OF_CHARACTERISTICS.iter().filter(|key| node.get(key).is_some()) {
            cx.field_problem(node, key, format!("only what is read over a connection has this `{key}`"))
                .help("add the `characteristic`, or remove this");
        }
        return;
    };
    for (key, help) in
        [("name", "the point itself is called as you like"), ("drop", "what is not to be told need not be here")]
    {
        if node.get(key).is_some() {
            cx.field_problem(node, key, format!("a characteristic has no {key}")).help(help);
        }
    }
    let known = standard::of(characteristic.0).is_some();
    if point.r#type.is_none() && point.bit.is_none() && !known {
        let message = format!("what characteristic {} holds is not known here", characteristic.0);
        cx.field_problem(node, "characteristic", message).help("say its type, such as type: u16");
        return;
    }
    let kind = point.r#type;
    let is_text = kind == Some(ValueType::Text);
    let is_medical = matches!(kind, Some(ValueType::Medfloat16 | ValueType::Medfloat32));
    let is_float = matches!(kind, Some(ValueType::F32 | ValueType::F64));
    let is_truth = kind == Some(ValueType::Bool) || point.bit.is_some();
    let has_names = point.names.is_some() || point.flags.is_some();
    let (what, none): (&str, &[&str]) = match () {
        () if kind.is_none() && point.bit.is_none() => (
            "what is laid down by the standard",
            &["scale", "offset", "at", "order", "length", "invalid", "names", "flags", "precision", "unit"],
        ),
        () if is_text => {
            ("a string", &["scale", "offset", "precision", "bit", "order", "invalid", "names", "flags", "unit"])
        }
        () if is_truth => ("what is on or off", &["scale", "offset", "precision", "length", "flags", "unit"]),
        () if is_medical => ("a medfloat", &["bit", "order", "length", "invalid", "names", "flags", "write"]),
        () if is_float => ("a float", &["bit", "length", "names", "flags"]),
        () if has_names => ("what has names", &["scale", "offset", "precision", "length", "unit"]),
        () => ("a number", &["length"]),
    };
    for key in none.iter().filter(|key| node.get(key).is_some()) {
        cx.field_problem(node, key, format!("{what} has no {key}")).help("remove it, or say another type");
    }
    let codec = match target::codec(point) {
        Ok(codec) => codec,
        Err((key, why)) => {
            cx.field_problem(node, key, why).help = match key {
                "bit" | "flags" => Some("say a type that has it, such as type: u16".into()),
                "invalid" => Some("it has as many bits as the type, such as 0xFF of a u8".into()),
                _ => None,
            };
            return;
        }
    };
    if point.write.is_some() && !codec.is_writable() && !is_medical {
        cx.field_problem(node, "write", "only a characteristic as a whole can be written")
            .help("a point `at` some byte of it, or one bit, is read only");
    }
    if codec.is_writable() {
        check_values(point, &codec, node, cx);
    }
}

/// What is said of single values has to fit where they stand.
fn check_values(point: &PointSettings, codec: &Codec, node: &Node, cx: &mut Context<'_>) {
    let cannot = |value: &Value| codec.encode(value).err().map(|why| format!("the point cannot hold {value}: {why}"));
    for (number, _) in point.names.iter().flat_map(|names| names.iter()) {
        if let Some(why) = cannot(&Value::Int(number)) {
            cx.field_problem(node, "names", why).help("say a type that holds it, such as type: u16");
            break;
        }
    }
    let (Some(write), Some(entry)) = (&point.write, node.get("write")) else { return };
    let fail_safe = write.fail_safe.as_ref().map(|fail_safe| &fail_safe.write);
    let limit = |number: Option<f64>| number.map(Value::Float);
    let listed = write.allowed.iter().map(|value| ("allowed", value.clone()));
    let limits = [("min", limit(write.min)), ("max", limit(write.max)), ("fail_safe", fail_safe.cloned())];
    let limits = limits.into_iter().filter_map(|(key, value)| Some((key, value?)));
    cx.within_entry(entry, |cx, write| {
        for (key, value) in listed.chain(limits) {
            if let Some(why) = cannot(&value) {
                cx.field_problem(write, key, why);
            }
        }
    });
}

/// What goes for a device as a whole.
pub(super) fn device(device: &DeviceSettings, node: &Node, cx: &mut Context<'_>) {
    let profiles = device.gatt.iter().flat_map(|profiles| profiles.iter());
    let standard: Vec<_> = profiles.flat_map(|profile| standard::in_service(profile.service())).collect();
    let connects = !standard.is_empty() || device.points.entries().iter().any(is_characteristic);
    if device.connect.is_some() && !connects {
        cx.field_problem(node, "connect", "there is nothing to connect for")
            .help("say what is read over the connection: `gatt`, or points with a `characteristic`");
    }
    if device.pair.is_some() && !connects {
        cx.field_problem(node, "pair", "a device that is only listened to is not paired with")
            .help("say what is read over the connection: `gatt`, or points with a `characteristic`");
    }
    if device.connect == Some(Connect::Poll) {
        let notifies = device.points.entries().iter().filter(|entry| entry.value.notify);
        for entry in notifies {
            let message = "a device that is not kept connected tells nothing by itself";
            let problem = cx.problem(entry.name.span, message);
            problem.path.clone_from(&entry.name.path);
            problem.help("read it: `every: 10m`, or keep the connection: `connect: keep`");
        }
    }
    for (index, one) in standard.iter().enumerate() {
        if standard.iter().take(index).any(|other| other.name == one.name) {
            cx.field_problem(node, "gatt", format!("two of these have a value called {}", one.name))
                .help("list one of them as points with a `characteristic`");
        }
    }
    for entry in device.points.entries().iter().filter(|entry| !is_characteristic(entry)) {
        let of_profile = standard.iter().any(|standard| standard.name == entry.name.as_str());
        let point = &entry.value;
        if of_profile && (point.scale.is_some() || point.offset.is_some() || point.precision.is_some()) {
            let problem = cx.problem(entry.name.span, "this is read over the connection as it is, and not scaled");
            problem.severity = Severity::Warning;
            problem.path.clone_from(&entry.name.path);
            problem.help("list it with its `characteristic`, `type` and `scale` instead");
        }
    }
}

/// Whether a point is read over a connection, by itself or because its service is.
pub(super) fn is_of_connection(device: &DeviceSettings, entry: &NamedEntry<PointSettings>) -> bool {
    let mut services = device.gatt.iter().flat_map(|profiles| profiles.iter()).map(|profile| profile.service());
    let is_named = |service| standard::in_service(service).any(|standard| standard.name == entry.name.as_str());
    is_characteristic(entry) || services.any(is_named)
}

/// Whether a point says its characteristic itself.
pub(super) fn is_characteristic(entry: &NamedEntry<PointSettings>) -> bool {
    entry.value.characteristic.is_some()
}

impl DeviceSettings {
    /// Whether it is connected to, and not just listened to.
    pub fn is_connected_to(&self) -> bool {
        self.gatt.is_some() || self.points.entries().iter().any(is_characteristic)
    }
}
