//! `wharf write`: set a point, or an address.

use clap::Args;
use serde_json::{Value as Json, json};
use wharf_contract::Value;
use wharf_contract::settings::suggestion;
use wharf_modbus::commission::{Spot, Wrote};

use super::form::{Form, wrong};
use super::show::{bare, is_for_people, with_unit};
use super::target::{Device, Kind, Whom};
use crate::cli::exit::{self, Exit};

/// Write to a device.
#[derive(Args)]
#[command(override_usage = "wharf write <SITE> <DEVICE>/<POINT> <VALUE>
       wharf write --yes <SITE> <DEVICE> <ADDRESS> <VALUE>
       wharf write --yes --tcp <HOST[:PORT]> [--unit <ID>] <ADDRESS> <VALUE>
       wharf write --yes --serial <PATH> [--baud <BAUD>] [--unit <ID>] <ADDRESS> <VALUE>")]
pub struct WriteArgs {
    /// What to write: a site file, a point of a device and the value; or an address such as
    /// holding:100 and the value
    #[arg(value_name = "WHAT", required = true, num_args = 2..=4, allow_negative_numbers = true)]
    what: Vec<String>,
    /// Write to an address although no rule of a site file watches over it
    #[arg(long)]
    yes: bool,
    /// How long the running gateway may wait for its turn, from 10s (the default) to 1h: a device that sleeps takes a
    /// command when it wakes. It is carried out then even if nobody waits for the answer here any more
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    form: Form,
}

/// Writes, reads back, and prints both. Exit code 1 if it was not written, or did not hold.
pub async fn run(args: &WriteArgs) -> Result<(), Exit> {
    let what: Vec<&str> = args.what.iter().map(String::as_str).collect();
    match (args.whom.is_given(), what.as_slice()) {
        (true, [address, value]) => {
            args.must_be_meant()?;
            raw(args, args.whom.device()?, address, value).await
        }
        (true, _) => Err(wrong("write an address such as holding:100 and the value")),
        (false, [site, name, value]) => match name.split_once('/') {
            Some((device, name)) => point(args, site, device, name, value).await,
            None => {
                Err(wrong(&format!("which point? write {name}/POINT, or {name} and an address such as holding:100")))
            }
        },
        (false, [site, device, address, value]) => {
            args.must_be_meant()?;
            let at_site = args.whom.at(site)?;
            let device = at_site.device(device, true)?;
            raw(args, device, address, value).await
        }
        (false, _) => Err(wrong("write a site file, a point such as tank/valve, and the value")),
    }
}

impl WriteArgs {
    /// Of a write to an address.
    fn must_be_meant(&self) -> Result<(), Exit> {
        if self.expires.is_some() {
            return Err(wrong("--expires is for a point by name, such as tank/valve"));
        }
        if self.yes {
            return Ok(());
        }
        Err(wrong("no rule watches over a write to an address; say --yes if it is meant"))
    }
}

/// Writes to an address.
async fn raw(args: &WriteArgs, mut device: Device, address: &str, value: &str) -> Result<(), Exit> {
    let point = args.form.at(address)?;
    let Some(spot) = device.tester.spot(&device.name, &point) else { return Err(Exit::USAGE) };
    directly(&mut device, &spot, value, args.whom.json).await
}

/// Writes to a point, within its rules: through the gateway if one runs.
async fn point(args: &WriteArgs, site: &str, device: &str, name: &str, value: &str) -> Result<(), Exit> {
    let at_site = args.whom.at(site)?;
    let (link, kind) = at_site.find(device)?;
    if at_site.is_held(link) {
        let mut request = json!({ "do": "write", "device": device, "point": name, "value": parse(value)?.to_json() });
        if let Some(expires) = &args.expires {
            request["expires"] = expires.as_str().into();
        }
        return told(&at_site.ask(&request)?, args.whom.json);
    }
    if args.expires.is_some() {
        return Err(wrong("--expires is how long the running gateway may wait, and none is running"));
    }
    if let Kind::Other = kind {
        let why = format!("`{device}` can only be written through a running gateway, and none is running");
        return Err(Exit::failure(&anyhow::anyhow!(why)));
    }
    let mut target = at_site.device(device, true)?;
    let spots = target.tester.spots(device).unwrap_or_default();
    let Some(spot) = spots.iter().find(|spot| spot.name() == name) else {
        let names: Vec<&str> = spots.iter().map(Spot::name).collect();
        return Err(wrong(&format!("`{device}` has no point `{name}`; {}", suggestion(name, &names))));
    };
    if !spot.is_open() {
        let why = format!("`{device}/{name}` is read-only: the site file has no `write:` for it");
        return Err(Exit::failure(&anyhow::anyhow!(why)));
    }
    directly(&mut target, spot, value, args.whom.json).await
}

