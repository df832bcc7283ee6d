//! What arrives at an OpenTelemetry Collector? A real one receives over gRPC and HTTP, and writes down what it got.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::child::Program;

/// A running collector. It ends with this handle, or with the test process.
#[derive(Debug)]
pub struct Collector {
    program: Option<Program>,
    grpc: u16,
    http: u16,
    directory: TempDir,
}

/// A log record as it arrived.
#[derive(Clone, Debug)]
pub struct LogRecord {
    /// The attributes of its resource.
    pub resource: BTreeMap<String, Value>,
    /// The name of its scope.
    pub scope: String,
    /// Its event name.
    pub event_name: String,
    /// Its severity's text.
    pub severity: String,
    /// Its body.
    pub body: Value,
    /// Its attributes.
    pub attributes: BTreeMap<String, Value>,
    /// The record as the collector wrote it.
    pub raw: Value,
}

/// A data point of a gauge, sum or histogram as it arrived.
#[derive(Clone, Debug)]
pub struct MetricPoint {
    /// The attributes of its resource.
    pub resource: BTreeMap<String, Value>,
    /// The name of the metric.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// `gauge`, `sum` or `histogram`.
    pub kind: String,
    /// Its attributes.
    pub attributes: BTreeMap<String, Value>,
    /// Its value; for a histogram its sum.
    pub value: f64,
    /// The point as the collector wrote it.
    pub raw: Value,
}

impl Collector {
    /// Starts a collector and waits until it listens.
    pub async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("kubestrata-collector-").tempdir();
        let directory = directory.unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        let (grpc, http) = (super::free_port(), super::free_port());
        let mut this = Self { program: None, grpc, http, directory };
        let file = this.path("config.json");
        std::fs::write(&file, this.config().to_string())
            .unwrap_or_else(|error| panic!("could not write {}: {error}", file.display()));
        this.restart().await;
        this
    }

    /// The endpoint of OTLP over gRPC.
    pub fn grpc_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc)
    }

    /// The endpoint of OTLP over HTTP; what is sent goes to `/v1/logs` and `/v1/metrics` below it.
    pub fn http_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// Ends it; what it received stays.
    pub fn stop(&mut self) {
        self.program = None;
    }

    /// Starts it on the same ports, where it was stopped.
    pub async fn restart(&mut self) {
        let mut command = Command::new(super::bin("otelcol"));
        command.arg("--config").arg(self.path("config.json"));
        let program = Program::start(&mut command, &self.path("log"));
        let program = self.program.insert(program);
        for port in [self.grpc, self.http] {
            super::eventually(Duration::from_secs(20), "the collector listens", async || {
                program.assert_running();
                TcpStream::connect(("127.0.0.1", port))
            })
            .await;
        }
    }

    /// What was received so far, one export request each, as OTLP's JSON.
    pub fn batches(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("received.json")).unwrap_or_default();
        // A last line without its end is still being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("the collector wrote {line:?}: {error}"))
        };
        whole.lines().map(parse).collect()
    }

    /// Every log record received so far, in order.
    pub fn records(&self) -> Vec<LogRecord> {
        let mut records = Vec::new();
        for (resource, scope) in self.scopes("resourceLogs", "scopeLogs") {
            for raw in list(&scope["logRecords"]) {
                records.push(LogRecord {
                    resource: attributes(&resource["attributes"]),
                    scope: text(&scope["scope"]["name"]),
                    event_name: text(&raw["eventName"]),
                    severity: text(&raw["severityText"]),
                    body: any_value(&raw["body"]),
                    attributes: attributes(&raw["attributes"]),
                    raw: raw.clone(),
                });
            }
        }
        records
    }

    /// Every data point received so far, in order.
    pub fn points(&self) -> Vec<MetricPoint> {
        let mut points = Vec::new();
        for (resource, scope) in self.scopes("resourceMetrics", "scopeMetrics") {
            for metric in list(&scope["metrics"]) {
                for kind in ["gauge", "sum", "histogram"] {
                    for raw in list(&metric[kind]["dataPoints"]) {
                        points.push(MetricPoint {
                            resource: attributes(&resource["attributes"]),
                            name: text(&metric["name"]),
                            unit: text(&metric["unit"]),
                            kind: kind.to_owned(),
                            attributes: attributes(&raw["attributes"]),
                            value: number(raw),
                            raw: raw.clone(),
                        });
                    }
                }
            }
        }
        points
    }

    fn scopes(&self, resources: &str, scopes: &str) -> Vec<(Value, Value)> {
        let mut found = Vec::new();
        for batch in self.batches() {
            for resource in list(&batch[resources]) {
                let of = |scope: &Value| (resource["resource"].clone(), scope.clone());
                found.extend(list(&resource[scopes]).iter().map(of));
            }
        }
        found
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self) -> Value {
        let pipeline =
            json!({"receivers": ["otlp"], "processors": ["batch"], "exporters": ["file"]});
        json!({
            "receivers": {"otlp": {"protocols": {
                "grpc": {"endpoint": format!("127.0.0.1:{}", self.grpc)},
                "http": {"endpoint": format!("127.0.0.1:{}", self.http)},
            }}},
            "processors": {"batch": {"timeout": "100ms"}},
            "exporters": {"file": {
                "path": self.path("received.json"), "append": true, "flush_interval": "100ms",
            }},
            "service": {
                "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}},
                "pipelines": {"logs": pipeline, "metrics": pipeline},
            },
        })
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(point: &Value) -> f64 {
    let whole = point["asInt"].as_str().and_then(|text| text.parse().ok());
    whole.or(point["asDouble"].as_f64()).or(point["sum"].as_f64()).unwrap_or(f64::NAN)
}

fn attributes(list_of: &Value) -> BTreeMap<String, Value> {
    let pair = |one: &Value| (text(&one["key"]), any_value(&one["value"]));
    list(list_of).iter().map(pair).collect()
}

/// OTLP's `AnyValue` as plain JSON.
fn any_value(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|object| object.iter().next()) else {
        return Value::Null;
    };
    match kind.as_str() {
        "intValue" => inner.as_str().and_then(|text| text.parse::<i64>().ok()).into(),
        "arrayValue" => list(&inner["values"]).iter().map(any_value).collect(),
        "kvlistValue" => attributes(&inner["values"]).into_iter().collect(),
        _ => inner.clone(),
    }
}
