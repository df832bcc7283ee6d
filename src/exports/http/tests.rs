//! Does each answer show what the report holds?

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::IntoResponse;
use serde_json::Value;

use super::{Coding, Shared, api, page};
use crate::clock::Clock;
use crate::config::Settings;
use crate::exports::prometheus::{About, Format, encode};
use crate::labels;
use crate::model::anomaly::{Anomaly, Phase};
use crate::model::finding::Severity;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Time;
use crate::model::report::{Report, SelfReport, Suspected};
use crate::model::source::{Availability, SourceStatus};
use crate::model::subject::Subject;

fn at(second: i64) -> Time {
    Time::from_second(second).unwrap()
}

fn anomaly(id: &str, layer: Layer, phase: Phase) -> Arc<Anomaly> {
    Arc::new(Anomaly {
        id: id.to_owned(),
        layer,
        signal: "a_test".into(),
        labels: labels![],
        subject: Subject::cluster(),
        state: phase.state(),
        phase,
        phase_since: at(60),
        severity: Severity::Warning,
        times: 1,
        opened_at: at(30),
        updated_at: at(60),
        closed_at: None,
        observed: 9.0,
        expected: 1.0,
        lower: 0.0,
        upper: 2.0,
        score: 0.9,
        p_value: 1e-9,
        detector: "test".into(),
        contributors: Vec::new(),
        explanation: format!("{id} was not expected"),
    })
}

fn report(anomalies: Vec<Arc<Anomaly>>, suspected: Suspected) -> Report {
    Report {
        at: at(90),
        layers: Vec::new(),
        signals: Vec::new(),
        findings: Vec::new(),
        anomalies,
        suspected,
        anomalies_opened: Vec::new(),
        bands: Vec::new(),
        scores: Vec::new(),
        limits: Vec::new(),
        notices: Vec::new(),
        undecided: Vec::new(),
        sources: Vec::new(),
        myself: SelfReport { ready: true, ..SelfReport::default() },
    }
}

/// One in each phase, and more suspected than are shown.
fn all_phases() -> Report {
    let suspected =
        Suspected { series: 7, rarest: vec![anomaly("s", Layer::Storage, Phase::Suspected)] };
    let phases = [
        ("o", Layer::Storage, Phase::Open),
        ("e", Layer::Compute, Phase::Escalated),
        ("r", Layer::Compute, Phase::Recovering),
        ("x", Layer::Storage, Phase::Closed),
    ];
    report(
        phases.into_iter().map(|(id, layer, phase)| anomaly(id, layer, phase)).collect(),
        suspected,
    )
}

/// Names and values.
type Asked<'a> = &'a [(&'a str, &'a str)];

async fn asked(query: Asked<'_>) -> Result<Vec<Value>, u16> {
    let shared = Shared::new(all_phases(), &Settings::default(), Clock::manual(at(90)));
    let query = query.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    match api::anomalies(State(shared), Query(query)).await {
        Ok(Json(Value::Array(all))) => Ok(all),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.into_response().status().as_u16()),
    }
}

#[tokio::test]
async fn anomalies_are_listed_by_their_state_and_say_their_phase() {
    let cases: [(Asked<'_>, &[&str]); 6] = [
        (&[], &["o", "e", "r"]),
        (&[("state", "open")], &["o", "e", "r"]),
        (&[("state", "closed")], &["x"]),
        (&[("state", "all")], &["o", "e", "r", "x"]),
        (&[("state", "suspected")], &["s"]),
        (&[("state", "suspected"), ("layer", "compute")], &[]),
    ];
    for (query, expected) in cases {
        let ids: Vec<Value> = asked(query).await.unwrap().iter().map(|a| a["id"].clone()).collect();
        assert_eq!(ids, expected, "{query:?}");
    }
    let all = asked(&[("state", "all")]).await.unwrap();
    let phases: Vec<_> = all.iter().map(|a| a["phase"].as_str().unwrap()).collect();
    assert_eq!(phases, ["open", "escalated", "recovering", "closed"]);
    let states: Vec<_> = all.iter().map(|a| a["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["open", "open", "open", "closed"]);
    assert_eq!(all[0]["phase_since"], "1970-01-01T00:01:00Z");
    assert_eq!(asked(&[("state", "recovering")]).await, Err(400));
}

#[test]
fn the_page_names_kinds_that_are_not_served_in_one_line_and_others_each_with_its_reason() {
    let source = |kind, availability, message: &str| {
        let message = message.to_owned();
        (kind, SourceStatus { availability, message, ..SourceStatus::default() }, 0)
    };
    let mut report = report(Vec::new(), Suspected::default());
    report.sources = vec![
        source(Kind::Gateway, Availability::Absent, "not served"),
        source(Kind::Node, Availability::Forbidden, "may not list"),
        source(Kind::Certificate, Availability::Absent, "not served"),
        source(Kind::Pod, Availability::Served, ""),
    ];
    let page = page::render(&report);
    assert_eq!(page.matches("<li><b>").count(), 2, "{page}");
    assert!(page.contains("<b>forbidden</b>") && page.contains("may not list"), "{page}");
    let (gateways, certificates) = (Kind::Gateway.source(), Kind::Certificate.source());
    assert!(page.contains(&format!(">{gateways}, {certificates}<")), "{page}");
}

#[test]
fn the_page_says_quietly_what_is_suspected() {
    let page = page::render(&all_phases());
    assert!(page.contains("suspected: 7 series") && !page.contains("s was not expected"), "{page}");
    assert!(page.contains("<span class=\"phase\">escalated</span> e was not expected"), "{page}");
    assert!(page.contains("</span> o was not expected"), "{page}");
    assert!(!page.contains("x was not expected"), "{page}");
    assert!(page.contains("3 anomalies."), "what is suspected is none: {page}");
    assert!(!page::render(&report(Vec::new(), Suspected::default())).contains("Unusual"));
}

#[test]
fn series_are_counted_by_phase() {
    let text = encode(&Arc::new(all_phases()), &About::default(), Format::Text).unwrap();
    for (phase, series) in [("suspected", 7), ("open", 1), ("escalated", 1), ("recovering", 1)] {
        let line = format!("kubestrata_anomaly_series{{phase=\"{phase}\"}} {series}.0\n");
        assert!(text.contains(&line), "{line} in {text}");
    }
    assert!(!text.contains("phase=\"closed\""));
}

#[test]
fn a_body_is_compressed_as_it_is_welcome() {
    let cases = [
        ("", Coding::Identity),
        ("gzip", Coding::Gzip),
        ("gzip, zstd", Coding::Zstd),
        ("gzip;q=1.0, zstd;q=0.5", Coding::Gzip),
        ("zstd;q=0, gzip;q=0", Coding::Identity),
        ("identity, br", Coding::Identity),
    ];
    for (accepted, expected) in cases {
        assert_eq!(Coding::choose(accepted), expected, "{accepted}");
    }
}
