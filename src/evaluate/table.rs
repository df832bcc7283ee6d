//! How are scores shown? As a table for people, as JSON for machines.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::Played;
use super::score::Teller;
use super::summary::{Summary, TellerSummary};
use super::told::What;
use crate::config::format_duration;

/// A heading and rows of cells.
pub(super) struct Grid(pub(super) Vec<Vec<String>>);

impl Grid {
    fn new(heading: &[&str]) -> Self {
        Self(vec![heading.iter().map(|cell| (*cell).to_owned()).collect()])
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.0.first().map_or(0, Vec::len);
        let width = |column: usize| self.0.iter().map(|row| row[column].chars().count()).max();
        (0..columns).map(|column| width(column).unwrap_or(0)).collect()
    }

    /// Columns side by side, the first to the left and the others to the right.
    fn text(&self) -> String {
        let widths = self.widths();
        let mut out = String::new();
        for row in &self.0 {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = match column {
                    0 => write!(out, "{cell:width$}"),
                    _ => write!(out, "  {cell:>width$}"),
                };
            }
            out.truncate(out.trim_end().len());
            out.push('\n');
        }
        out
    }

    /// A table in Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut out = String::new();
        for (index, row) in self.0.iter().enumerate() {
            let _ = writeln!(out, "| {} |", row.join(" | "));
            if index == 0 {
                let _ = writeln!(out, "|---{}|", "|---:".repeat(row.len() - 1));
            }
        }
        out
    }
}

/// Who told how much.
pub(super) fn tellers(summary: &Summary) -> Grid {
    let mut grid = Grid::new(&[
        "",
        "recall",
        "in time",
        "precision",
        "false alarms a cluster-day",
        "findings a fault",
        "anomalies a fault",
        "expectations met",
    ]);
    grid.0.extend(summary.tellers.iter().map(|t| {
        vec![
            t.teller.to_owned(),
            percent(t.recall),
            if t.teller == Teller::Kubestrata.name() { percent(t.in_time) } else { "-".to_owned() },
            percent(t.precision),
            format!("{:.1}", t.false_alarms_per_cluster_day),
            number(t.findings_per_fault),
            number(t.anomalies_per_fault),
            if t.expected == 0 { "-".to_owned() } else { format!("{} of {}", t.met, t.expected) },
        ]
    }));
    grid
}

/// How soon faults were told, by class.
pub(super) fn delays(summary: &Summary) -> Grid {
    let mut grid = Grid::new(&["", "class", "faults", "told", "median", "95 %"]);
    let row = |t: &TellerSummary| {
        let seconds =
            |s: Option<u64>| s.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s"));
        let classes = t.classes.iter().map(|c| {
            let (class, faults, told) = (c.class.to_owned(), c.faults, c.told);
            let (median, p95) = (seconds(c.median_seconds), seconds(c.p95_seconds));
            vec![t.teller.to_owned(), class, faults.to_string(), told.to_string(), median, p95]
        });
        classes.collect::<Vec<_>>()
    };
    grid.0.extend(summary.tellers.iter().flat_map(row));
    grid
}

/// How often series surprised while nothing was wrong.
pub(super) fn calibration(summary: &Summary) -> Grid {
    let mut grid = Grid::new(&["p-value at most", "observed", "observed / nominal"]);
    grid.0.extend(summary.calibration.iter().map(|c| {
        vec![format!("{:e}", c.nominal), format!("{:.1e}", c.observed), format!("{:.2}", c.ratio)]
    }));
    grid
}

