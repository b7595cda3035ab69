//! The command line: one file per subcommand, each a thin caller of the library.

mod check;
mod demo;
mod exit;
mod log;
mod place;
mod queue;
mod run;
mod schema;
mod status;
mod words;

use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use exit::Exit;

/// An edge gateway: Modbus and MySensors in, MQTT out, nothing lost.
#[derive(Parser)]
#[command(name = "wharf", version, about, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    log: log::LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway a site file describes
    Run(run::RunArgs),
    /// Ask a running gateway how it is
    ///
    /// What is written a day is projected from the time since the gateway started. It counts the
    /// pages the queues write, not what the file system and the card add of their own, and takes for
    /// granted that a card spreads its overwrites evenly and stands 1,000 (a cheap one) to 3,000 of
    /// them. Exit code 1 if no gateway is running.
    Status(status::StatusArgs),
    /// Look into the queues on disk, of a running gateway or a stopped one
    ///
    /// What it prints is what the files say as of the last commit.
    Queue(queue::QueueArgs),
    /// Check a site file: every mistake with its place, before anything starts
    Check(check::CheckArgs),
    /// Print the JSON Schema of the site file, for editors
    Schema,
    /// Try the whole product without any hardware
    Demo(demo::DemoArgs),
}

/// Parses the command line and runs what it asks for.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = log::start(&cli.log) {
        Cli::command().error(ErrorKind::InvalidValue, error).exit();
    }
    // Both TLS and the two MQTT clients take the process's provider; there is only this one.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return Exit::failure(&anyhow::anyhow!("TLS is set up already")).into();
    }
    let result = match cli.command {
        Command::Run(args) => block_on(async { run::run(&args, stop_on_signal()?).await }),
        Command::Demo(args) => block_on(async { Ok(demo::run(args, stop_on_signal()?).await?) }),
        Command::Check(args) => check::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Queue(args) => queue::run(args),
        Command::Schema => schema::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.into(),
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, Exit>>) -> Result<T, Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Two are enough for what is mostly waiting, and leave the memory to the page cache.
        .worker_threads(2)
        .thread_name("wharf")
        .build()
        .map_err(|error| Exit::failure(&error.into()))?;
    let result = runtime.block_on(work);
    // Everything that matters has been joined; a resolver thread that hangs must not hold us.
    runtime.shutdown_background();
    result
}

/// Prints to standard output. A reader that has seen enough, as `head` has, is no failure.
fn say(text: &str) -> Result<(), Exit> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()).or_else(unsaid)
}

/// What follows from an error on standard output: nothing, if the reader has seen enough.
fn unsaid(error: std::io::Error) -> Result<(), Exit> {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    Err(Exit::failure(&anyhow::Error::new(error).context("writing to standard output")))
}

/// A token that is cancelled by SIGTERM, SIGINT or SIGHUP. A second signal ends the process at once.
fn stop_on_signal() -> anyhow::Result<tokio_util::sync::CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // A terminal that is closed must not cost what a proper stop would have saved.
    let mut hangup = signal(SignalKind::hangup())?;
    let stop = tokio_util::sync::CancellationToken::new();
    let cancel = stop.clone();
    // Lives as long as the process: there is no one to join it, and nothing it could leave undone.
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                _ = hangup.recv() => "SIGHUP",
            };
            if cancel.is_cancelled() {
                tracing::warn!("second {name}: ending at once; what is stored is kept");
                std::process::exit(1);
            }
            tracing::info!("{name} received, stopping");
            cancel.cancel();
        }
    });
    Ok(stop)
}
