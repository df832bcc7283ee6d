//! How is kubestrata itself, and can what it expects be believed?

use super::board::{Board, Draw, EMPTY, Item, Panel, variable};
use super::{of, open_anomalies};

fn lines(title: &str, description: &str, unit: &'static str, queries: &[(String, &str)]) -> Item {
    let panel = Panel::new(Draw::Lines, title, description).unit(unit);
    queries.iter().fold(panel, |panel, (expr, legend)| panel.query(expr.clone(), legend)).into()
}

fn rate(metric: &str) -> String {
    format!("rate({}[$__rate_interval])", of(metric, ""))
}

pub(super) fn board() -> Board {
    let mut board = Board::new(
        "self",
        "Itself",
        "Whether kubestrata is well: its pace, its sources, its limits, its export.",
    );
    board.items = vec![
        Item::Row("Pace and size"),
        lines(
            "How long does a tick take?",
            "The time to read and judge the cluster; a tick comes every 15 s by default.",
            "s",
            &[(of("tick_duration_seconds", ""), "{{instance}}")],
        ),
        lines(
            "How much memory does it hold?",
            "Resident memory of each replica.",
            "bytes",
            &[(of_process("process_resident_memory_bytes", "", ""), "{{instance}}")],
        ),
        lines(
            "How much CPU does it use?",
            "Cores.",
            "short",
            &[(
                of_process("process_cpu_seconds_total", "[$__rate_interval]", "rate"),
                "{{instance}}",
            )],
        ),
        lines(
            "How many series are there?",
            "Series in the exposition, and those that have a baseline.",
            "short",
            &[(of("series", ""), "series"), (of("baselines", ""), "with a baseline")],
        ),
        lines(
            "Is a limit reached?",
            "Series and events that are left out each second; more than none says that `limits` are too small.",
            "cps",
            &[(rate("series_dropped_total"), "series"), (rate("events_dropped_total"), "events")],
        ),
        lines(
            "Who leads?",
            "1 for the replica that speaks.",
            "short",
            &[(of("leader", ""), "{{instance}}")],
        ),
    ];
    board.items.extend(sources());
    board.items.extend(export());
    board
}

fn sources() -> Vec<Item> {
    let failing = |metric: &str| format!("max by (source) ({}) > 0", rate(metric));
    vec![
        Item::Row("Sources"),
        lines(
            "How many objects does it hold?",
            "By source, the largest.",
            "short",
            &[(format!("topk(10, max by (source) ({}))", of("source_objects", "")), "{{source}}")],
        ),
        lines(
            "Which sources fail?",
            &format!("Lists and watches that failed, each second. {EMPTY} none fails."),
            "cps",
            &[(failing("source_errors_total"), "{{source}}")],
        ),
        lines(
            "Which sources are listed anew?",
            &format!("Complete lists after the first, each second. {EMPTY} none is."),
            "cps",
            &[(failing("source_relists_total"), "{{source}}")],
        ),
        lines(
            "Which objects can't be read?",
            &format!("Objects that were left out, each second. {EMPTY} each can."),
            "cps",
            &[(failing("source_undecodable_objects_total"), "{{source}}")],
        ),
        lines(
            "Which sources wait before they try again?",
            &format!("How long they wait. {EMPTY} none waits."),
            "s",
            &[(
                format!("max by (source) ({}) > 0", of("source_backoff_seconds", "")),
                "{{source}}",
            )],
        ),
        lines(
            "Which signals can't see?",
            &format!("By the reason why. {EMPTY} each sees."),
            "short",
            &[(
                format!(
                    "count by (reason) (max by (cluster, signal, source, reason) ({}))",
                    of("signal_absent", "")
                ),
                "{{reason}}",
            )],
        ),
    ]
}

fn export() -> Vec<Item> {
    vec![
        Item::Row("Export over OTLP"),
        lines(
            "Does the collector take events?",
            &format!(
                "Events that it took and that were dropped, each second. {EMPTY} nothing is sent over OTLP."
            ),
            "cps",
            &[(rate("otlp_sent_total"), "taken"), (rate("otlp_dropped_total"), "dropped")],
        ),
        lines(
            "Do requests to the collector fail?",
            &format!("Requests that failed, each second. {EMPTY} nothing is sent over OTLP."),
            "cps",
            &[(rate("otlp_errors_total"), "failed")],
        ),
        lines(
            "How many events wait?",
            &format!(
                "Beyond `otlp.queue` the oldest are dropped. {EMPTY} nothing is sent over OTLP."
            ),
            "short",
            &[(of("otlp_queue_length", ""), "{{instance}}")],
        ),
    ]
}

/// A metric of the processes of replicas; other processes have it too.
fn of_process(metric: &str, range: &str, function: &str) -> String {
    let ours = of("build_info", "");
    format!("{function}({metric}{{cluster=~\"$cluster\"}}{range}) and on (job, instance) {ours}")
}

pub(super) fn baselines() -> Board {
    let mut board =
        Board::new("baselines", "Baselines", "A series against what its past makes expect of it.");
    board.variables = vec![variable(
        "signal",
        "Signal",
        "label_values(kubestrata_baseline_expected, signal)",
        false,
    )];
    let end = |end: &str| of(&format!("baseline_{end}"), "signal=\"$signal\"");
    let legend = "{{namespace}} {{workload}}{{node}}{{reason}}";
    let named = |matcher: &str| {
        format!("{{__name__=\"kubestrata_${{signal}}\", {matcher}, cluster=~\"$cluster\"}}")
    };
    board.items = vec![
        Panel::new(Draw::Lines, "What is unusual now?", &format!("Scores of series that are not calm, 0 to 1: 0.5 is one in 10⁸ by their past. {EMPTY} all are calm."))
            .unit("percentunit")
            .size(12, 8)
            .query(format!("topk(20, {})", of("anomaly_score_ratio", "")), "{{signal}} {{namespace}} {{workload}}{{node}}")
            .into(),
        open_anomalies("").size(12, 8).into(),
        Panel::new(Draw::Lines, "Is $signal within its band?", &format!("A gauge and what is expected of it. A band is there for cluster-wide series and open anomalies; `baseline.bands: all` exports every one. {EMPTY} it is a counter."))
            .size(24, 10)
            .query(named("__name__!~\".+_total\""), legend)
            .band("lower", end("lower"), "lower end")
            .band("upper", end("upper"), "upper end")
            .band("expected", end("expected"), "expected")
            .into(),
        Panel::new(Draw::Lines, "How much of $signal came in ten minutes?", &format!("The increase of a counter, of which the shortest window of its band is made. {EMPTY} it is a gauge."))
            .size(24, 8)
            .query(format!("increase({}[10m]) > 0", named("__name__=~\".+_total\"")), legend)
            .into(),
        lines("In which phase are anomalies?", "Suspected (rare, not yet confirmed), open, escalated or recovering.", "short", &[(format!("max by (phase) ({})", of("anomaly_series", "")), "{{phase}}")]),
        lines("Can p-values be believed?", &format!("How many times as often as promised series surprised that nothing is told of: about 1 or less is as promised. {EMPTY} too little was promised to say."), "short", &[(of("baseline_observed_to_nominal", ""), "at most {{p_value}}")]),
        lines("How rare must a series be?", "The p-value at which a series is told. It rises where nothing surprises without cause.", "sci", &[(of("anomaly_threshold_p_value", ""), "threshold")]),
        lines("How much has a past?", "Series that have a baseline, and those that are not judged because a node of theirs is in maintenance.", "short", &[(of("baselines", ""), "with a baseline"), (of("series_explained", ""), "explained")]),
    ];
    board
}
