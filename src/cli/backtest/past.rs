//! What does a Prometheus know of the past? `backtest --prometheus` asks it for the series that are judged.

use std::ffi::OsString;
use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::{SignedDuration, Timestamp};

use super::Unjudged;
use crate::backtest::{Sample, TIMES, parse_time};
use crate::cli::{Color, Failure, Global, run, say};
use crate::clock::Clock;
use crate::config::{check_url, parse_duration};
use crate::sources::{self, PrometheusAccess, RangeAnswer, RangeError, Series, Steps};

#[derive(Debug, Args)]
pub(super) struct PastArgs {
    /// Asks this Prometheus, or what speaks its API, instead of files; with the path before `/api/v1` if any.
    #[arg(long, value_name = "URL", requires = "query", value_parser = url)]
    prometheus: Option<String>,
    /// What it is asked; each series of the answer is judged.
    #[arg(long, value_name = "PROMQL", requires = "prometheus", allow_hyphen_values = true)]
    query: Option<String>,
    /// When the past begins: a time as in files, or one before now such as `-14d`; without it, 14 days before the end.
    #[arg(long, value_name = "T", requires = "prometheus", allow_hyphen_values = true, value_parser = moment)]
    start: Option<Moment>,
    /// When it ends, in the same words; without it, now.
    #[arg(long, value_name = "T", requires = "prometheus", allow_hyphen_values = true, value_parser = moment)]
    end: Option<Moment>,
    /// How far apart the samples are, at least `1s`; they lie at whole multiples of it.
    #[arg(long, value_name = "D", default_value = "1m", requires = "prometheus", value_parser = step)]
    step: Duration,
    /// File that holds a bearer token for Prometheus.
    #[arg(long, value_name = "FILE", requires = "prometheus")]
    bearer_token_file: Option<PathBuf>,
    /// PEM file of the authority that signed the certificate of Prometheus; without it, the system's authorities.
    #[arg(long, value_name = "FILE", requires = "prometheus")]
    ca_file: Option<PathBuf>,
}

/// Without a start, this long before the end: two weeks show what weekends are like.
const LENGTH: SignedDuration = SignedDuration::from_hours(14 * 24);

/// A time as it is given.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    At(Timestamp),
    BeforeNow(Duration),
}

impl Moment {
    fn time(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::BeforeNow(duration) => now.checked_sub(duration).unwrap_or(Timestamp::MIN),
        }
    }
}

fn url(text: &str) -> Result<String, String> {
    check_url(text).map(|()| text.to_owned())
}

fn moment(text: &str) -> Result<Moment, String> {
    let read = match text.strip_prefix('-') {
        Some(ago) => parse_duration(ago).ok().map(Moment::BeforeNow),
        None => parse_time(text)
            .and_then(|seconds| Timestamp::from_millisecond((seconds * 1000.0).round() as i64).ok())
            .map(Moment::At),
    };
    read.ok_or_else(|| format!("expected a time before now such as -14d, {TIMES}"))
}

fn step(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        step if step < Duration::from_secs(1) => Err("expected at least 1s".to_owned()),
        step => Ok(step),
    }
}

impl PastArgs {
    /// Whether a Prometheus is asked, rather than files read.
    pub(super) const fn is_asked(&self) -> bool {
        self.prometheus.is_some()
    }

    /// The series of the answer.
    pub(super) fn ask(&self, global: &Global) -> Result<Vec<Unjudged>, Failure> {
        let steps = self.steps(Clock::system().now())?;
        let access = PrometheusAccess {
            url: self.prometheus.clone().unwrap_or_default(),
            bearer_token_file: self.bearer_token_file.clone(),
            ca_file: self.ca_file.clone(),
        };
        let query = self.query.as_deref().unwrap_or_default();
        let bar = bar(global.color);
        let progress = |done: usize, all: usize| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        };
        let asked = sources::query_range(access, query, &steps, progress);
        let answer = run::runtime()?.block_on(asked);
        bar.finish_and_clear();
        let RangeAnswer { series, beyond, warnings } = answer.map_err(|error| match error {
            RangeError::Access(_) => Failure::usage(error),
            RangeError::Query { .. } => Failure::runtime(error),
        })?;
        for warning in warnings {
            say(&format!("Prometheus warns: {warning}"));
        }
        if beyond > 0 {
            let kept = series.len();
            say(&format!("{kept} series are judged, {beyond} more are left out"));
        }
        if series.is_empty() {
            let (from, until) = (stamp(steps.time(0)), stamp(steps.time(steps.count() - 1)));
            let why = format!("the query has no series from {from} to {until}");
            return Err(Failure::runtime(anyhow!(why)));
        }
        Ok(series.into_iter().map(unjudged).collect())
    }

    fn steps(&self, now: Timestamp) -> Result<Steps, Failure> {
        let end = self.end.map_or(now, |end| end.time(now));
        let start = match self.start {
            Some(start) => start.time(now),
            None => end.checked_sub(LENGTH).unwrap_or(Timestamp::MIN),
        };
        Steps::between(start, end, self.step).map_err(Failure::usage)
    }
}

