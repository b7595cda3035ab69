//! Logging: people's lines on a terminal, JSON when asked.

mod lines;

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

pub use lines::LastLines;
use lines::Lines;

/// What is shown without `--log` and `WHARF_LOG`: our own lines, and trouble from libraries. What
/// the MQTT crates report is reported by us as well, in the words of the site file; and what rustls warns of are whims of
/// clients, once for each connection.
const DEFAULT_FILTER: &str = "warn,audit=info,wharf=info,wharf_modbus=info,wharf_ble=info,wharf_mysensors=info,wharf_lines=info,wharf_mqtt=info,wharf_mqttsn=info,rumqttc=off,rustls=error";

/// Options about logging, valid with every subcommand.
#[derive(Args)]
pub struct LogArgs {
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Human)]
    log_format: LogFormat,
    /// What is logged: a level, or levels by part, such as `info,wharf_modbus=debug`
    #[arg(long, global = true, value_name = "FILTER", env = "WHARF_LOG")]
    log: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people
    Human,
    /// One JSON object a line
    Json,
}

/// Starts logging to standard error: standard output belongs to what a command prints. The last lines are
/// seen out when what this returns is dropped.
///
/// # Errors
///
/// A filter that cannot be read, in words.
pub fn start(args: &LogArgs) -> Result<LastLines, String> {
    let filter = args.log.as_deref().unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("--log {filter}: {error}"))?;
    let (lines, last) = Lines::to(std::io::stderr());
    // An error would be told on standard error, and without a reader that ends the process.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines).log_internal_errors(false);
    match args.log_format {
        LogFormat::Human => builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).init(),
    }
    Ok(last)
}
