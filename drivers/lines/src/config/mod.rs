//! The part of the site file that describes one link whose devices speak in lines of text.
//!
//! All mistakes are found here, with their places, so that nothing is left to fail when the link is
//! built.

mod build;
mod check;
pub mod text;

use wharf_contract::settings::{FailSafeSettings, Frame, HostPort, Named, OneOrMany, Period, Ranged, SerialPath};
use wharf_contract::{Value, WriteRate, setting_enum, settings};
use wharf_stream::Flow;

use crate::form::pattern::Pattern;
use crate::value::ValueType;
use text::{Bytes, NameTemplate, Template, Words};

/// What most devices are set to when they leave the factory.
pub const USUAL_BAUD: u32 = 9600;

/// The longest line that is kept unless the site file says otherwise, in bytes.
pub const USUAL_LONGEST: u16 = 1024;

settings! {
    /// A serial port or a TCP connection whose devices speak in lines of text.
    pub struct LinkSettings {
        /// The serial port, best by its lasting name under `/dev/serial/by-id`.
        serial: Option<SerialPath> = None,
        /// The address of a device or a serial server, `host:port`. The gateway connects to it.
        tcp: Option<HostPort<0>> = None,
        /// The speed of the serial port, 9600 when left out.
        baud: Option<Ranged<u32, 50, 4_000_000>> = None,
        /// Data bits, parity and stop bits of the serial port: 8N1 when left out, 7E1 on many scales.
        frame: Option<Frame> = None,
        /// Who may hold the other side up on the serial port: none, xon_xoff or rts_cts.
        flow: Option<Flow> = None,
        /// The wire DTR of the serial port: true is high. Left as the system has it when left out.
        dtr: Option<bool> = None,
        /// The wire RTS of the serial port, likewise. Some devices are powered from it.
        rts: Option<bool> = None,
        /// How the stream is cut into lines. Left out: at line feeds.
        records: RecordSettings = RecordSettings::default(),
        /// Whether the first line is thrown away if something comes just when the port is opened: it may
        /// be the second half of one. Without it: on a serial port it is.
        skip_first: Option<bool> = None,
        /// How long an answer may take: to a question, and to a write that expects one.
        timeout: Period<50, 60_000> = Period::secs(2),
        /// The devices, by name. A line belongs to the first one that it fits.
        devices: Named<DeviceSettings> = Named::none(),
    }
    exactly_one_of: [serial, tcp];
    at_most_one_of: [tcp, baud];
    at_most_one_of: [tcp, frame];
    at_most_one_of: [tcp, flow];
    at_most_one_of: [tcp, dtr];
    at_most_one_of: [tcp, rts];
}

settings! {
    /// How a stream of bytes is cut into lines: at an ending, by length, or by a length that stands in
    /// each of them.
    pub struct RecordSettings {
        /// What a line ends with: "\n" when left out, with or without "\r" before it. Behind `start`: what
        /// stands at the end of a record.
        end: Option<Bytes> = None,
        /// Every record has so many bytes, and a pause of 100 ms before the first.
        length: Option<Ranged<u16, 1, 4_096>> = None,
        /// What a record begins with, such as "\x02".
        start: Option<Bytes> = None,
        /// Where its length stands: so many bytes from the first byte of `start`.
        length_at: Option<Ranged<u16, 1, 255>> = None,
        /// How many bytes the length has.
        length_bytes: Ranged<u8, 1, 2> = Ranged::new(1),
        /// Which byte of a length of two comes first.
        order: ByteOrder = ByteOrder::Big,
        /// How many bytes a record has more than its length says.
        plus: Ranged<i32, -4_096, 4_096> = Ranged::new(0),
        /// The longest record that is kept, in bytes; longer ones are thrown away and counted.
        longest: Ranged<u16, 8, 4_096> = Ranged::new(USUAL_LONGEST),
    }
    at_most_one_of: [length, start];
    at_most_one_of: [length, end];
    together: [start, length_at];
    check: check::records;
}

setting_enum! {
    /// The order of the bytes of a number.
    pub enum ByteOrder {
        /// The most significant first.
        Big = "big",
        /// The least significant first.
        Little = "little",
    }
}

