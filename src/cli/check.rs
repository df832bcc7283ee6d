//! `kubestrata check`: looks at the cluster once and prints its health by layer.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::run::{connect, runtime};
use super::{ClusterArgs, Failure, Global, Outcome, logging, print, settings};
use crate::clock::Clock;
use crate::config::Settings;
use crate::daemon::watch_options;
use crate::model::finding::{Finding, Severity, short_age};
use crate::model::layer::Layer;
use crate::model::report::{LayerReport, Report};
use crate::model::world::World;
use crate::pipeline::Pipeline;
use crate::sources;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Only this layer; may be given more than once.
    #[arg(long, value_name = "LAYER", value_parser = layer)]
    layer: Vec<Layer>,
    /// Only findings in this namespace, and those of the cluster's own objects.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Least severe finding that makes the exit code 1.
    #[arg(long, value_enum, default_value_t = FailOn::Critical)]
    fail_on: FailOn,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FailOn {
    Warning,
    Critical,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Table,
    Json,
}

fn layer(name: &str) -> Result<Layer, String> {
    let known = || Layer::ALL.map(Layer::name).join(", ");
    Layer::by_name(name).ok_or_else(|| format!("expected one of {}", known()))
}

pub(super) fn run(args: &CheckArgs, global: &Global) -> Outcome {
    let mut settings = settings(&args.cluster, None).map_err(Failure::usage)?;
    if !args.layer.is_empty() {
        settings.layers.retain(|l| args.layer.contains(l));
    }
    // The findings are what is asked for; progress is for those who ask.
    let quiet = Global { log_level: quieter(&global.log_level), ..global.clone() };
    logging::start(&quiet)?;
    let report = runtime()?.block_on(look(&settings))?;
    let findings = chosen(&report, args.namespace.as_deref());
    match args.output {
        Format::Table => {
            let colour = global.color.wanted(&std::io::stdout());
            print(&table(&report, &findings, &settings.layers, colour))?;
        }
        Format::Json => {
            let json = serde_json::to_string_pretty(&as_json(&report, &findings));
            print(&format!("{}\n", json.map_err(Failure::runtime)?))?;
        }
    }
    let least = match args.fail_on {
        FailOn::Warning => Severity::Warning,
        FailOn::Critical => Severity::Critical,
    };
    let failed = findings.iter().any(|f| f.severity >= least);
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn quieter(level: &str) -> String {
    if level == "info" { "error".to_owned() } else { level.to_owned() }
}

/// Lists every kind once and reads the world. Exit code 2 where nothing could be seen.
async fn look(settings: &Settings) -> Result<Report, Failure> {
    let connection = connect(settings).await?;
    sources::preflight(&connection).await.map_err(Failure::usage)?;
    let clock = Clock::system();
    let mut pipeline = Pipeline::for_single_look(settings.clone());
    let mut world = World::default();
    let (changes, mut inbox) = tokio::sync::mpsc::channel(16);
    let options = watch_options(&pipeline, settings, &clock, &connection);
    let listing = tokio::spawn(sources::list_once(connection.client, options, changes));
    while let Some(batch) = inbox.recv().await {
        for delta in batch {
            pipeline.absorb(&mut world, delta, clock.now());
        }
    }
    listing.await.map_err(Failure::usage)?.map_err(Failure::usage)?;
    let report = pipeline.step(&world, clock.now());
    if report.myself.ready {
        return Ok(report);
    }
    let why = report.sources.iter().find(|(_, s, _)| !s.synced);
    let why = why.map_or_else(String::new, |(k, s, _)| format!(" {}: {}", k.source(), s.message));
    Err(Failure::usage(anyhow!("could not look at the cluster:{why}")))
}

fn chosen<'a>(report: &'a Report, namespace: Option<&str>) -> Vec<&'a Finding> {
    let wanted = |f: &&Finding| {
        let of =
            if &*f.subject.kind == "Namespace" { &f.subject.name } else { &f.subject.namespace };
        namespace.is_none_or(|ns| of.is_empty() || **of == *ns)
    };
    report.findings.iter().filter(wanted).collect()
}

fn table(report: &Report, findings: &[&Finding], layers: &[Layer], colour: bool) -> String {
    let paint = |code: &str, text: &str| {
        if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    };
    let mut out = String::new();
    for layer in report.layers.iter().filter(|l| layers.contains(&l.layer)) {
        let (code, health) = match layer.health {
            None if layer.absent.is_empty() => ("2", "not watched".to_owned()),
            None => ("2", "can't see".to_owned()),
            Some(h) if h >= 0.999 => ("32", "healthy".to_owned()),
            Some(h) => (if h >= 0.7 { "33" } else { "31" }, format!("{:.0} %", h * 100.0)),
        };
        let _ = writeln!(out, "{:14} {}{}", layer.layer.name(), paint(code, &health), blind(layer));
        for finding in findings.iter().filter(|f| f.layer == layer.layer) {
            let code = match finding.severity {
                Severity::Critical => "31",
                Severity::Warning => "33",
                Severity::Info => "2",
            };
            let severity = paint(code, &format!("{:8}", finding.severity.name()));
            let age = short_age(report.at.as_second() - finding.since.as_second());
            let _ =
                writeln!(out, "  {severity} {age:>5}  {}: {}", finding.subject, finding.message);
        }
    }
    out
}

fn blind(layer: &LayerReport) -> String {
    match layer.absent.iter().filter(|(_, reason)| reason.is_blindness()).count() {
        0 => String::new(),
        1 => " (1 signal can't see)".to_owned(),
        blind => format!(" ({blind} signals can't see)"),
    }
}

fn as_json(report: &Report, findings: &[&Finding]) -> serde_json::Value {
    json!({ "at": report.at, "layers": report.layers, "findings": findings })
}
