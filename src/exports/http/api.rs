//! What does the API answer? JSON in the shapes of the contract, and errors that say what would do.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{PATHS, Shared};
use crate::model::anomaly::{self, Anomaly};
use crate::model::finding::Severity;
use crate::model::layer::Layer;
use crate::model::report::{LayerReport, Report, Series};

type Answer = Result<Json<Value>, ApiError>;

/// A request that can't be answered.
pub(super) struct ApiError(StatusCode, String);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

/// `?name=value` pairs, each of which must be known.
type Parameters = Query<Vec<(String, String)>>;

pub(super) async fn not_found(uri: Uri) -> ApiError {
    let told = format!("nothing is served at {}; there is {}", uri.path(), PATHS.join(", "));
    ApiError(StatusCode::NOT_FOUND, told)
}

pub(super) async fn not_allowed() -> ApiError {
    ApiError(StatusCode::METHOD_NOT_ALLOWED, "only GET is served".to_owned())
}

pub(super) async fn layers(State(shared): State<Shared>) -> Json<Value> {
    let report = shared.report();
    Json(report.layers.iter().map(layer).collect())
}

fn layer(layer: &LayerReport) -> Value {
    let absent =
        layer.absent.iter().map(|(signal, reason)| json!({"signal": signal, "reason": reason}));
    json!({
        "layer": layer.layer,
        "health": layer.health,
        "deductions": layer.deductions,
        "absent": absent.collect::<Value>(),
    })
}

pub(super) async fn findings(State(shared): State<Shared>, Query(given): Parameters) -> Answer {
    let (mut layer, mut severity) = (None, None);
    for (name, value) in &given {
        match name.as_str() {
            "layer" => layer = Some(layer_named(value)?),
            "severity" => severity = Some(severity_named(value)?),
            _ => return Err(unknown(name, "layer, severity")),
        }
    }
    let report = shared.report();
    let chosen = report
        .findings
        .iter()
        .filter(|f| layer.is_none_or(|l| l == f.layer) && severity.is_none_or(|s| s == f.severity));
    Ok(Json(chosen.map(|f| json!(f)).collect()))
}

pub(super) async fn anomalies(State(shared): State<Shared>, Query(given): Parameters) -> Answer {
    let (mut layer, mut states) = (None, &[anomaly::State::Open][..]);
    for (name, value) in &given {
        match (name.as_str(), value.as_str()) {
            ("layer", value) => layer = Some(layer_named(value)?),
            ("state", "open") => states = &[anomaly::State::Open],
            ("state", "closed") => states = &[anomaly::State::Closed],
            ("state", "suspected") => states = &[anomaly::State::Suspected],
            ("state", "all") => states = &[anomaly::State::Open, anomaly::State::Closed],
            ("state", value) => {
                return Err(expected("state", value, "open, closed, all or suspected"));
            }
            _ => return Err(unknown(name, "layer, state")),
        }
    }
    let report = shared.report();
    let chosen = report
        .anomalies
        .iter()
        .chain(&report.suspected.rarest)
        .filter(|a| layer.is_none_or(|l| l == a.layer) && states.contains(&a.state));
    Ok(Json(chosen.map(|a| anomaly_json(&report, a)).collect()))
}

/// An anomaly with its labels by name.
fn anomaly_json(report: &Report, anomaly: &Anomaly) -> Value {
    let mut json = json!(anomaly);
    let signal = report.signals.iter().find(|s| anomaly.signal == s.signal.name);
    let names = signal.map_or(&[][..], |s| s.signal.labels);
    let labels = names.iter().zip(anomaly.labels.iter());
    let labels: Map<String, Value> = labels.map(|(n, v)| ((*n).to_owned(), json!(v))).collect();
    json["labels"] = Value::Object(labels);
    json
}

pub(super) async fn signals(State(shared): State<Shared>) -> Json<Value> {
    let report = shared.report();
    let all = report.signals.iter().map(|s| {
        let (series, absent) = match &s.series {
            Series::Values(values) => (values.len(), Value::Null),
            Series::Histograms(histograms) => (histograms.len(), Value::Null),
            Series::Absent { kind, reason } => {
                (0, json!({"source": kind.source(), "reason": reason}))
            }
        };
        json!({
            "name": format!("kubestrata_{}", s.signal.name),
            "layer": s.signal.layer,
            "help": s.signal.help,
            "labels": s.signal.labels,
            "reasons": s.signal.reasons,
            "bound": s.signal.bound,
            "series": series,
            "absent": absent,
        })
    });
    Json(all.collect())
}

pub(super) async fn sources(State(shared): State<Shared>) -> Json<Value> {
    let report = shared.report();
    let all = report.sources.iter().map(|(kind, status, objects)| {
        let mut json = json!(status);
        json["source"] = json!(kind.source());
        json["objects"] = json!(objects);
        json
    });
    Json(all.collect())
}

fn layer_named(value: &str) -> Result<Layer, ApiError> {
    Layer::by_name(value).ok_or_else(|| {
        expected("layer", value, &format!("one of {}", Layer::ALL.map(Layer::name).join(", ")))
    })
}

fn severity_named(value: &str) -> Result<Severity, ApiError> {
    match value {
        "info" => Ok(Severity::Info),
        "warning" => Ok(Severity::Warning),
        "critical" => Ok(Severity::Critical),
        _ => Err(expected("severity", value, "info, warning or critical")),
    }
}

fn expected(name: &str, value: &str, what: &str) -> ApiError {
    let told = format!("parameter {name}: expected {what}, found {value:?}");
    ApiError(StatusCode::BAD_REQUEST, told)
}

fn unknown(name: &str, known: &str) -> ApiError {
    ApiError(StatusCode::BAD_REQUEST, format!("no parameter {name:?}; there is {known}"))
}
