//! The entry: parse the command line, start the runtime, exit codes.

use std::process::ExitCode;

fn main() -> ExitCode {
    wharf::cli::main()
}
