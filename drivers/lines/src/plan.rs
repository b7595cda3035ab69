//! What the driver means to do on its link, for people.

use std::time::Duration;

use wharf_contract::plan::spell;
use wharf_contract::{DeviceId, DevicePlan, LinkPlan, RequestPlan};
use wharf_stream::{Cut, Transport};

use crate::device::{Device, Identity};
use crate::form::Form;
use crate::session::Link;

/// How long an answer is taken to be, in characters.
const USUAL_ANSWER: u32 = 40;

/// How long a question and its answer are taken to need over TCP.
const OVER_TCP: Duration = Duration::from_millis(20);

/// The plan of a link.
pub fn of(link: &Link) -> LinkPlan {
    let pace = match &link.transport {
        Transport::Serial(port) => {
            format!("{} baud {}, answers of {USUAL_ANSWER} characters assumed", port.baud, port.frame)
        }
        Transport::Tcp { .. } => format!("{} an answer, assumed", spell(OVER_TCP)),
    };
    LinkPlan {
        place: link.transport.to_string(),
        pace,
        is_certain: false,
        settings: vec![("lines", cut(&link.cut))],
        devices: link.devices().iter().map(|planned| device(planned, &link.transport)).collect(),
        forget: None,
    }
}

fn cut(cut: &Cut) -> String {
    match cut {
        Cut::End { end, longest } => format!("end with \"{}\", {longest} bytes at most", end.escape_ascii()),
        Cut::Length(length) => format!("have {length} bytes"),
        Cut::Counted(counted) => format!(
            "begin with \"{}\" and say how long they are, {} bytes at most",
            counted.start.escape_ascii(),
            counted.longest
        ),
    }
}

fn device(device: &Device, transport: &Transport) -> DevicePlan {
    let name = match &device.identity {
        Identity::Named(name) => name.clone(),
        Identity::InLine { template, .. } => DeviceId::from(template.to_string()),
    };
    let mut settings = vec![("form", device.form.as_ref().map_or_else(|| "written only".into(), form))];
    for (field, texts) in &device.matches {
        settings.push(("match", format!("{field} {}", texts.join(" or "))));
    }
    if let Identity::InLine { most, .. } = &device.identity {
        settings.push(("most", most.to_string()));
    }
    if let Some(every) = device.thin {
        settings.push(("every", spell(every)));
    }
    if device.form.is_some() {
        settings.push(("quiet_after", spell(device.quiet_after)));
    }
    let request = device.ask.as_ref().map(|ask| RequestPlan {
        what: format!("\"{}\"", ask.bytes.escape_ascii()),
        every: ask.every,
        takes: takes(transport, ask.bytes.len()),
        points: device.points.iter().map(|point| (point.id.clone(), ask.every)).collect(),
    });
    DevicePlan { device: name, settings, requests: request.into_iter().collect(), refuses: Vec::new() }
}

fn form(form: &Form) -> String {
    match form {
        Form::Pattern(patterns) => {
            let shown: Vec<String> = patterns.iter().map(|pattern| format!("`{pattern}`")).collect();
            format!("pattern {}", shown.join(" or "))
        }
        Form::Csv(csv) if csv.columns.is_empty() => format!("csv, {} columns or more", csv.least),
        Form::Csv(csv) => format!("csv, {} columns", csv.columns.len()),
        Form::Json => "json".into(),
        Form::Nmea(_) => "nmea".into(),
        Form::Pairs(_) => "pairs".into(),
    }
}

/// How long a question and an answer of usual length are on the line.
fn takes(transport: &Transport, question: usize) -> Duration {
    match transport {
        Transport::Serial(port) => {
            let characters = u32::try_from(question).unwrap_or(u32::MAX).saturating_add(USUAL_ANSWER);
            let bits = f64::from(characters) * f64::from(port.frame.bits());
            Duration::from_secs_f64(bits / f64::from(port.baud.max(1)))
        }
        Transport::Tcp { .. } => OVER_TCP,
    }
}
