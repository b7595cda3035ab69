//! Walking through a SunSpec device: which models it has and where each begins.
//!
//! A device begins with `SunS` at 40000, 0 or 50000; then come models, each with its number and its
//! length, up to one with the number 0xFFFF (SunSpec Information Model Reference, "device
//! Modbus map"). What is found becomes devices of the site file, each with the profile of its model
//! and the place it begins at; points that the device does not have are dropped.

use std::fmt::Write as _;

use wharf_contract::settings::{Node, Typed};

use crate::config::profiles::builtin;
use crate::config::tree;

/// Where a device may begin, the usual place first.
const BASES: [u16; 3] = [40_000, 0, 50_000];

/// `SunS`.
const BEGIN: [u16; 2] = [0x5375, 0x6E53];

/// The number of the model after the last.
const END: u16 = 0xFFFF;

/// The most models of one device: a chain that is longer goes in a circle.
const MOST_MODELS: usize = 100;

/// The most registers that one request reads.
const MOST_REGISTERS: u16 = 125;

/// One model of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its number, such as 103.
    pub number: u16,
    /// The address of its number, which its own addresses count from.
    pub base: u16,
    /// How many registers follow its number and its length.
    pub length: u16,
}

/// Walks from model to model. `read` reads holding registers: the first one's address and how many.
///
/// # Errors
/// There is no SunSpec device, or its models make no sense, in words.
pub async fn walk(read: &mut impl AsyncFnMut(u16, u16) -> Result<Vec<u16>, String>) -> Result<Vec<Model>, String> {
    let (mut why, mut begin) = (String::new(), None);
    for base in BASES {
        match read(base, 2).await {
            Ok(registers) if registers == BEGIN => {
                begin = Some(base);
                break;
            }
            Ok(_) => {}
            Err(reason) => why = format!("; the last answer was: {reason}"),
        }
    }
    let begin = begin.ok_or_else(|| format!("no SunSpec device: there is no `SunS` at 40000, 0 or 50000{why}"))?;
    let mut models = Vec::new();
    let mut at = begin.checked_add(2);
    while let Some(base) = at {
        let &[number, length] = read(base, 2).await?.as_slice() else { return Err("too few registers came".into()) };
        if number == END {
            return Ok(models);
        }
        if models.len() == MOST_MODELS {
            return Err(format!("more than {MOST_MODELS} models"));
        }
        models.push(Model { number, base, length });
        at = base.checked_add(2).and_then(|at| at.checked_add(length));
    }
    Err("the models do not come to an end".into())
}

/// The devices of the site file that the models come to, as YAML under `devices:`.
///
/// # Errors
/// A model cannot be read, in words.
pub async fn devices(
    models: &[Model],
    unit: u8,
    read: &mut impl AsyncFnMut(u16, u16) -> Result<Vec<u16>, String>,
) -> Result<String, String> {
    let mut yaml = String::from("devices:\n");
    let mut names: Vec<String> = Vec::new();
    for model in models {
        let profile = format!("sunspec-{}", model.number);
        let Some(text) = builtin::get(&profile) else {
            let _ = writeln!(yaml, "  # model {} at {}: there is no profile for it", model.number, model.base);
            continue;
        };
        let stem = match model.number {
            1 => "identity",
            101..=103 | 111..=113 => "inverter",
            201..=204 | 211..=214 => "meter",
            _ => "device",
        };
        let numbered = (2..).map(|number| format!("{stem}-{number}"));
        let name = std::iter::once(stem.to_owned()).chain(numbered).find(|name| !names.contains(name));
        let name = name.unwrap_or_default();
        let _ = writeln!(yaml, "  {name}:\n    unit: {unit}\n    profile: {profile}\n    base: {}", model.base);
        names.push(name);
        let missing = missing_points(text, &whole(model, read).await?);
        if !missing.is_empty() {
            let _ = writeln!(yaml, "    points: # what this device does not have");
        }
        for point in missing {
            let _ = writeln!(yaml, "      {point}: off");
        }
    }
    Ok(yaml)
}

/// All registers of a model, its number and length among them.
async fn whole(
    model: &Model,
    read: &mut impl AsyncFnMut(u16, u16) -> Result<Vec<u16>, String>,
) -> Result<Vec<u16>, String> {
    let mut registers = Vec::new();
    let end = u32::from(model.length) + 2;
    while let Ok(done) = u16::try_from(registers.len())
        && u32::from(done) < end
    {
        let count = u16::try_from(end - u32::from(done)).unwrap_or(MOST_REGISTERS).min(MOST_REGISTERS);
        let at = model.base.checked_add(done).ok_or("a model reaches beyond the last register")?;
        let part = read(at, count).await?;
        if part.len() != usize::from(count) {
            return Err("too few registers came".into());
        }
        registers.extend(part);
    }
    Ok(registers)
}

