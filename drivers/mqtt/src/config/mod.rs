//! The part of the site file that describes the devices of one broker.
//!
//! All mistakes are found here, with their places, so that nothing is left to fail when the link is
//! built.

mod build;
mod check;
pub mod text;

use wharf_contract::settings::{FailSafeSettings, FilePath, Named, OneOrMany, Period, Ranged, Secret, Spanned};
use wharf_contract::{Value, WriteRate, setting_enum, settings};

use crate::path::JsonPath;
use crate::payload::Payload;
use crate::topic::Pattern;
use crate::value::ValueType;
use text::{BrokerUrl, Word, Words, Zone};

settings! {
    /// Devices that speak MQTT, to the gateway's own broker or to another one.
    pub struct LinkSettings {
        /// The broker they speak to: mqtt://host:1883, or mqtts://host:8883 for an encrypted connection.
        /// The gateway's own when left out, which asks the link for no login.
        broker: Option<BrokerUrl> = None,
        /// The user to log in as.
        username: Option<Spanned<String>> = None,
        /// The password to log in with: ${file:name}, ${env:NAME}, or the password itself.
        password: Option<Secret> = None,
        /// Certificates for mqtts://, where the system's own do not do.
        tls: Option<TlsSettings> = None,
        /// How long a device may take to confirm a write.
        timeout: Period<50, 60_000> = Period::secs(5),
        /// The devices, by name.
        devices: Named<DeviceSettings> = Named::none(),
        /// Devices that become known as they are heard, named by a level of their topics: {device}. What a
        /// listed device says is that one's.
        discover: Vec<DiscoverSettings> = Vec::new(),
    }
    check: check::link;
}

settings! {
    /// How the connection is encrypted. Certificates are PEM files.
    pub struct TlsSettings {
        /// Whom to trust, in place of the system's certificates.
        ca: Option<FilePath> = None,
        /// The gateway's own certificate.
        cert: Option<FilePath> = None,
        /// The key to it.
        key: Option<FilePath> = None,
    }
    together: [cert, key];
    check: |this, node, cx| {
        if this.cert.is_some() && this.ca.is_none() {
            cx.field_problem(node, "cert", "`cert` needs `ca` beside it").help("name the CA that the broker's certificate is signed by");
        }
    };
}

settings! {
    /// One device, and where it says what.
    pub struct DeviceSettings {
        /// The profile of its model: what it leaves unsaid here is taken from there.
        profile: Option<String> = None,
        /// What the words in braces in the profile stand for: { topic: tasmota_4F2A }.
        with: Named<Word> = Named::none(),
        /// The topic of its points that name none: with a path each, the payload is JSON. Of a list, what
        /// comes on any of them counts.
        topic: Option<OneOrMany<Spanned<Pattern>>> = None,
        /// Where it is said whether it is there. Of a list, all have to say that it is: its own topic, and that of the
        /// gateway it is heard through.
        available: Option<OneOrMany<AvailableSettings>> = None,
        /// Where the payload says when it was made. Without it, the time of arrival counts.
        time: Option<TimeSettings> = None,
        /// What makes it tell its values: published when the gateway connects, when the device comes, and for a read
        /// command.
        ask: Option<AskSettings> = None,
        /// What values are that the broker had retained when the gateway connects.
        retained: Retained = Retained::LastKnown,
        /// How long it may be silent before it counts as gone. Without it, only `available` says so.
        quiet_after: Option<Period<1_000, 2_592_000_000>> = None,
        /// Its points, by name.
        points: Named<PointSettings> = Named::none(),
    }
    check: |this, node, cx| check::device(&this.points, this.topic.as_ref(), node, cx);
}

settings! {
    /// Devices of one kind. {device} in their topics is what each is called.
    pub struct DiscoverSettings {
        /// The profile of their model.
        profile: Option<String> = None,
        /// What the words in braces in the profile stand for; {device} may be among it.
        with: Named<Word> = Named::none(),
        /// How many there may be; who comes later is not taken in.
        most: Ranged<u16, 1, 1_000> = Ranged::new(50),
        /// The topic of their points that name none, such as zigbee2mqtt/{device}.
        topic: Option<OneOrMany<Spanned<Pattern>>> = None,
        /// Where it is said of each whether it is there. Of a list, all have to say that it is.
        available: Option<OneOrMany<AvailableSettings>> = None,
        /// Where the payload says when it was made. Without it, the time of arrival counts.
        time: Option<TimeSettings> = None,
        /// What values are that the broker had retained when the gateway connects.
        retained: Retained = Retained::LastKnown,
        /// How long each may be silent before it counts as gone.
        quiet_after: Option<Period<1_000, 2_592_000_000>> = None,
        /// Their points, by name. They are read, and not written.
        points: Named<PointSettings> = Named::none(),
    }
    check: check::discover;
}

