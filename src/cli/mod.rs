//! The command line: one file per subcommand, each a thin caller of the library.

#[cfg(feature = "ble")]
mod advert;
mod check;
mod demo;
mod doctor;
mod exit;
mod explain;
mod field;
mod firmware;
mod import;
mod log;
mod nodes;
mod passwd;
mod place;
mod profiles;
mod queue;
mod run;
mod schema;
mod status;
mod words;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

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
    ///
    /// SIGTERM and SIGINT end it. SIGHUP has it read the site file anew: users and rights of the local broker
    /// are at once as it says, and of all else that has changed it says that it takes a restart. A file with a
    /// mistake changes nothing. With a terminal as its standard input, SIGHUP is the end of that terminal, and ends it.
    Run(run::RunArgs),
    /// Ask a running gateway how it is
    ///
    /// What is written a day is projected from the time since the gateway started. It counts the
    /// pages the queues write, not what the file system and the card add of their own, and takes for
    /// granted that a card spreads its overwrites evenly and stands 1,000 (a cheap one) to 3,000 of
    /// them. Exit code 1 if no gateway is running.
    Status(status::StatusArgs),
    /// Read a device now: points of a site file, or any Modbus address
    ///
    /// With a site file: through its gateway if that is running, else straight from the device.
    ///
    /// Examples:
    ///   wharf read site.yaml tank/level
    ///   wharf read --tcp 192.168.1.40 --unit 3 input:0 --type f32
    #[command(verbatim_doc_comment)]
    Read(field::read::ReadArgs),
    /// Write to a device now: a point of a site file within its rules, or any Modbus address
    ///
    /// With a site file: through its gateway if that is running, else straight to the device. What
    /// was written is read back.
    ///
    /// Examples:
    ///   wharf write site.yaml tank/setpoint 21.5
    ///   wharf write --yes --tcp 192.168.1.40 --unit 7 holding:110 215
    #[command(verbatim_doc_comment)]
    Write(field::write::WriteArgs),
    /// Show what a Modbus address comes to in every type and order, and which of them is meant
    ///
    /// Told the value that the device shows, it ranks what comes near it, also with a scale, and also
    /// at the addresses beside and in the other table if nothing there does.
    ///
    /// Example:
    ///   wharf probe --tcp 192.168.1.40 --unit 3 holding:100 --expect 230
    #[command(verbatim_doc_comment)]
    Probe(field::probe::ProbeArgs),
    /// Look for devices: which there are, and what they say they are
    Scan(field::scan::ScanArgs),
    /// Give a MySensors node new firmware, over the air; or show how far every node is with its own
    ///
    /// The image is Intel HEX or binary. It is kept by the gateway until the node runs it, also over a
    /// restart. The node is asked to restart when it says something next, and fetches the image piece by
    /// piece; other traffic goes first.
    ///
    /// Examples:
    ///   wharf firmware site.yaml garden --node 5 --type 1 --version 3 soil.hex
    ///   wharf firmware site.yaml garden
    #[command(verbatim_doc_comment)]
    Firmware(firmware::FirmwareArgs),
    /// List the nodes of MySensors networks: what they are, when they were heard, what waits for them
    ///
    /// Asks the running gateway, or reads what it has kept. A table on a terminal, else a JSON object a
    /// line.
    Nodes(nodes::NodesArgs),
    /// Look into the queues on disk, of a running gateway or a stopped one
    ///
    /// What it prints is what the files say as of the last commit.
    Queue(queue::QueueArgs),
    /// Give a user of the local broker a password
    ///
    /// Asks for it twice on a terminal, else reads a line from standard input. Only its hash is kept (argon2id).
    /// The site file names the file under `broker.passwords` and the user under `broker.users`.
    ///
    /// Examples:
    ///   wharf passwd --file broker.passwd panel
    ///   wharf passwd --file broker.passwd --delete panel
    #[command(verbatim_doc_comment)]
    Passwd(passwd::PasswdArgs),
    /// Check a site file: every mistake with its place, before anything starts
    Check(check::CheckArgs),
    /// Show what is going to be asked of which device, how often, and what that takes of each link
    #[cfg(not(feature = "ble"))]
    Explain(explain::ExplainArgs),
    /// Show what is going to be asked of which device, how often, and what that takes of each link; or,
    /// with `advert`, what Bluetooth advertisements on standard input say
    #[cfg(feature = "ble")]
    Explain(advert::WhatToExplain),
    /// Look for what is wrong with this machine, and say what mends it
    ///
    /// Looks at the serial ports of the site (is each there, may it be opened, has another program got it?),
    /// at its local broker (are its addresses free, its certificates good, its secrets kept?) and at what
    /// Bluetooth needs: D-Bus, bluetoothd, adapters, radio switches, containers. Exit code 1 if something is
    /// ill.
    Doctor(doctor::DoctorArgs),
    /// Print the JSON Schema of the site file, for editors
    Schema,
    /// List the device models wharf knows, or print the profile of one
    Profiles(profiles::ProfilesArgs),
    /// Walk through a SunSpec device over Modbus TCP and print what to write into the site file
    ///
    /// Reads holding registers and nothing else.
    Sunspec(field::sunspec::SunspecArgs),
    /// Turn a maker's register map (CSV) into points for the site file
    ///
    /// Columns are found by their headings, in any order: name, address, and whatever there is of
    /// table or function, type, length, order, scale or divisor, offset, unit, access. 30001 and
    /// 400001 say their table themselves. Exit code 1 if a line was not understood; each is named
    /// on standard error, and the others are printed.
    Import(import::ImportArgs),
    /// Try the whole product without any hardware
    Demo(demo::DemoArgs),
}

