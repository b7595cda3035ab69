//! `wharf queue purge`: drops what waits, and counts it.

use clap::Args;
use serde_json::json;

use super::{Found, Queues, Which};
use crate::app;
use crate::cli::exit::{self, Exit};
use crate::cli::words::counted;
use crate::control::{self, AskError};
use crate::queue::{Queue, inspect};

#[derive(Args)]
pub struct PurgeArgs {
    #[command(flatten)]
    which: Which,
    /// Really do it. Without it, this only says how many messages would go
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Purges each queue; without `--yes`: exit code 2.
pub fn run(args: &PurgeArgs) -> Result<(), Exit> {
    let queues = args.which.find()?;
    for queue in &queues.found {
        let count = match args.yes {
            true => purge(&queues, queue)?,
            false => inspect::overview(&queue.dir).map_err(|error| queue.unreadable(error))?.waiting,
        };
        let (uplink, messages) = (&queue.uplink, counted(count, "message"));
        if args.json {
            crate::cli::say(&json!({ "uplink": uplink, "purged": args.yes, "count": count }).to_string())?;
        } else if args.yes {
            crate::cli::say(&format!("{uplink}: {messages} dropped"))?;
        } else {
            exit::complain(&format_args!("{uplink}: {messages} would be dropped; say --yes to do it"));
        }
    }
    if args.yes { Ok(()) } else { Err(Exit::USAGE) }
}

/// Purges one queue: through the gateway, if it runs and has it open.
fn purge(queues: &Queues, queue: &Found) -> Result<u64, Exit> {
    match control::ask(&queues.state_dir, &json!({ "do": "purge", "uplink": queue.uplink })) {
        Ok(answer) => return Ok(answer["purged"].as_u64().unwrap_or_default()),
        // Or it has not: then nobody else has, and opening it will show that.
        Err(AskError::Nobody | AskError::Refused(_)) => {}
        Err(error) => return Err(Exit::failure(&error.into())),
    }
    if !queue.dir.is_dir() {
        return Ok(0);
    }
    let settings = app::queue_settings(&queues.site, &queue.uplink, &queue.dir);
    let opened = Queue::open(settings).map_err(|error| Exit::failure(&error.into()))?;
    crate::cli::block_on(async {
        let purged = opened.purge();
        opened.close().await.map_err(|error| queue.unreadable(error))?;
        Ok(purged)
    })
}