setting_enum! {
    /// What values are that the broker had retained.
    pub enum Retained {
        /// The last that is known, of an unknown age: stale. With a time in the payload, what they were
        /// then.
        LastKnown = "last_known",
        /// What holds now: for devices that retain each of their states.
        Current = "current",
        /// Nothing.
        Ignore = "ignore",
    }
}

settings! {
    /// Where it is said whether a device is there.
    pub struct AvailableSettings {
        /// The topic: that of a last will, as a rule. Where + fits several, one that says so is enough.
        topic: Spanned<Pattern>,
        /// Whose word it is.
        of: Whose = Whose::Device,
        /// The way to it, if the payload is JSON. A payload that is not is taken as it is.
        path: Option<JsonPath> = None,
        /// What says that it is there.
        online: OneOrMany<Word> = OneOrMany::one(Word(String::from("online"))),
        /// What says that it is not.
        offline: OneOrMany<Word> = OneOrMany::one(Word(String::from("offline"))),
    }
}

setting_enum! {
    /// Whose word it is.
    pub enum Whose {
        /// The device's own.
        Device = "device",
        /// That of the gateway it is heard through. If that one is gone, so is the device; that it is there says
        /// nothing of the device by itself.
        Gateway = "gateway",
    }
}

settings! {
    /// When a payload was made.
    pub struct TimeSettings {
        /// The way to it in the payload: seconds or milliseconds since 1970, or as ISO 8601 writes it.
        path: JsonPath,
        /// Which zone a time means that does not say so: utc, or +01:00. Without it, such a time is not
        /// believed.
        zone: Option<Zone> = None,
    }
}

settings! {
    /// What makes a device tell its values.
    pub struct AskSettings {
        /// The topic.
        topic: Spanned<Pattern>,
        /// What is published there.
        payload: Payload = Payload::Text(String::new()),
        /// How often. Without it, when the gateway connects, when the device comes, and for a read command.
        every: Option<Period<1_000, 86_400_000>> = None,
    }
    check: |this, node, cx| check::publishes(Some(&this.topic), node, cx);
}

settings! {
    /// One value of a device: value = number in the payload × scale + offset.
    pub struct PointSettings {
        /// The topic, if it is not the device's. Of a list, what comes on any of them counts.
        topic: Option<OneOrMany<Spanned<Pattern>>> = None,
        /// The way to it in a JSON payload: ENERGY.Power, sensors[0].temp, ["switch:0"].output. Of a list,
        /// the first that leads somewhere. Without it, the payload is the value.
        path: Option<OneOrMany<JsonPath>> = None,
        /// What stands there: number, whole, bool or text. Left out: bool if it has `on` and `off`, text
        /// if it has `names`, else a number.
        r#type: Option<ValueType> = None,
        /// What the number is multiplied by.
        scale: Option<f64> = None,
        /// What is added after that, in the point's own unit.
        offset: Option<f64> = None,
        /// How many decimals it is rounded to.
        precision: Option<Ranged<u8, 0, 9>> = None,
        /// The unit.
        unit: Option<String> = None,
        /// The least value that can be true; what is below is bad.
        min: Option<f64> = None,
        /// The greatest value that can be true; what is above is bad.
        max: Option<f64> = None,
        /// What stands there when there is no value, such as [-127, unavailable].
        invalid: Option<OneOrMany<Word>> = None,
        /// What words mean, such as {heat: 1, cool: 2}. Others are bad.
        names: Option<Words> = None,
        /// What means on; the first of a list is what is written. Left out: true, on, yes or 1.
        on: Option<OneOrMany<Word>> = None,
        /// What means off.
        off: Option<OneOrMany<Word>> = None,
        /// Opens it for commands.
        write: Option<PublishWrite> = None,
    }
    together: [on, off];
    check: check::point;
}

settings! {
    /// How a point is written, and what may be written to it.
    pub struct PublishWrite {
        /// The topic.
        topic: Option<Spanned<Pattern>> = None,
        /// What is published there. Names with values become JSON, in which a text that is just {value}
        /// has the type of the value.
        payload: Payload = Payload::Text(String::from("{value}")),
        /// Whether the broker keeps it for a device that is away: it then acts when it comes back,
        /// however late.
        retain: bool = false,
        /// The smallest value allowed, in the point's unit.
        min: Option<f64> = None,
        /// The largest value allowed, in the point's unit.
        max: Option<f64> = None,
        /// Values go in steps of this, counted from min, or from 0.
        step: Option<f64> = None,
        /// The only values allowed, such as [0, 50, 100].
        allowed: Vec<Value> = Vec::new(),
        /// How often it may be written at most, such as 6/min. One more is refused.
        rate: Option<WriteRate> = None,
        /// Whether the device has to confirm each write by telling the value.
        verify: bool = false,
        /// How long that may take, if not as long as the link's.
        timeout: Option<Period<50, 60_000>> = None,
        /// What is written when every uplink has been away for a while.
        fail_safe: Option<FailSafeSettings> = None,
    }
    check: check::write;
}

/// The most points of a device.
pub const MOST_POINTS: usize = 200;

#[cfg(test)]
pub(crate) mod tests;
