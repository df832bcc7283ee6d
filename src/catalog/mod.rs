//! What do the declarations say? The signal catalogue as table, page and JSON, and the role that it needs.

mod alerts;
mod bands;
mod dashboards;
mod explained;
mod families;
mod role;

use std::fmt::Write;

use serde::Serialize;

pub use alerts::{Alert, GRAFANA, RUNBOOKS, SELECTOR, alert_rules_yaml, alerts};
pub use bands::band_rules_yaml;
pub use dashboards::{EMPTY, dashboards};
pub use families::{families, runbook, runbooks_markdown};
pub use role::{cluster_role_yaml, layer_rules_yaml, lease_role_yaml, rights_markdown};

use crate::layers;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::signal::{Direction, Profile, Read, Signal};

/// A signal as JSON shows it.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct Entry {
    pub name: String,
    pub layer: Layer,
    pub block: &'static str,
    pub kind: &'static str,
    pub unit: &'static str,
    pub help: &'static str,
    pub labels: &'static [&'static str],
    pub reasons: &'static [&'static str],
    pub bound: &'static str,
    pub judged: String,
    pub needs: Vec<&'static str>,
    pub uses: Vec<&'static str>,
}

/// Every signal, in the order of the catalogue.
#[must_use]
pub fn signals() -> Vec<Entry> {
    layers::signals().map(entry).collect()
}

fn entry(signal: &'static Signal) -> Entry {
    let plurals = |kinds: &[Kind]| kinds.iter().map(|k| k.source()).collect();
    Entry {
        name: format!("kubestrata_{}", signal.name),
        layer: signal.layer,
        block: signal.block,
        kind: kind(signal),
        unit: signal.unit.ucum(),
        help: signal.help,
        labels: signal.labels,
        reasons: signal.reasons,
        bound: signal.bound,
        judged: judged(signal),
        needs: plurals(signal.needs),
        uses: plurals(signal.uses),
    }
}

const fn kind(signal: &Signal) -> &'static str {
    match signal.read {
        Read::Rule(_) => "rule",
        Read::Gauge(_) => "gauge",
        Read::Query(_) => "query",
        Read::Counter => "counter",
        Read::Histogram(_) => "histogram",
    }
}

fn judged(signal: &Signal) -> String {
    match signal.profile {
        Profile::None if matches!(signal.read, Read::Rule(_)) => "rule".to_owned(),
        Profile::None => "not judged".to_owned(),
        Profile::Countdown => {
            "not judged; it is its own `kubestrata_limit_reached_seconds`".to_owned()
        }
        Profile::Rate => "rate against its past".to_owned(),
        Profile::Flood { least } => {
            format!("rate against its past, from {least} in ten minutes on")
        }
        Profile::Filling { .. } => {
            "level against its past, high is bad; and its trend towards 1".to_owned()
        }
        Profile::Durations => "durations against those before".to_owned(),
        Profile::Level { bad, .. } => match bad {
            Direction::High => "level against its past, high is bad".to_owned(),
            Direction::Low => "level against its past, low is bad".to_owned(),
            Direction::Both => "level against its past, both sides".to_owned(),
        },
    }
}

/// The catalogue as a table for the terminal.
#[must_use]
pub fn table() -> String {
    let signals = signals();
    let width = |text: fn(&Entry) -> usize| signals.iter().map(text).max().unwrap_or(0);
    let (name, layer) = (width(|s| s.name.len()), width(|s| s.layer.name().len()));
    let mut table = format!("{:name$}  {:layer$}  {:9}  LABELS\n", "SIGNAL", "LAYER", "KIND");
    for s in &signals {
        let labels = s.labels.join(",");
        let _ =
            writeln!(table, "{:name$}  {:layer$}  {:9}  {labels}", s.name, s.layer.name(), s.kind);
    }
    table
}

/// Whether a signal of the catalogue has this name.
#[must_use]
pub fn holds(name: &str) -> bool {
    layers::signals().any(|signal| signal.name == name)
}

/// `docs/signals.md`.
#[must_use]
pub fn signals_markdown() -> String {
    let mut page = String::from(
        "<!-- Generated from the declarations in src/layers by tests/generated.rs. Do not edit. -->\n\
         # Signals\n\n\
         A signal is a verdict with an age and a bounded reason.\n\
         A rule's series is the number of its open findings; healthy is no series.\n\
         A signal whose kinds can't be seen has no series and `kubestrata_signal_absent` says why.\n",
    );
    for layer in Layer::ALL {
        let mut signals = layers::signals().filter(|s| s.layer == layer).peekable();
        if signals.peek().is_none() {
            continue;
        }
        let _ = write!(page, "\n## {layer}\n");
        for signal in signals {
            let _ = write!(page, "\n### kubestrata_{}\n\n{}\n\n", signal.name, signal.help);
            let _ = writeln!(page, "| | |\n|---|---|");
            let mut row = |what: &str, text: String| {
                if !text.is_empty() {
                    let _ = writeln!(page, "| {what} | {text} |");
                }
            };
            let code = |words: &[&str]| {
                words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
            };
            let plurals =
                |kinds: &[Kind]| code(&kinds.iter().map(|k| k.source()).collect::<Vec<_>>());
            row("catalogue", signal.block.to_owned());
            row("kind", kind(signal).to_owned());
            row("labels", code(signal.labels));
            row("reasons", code(signal.reasons));
            row("at most", signal.bound.to_owned());
            row("judged", judged(signal));
            if let Read::Query(query) = signal.read {
                row("query", format!("`{}`", query.replace('|', "\\|")));
            }
            row("needs", plurals(signal.needs));
            row("uses", plurals(signal.uses));
        }
    }
    page
}
