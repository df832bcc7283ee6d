//! Which dashboards are shipped? An overview, one for each layer, baselines, the fleet, and kubestrata itself.

mod board;
mod itself;
mod layer;
mod overview;
mod question;

pub use board::EMPTY;

use board::{Draw, Panel};

use crate::model::layer::Layer;

/// Each dashboard: its file and its JSON.
#[must_use]
pub fn dashboards() -> Vec<(String, String)> {
    let mut boards =
        vec![overview::board(), overview::fleet(), itself::board(), itself::baselines()];
    boards.extend(Layer::ALL.map(layer::board));
    boards.into_iter().map(board::Board::file).collect()
}

/// The selector of one of our metrics in the clusters that are looked at, narrowed by more matchers.
fn of(metric: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    format!("kubestrata_{metric}{{cluster=~\"$cluster\"{comma}{more}}}")
}

fn health_of(matchers: &str) -> Panel {
    Panel::new(
        Draw::Stat,
        "How healthy is it?",
        &format!("1 is healthy; a layer that can't be seen has no health. {EMPTY} the layer can't be seen."),
    )
    .health()
    .query(format!("max by (cluster, layer) ({})", of("layer_health_ratio", matchers)), "{{cluster}} {{layer}}")
}

fn open_findings(matchers: &str) -> Panel {
    Panel::new(
        Draw::Table,
        "Which findings are open, and since when?",
        &format!("Bad states that have held for their dwell, with the age of the oldest. {EMPTY} none is open."),
    )
    .unit("s")
    .query(
        format!(
            "sort_desc(max by (cluster, layer, signal, severity, reason, namespace) ({}))",
            of("finding_oldest_seconds", matchers)
        ),
        "",
    )
}

fn open_anomalies(matchers: &str) -> Panel {
    Panel::new(
        Draw::Table,
        "Which anomalies are open?",
        &format!("Series far from what their past makes expect, each with its object. {EMPTY} none is open."),
    )
    .query(
        format!(
            "max by (cluster, layer, signal, severity, namespace, kind, name) ({})",
            of("anomaly_active", matchers)
        ),
        "",
    )
}