async fn directly(device: &mut Device, spot: &Spot, value: &str, json: bool) -> Result<(), Exit> {
    let value = parse(value)?;
    let wrote = match device.tester.write(spot, &value).await {
        Ok(wrote) => wrote,
        Err(trouble) => return told(&json!({ "ok": false, "error": trouble.to_string() }), json),
    };
    told(&outcome(&value, &wrote, spot), json)
}

/// What a direct write came to, in the form of a gateway's answer.
fn outcome(requested: &Value, wrote: &Wrote, spot: &Spot) -> Json {
    let mut json = json!({
        "ok": true,
        "requested": requested.to_json(),
        "written": wrote.written.to_json(),
        "content": wrote.content.to_string(),
    });
    if let Some(unit) = spot.unit() {
        json["unit"] = unit.into();
    }
    let error = match &wrote.observed {
        Ok(seen) => match &seen.value {
            Ok(observed) => {
                json["observed"] = observed.to_json();
                (*observed != wrote.written).then(|| format!("written, but the device holds {observed}"))
            }
            Err(error) => Some(format!("written, but what the device holds is no value: {error}")),
        },
        Err(trouble) => Some(format!("written, but it could not be read back: {trouble}")),
    };
    if let Some(error) = error {
        json["ok"] = false.into();
        json["error"] = error.into();
    }
    json
}

/// Prints an outcome, and fails if it is a failure.
fn told(outcome: &Json, json: bool) -> Result<(), Exit> {
    if is_for_people(json) {
        if outcome["ok"] == true {
            crate::cli::say(&human(outcome))?;
        }
    } else {
        crate::cli::say(&outcome.to_string())?;
    }
    if outcome["ok"] == true {
        return Ok(());
    }
    exit::complain(&format_args!("wharf: {}", bare(&outcome["error"])));
    Err(Exit::FAILED)
}

/// `written 21.5 °C (00D7), observed 21.5 °C`
fn human(outcome: &Json) -> String {
    let unit = outcome["unit"].as_str();
    let value = |key: &str| {
        let value = outcome.get(key).filter(|value| !value.is_null())?;
        Some(with_unit(&bare(value), unit))
    };
    let written = value("written").or_else(|| value("requested")).unwrap_or_default();
    let content = outcome["content"].as_str().map(|content| format!(" ({content})")).unwrap_or_default();
    let observed = value("observed").map(|observed| format!(", observed {observed}")).unwrap_or_default();
    let note = outcome["note"].as_str().map(|note| format!(" ({note})")).unwrap_or_default();
    format!("written {written}{content}{observed}{note}")
}

/// A value as people write it: a number, true or false, a list, else text.
fn parse(text: &str) -> Result<Value, Exit> {
    let value = match serde_json::from_str(text) {
        Ok(json) => {
            value_of(&json).map_err(|number| wrong(&format!("{number} cannot be carried to its last digit")))?
        }
        Err(_) => None,
    };
    Ok(value.unwrap_or_else(|| Value::Text(text.to_owned())))
}

/// `None` if it is text. An error is a number that no value carries exactly.
fn value_of(json: &Json) -> Result<Option<Value>, &serde_json::Number> {
    match json {
        Json::Bool(on) => Ok(Some(Value::Bool(*on))),
        Json::Number(number) => Value::of_number(number).ok_or(number).map(Some),
        Json::String(text) => Ok(Some(Value::Text(text.clone()))),
        Json::Array(values) => {
            let values = values.iter().map(value_of).collect::<Result<Option<Vec<_>>, _>>()?;
            Ok(values.map(Value::List))
        }
        Json::Null | Json::Object(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_it_looks_like() {
        let cases = [
            ("21.5", Value::Float(21.5)),
            ("-3", Value::Int(-3)),
            ("true", Value::Bool(true)),
            ("on", Value::Text("on".into())),
            ("\"12\"", Value::Text("12".into())),
            ("1 2", Value::Text("1 2".into())),
            ("[1, 0.5]", Value::List(vec![Value::Int(1), Value::Float(0.5)])),
        ];
        for (text, value) in cases {
            assert_eq!(parse(text).ok(), Some(value), "{text}");
        }
    }

    #[test]
    fn a_write_is_told_with_all_that_is_known_of_it() {
        let told = json!({ "ok": true, "requested": 21.52, "written": 21.5, "observed": 21.5, "unit": "°C", "content": "00D7" });
        assert_eq!(human(&told), "written 21.5 °C (00D7), observed 21.5 °C");
        assert_eq!(human(&json!({ "ok": true, "requested": true, "written": true })), "written true");
    }
}
