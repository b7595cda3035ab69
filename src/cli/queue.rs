//! `wharf queue`: what waits on disk, and whether the count is right.
//!
//! It reads the queue's files, so it works on a running gateway and on a stopped one. Only `purge`
//! changes anything: through the gateway if one is running, else by itself.

mod audit;
mod peek;
mod purge;
mod show;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use wharf_contract::settings::suggestion;

use super::exit::{self, Exit};
use super::place::{Place, nowhere};
use crate::config::Site;

/// Look into the queues on disk, of a running gateway or a stopped one.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, arg_required_else_help = true)]
pub struct QueueArgs {
    // Not in a struct of their own: the parser would take that for absent, since it looks one level
    // deep only.
    #[command(flatten)]
    place: Option<Place>,
    /// The uplink whose queue it is; without it, all of them
    #[arg(value_name = "UPLINK")]
    uplink: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// How deep each queue is, how old, how large; what became of every message. The same as
    /// `wharf queue SITE`
    Show(show::ShowArgs),
    /// Prove from the files that every message captured is acknowledged, waiting or dropped
    ///
    /// Reads every message that waits and checks it. Names those that are missing; exit code 1 if
    /// there are any.
    Audit(audit::AuditArgs),
    /// Show the oldest messages that wait: a table on a terminal, else a JSON object a line
    Peek(peek::PeekArgs),
    /// Print everything that waits, a JSON object a line
    Export(peek::ExportArgs),
    /// Drop everything that waits. It is counted, and reported upstream as a loss
    Purge(purge::PurgeArgs),
}

/// Which queues.
#[derive(Args)]
struct Which {
    #[command(flatten)]
    place: Place,
    /// The uplink whose queue it is; without it, all of them
    #[arg(value_name = "UPLINK")]
    uplink: Option<String>,
}

/// Runs the subcommand.
pub fn run(args: QueueArgs) -> Result<(), Exit> {
    match (args.what, args.place) {
        (Some(What::Show(args)), _) => show::run(&args),
        (Some(What::Audit(args)), _) => audit::run(&args),
        (Some(What::Peek(args)), _) => peek::peek(&args),
        (Some(What::Export(args)), _) => peek::export(&args),
        (Some(What::Purge(args)), _) => purge::run(&args),
        (None, Some(place)) => {
            show::run(&show::ShowArgs { which: Which { place, uplink: args.uplink }, json: args.json })
        }
        // The parser asks for one or the other.
        (None, None) => Err(Exit::USAGE),
    }
}

/// The queues of a site.
struct Queues {
    site: Site,
    state_dir: PathBuf,
    found: Vec<Found>,
}

/// One queue. Its directory may not exist yet.
struct Found {
    uplink: String,
    dir: PathBuf,
}

impl Which {
    /// Finds the queues: those of the site's uplinks, and those that were left by uplinks the site
    /// file does not name any more.
    fn find(&self) -> Result<Queues, Exit> {
        let (site, state_dir) = self.place.open()?;
        // An empty queue is what everything below would show.
        if let Some(hint) = nowhere(&state_dir) {
            exit::complain(&format_args!("wharf: {hint}"));
        }
        let root = state_dir.join("queue");
        let mut names: Vec<String> = site.uplinks.iter().map(|(name, _)| name.as_str().to_owned()).collect();
        let left: BTreeSet<String> = directories(&root).filter(|name| !names.contains(name)).collect();
        names.extend(left);
        if let Some(wanted) = &self.uplink {
            if !names.contains(wanted) {
                let known: Vec<&str> = names.iter().map(String::as_str).collect();
                let known = if known.is_empty() { "this site has none".into() } else { suggestion(wanted, &known) };
                exit::complain(&format_args!("wharf: there is no uplink `{wanted}`; {known}"));
                return Err(Exit::USAGE);
            }
            names.retain(|name| name == wanted);
        }
        let found = names.into_iter().map(|uplink| Found { dir: root.join(&uplink), uplink }).collect();
        Ok(Queues { site, state_dir, found })
    }
}

fn directories(root: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().is_dir()).filter_map(|entry| entry.file_name().into_string().ok())
}

impl Found {
    /// A queue that cannot be read, and why.
    fn unreadable(&self, error: std::io::Error) -> Exit {
        let context = format!("reading the queue of uplink {} in {}", self.uplink, self.dir.display());
        Exit::failure(&anyhow::Error::new(error).context(context))
    }
}
