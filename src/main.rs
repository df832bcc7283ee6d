//! The binary: parses, runs, prints the chain of what went wrong, exits with its code.

use std::process::ExitCode;

fn main() -> ExitCode {
    kubestrata::cli::main()
}
