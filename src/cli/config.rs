//! `kubestrata config`: validates a configuration, or prints the effective one.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ClusterArgs, Failure, Outcome, checked, print, settings};
use crate::config::{Config, effective_yaml};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Tell every mistake of a configuration file. Exit 0: none; 2: some.
    Check(CheckArgs),
    /// Print the effective configuration, defaults, environment and flags included; secrets are masked.
    Print(ClusterArgs),
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The file.
    file: PathBuf,
}

pub(super) fn run(command: &ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Check(args) => {
            let config = Config::read(&args.file).map_err(Failure::usage)?;
            checked(&config).map_err(Failure::usage)?;
            print(&format!("{}: no mistakes\n", args.file.display()))
        }
        ConfigCommand::Print(args) => {
            print(&effective_yaml(&settings(args, None).map_err(Failure::usage)?))
        }
    }
}
