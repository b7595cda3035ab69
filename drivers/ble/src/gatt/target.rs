//! The devices that are connected to, as their settings say.

use std::sync::Arc;
use std::time::Duration;

use wharf_contract::settings::{Name, Names, Ranged, RawNumber};
use wharf_contract::{DeviceId, Labels, PointId, PointInfo, Unit, WriteRule};

use crate::advert::described::exact::{Decimal, Linear};
use crate::advert::described::field::{Field, Form, Meaning, Part};
use crate::advert::{Address, Kind, Uuid};
use crate::config::{ByteOrder, Connect, DeviceSettings, LinkSettings, PointSettings, ValueType};

use super::bond::Bond;
use super::standard::{self, Standard};
use super::value::{AS_IT_IS, Codec, Coding, LONGEST};

/// How often a point is read that does not say it.
const USUAL: Duration = Duration::from_secs(60);

/// One device.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) device: DeviceId,
    pub(crate) address: Address,
    /// Whether its connection is kept.
    pub(crate) keep: bool,
    /// How it is paired with, if it is.
    pub(crate) bond: Option<Bond>,
    pub(crate) points: Vec<Point>,
}

/// One value of it.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) name: PointId,
    pub(crate) unit: Option<Unit>,
    pub(crate) labels: Labels,
    pub(crate) characteristic: Uuid,
    /// In which service, where that is said.
    pub(crate) service: Option<Uuid>,
    pub(crate) codec: Codec,
    /// How often it is read, if it is.
    pub(crate) every: Option<Duration>,
    /// Whether the device is asked to tell of it.
    pub(crate) notify: bool,
    pub(crate) write: Option<Arc<WriteRule>>,
    /// Whether it is one of many that a service may have: then nobody misses it.
    pub(crate) optional: bool,
}

/// All devices of a link that are connected to.
pub(crate) fn targets(settings: &LinkSettings) -> Vec<Target> {
    let all = settings.devices.iter().map(|(name, device)| target(name, device));
    all.filter(|target| !target.points.is_empty()).collect()
}

/// What is known of their points before they are reached.
pub(crate) fn catalogue(targets: &[Target]) -> Vec<PointInfo> {
    let of = |target: &Target| {
        let info = |point: &Point| PointInfo {
            device: target.device.clone(),
            point: point.name.clone(),
            unit: point.unit.clone(),
            labels: point.labels.clone(),
            write: point.write.clone(),
        };
        target.points.iter().map(info).collect::<Vec<_>>()
    };
    targets.iter().flat_map(of).collect()
}

fn target(name: &Name, device: &DeviceSettings) -> Target {
    let address = device.mac.0;
    let digits: String = address.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let labels = |kind: &str| Labels::new([("address", digits.clone()), ("kind", kind.to_owned())]);
    let amended = |standard: &Standard| {
        let own = device.points.iter().find(|(name, _)| name.as_str() == standard.name);
        // One that is listed with a characteristic of its own stands for itself.
        own.map(|(_, point)| point).filter(|point| point.characteristic.is_none())
    };
    let shadowed = |standard: &Standard| {
        let listed =
            device.points.iter().any(|(name, point)| name.as_str() == standard.name && point.characteristic.is_some());
        listed || amended(standard).is_some_and(|point| point.drop)
    };
    let profiles = device.gatt.iter().flat_map(|profiles| profiles.iter());
    let standard = profiles.flat_map(|profile| standard::in_service(profile.service()));
    let of_profiles = standard.filter(|standard| !shadowed(standard)).map(|standard| {
        let own = amended(standard);
        let name = own.and_then(|own| own.name.as_ref()).map_or(standard.name, |name| name.as_str());
        Point {
            name: name.into(),
            unit: Some(standard.unit).filter(|unit| !unit.is_empty()).map(Unit::from),
            labels: labels(kind_word(standard.kind)),
            characteristic: Uuid::short(standard.characteristic),
            service: Some(Uuid::short(standard.service)),
            codec: standard.codec(),
            every: own.and_then(|own| own.every).map(Into::into).or(standard.every),
            notify: standard.every.is_none(),
            write: None,
            optional: true,
        }
    });
    let listed = device.points.iter().filter_map(|(name, settings)| {
        let characteristic = settings.characteristic?.0;
        let codec = codec(settings).ok()?;
        let standard = settings.r#type.is_none().then(|| standard::of(characteristic)).flatten();
        let unit = settings.unit.as_deref().or(standard.map(|standard| standard.unit));
        Some(Point {
            name: PointId::from(name),
            unit: unit.filter(|unit| !unit.is_empty()).map(Unit::from),
            labels: labels(kind_word(standard.map(|standard| standard.kind).unwrap_or_default())),
            characteristic,
            service: settings.service.map(|service| service.0),
            codec,
            every: settings.every.map(Into::into).or((!settings.notify).then_some(USUAL)),
            notify: settings.notify,
            write: settings.write.as_ref().map(WriteRule::from).map(Arc::new),
            optional: false,
        })
    });
    let points: Vec<Point> = of_profiles.chain(listed).collect();
    let often = |point: &Point| point.notify || point.every.is_some_and(|every| every < USUAL);
    Target {
        device: DeviceId::from(name),
        address,
        bond: device.pair.map(Bond::new),
        keep: device.connect.map_or_else(|| points.iter().any(often), |connect| connect == Connect::Keep),
        points,
    }
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Measurement => "measurement",
        Kind::Diagnostic => "diagnostic",
        Kind::Event => "event",
    }
}