/// What kubestrata missed, told without cause, or told against a scenario's wish: how often, by name.
pub(super) fn blemishes(plays: &[&Played]) -> Grid {
    let mut counts: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for marks in plays.iter().map(|p| &p.marks[0]) {
        for fault in marks.faults.iter().filter(|f| f.told_after.is_none()) {
            let name = fault.episode.fault.kind.name.to_owned();
            *counts.entry(("missed fault", name)).or_default() += 1;
        }
        for (expected, _) in marks.expected.iter().filter(|(_, met)| !met) {
            *counts.entry(("missed expectation", expected.signal.clone())).or_default() += 1;
        }
        for told in &marks.false_alarms {
            let what = match told.what {
                What::Anomaly => "false anomaly",
                _ => "false finding",
            };
            *counts.entry((what, told.signal.as_str().to_owned())).or_default() += 1;
        }
        for told in &marks.broken_quiet {
            let signal = told.signal.as_str().to_owned();
            *counts.entry(("not quiet", signal)).or_default() += 1;
        }
    }
    let mut grid = Grid::new(&["kubestrata's blemishes", "of", "times"]);
    grid.0.extend(
        counts
            .into_iter()
            .map(|((what, name), times)| vec![what.to_owned(), name, times.to_string()]),
    );
    grid
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0))
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}

/// What a set of plays covers, in words.
pub(super) fn coverage(summary: &Summary) -> String {
    let faults = summary.tellers.first().map_or(0, |t| t.faults);
    format!("{} plays, {:.1} cluster-days, {faults} faults", summary.plays, summary.days)
}

/// Tables for people.
#[must_use]
pub fn table(summaries: &[Summary], plays: &[Played]) -> String {
    let mut out = String::new();
    for summary in summaries {
        let of_set: Vec<_> = plays.iter().filter(|p| p.set.name() == summary.set).collect();
        let _ = writeln!(out, "{}: {}\n", summary.set, coverage(summary));
        let grids = [tellers(summary), delays(summary), calibration(summary), blemishes(&of_set)];
        for grid in grids.iter().filter(|grid| grid.0.len() > 1) {
            let _ = writeln!(out, "{}", grid.text());
        }
    }
    out
}

/// Everything for machines. Root cause and incidents are not judged yet: their fields are null.
#[must_use]
pub fn as_json(summaries: &[Summary], plays: &[Played], runtime_seconds: f64) -> Value {
    let plays: Vec<Value> = plays.iter().map(play).collect();
    json!({ "runtime_seconds": runtime_seconds, "sets": summaries, "plays": plays })
}

fn play(played: &Played) -> Value {
    let tellers = Teller::ALL.iter().zip(&played.marks).map(|(teller, marks)| {
        let faults = marks.faults.iter().map(|f| {
            let fault = &f.episode.fault;
            let (kind, namespace, name) = fault.root();
            json!({
                "fault": fault.kind.name,
                "layer": fault.kind.layer,
                "class": fault.kind.class.name(),
                "root": {"kind": kind, "namespace": namespace, "name": name},
                "begin": f.episode.begin,
                "end": f.episode.end,
                "told_after_seconds": f.told_after.map(|took| took.as_secs()),
                "in_time": f.in_time(),
                "findings": f.findings,
                "anomalies": f.anomalies,
                "root_cause_rank": Value::Null,
                "incidents": Value::Null,
            })
        });
        let told = |told: &super::Told| {
            json!({
                "at": told.at,
                "signal": told.signal,
                "subject": told.subject,
                "what": match told.what {
                    What::Finding(severity) => format!("{} finding", severity.name()),
                    What::Anomaly => "anomaly".to_owned(),
                    What::Alert(name) => name.to_owned(),
                },
                "message": told.message,
            })
        };
        json!({
            "teller": teller.name(),
            "faults": faults.collect::<Vec<_>>(),
            "false_alarms": marks.false_alarms.iter().map(told).collect::<Vec<_>>(),
            "broken_quiet": marks.broken_quiet.iter().map(told).collect::<Vec<_>>(),
            "expected": marks.expected.iter().map(|(e, met)| json!({
                "signal": e.signal, "namespace": e.namespace, "name": e.name, "met": met,
            })).collect::<Vec<_>>(),
        })
    });
    json!({
        "scenario": played.scenario,
        "set": played.set.name(),
        "seed": played.seed,
        "duration": format_duration(played.duration),
        "tellers": tellers.collect::<Vec<_>>(),
    })
}
