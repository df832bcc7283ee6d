//! `kubestrata backtest`: what the generic baseline would have said of past data.

mod past;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::{ArgGroup, Args, ValueEnum};
use serde::Serialize;

use super::{Failure, Global, Outcome, print, say};
use crate::backtest::{self, Episode, Judged, Judgement, Sample};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("data").required(true).args(["files", "prometheus"]))]
pub(super) struct BacktestArgs {
    /// Files with the columns `timestamp,value`: RFC 3339, `YYYY-MM-DD HH:MM:SS` in UTC, or Unix seconds.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    past: past::PastArgs,
    /// How it is printed: a picture with its episodes, all of it as JSON, or, of one series, a row for each sample.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Also writes a picture of each series into this directory.
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

/// Width of the picture in the terminal, without its scale.
const WIDTH: usize = 88;

/// A series before it is judged.
struct Unjudged {
    name: String,
    samples: Vec<Sample>,
    /// What a picture of it is called, without its ending.
    picture: OsString,
}

pub(super) fn run(args: &BacktestArgs, global: &Global) -> Outcome {
    let only_one = |count| one_as_csv(args.output, count);
    let series = if args.past.is_asked() {
        args.past.ask(global)?
    } else {
        only_one(args.files.len())?;
        let read = args.files.iter().map(|file| read(file));
        read.collect::<Result<_, _>>().map_err(Failure::usage)?
    };
    only_one(series.len())?;
    let mut taken = BTreeSet::new();
    let mut judged = Vec::new();
    for Unjudged { name, samples, picture } in series {
        let series = backtest::judge(name, samples);
        if let Some(directory) = &args.svg {
            let picture = free(&picture, &mut taken);
            draw(directory, &picture, &series).map_err(Failure::runtime)?;
        }
        judged.push(series);
    }
    let out = match args.output {
        Format::Table => judged.iter().map(table).collect::<Vec<_>>().join("\n"),
        Format::Json => {
            let all: Vec<_> = judged.iter().map(told).collect();
            serde_json::to_string_pretty(&all).map_err(Failure::runtime)? + "\n"
        }
        Format::Csv => csv(&judged).map_err(Failure::runtime)?,
    };
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}

/// Rows do not say of which series they are.
fn one_as_csv(output: Format, count: usize) -> Result<(), Failure> {
    if output == Format::Csv && count > 1 {
        let why = "-o csv is for one series, whose columns it has; -o json is for several";
        return Err(Failure::usage(anyhow!("{why}: there are {count}")));
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Unjudged> {
    let name = file.display().to_string();
    let open = File::open(file).with_context(|| format!("could not open {name}"))?;
    let samples = backtest::read(open).with_context(|| name.clone())?;
    let picture = file.file_stem().unwrap_or(file.as_os_str()).to_owned();
    Ok(Unjudged { name, samples, picture })
}

/// The first of `name`, `name-2`, `name-3` … that nothing else has; there are disks on which case makes no difference.
fn free(name: &OsString, taken: &mut BTreeSet<OsString>) -> OsString {
    let (mut free, mut number) = (name.clone(), 1);
    while !taken.insert(free.to_ascii_lowercase()) {
        number += 1;
        free.clone_from(name);
        free.push(format!("-{number}"));
    }
    free
}

fn draw(directory: &Path, name: &OsString, judged: &Judged) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("could not make the directory {}", directory.display()))?;
    let mut name = name.clone();
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

/// A series as JSON.
#[derive(Serialize)]
struct Told<'a> {
    episodes: Vec<Episode>,
    name: &'a str,
    samples: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    anomaly: bool,
    expected: Option<f64>,
    lower: Option<f64>,
    score: f64,
    timestamp: &'a str,
    upper: Option<f64>,
    value: Option<f64>,
}

fn told(judged: &Judged) -> Told<'_> {
    let rows = judged.samples.iter().zip(&judged.judgements);
    Told {
        episodes: judged.episodes(),
        name: &judged.name,
        samples: rows.map(|(sample, judgement)| row(sample, judgement.as_ref())).collect(),
    }
}

fn row<'a>(sample: &'a Sample, known: Option<&Judgement>) -> Row<'a> {
    let band = known.and_then(|j| j.band);
    Row {
        anomaly: known.is_some_and(Judgement::is_anomaly),
        expected: known.map(|j| j.expected),
        lower: band.map(|band| band.0),
        score: known.map_or(0.0, Judgement::score),
        timestamp: &sample.stamp,
        upper: band.map(|band| band.1),
        value: known.map(|_| sample.value),
    }
}

/// One row for each sample.
fn csv(judged: &[Judged]) -> anyhow::Result<String> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(["timestamp", "value", "expected", "lower", "upper", "score", "anomaly"])?;
    let number = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
    for row in judged.iter().flat_map(|judged| told(judged).samples) {
        out.write_record([
            row.timestamp.to_owned(),
            number(row.value),
            number(row.expected),
            number(row.lower),
            number(row.upper),
            number(Some(row.score)),
            u8::from(row.anomaly).to_string(),
        ])?;
    }
    Ok(String::from_utf8(out.into_inner()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_picture_takes_the_name_of_another() {
        let mut taken = BTreeSet::new();
        let names = ["a", "a", "a-2", "A", "b"].map(|name| free(&name.into(), &mut taken));
        assert_eq!(names, ["a", "a-2", "a-2-2", "A-3", "b"]);
    }
}