/// How the bytes of a point with a characteristic are read; or which key is wrong, and why.
pub(crate) fn codec(settings: &PointSettings) -> Result<Codec, (&'static str, String)> {
    let at = settings.at.map_or(0, |at| usize::from(at.get()));
    if settings.r#type.is_none()
        && settings.bit.is_none()
        && let Some(standard) = settings.characteristic.and_then(|id| standard::of(id.0))
    {
        return Ok(standard.codec());
    }
    let kind = settings.r#type.unwrap_or(ValueType::U8);
    let coding = match kind {
        ValueType::Text => Coding::Text(settings.length.map(|length| usize::from(length.get()))),
        ValueType::Medfloat16 | ValueType::Medfloat32 => Coding::Medical {
            wide: kind == ValueType::Medfloat32,
            linear: linear(settings)?.unwrap_or(AS_IT_IS),
            precision: settings.precision.map(Ranged::get),
        },
        _ => Coding::Field(Box::new(field(settings, kind)?)),
    };
    let width = match &coding {
        Coding::Field(field) => usize::from(field.form.width()),
        Coding::Medical { wide, .. } => {
            if *wide {
                4
            } else {
                2
            }
        }
        Coding::Text(length) => length.unwrap_or(1),
        Coding::Thermometer => 5,
    };
    if at + width > LONGEST {
        return Err(("at", format!("it would end behind the last byte there can be: a value has {LONGEST} at most")));
    }
    Ok(Codec { at, coding })
}

fn field(settings: &PointSettings, kind: ValueType) -> Result<Field, (&'static str, String)> {
    let form = kind.form(0).unwrap_or(Form::Text(0));
    let bits = u32::from(form.width()).saturating_mul(8);
    let part = match settings.bit.map(Ranged::get) {
        Some(bit) if u32::from(bit) >= bits => return Err(("bit", no_bit(bit, bits))),
        Some(bit) => Part::Bit(bit),
        None => Part::All,
    };
    let named = |names: &Names<{ i64::MIN }, { i64::MAX }>| {
        Meaning::Names(names.iter().map(|(number, name)| (number, name.to_owned())).collect())
    };
    let flagged = |flags: &Names<0, 63>| {
        let bit = |(bit, name): (i64, &str)| Some((u8::try_from(bit).ok()?, name.to_owned()));
        Meaning::Flags(flags.iter().filter_map(bit).collect())
    };
    let meaning = match (settings.names.as_ref().map(named).or(settings.flags.as_ref().map(flagged)), linear(settings)?)
    {
        (Some(meaning), _) => meaning,
        (None, Some(linear)) => Meaning::Scaled(linear),
        (None, None) => Meaning::Itself,
    };
    if let Meaning::Flags(flags) = &meaning
        && let Some((bit, _)) = flags.iter().find(|(bit, _)| u32::from(*bit) >= bits)
    {
        return Err(("flags", no_bit(*bit, bits)));
    }
    let invalid = settings.invalid.iter().flat_map(|invalid| invalid.iter());
    let invalid = invalid.map(|number| bits_of(*number, form)).collect::<Result<_, _>>();
    Ok(Field {
        big: settings.order == Some(ByteOrder::Big),
        part,
        invalid: invalid.map_err(|reason| ("invalid", reason))?,
        meaning,
        precision: settings.precision.map(Ranged::get),
        ..Field::plain(form)
    })
}

fn no_bit(bit: u8, bits: u32) -> String {
    format!("there is no bit {bit}, they are counted from 0 to {}", bits.saturating_sub(1))
}

/// The bits that stand for no value.
fn bits_of(number: RawNumber, form: Form) -> Result<u64, String> {
    let span = 1_i128 << u32::from(form.width()).saturating_mul(8).min(64);
    let bits = match (number, form) {
        (RawNumber::Bits(bits), _) => bits,
        (RawNumber::Whole(number), Form::Signed(_)) if (-span / 2..0).contains(&number) => number + span,
        (RawNumber::Whole(number), Form::Signed(_) | Form::Unsigned(_) | Form::Bool) => number,
        _ => return Err("write the bits in hexadecimal, such as 0x8000".to_owned()),
    };
    let fits = u64::try_from(bits).ok().filter(|bits| i128::from(*bits) < span);
    fits.ok_or_else(|| {
        let shown = if matches!(number, RawNumber::Bits(_)) { format!("{bits:#X}") } else { bits.to_string() };
        format!("{shown} does not fit {} bits", u32::from(form.width()).saturating_mul(8))
    })
}

/// What the number is put through, if anything.
fn linear(settings: &PointSettings) -> Result<Option<Linear>, (&'static str, String)> {
    if settings.scale.is_none() && settings.offset.is_none() {
        return Ok(None);
    }
    let of = |key, number: Option<f64>, usual| match number {
        Some(number) => Decimal::of(number).ok_or_else(|| (key, format!("{number:e} is no number to work with"))),
        None => Ok(usual),
    };
    let scale = of("scale", settings.scale, Decimal::ONE)?;
    let offset = of("offset", settings.offset, Decimal::ZERO)?;
    Ok(Some(Linear { scale, divide: Decimal::ONE, offset }))
}
