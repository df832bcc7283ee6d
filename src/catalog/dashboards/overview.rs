//! How are the seven layers, of one cluster and of many?

use super::board::{Board, Draw, EMPTY, Item, Panel, annotation};
use super::{of, open_anomalies, open_findings};

pub(super) fn board() -> Board {
    let mut board = Board::new(
        "overview",
        "Overview",
        "Which layer is unhealthy, since when, and by what. Begin here.",
    );
    board.annotations = vec![
        annotation(
            "Critical findings",
            "red",
            &format!("max by (layer, signal) ({})", of("findings", "severity=\"critical\"")),
            "{{signal}}",
            "layer",
        ),
        annotation(
            "Anomalies",
            "orange",
            &format!(
                "max by (layer, signal, namespace, kind, name) ({})",
                of("anomaly_active", "severity=~\"warning|critical\"")
            ),
            "{{signal}} {{kind}} {{namespace}}/{{name}}",
            "layer",
        ),
    ];
    let health = format!("max by (layer) ({})", of("layer_health_ratio", ""));
    board.items = vec![
        Panel::new(Draw::Stat, "How healthy is each layer now?", "1 is healthy; a layer that can't be seen is not there.")
            .health()
            .size(24, 5)
            .query(health.clone(), "{{layer}}")
            .into(),
        Panel::new(Draw::States, "Since when is a layer unhealthy?", "Green is healthy, red has lost more than half.")
            .health()
            .size(12, 9)
            .query(health, "{{layer}}")
            .into(),
        Panel::new(
            Draw::Stack,
            "What do the layers lose their health by?",
            &format!("The part that each signal takes, by findings and by anomalies. {EMPTY} all layers are whole."),
        )
        .unit("percentunit")
        .size(12, 9)
        .query(
            format!("max by (layer, signal, because) ({})", of("layer_health_loss_ratio", "")),
            "{{signal}} ({{because}})",
        )
        .into(),
    ];
    board.items.extend(open());
    board.items.extend(sight());
    board
}

fn open() -> Vec<Item> {
    let by = |what: &str, metric: String| {
        format!("sum by (layer, severity) (max by (cluster, layer, {what}, severity) ({metric}))")
    };
    vec![
        Item::Row("What is open"),
        Panel::new(
            Draw::Stack,
            "How many findings are open?",
            &format!("By layer and severity. {EMPTY} none is open."),
        )
        .size(12, 8)
        .query(by("signal", of("findings", "")), "{{layer}} {{severity}}")
        .into(),
        Panel::new(
            Draw::Stack,
            "How many anomalies are open?",
            &format!("By layer and severity. {EMPTY} none is open."),
        )
        .size(12, 8)
        .query(
            by("signal, namespace, kind, name", of("anomaly_active", "")),
            "{{layer}} {{severity}}",
        )
        .into(),
        open_findings("").size(12, 9).into(),
        open_anomalies("").size(12, 9).into(),
        Panel::new(
            Draw::Table,
            "What reaches its limit first?",
            &format!(
                "How long is left: of what fills up at its pace of the last hour, of certificates until they expire. \
                 {EMPTY} nothing fills up and cert-manager has no certificate."
            ),
        )
        .unit("s")
        .size(24, 8)
        .query(
            format!(
                "bottomk(10, min without (instance, pod, container, endpoint, service, job) ({}))",
                of("limit_reached_seconds", "")
            ),
            "",
        )
        .into(),
    ]
}

fn sight() -> Vec<Item> {
    vec![
        Item::Row("What can be seen"),
        Panel::new(Draw::Lines, "In which state are the sources?", "Kinds that are followed, by state; absent kinds are not installed.")
            .size(12, 8)
            .query(
                format!("count by (state) (max by (cluster, source, state) ({}) == 1)", of("source_state", "")),
                "{{state}}",
            )
            .into(),
        Panel::new(
            Draw::Table,
            "Which sources can't be followed?",
            &format!("Kinds that the cluster serves and kubestrata may not read or does not hear of. {EMPTY} each is followed."),
        )
        .size(12, 8)
        .query(
            format!(
                "max by (cluster, source, state) ({}) == 1",
                of("source_state", "state=~\"syncing|stale|forbidden|unauthorized|unreachable\"")
            ),
            "",
        )
        .into(),
    ]
}

pub(super) fn fleet() -> Board {
    let mut board = Board::new(
        "fleet",
        "Fleet",
        "Many clusters at a glance, by the label `cluster` that the scrape or remote write adds; without it they are one.",
    );
    let worst =
        format!("min by (cluster) (max by (cluster, layer) ({}))", of("layer_health_ratio", ""));
    let open = |metric: &str, objects: &str| {
        let each = format!("max by (cluster, signal, severity{objects}) ({})", of(metric, ""));
        format!("sum by (cluster, severity) ({each})")
    };
    board.items = vec![
        Panel::new(
            Draw::Stat,
            "How healthy is the worst layer of each cluster?",
            "The least health of its seven layers.",
        )
        .health()
        .size(24, 6)
        .query(worst, "{{cluster}}")
        .into(),
        Panel::new(
            Draw::States,
            "Which layer of which cluster is unhealthy?",
            "A line for each layer of each cluster.",
        )
        .health()
        .size(24, 12)
        .query(
            format!("max by (cluster, layer) ({})", of("layer_health_ratio", "")),
            "{{cluster}} {{layer}}",
        )
        .into(),
        Panel::new(
            Draw::Lines,
            "How many findings does each cluster have?",
            &format!("By severity. {EMPTY} no cluster has any."),
        )
        .size(12, 8)
        .query(open("findings", ", layer"), "{{cluster}} {{severity}}")
        .into(),
        Panel::new(
            Draw::Lines,
            "How many anomalies does each cluster have?",
            &format!("By severity. {EMPTY} no cluster has any."),
        )
        .size(12, 8)
        .query(open("anomaly_active", ", namespace, kind, name"), "{{cluster}} {{severity}}")
        .into(),
        Panel::new(
            Draw::Table,
            "Which version runs where?",
            "One line for each version in each cluster.",
        )
        .size(12, 8)
        .query(format!("count by (cluster, version) ({})", of("build_info", "")), "")
        .into(),
        Panel::new(
            Draw::Lines,
            "Does a replica lead in each cluster?",
            "1 where one speaks; a single one always does.",
        )
        .size(12, 8)
        .query(format!("max by (cluster) ({})", of("leader", "")), "{{cluster}}")
        .into(),
    ];
    board
}