settings! {
    /// One device, how its lines are taken apart, and what it is asked.
    pub struct DeviceSettings {
        /// Its lines fit a pattern: text with {fields} in it, such as "T={t}C". Of a list, the first that
        /// fits.
        pattern: Option<OneOrMany<Pattern>> = None,
        /// Its lines are columns.
        csv: Option<CsvSettings> = None,
        /// Its lines are JSON; fields are paths such as main.temp.
        json: Option<JsonSettings> = None,
        /// Its lines are NMEA 0183 sentences; fields are such as RMC.latitude or VTG.7.
        nmea: Option<NmeaSettings> = None,
        /// Its lines are names with values, such as T=21.5,H=60.
        pairs: Option<PairSettings> = None,
        /// Only lines are its own whose fields hold just this, such as {id: 23}. Of a list, one of it.
        r#match: Named<OneOrMany<String>> = Named::none(),
        /// Many devices of one kind, named by what is in their lines: ws-{id}. They become devices as
        /// they are heard.
        device: Option<NameTemplate> = None,
        /// How many of them there may be; who comes later is not taken in. 20 when left out.
        most: Option<Ranged<u16, 1, 1_000>> = None,
        /// What is sent to make it speak, such as "READ?\r\n". Without it, it speaks by itself.
        ask: Option<Bytes> = None,
        /// How often it is asked, 10s when left out. Of a device that speaks by itself: the least time
        /// between two readings of one number; on, off, texts and bad values are told at once.
        every: Option<Period<50, 86_400_000>> = None,
        /// How long its answer may take, if not as long as the link's.
        timeout: Option<Period<50, 60_000>> = None,
        /// How long it may be silent before it counts as gone. Without it: three times `every` of a device
        /// that is asked, else 5m.
        quiet_after: Option<Period<1_000, 2_592_000_000>> = None,
        /// Whether fractions stand behind a comma in its numbers.
        decimal_comma: bool = false,
        /// Its points, by name.
        points: Named<PointSettings> = Named::none(),
    }
    at_most_one_of: [pattern, csv, json, nmea, pairs];
    check: check::device;
}

settings! {
    /// Lines of columns.
    pub struct CsvSettings {
        /// What stands between two columns: one sign. A blank stands for any number of them.
        separator: Separator = Separator(','),
        /// The names of the columns. A line then has just as many. Without it they are counted from 1.
        columns: Vec<String> = Vec::new(),
    }
    check: check::csv;
}

settings! {
    /// Lines of JSON. There is nothing to say about them.
    pub struct JsonSettings {
    }
}

settings! {
    /// NMEA 0183 sentences.
    pub struct NmeaSettings {
        /// Whether sentences without a checksum are believed.
        checksum: ChecksumRule = ChecksumRule::Required,
    }
}

setting_enum! {
    /// Whether sentences without a checksum are believed.
    pub enum ChecksumRule {
        /// They are not.
        Required = "required",
        /// They are; a checksum that is there has to fit.
        Optional = "optional",
    }
}

settings! {
    /// Lines of names with values.
    pub struct PairSettings {
        /// What stands between a name and its value: = or : when left out.
        equals: Option<String> = None,
        /// What stands between two pairs: any of , ; & | and blanks when left out.
        separator: Option<String> = None,
    }
    check: check::pairs;
}

settings! {
    /// One value of a device: value = number in the line × scale + offset.
    pub struct PointSettings {
        /// The field it stands in, if it is not called like the point: a {field} of the pattern, a column
        /// by name or number, a path in JSON, a field of a sentence, a name of a pair.
        field: Option<String> = None,
        /// What the field holds: number, whole, hex, bool or text.
        r#type: ValueType = ValueType::Number,
        /// What the number is multiplied by.
        scale: Option<f64> = None,
        /// What is added after that, in the point's own unit.
        offset: Option<f64> = None,
        /// How many decimals it is rounded to.
        precision: Option<Ranged<u8, 0, 9>> = None,
        /// The unit. It may also stand behind the number in the field.
        unit: Option<String> = None,
        /// The least value that can be true; what is below is bad.
        min: Option<f64> = None,
        /// The greatest value that can be true; what is above is bad.
        max: Option<f64> = None,
        /// What stands in the field when there is no value, such as [-999, "---"].
        invalid: Option<OneOrMany<String>> = None,
        /// What texts mean, such as {ST: stable, US: moving}. Others are bad.
        names: Option<Words> = None,
        /// Opens it for commands.
        write: Option<LineWrite> = None,
    }
    check: check::point;
}

settings! {
    /// How a point is written, and what may be written to it.
    pub struct LineWrite {
        /// What is sent: "SET {value}\r\n". {value:.1} has one decimal, {value:05} five signs with zeros.
        send: Template,
        /// A pattern for the line that says that it was done, such as "OK". A field {value} in it is
        /// compared with what was written.
        expect: Option<Pattern> = None,
        /// A pattern for the line that says no, such as "ERR {reason}".
        refused: Option<Pattern> = None,
        /// How long that line may take, if not as long as the link's.
        timeout: Option<Period<50, 60_000>> = None,
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
        /// What is written when every uplink has been away for a while.
        fail_safe: Option<FailSafeSettings> = None,
    }
    check: check::write;
}

/// One sign between columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Separator(pub char);

mod separator {
    use serde_json::json;
    use wharf_contract::settings::{Context, Node, Schema, Setting, Typed};

    use super::Separator;

    impl Setting for Separator {
        fn schema() -> Schema {
            json!({ "type": "string", "minLength": 1, "maxLength": 2 })
        }

        fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
            let Some(Typed::Text(text)) = node.typed() else { return cx.unexpected(node, "one sign, such as \";\"") };
            let text = if text == "\\t" { "\t" } else { text };
            let mut signs = text.chars();
            match (signs.next(), signs.next()) {
                (Some(sign), None) if !sign.is_alphanumeric() && !matches!(sign, '"' | '.' | '-' | '+') => {
                    Some(Self(sign))
                }
                _ => cx.unexpected(node, "one sign, such as \";\""),
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