/// The points of a profile that hold what stands for no value, or have no power of ten.
fn missing_points(profile: &str, registers: &[u16]) -> Vec<String> {
    let root = tree::parse(profile).root;
    let points = root.as_ref().and_then(|root| root.get("points")).map_or(&[][..], |points| points.value.entries());
    let number = |point: &Node, key: &str| match point.get(key)?.value.typed() {
        Some(Typed::Int(number)) => u16::try_from(number).ok(),
        _ => None,
    };
    let register = |point: &Node, key: &str| registers.get(usize::from(number(point, key)?)).copied();
    let is_missing = |point: &Node| {
        let (first, at) = (register(point, "holding"), number(point, "holding").map_or(0, usize::from));
        // Whole numbers of one register say themselves what stands for no value; of the others only
        // floating point has such a thing, and it is NaN.
        let invalid = number(point, "invalid").is_some_and(|invalid| first == Some(invalid));
        let is_float = point.get("type").is_some_and(|entry| entry.value.text() == Some("f32"));
        let no_number = is_float && matches!(registers.get(at..at + 2), Some([high, low]) if is_nan(*high, *low));
        invalid || no_number || first.is_none() || register(point, "scale_from") == Some(0x8000)
    };
    points.iter().filter(|point| is_missing(&point.value)).map(|point| point.key.clone()).collect()
}

fn is_nan(high: u16, low: u16) -> bool {
    f32::from_bits(u32::from(high) << 16 | u32::from(low)).is_nan()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A device that begins at `base`, of models with their registers.
    fn device(base: u16, models: &[(u16, Vec<u16>)]) -> BTreeMap<u16, u16> {
        let chain = models.iter().flat_map(|(number, rest)| {
            let length = u16::try_from(rest.len()).unwrap();
            [vec![*number, length], rest.clone()].concat()
        });
        (base..).zip(BEGIN.into_iter().chain(chain).chain([END, 0])).collect()
    }

    fn reader(registers: &BTreeMap<u16, u16>) -> impl AsyncFnMut(u16, u16) -> Result<Vec<u16>, String> {
        async move |start: u16, count: u16| {
            let read = |at: u16| registers.get(&at).copied().ok_or_else(|| format!("nothing at {at}"));
            (start..start.saturating_add(count)).map(read).collect()
        }
    }

    #[tokio::test]
    async fn models_are_found_wherever_the_device_begins() {
        for base in BASES {
            let registers = device(base, &[(1, vec![0; 66]), (103, vec![0; 50]), (120, vec![0; 26])]);
            let models = walk(&mut reader(&registers)).await.unwrap();
            let found: Vec<_> = models.iter().map(|model| (model.number, model.base - base, model.length)).collect();
            assert_eq!(found, [(1, 2, 66), (103, 70, 50), (120, 122, 26)]);
        }
    }

    #[tokio::test]
    async fn what_is_no_sunspec_device_is_said_to_be_none() {
        assert!(walk(&mut async |_, _| Ok(vec![0, 0])).await.unwrap_err().contains("no `SunS`"));
        assert!(walk(&mut async |_, _| Err("exception 2".into())).await.unwrap_err().contains("exception 2"));
    }

    #[tokio::test]
    async fn a_chain_without_an_end_is_left() {
        let endless = async |start: u16, _| Ok(if start == 40_000 { BEGIN.to_vec() } else { vec![7, 0] });
        assert!(walk(&mut { endless }).await.unwrap_err().contains("more than 100"));
        let too_far = async |start: u16, _| Ok(if start == 40_000 { BEGIN.to_vec() } else { vec![7, 60_000] });
        assert!(walk(&mut { too_far }).await.unwrap_err().contains("do not come to an end"));
        let short = async |start, _| Ok(if start == 40_000 { BEGIN.to_vec() } else { vec![7] });
        assert!(walk(&mut { short }).await.is_err());
    }

    #[tokio::test]
    async fn what_is_found_is_a_good_site_file_without_the_points_that_are_not_there() {
        let mut inverter = vec![0; 50];
        // Its second phase, its heat sink and the power of ten of its DC power are not there.
        (inverter[2], inverter[32], inverter[30]) = (0xFFFF, 0x8000, 0x8000);
        let registers = device(
            40_000,
            &[
                (1, vec![0; 65]),
                (103, inverter),
                (64_001, vec![]),
                (213, {
                    let mut meter = vec![0; 124];
                    // The voltage of its first phase.
                    (meter[10], meter[11]) = (0x7FC0, 0);
                    meter
                }),
            ],
        );
        let mut read = reader(&registers);
        let models = walk(&mut read).await.unwrap();
        let yaml = devices(&models, 3, &mut read).await.unwrap();
        assert!(yaml.contains("  inverter:\n    unit: 3\n    profile: sunspec-103\n    base: 40069\n"), "{yaml}");
        assert!(
            yaml.contains("      current_l2: off\n      dc_power: off\n      temperature_heat_sink: off\n"),
            "{yaml}"
        );
        assert!(yaml.contains("# model 64001 at 40121: there is no profile for it"), "{yaml}");
        assert!(yaml.ends_with("    points: # what this device does not have\n      voltage_l1: off\n"), "{yaml}");
        let indented: String = yaml.lines().map(|line| format!("    {line}\n")).collect();
        let site = format!("gateway: g\nmodbus:\n  pv:\n    tcp: a\n{indented}");
        crate::config::read(&site, std::path::Path::new("site.yaml"), &|_| Err("none".into()))
            .unwrap_or_else(|errors| panic!("{errors}"));
    }
}
