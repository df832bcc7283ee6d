//! `kubestrata signals`: the signal catalogue, from its declarations.

use clap::{Args, ValueEnum};

use super::{Failure, Outcome, print};
use crate::catalog;

#[derive(Debug, Args)]
pub(super) struct SignalsArgs {
    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Table,
    Markdown,
    Json,
}

pub(super) fn run(args: &SignalsArgs) -> Outcome {
    match args.output {
        Format::Table => print(&catalog::table()),
        Format::Markdown => print(&catalog::signals_markdown()),
        Format::Json => {
            let json = serde_json::to_string_pretty(&catalog::signals());
            print(&format!("{}\n", json.map_err(Failure::runtime)?))
        }
    }
}
