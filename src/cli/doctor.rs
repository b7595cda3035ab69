//! `wharf doctor`: is everything there that a gateway needs from its machine? Each thing that is not
//! comes with the command that mends it.

#[cfg(feature = "ble")]
mod ble;
mod broker;
mod serial;

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::exit::Exit;
use super::field::is_for_people;
use super::place::Place;
use super::words::harmless;

/// What the kernel calls a gateway that runs: what it uses itself is in nobody's way.
const GATEWAY: &str = "wharf";

/// Look for what is wrong with this machine.
#[derive(Args)]
pub struct DoctorArgs {
    /// The site file: what it needs is looked for
    #[arg(value_name = "SITE")]
    site: Option<PathBuf>,
    /// Print a JSON object a line, also on a terminal
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    /// How it is.
    verdict: Verdict,
    /// What was looked at: `D-Bus`, `adapter hci0`.
    what: String,
    /// What was found.
    found: String,
    /// What mends it.
    fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Well,
    /// It works, and could work better.
    Hint,
    Ill,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Hint => "hint",
            Self::Ill => "ill",
        }
    }
}

impl Finding {
    fn well(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Well, what: what.into(), found: found.into(), fix: None }
    }

    fn hint(what: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Hint, fix: Some(fix.into()), ..Self::well(what, found) }
    }

    fn ill(what: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ill, fix: Some(fix.into()), ..Self::well(what, found) }
    }

    fn human(&self) -> String {
        let fix = self.fix.as_ref().map(|fix| format!("\n        mend it: {fix}")).unwrap_or_default();
        harmless_lines(&format!("{:<4}  {}: {}{fix}", self.verdict.as_str(), self.what, self.found))
    }

    fn to_json(&self) -> serde_json::Value {
        json!({ "verdict": self.verdict.as_str(), "what": self.what, "found": self.found, "fix": self.fix })
    }
}

/// Looks at everything: exit code 1 if something is ill.
pub fn run(args: &DoctorArgs) -> Result<(), Exit> {
    let site = match &args.site {
        Some(file) => Some(Place::of(file.clone(), None).open()?.0),
        None => None,
    };
    let mut findings = Vec::new();
    if let Some(site) = &site {
        findings.extend(serial::look(&serial::ports(site)));
        findings.extend(broker::look(site));
    }
    #[cfg(feature = "ble")]
    findings.extend(ble::look(&match &site {
        Some(site) => site.ble.iter().map(|(_, link)| ble::Wanted::of(link)).collect(),
        None => vec![ble::Wanted::default()],
    }));
    let people = is_for_people(args.json);
    for finding in &findings {
        super::say(&if people { finding.human() } else { finding.to_json().to_string() })?;
    }
    if findings.is_empty() {
        super::say("nothing here needs anything of the machine that is looked at")?;
    }
    if findings.iter().any(|finding| finding.verdict == Verdict::Ill) { Err(Exit::FAILED) } else { Ok(()) }
}

fn harmless_lines(text: &str) -> String {
    text.lines().map(harmless).collect::<Vec<_>>().join("\n")
}
