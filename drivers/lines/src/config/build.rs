//! The settings, as the session uses them.

use std::sync::Arc;
use std::time::Duration;

use wharf_contract::meaning::{Scaling, Words};
use wharf_contract::settings::Name;
use wharf_contract::{DeviceId, PointId, Unit};
use wharf_stream::frames::Counted;
use wharf_stream::{Cut, SerialPort, Transport};

use super::{
    ByteOrder, ChecksumRule, DeviceSettings, LineWrite, LinkSettings, PointSettings, RecordSettings, USUAL_BAUD,
};
use crate::device::{Ask, Device, Identity, Point, Write};
use crate::form::Form;
use crate::form::csv::{self, Csv};
use crate::form::nmea::Checksum;
use crate::form::pairs::Pairs;
use crate::value::Meaning;

/// How often a device is asked unless the site file says otherwise.
const USUAL_EVERY: Duration = Duration::from_secs(10);

/// How long a device that speaks by itself may be silent unless the site file says otherwise.
const USUAL_QUIET: Duration = Duration::from_secs(300);

/// The least time that silence takes to mean something of a device that is asked.
const LEAST_QUIET: Duration = Duration::from_secs(10);

/// How many devices may be named by their lines unless the site file says otherwise.
const USUAL_MOST: usize = 20;

impl LinkSettings {
    /// The way to the devices. The decoder has seen to it that there is one.
    pub(crate) fn transport(&self) -> Transport {
        match (&self.tcp, &self.serial) {
            (Some(address), _) => Transport::tcp(address),
            (None, serial) => Transport::Serial(SerialPort {
                frame: self.frame.unwrap_or_default(),
                flow: self.flow.unwrap_or(wharf_stream::Flow::None),
                dtr: self.dtr,
                rts: self.rts,
                // An empty path cannot come out of the decoder, and would be no such port.
                ..SerialPort::new(
                    serial.as_ref().map_or("", |path| path.as_str()),
                    self.baud.map_or(USUAL_BAUD, |baud| baud.get()),
                )
            }),
        }
    }

    /// The devices, in the order of the file.
    pub(crate) fn devices(&self) -> Vec<Device> {
        self.devices.iter().map(|(name, device)| device.build(name, self.timeout.get())).collect()
    }
}

impl RecordSettings {
    /// How the stream is cut.
    pub(crate) fn cut(&self) -> Cut {
        let longest = usize::from(self.longest.get());
        let bytes = |bytes: &Option<super::text::Bytes>| bytes.as_ref().map(|bytes| bytes.0.clone());
        match (bytes(&self.start), self.length) {
            (Some(start), _) => Cut::Counted(Counted {
                start,
                at: usize::from(self.length_at.map_or(1, |at| at.get())),
                two_bytes: self.length_bytes.get() == 2,
                little: self.order == ByteOrder::Little,
                plus: self.plus.get(),
                end: bytes(&self.end).unwrap_or_default(),
                longest,
            }),
            (None, Some(length)) => Cut::Length(usize::from(length.get())),
            (None, None) => Cut::End { end: bytes(&self.end).unwrap_or_else(|| b"\n".to_vec()), longest },
        }
    }
}

impl DeviceSettings {
    /// How its lines are taken apart, if it has any.
    pub(super) fn form(&self) -> Option<Form> {
        if let Some(patterns) = &self.pattern {
            return Some(Form::Pattern(patterns.to_vec()));
        }
        if let Some(csv) = &self.csv {
            return Some(Form::Csv(Csv {
                separator: csv.separator.0,
                columns: csv.columns.clone(),
                least: self.fields().filter_map(|field| csv::place(&[], field)).max().map_or(1, |place| place + 1),
            }));
        }
        if self.json.is_some() {
            return Some(Form::Json);
        }
        if let Some(nmea) = &self.nmea {
            return Some(Form::Nmea(match nmea.checksum {
                ChecksumRule::Required => Checksum::Required,
                ChecksumRule::Optional => Checksum::Optional,
            }));
        }
        let pairs = self.pairs.as_ref()?;
        Some(Form::Pairs(Pairs { equals: pairs.equals.clone(), separator: pairs.separator.clone() }))
    }

    /// The fields that its points stand in, that it is told by, and that it is named by.
    fn fields(&self) -> impl Iterator<Item = &str> {
        let points = self.points.iter().map(|(name, point)| point.field.as_deref().unwrap_or(name.as_str()));
        let matches = self.r#match.iter().map(|(name, _)| name.as_str());
        points.chain(matches).chain(self.device.iter().flat_map(|template| template.fields()))
    }

    fn build(&self, name: &Name, timeout: Duration) -> Device {
        let every = self.every.map(|every| every.get());
        let ask = self.ask.as_ref().map(|ask| Ask {
            bytes: ask.0.clone(),
            every: every.unwrap_or(USUAL_EVERY),
            timeout: self.timeout.map_or(timeout, |timeout| timeout.get()),
        });
        let usual_quiet = ask.as_ref().map_or(USUAL_QUIET, |ask| (ask.every * 3 + ask.timeout).max(LEAST_QUIET));
        let identity = match &self.device {
            Some(template) => Identity::InLine {
                template: template.clone(),
                most: self.most.map_or(USUAL_MOST, |most| usize::from(most.get())),
            },
            None => Identity::Named(DeviceId::from(name)),
        };
        Device {
            identity,
            form: self.form(),
            matches: self.r#match.iter().map(|(field, texts)| (field.as_str().to_owned(), texts.to_vec())).collect(),
            thin: every.filter(|_| ask.is_none()),
            ask,
            quiet_after: self.quiet_after.map_or(usual_quiet, |quiet| quiet.get()),
            points: self.points.iter().map(|(name, point)| point.build(name, self.decimal_comma, timeout)).collect(),
        }
    }
}

impl PointSettings {
    fn build(&self, name: &Name, comma: bool, timeout: Duration) -> Point {
        Point {
            id: PointId::from(name),
            field: self.field.clone().unwrap_or_else(|| name.as_str().to_owned()),
            meaning: self.meaning(comma),
            write: self.write.as_ref().map(|write| write.build(timeout)),
        }
    }

    pub(super) fn meaning(&self, comma: bool) -> Meaning {
        Meaning {
            kind: self.r#type,
            number: Scaling {
                scale: self.scale,
                offset: self.offset,
                precision: self.precision.map(|precision| precision.get()),
                min: self.min,
                max: self.max,
            },
            words: Words {
                invalid: self.invalid.as_deref().map(<[String]>::to_vec).unwrap_or_default(),
                names: self.names.as_ref().map(|names| names.0.clone()).unwrap_or_default(),
            },
            unit: self.unit.as_deref().map(Unit::from),
            comma,
        }
    }
}

impl LineWrite {
    fn build(&self, timeout: Duration) -> Write {
        Write {
            send: self.send.clone(),
            expect: self.expect.clone(),
            refused: self.refused.clone(),
            timeout: self.timeout.map_or(timeout, |timeout| timeout.get()),
            rule: Arc::new(self.rule()),
        }
    }
}