/// Parses the command line and runs what it asks for.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let last_lines = match log::start(&cli.log) {
        Ok(last_lines) => last_lines,
        Err(error) => Cli::command().error(ErrorKind::InvalidValue, error).exit(),
    };
    // Both TLS and the two MQTT clients take the process's provider; there is only this one.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return Exit::failure(&anyhow::anyhow!("TLS is set up already")).into();
    }
    let result = match cli.command {
        Command::Run(args) => block_on(async { run::run(&args, signals()?).await }),
        Command::Demo(args) => block_on(async { Ok(demo::run(args, stop_on_signal()?).await?) }),
        Command::Passwd(args) => passwd::run(&args),
        Command::Check(args) => check::run(&args),
        #[cfg(not(feature = "ble"))]
        Command::Explain(args) => explain::run(&args),
        #[cfg(feature = "ble")]
        Command::Explain(args) => advert::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Read(args) => block_on(field::read::run(&args)),
        Command::Write(args) => block_on(field::write::run(&args)),
        Command::Probe(args) => block_on(field::probe::run(&args)),
        Command::Scan(args) => block_on(async { field::scan::run(&args, stop_on_signal()?).await }),
        Command::Firmware(args) => firmware::run(&args),
        Command::Nodes(args) => nodes::run(&args),
        Command::Queue(args) => queue::run(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Schema => schema::run(),
        Command::Profiles(args) => profiles::run(&args),
        Command::Sunspec(args) => block_on(field::sunspec::run(&args)),
        Command::Import(args) => import::run(&args),
    };
    drop(last_lines);
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

/// What a gateway is told by signals.
struct Signals {
    /// It is to stop.
    stop: CancellationToken,
    /// It is to read its site file anew.
    reload: Arc<Notify>,
}

/// SIGTERM and SIGINT stop, and SIGHUP reloads, as it does with other services. But where somebody sits before it, SIGHUP
/// says that the terminal is gone, and that must not cost what a proper stop would have saved.
fn signals() -> anyhow::Result<Signals> {
    let reload = Arc::new(Notify::new());
    let on_hangup = (!std::io::stdin().is_terminal()).then(|| reload.clone());
    Ok(Signals { stop: stop_on(on_hangup)?, reload })
}

/// A token that is cancelled by SIGTERM, SIGINT or SIGHUP. A second signal ends the process at once.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    stop_on(None)
}

/// With `on_hangup`, SIGHUP is told there and stops nothing.
fn stop_on(on_hangup: Option<Arc<Notify>>) -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    // Lives as long as the process: there is no one to join it, and nothing it could leave undone.
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                _ = hangup.recv() => match &on_hangup {
                    Some(reload) => {
                        reload.notify_one();
                        continue;
                    }
                    None => "SIGHUP",
                },
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