/// How far the asking is, for people: it ticks with each part of the answer.
fn bar(color: Color) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = match color.wanted(&stderr()) {
        true => "asking Prometheus {bar:40.cyan} {pos}/{len} parts",
        false => "asking Prometheus {bar:40} {pos}/{len} parts",
    };
    let style = ProgressStyle::with_template(template);
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn unjudged(series: Series) -> Unjudged {
    let sample = |(time, value)| Sample { time, value, stamp: stamp(time) };
    Unjudged {
        picture: picture(&series.labels),
        samples: series.values.into_iter().map(sample).collect(),
        name: series.labels,
    }
}

fn stamp(time: f64) -> String {
    let stamp = Timestamp::from_millisecond((time * 1000.0).round() as i64);
    stamp.map_or_else(|_| time.to_string(), |stamp| stamp.to_string())
}

/// Longest name of a picture: those of files have their limits.
const LONGEST: usize = 100;

/// Labels as the name of a file: `up_job_a` for `up{job="a"}`.
fn picture(labels: &str) -> OsString {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let plain: String = labels.chars().map(plain).collect();
    let words: Vec<&str> = plain.split('_').filter(|word| !word.is_empty()).collect();
    match words.join("_") {
        name if name.is_empty() => "series".into(),
        mut name => {
            name.truncate(LONGEST);
            name.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn times_are_given_as_in_files_or_before_now() {
        let noon = at("2026-03-01T12:00:00Z");
        for (text, time) in [
            ("2026-03-01T13:00:00+01:00", noon),
            ("2026-03-01 12:00:00", noon),
            ("1772366400", noon),
            ("1772366400.25", at("2026-03-01T12:00:00.25Z")),
            ("-1h30m", at("2026-03-01T22:30:00Z")),
            ("-0", at("2026-03-02T00:00:00Z")),
            ("-99999y", Timestamp::MIN),
        ] {
            let now = at("2026-03-02T00:00:00Z");
            assert_eq!(moment(text).map(|moment| moment.time(now)), Ok(time), "{text}");
        }
        for text in ["", "noon", "-5", "14d", "1e30", "--end"] {
            let why = moment(text).expect_err(text);
            assert!(why.starts_with("expected a time before now such as -14d, RFC 3339"), "{why}");
        }
        assert_eq!(step("5m"), Ok(Duration::from_mins(5)));
        assert!(step("999ms").is_err() && step("0").is_err() && step("often").is_err());
    }

    #[test]
    fn fourteen_days_up_to_the_end_are_the_default() {
        let args = |start, end| PastArgs {
            prometheus: None,
            query: None,
            start,
            end,
            step: Duration::from_mins(1),
            bearer_token_file: None,
            ca_file: None,
        };
        let now = at("2026-03-20T12:00:30Z");
        let steps = |start, end| args(start, end).steps(now).expect("steps");
        assert_eq!(stamp(steps(None, None).time(0)), "2026-03-06T12:01:00Z");
        assert_eq!(steps(None, None).count(), 14 * 24 * 60);
        let week = Moment::BeforeNow(Duration::from_hours(168));
        assert_eq!(stamp(steps(None, Some(week)).time(0)), "2026-02-27T12:01:00Z");
        assert_eq!(steps(Some(week), None).count(), 7 * 24 * 60);
        let turned = args(None, Some(week)).steps(at("-009999-01-02T01:59:59Z"));
        assert_eq!(turned.expect_err("no time is left").code, 2);
    }

    #[test]
    fn pictures_have_names_that_every_disk_takes() {
        for (labels, name) in [
            (r#"up{job="a", path="/b c"}"#, "up_job_a_path_b_c"),
            ("{}", "series"),
            (r#"{x="é"}"#, "x"),
        ] {
            assert_eq!(picture(labels), name);
        }
        assert_eq!(picture(&"a".repeat(500)).len(), LONGEST);
    }
}
