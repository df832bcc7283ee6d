//! `kubestrata backtest`: what the generic baseline would have said of past data.

use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Failure, Outcome, print, say};
use crate::backtest::{self, Judged};

#[derive(Debug, Args)]
pub(super) struct BacktestArgs {
    /// Files with the columns `timestamp,value`: RFC 3339, `YYYY-MM-DD HH:MM:SS` in UTC, or Unix seconds.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How it is printed: a picture with its episodes, all of it as JSON, or a row for each sample.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Also writes a picture of each series into this directory.
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

/// Width of the picture in the terminal, without its scale.
const WIDTH: usize = 88;

pub(super) fn run(args: &BacktestArgs) -> Outcome {
    let judged: Vec<Judged> = (args.files.iter().map(|file| read(file)))
        .collect::<Result<_, _>>()
        .map_err(Failure::usage)?;
    if let Some(directory) = &args.svg {
        for (file, judged) in args.files.iter().zip(&judged) {
            draw(directory, file, judged).map_err(Failure::runtime)?;
        }
    }
    let out = match args.output {
        Format::Table => judged.iter().map(table).collect::<Vec<_>>().join("\n"),
        Format::Json => {
            let all: Vec<_> = judged.iter().map(as_json).collect();
            serde_json::to_string_pretty(&all).map_err(Failure::runtime)? + "\n"
        }
        Format::Csv => csv(&judged).map_err(Failure::runtime)?,
    };
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> anyhow::Result<Judged> {
    let name = file.display().to_string();
    let open = File::open(file).with_context(|| format!("could not open {name}"))?;
    let samples = backtest::read(open).with_context(|| name.clone())?;
    Ok(backtest::judge(name, samples))
}

fn draw(directory: &Path, file: &Path, judged: &Judged) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("could not make the directory {}", directory.display()))?;
    let mut name = file.file_stem().unwrap_or(file.as_os_str()).to_owned();
    name.push(".svg");
    let path = directory.join(name);
    std::fs::write(&path, backtest::svg(judged))
        .with_context(|| format!("could not write {}", path.display()))?;
    say(&format!("drew {}", path.display()));
    Ok(())
}

fn table(judged: &Judged) -> String {
    let episodes = judged.episodes();
    let mut out = format!(
        "{}: {} samples, {} episodes\n{}",
        judged.name,
        judged.samples.len(),
        episodes.len(),
        backtest::terminal(judged, WIDTH)
    );
    for episode in episodes {
        let number = backtest::short;
        let _ = writeln!(
            out,
            "  {} to {}: {} samples flagged, score {:.2}; {} where {} was expected ({} to {}), by its {}",
            episode.from,
            episode.until,
            episode.flagged,
            episode.score,
            number(episode.observed),
            number(episode.expected),
            number(episode.lower),
            number(episode.upper),
            episode.statistic.name()
        );
    }
    out
}

fn as_json(judged: &Judged) -> serde_json::Value {
    let rows = judged.samples.iter().zip(&judged.judgements).map(|(sample, judgement)| {
        let known = judgement.as_ref();
        json!({
            "timestamp": sample.stamp,
            "value": known.map(|_| sample.value),
            "expected": known.map(|j| j.expected),
            "lower": known.and_then(|j| j.band).map(|band| band.0),
            "upper": known.and_then(|j| j.band).map(|band| band.1),
            "score": known.map_or(0.0, backtest::Judgement::score),
            "anomaly": known.is_some_and(backtest::Judgement::is_anomaly),
        })
    });
    let rows: Vec<_> = rows.collect();
    json!({"name": judged.name, "episodes": judged.episodes(), "samples": rows})
}

/// One row for each sample, those of further files after those of the first.
fn csv(all: &[Judged]) -> anyhow::Result<String> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(["timestamp", "value", "expected", "lower", "upper", "score", "anomaly"])?;
    for judged in all {
        for (sample, judgement) in judged.samples.iter().zip(&judged.judgements) {
            let known = judgement.as_ref();
            let number = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
            let band = known.and_then(|j| j.band);
            out.write_record([
                sample.stamp.clone(),
                number(known.map(|_| sample.value)),
                number(known.map(|j| j.expected)),
                number(band.map(|band| band.0)),
                number(band.map(|band| band.1)),
                number(Some(known.map_or(0.0, backtest::Judgement::score))),
                u8::from(known.is_some_and(backtest::Judgement::is_anomaly)).to_string(),
            ])?;
        }
    }
    Ok(String::from_utf8(out.into_inner()?)?)
}
