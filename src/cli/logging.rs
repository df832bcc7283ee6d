//! Where do log lines go, and which? To stderr, without what a dependency must not say.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

use super::{Failure, Global, LogFormat};
use crate::sources::LOG_DIRECTIVES;

pub(super) fn start(global: &Global) -> Result<(), Failure> {
    let mut filter = EnvFilter::builder().parse(&global.log_level).map_err(|error| {
        let expected =
            "expected error, warn, info, debug, trace or a filter such as kubestrata=debug";
        Failure::usage(anyhow::anyhow!("--log-level {:?}: {expected}: {error}", global.log_level))
    })?;
    for directive in LOG_DIRECTIVES {
        let directive: Directive = directive.parse().map_err(Failure::runtime)?;
        filter = filter.add_directive(directive);
    }
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(global.color.wanted(&io::stderr()))
        .with_target(false);
    let started = match global.log_format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::runtime(anyhow::anyhow!("could not start logging: {error}")))
}
