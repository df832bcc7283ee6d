//! What is drawn of a layer? Its health, what it lost it by, and a panel for each of its signals.

use super::board::{Board, Draw, EMPTY, Item, Panel, variable};
use super::question::question;
use super::{health_of, of, open_anomalies, open_findings};
use crate::layers;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::signal::{Profile, Read, Signal, Unit};

/// The headings under which signals stand, and which of them.
type Group = (&'static str, fn(&Signal) -> bool);

const GROUPS: [Group; 4] = [
    ("Bad states", |s| matches!(s.read, Read::Rule(_))),
    ("Levels", |s| matches!(s.read, Read::Gauge(_) | Read::Query(_))),
    ("Counts", |s| matches!(s.read, Read::Counter)),
    ("Durations", |s| matches!(s.read, Read::Histogram(_))),
];

pub(super) fn board(layer: Layer) -> Board {
    let name = layer.name();
    let matcher = format!("layer=\"{name}\"");
    let mut board = Board::new(
        name,
        &capitalised(name),
        &format!("Each signal of the layer {name}, and what the layer's health is lost by."),
    );
    board.variables = vec![variable(
        "namespace",
        "Namespace",
        "label_values({__name__=~\"kubestrata_.+\", namespace!=\"\"}, namespace)",
        true,
    )];
    board.items = vec![
        health_of(&matcher).size(6, 8).into(),
        Panel::new(
            Draw::Stack,
            "What is the health lost by?",
            &format!("What each signal takes off the layer's health. {EMPTY} the layer is whole."),
        )
        .unit("percentunit")
        .size(18, 8)
        .query(
            format!("max by (signal, because) ({})", of("layer_health_loss_ratio", &matcher)),
            "{{signal}} ({{because}})",
        )
        .into(),
        open_findings(&format!("{matcher}, namespace=~\"$namespace|\"")).size(12, 8).into(),
        open_anomalies(&format!("{matcher}, namespace=~\"$namespace|\"")).size(12, 8).into(),
        Panel::new(
            Draw::Table,
            "Which signals can't see, and why?",
            &format!("A source that a signal needs and does not have. {EMPTY} each signal sees."),
        )
        .size(24, 6)
        .query(
            format!("max by (cluster, signal, source, reason) ({})", of("signal_absent", &matcher)),
            "",
        )
        .into(),
    ];
    for (title, is) in GROUPS {
        let panels: Vec<Item> = layers::signals()
            .filter(|s| s.layer == layer && is(s))
            .map(|s| panel(s).into())
            .collect();
        if !panels.is_empty() {
            board.items.push(Item::Row(title));
            board.items.extend(panels);
        }
    }
    board
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |l| l.to_uppercase().chain(letters).collect())
}

const fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "short",
        Unit::Ratio => "percentunit",
        Unit::Seconds => "s",
        Unit::Bytes => "bytes",
    }
}

/// The panel of a signal.
fn panel(signal: &Signal) -> Panel {
    let more = if signal.labels.contains(&"namespace") { "namespace=~\"$namespace\"" } else { "" };
    let by = |first: &str| {
        let all: Vec<&str> =
            first.split_terminator(' ').chain(signal.labels.iter().copied()).collect();
        if all.is_empty() { String::new() } else { format!(" by ({})", all.join(", ")) }
    };
    let legend: Vec<String> = signal
        .labels
        .iter()
        .filter(|label| **label != "workload_kind")
        .map(|label| format!("{{{{{label}}}}}"))
        .collect();
    let legend = if legend.is_empty() { "cluster".to_owned() } else { legend.join(" ") };
    let metric = |suffix: &str| of(&format!("{}{suffix}", signal.name), more);
    let panel =
        Panel::new(Draw::Lines, &question(signal), &description(signal)).unit(unit(signal.unit));
    match signal.read {
        Read::Rule(_) => panel.query(format!("max{} ({})", by(""), metric("")), &legend),
        Read::Counter => panel.query(
            format!("max{} (increase({}[$__rate_interval])) > 0", by(""), metric("")),
            &legend,
        ),
        Read::Histogram(_) => {
            let quantile = |q: f64| {
                let buckets = format!("rate({}[$__rate_interval])", metric("_bucket"));
                format!("histogram_quantile({q}, max{} ({buckets}))", by("le "))
            };
            panel
                .query(quantile(0.5), &format!("half {legend}"))
                .query(quantile(0.95), &format!("95 % {legend}"))
        }
        Read::Gauge(_) | Read::Query(_) => {
            let panel = panel.query(format!("max{} ({})", by(""), metric("")), &legend);
            if signal.profile.level().is_none() {
                return panel;
            }
            let comma = if more.is_empty() { "" } else { ", " };
            let matchers = format!("signal=\"{}\"{comma}{more}", signal.name);
            let end = |end: &str| {
                format!("max{} ({})", by(""), of(&format!("baseline_{end}"), &matchers))
            };
            panel.band("lower", end("lower"), &format!("lower end {legend}")).band(
                "upper",
                end("upper"),
                &format!("upper end {legend}"),
            )
        }
    }
}

/// What a signal is, how it is judged, and when there is nothing to see.
fn description(signal: &Signal) -> String {
    let mut words = vec![signal.help.to_owned()];
    if signal.profile.level().is_some() {
        words.push("Dashed: the band that its past makes expect, of cluster-wide series and open anomalies.".into());
    }
    if matches!(signal.profile, Profile::Filling { .. }) {
        words.push("It is told before it is full.".into());
    }
    let kinds = |kinds: Vec<Kind>| {
        kinds.iter().map(|k| format!("`{}`", k.source())).collect::<Vec<_>>().join(" or ")
    };
    let needed = || signal.needs.iter().copied();
    let needed: Vec<Kind> =
        if signal.needs.is_empty() { signal.uses.to_vec() } else { needed().collect() };
    let (mut asked, mut served) = (needed.clone(), needed);
    asked.retain(|k| k.is_opt_in());
    served.retain(|k| k.is_resource() && !k.is_built_in());
    if !asked.is_empty() {
        words.push(format!("{EMPTY} the configuration does not ask for {}.", kinds(asked)));
    }
    if !served.is_empty() {
        words.push(format!("{EMPTY} the cluster does not serve {}.", kinds(served)));
    }
    let none = match signal.read {
        Read::Rule(_) => "all is well",
        Read::Counter => "none came within the interval",
        Read::Histogram(_) => "none ended within the interval",
        Read::Gauge(_) | Read::Query(_) => "there is nothing of the kind",
    };
    words.push(format!("{EMPTY} {none}."));
    words.join(" ")
}
