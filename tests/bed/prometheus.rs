//! What does Prometheus make of our metrics? A real one scrapes them every second and answers queries.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::child::Program;
use super::exposition::Sample;
use super::http;

/// A running Prometheus. It ends with this handle, or with the test process.
#[derive(Debug)]
pub struct Prometheus {
    program: Program,
    port: u16,
    directory: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes these targets (`127.0.0.1:9868`) every second: as the job `test` in the format that
    /// Prometheus likes best, and as the job `text` in text 0.0.4.
    pub async fn start(targets: &[&str]) -> Self {
        Self::start_with(targets, &[]).await
    }

    /// The same, with files of rules that it evaluates every second.
    pub async fn start_with(targets: &[&str], rules: &[&Path]) -> Self {
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": rules,
            "scrape_configs": [
                {"job_name": "test", "static_configs": [{"targets": targets}]},
                {"job_name": "text", "static_configs": [{"targets": targets}],
                    "scrape_protocols": ["PrometheusText0.0.4"]},
            ],
        });
        Self::start_configured(super::free_port(), &config).await
    }

    /// Starts one on this port with a configuration of the test's own.
    pub async fn start_configured(port: u16, config: &Value) -> Self {
        let directory = directory();
        configure(directory.path(), &config.to_string());
        let mut this = Self { program: program(directory.path(), port), port, directory };
        this.wait_ready().await;
        this
    }

    /// Starts one that scrapes nothing and remembers these samples, an exposition in OpenMetrics with timestamps.
    pub async fn start_remembering(openmetrics: &str) -> Self {
        let directory = directory();
        remember(directory.path(), openmetrics);
        configure(directory.path(), "{}");
        let port = super::free_port();
        let mut this = Self { program: program(directory.path(), port), port, directory };
        this.wait_ready().await;
        this
    }

    /// Starts one that remembers too, behind TLS with this certificate and key; it lets in only `me` with the password
    /// `let-me-in`. Gives the URL without them.
    pub async fn start_guarded(openmetrics: &str, cert: &Path, key: &Path) -> (Self, String) {
        // bcrypt of `let-me-in`, made by crypt(3).
        let hash = "$2b$04$abcdefghijklmnopqrstuudxA/1BY5FxPYA69jUrJOJFmTyoe9T1a";
        let guard = json!({
            "tls_server_config": {"cert_file": cert, "key_file": key},
            "basic_auth_users": {"me": hash},
        });
        let directory = directory();
        remember(directory.path(), openmetrics);
        configure(directory.path(), "{}");
        let file = directory.path().join("web.yml");
        std::fs::write(&file, guard.to_string())
            .unwrap_or_else(|error| panic!("could not write {}: {error}", file.display()));
        let port = super::free_port();
        let mut command = command(directory.path(), port);
        command.arg("--web.config.file").arg(file);
        let program = Program::start(&mut command, &directory.path().join("log"));
        let mut this = Self { program, port, directory };
        super::eventually(Duration::from_secs(30), "Prometheus listens", async || {
            this.program.assert_running();
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await
        })
        .await;
        (this, format!("https://127.0.0.1:{port}"))
    }

    /// Writes another configuration and has it read; the error is what Prometheus says of it.
    pub async fn reload(&self, config: &str) -> Result<()> {
        configure(self.directory.path(), config);
        let request = Request::post(format!("{}/-/reload", self.url())).body(Full::default())?;
        let answer = http::send(request).await?;
        ensure!(answer.status == 200, "{}", answer.text());
        Ok(())
    }

    /// Has it read its configuration and its files of rules again.
    pub async fn reload_same(&self) -> Result<()> {
        let config = std::fs::read_to_string(self.directory.path().join("prometheus.yml"))?;
        self.reload(&config).await
    }

    /// Ends it; its data and its port are kept.
    pub fn stop(&mut self) {
        self.program.kill();
    }

    /// Starts it again on the same port and data.
    pub async fn restart(&mut self) {
        self.program = program(self.directory.path(), self.port);
        self.wait_ready().await;
    }

    async fn wait_ready(&mut self) {
        let ready = format!("{}/-/ready", self.url());
        super::eventually(Duration::from_secs(30), "Prometheus is ready", async || {
            self.program.assert_running();
            http::get(&ready).await
        })
        .await;
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The result of an instant query: its series, or one without labels when it is a scalar.
    pub async fn query(&self, promql: &str) -> Result<Vec<Sample>> {
        let data = self.ask("query", &[("query", promql)]).await?;
        if data["resultType"] == "scalar" {
            return Ok(vec![sample(&Value::Null, &data["result"])?]);
        }
        let series = data["result"].as_array().context("not a list of series")?;
        series.iter().map(|series| sample(&series["metric"], &series["value"])).collect()
    }

    /// The value of a query whose result is one series or a scalar; `None` when it is empty.
    pub async fn value(&self, promql: &str) -> Result<Option<f64>> {
        let found = self.query(promql).await?;
        ensure!(found.len() <= 1, "{promql} is {} series", found.len());
        Ok(found.first().map(|sample| sample.value))
    }

    /// Waits until the last scrape of every target worked; panics with why one did not.
    pub async fn wait_up(&self) {
        super::eventually(Duration::from_secs(20), "every target is up", async || {
            let targets = self.ask("targets", &[("state", "active")]).await?;
            let targets = targets["activeTargets"].as_array().context("not a list of targets")?;
            ensure!(!targets.is_empty(), "no target yet");
            for target in targets {
                ensure!(target["health"] == "up", "{}", target["lastError"]);
            }
            Ok(())
        })
        .await;
    }

    /// The `data` of an answer of its API, such as that of `rules` or `alerts`.
    pub async fn ask(&self, what: &str, form: &[(&str, &str)]) -> Result<Value> {
        let pairs: Vec<String> = form.iter().map(|(k, v)| format!("{k}={}", escaped(v))).collect();
        let url = format!("{}/api/v1/{what}?{}", self.url(), pairs.join("&"));
        let answer = http::send(Request::get(url).body(Full::default())?).await?;
        let mut answer: Value = serde_json::from_slice(&answer.body)?;
        ensure!(answer["status"] == "success", "{what} {form:?}: {}", answer["error"]);
        Ok(answer["data"].take())
    }
}

/// Has `promtool check metrics` read an exposition; the error is what it objects to.
pub fn check_metrics(text: &str) -> Result<()> {
    let mut promtool = Command::new(super::bin("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // It reads all before it writes, so this can't block on its output.
    promtool.stdin.take().context("no pipe")?.write_all(text.as_bytes())?;
    let output = promtool.wait_with_output()?;
    let objections = [output.stdout, output.stderr].concat();
    if !output.status.success() || !objections.is_empty() {
        bail!("promtool objects:\n{}", String::from_utf8_lossy(&objections));
    }
    Ok(())
}

/// The file that [`program`] is configured by.
fn configure(directory: &Path, config: &str) {
    let file = directory.join("prometheus.yml");
    std::fs::write(&file, config)
        .unwrap_or_else(|error| panic!("could not write {}: {error}", file.display()));
}

fn directory() -> TempDir {
    let directory = tempfile::Builder::new().prefix("kubestrata-prometheus-").tempdir();
    directory.unwrap_or_else(|error| panic!("no temporary directory: {error}"))
}

/// Writes samples of the past as blocks into the data of the Prometheus that is started there.
fn remember(directory: &Path, openmetrics: &str) {
    let file = directory.join("past.txt");
    std::fs::write(&file, openmetrics)
        .unwrap_or_else(|error| panic!("could not write {}: {error}", file.display()));
    let mut promtool = Command::new(super::bin("promtool"));
    promtool.args(["tsdb", "create-blocks-from", "--quiet", "openmetrics"]);
    super::run(promtool.arg(file).arg(directory.join("data")));
}

fn program(directory: &Path, port: u16) -> Program {
    Program::start(&mut command(directory, port), &directory.join("log"))
}

fn command(directory: &Path, port: u16) -> Command {
    let mut command = Command::new(super::bin("prometheus"));
    command.arg("--config.file").arg(directory.join("prometheus.yml"));
    command.arg("--storage.tsdb.path").arg(directory.join("data"));
    command.args(["--web.listen-address", &format!("127.0.0.1:{port}"), "--log.level=warn"]);
    command.args(["--web.enable-lifecycle", "--rules.alert.resend-delay=1s"]);
    command
}

fn sample(labels: &Value, pair: &Value) -> Result<Sample> {
    let mut labels: BTreeMap<String, String> = match labels {
        Value::Null => BTreeMap::new(),
        labels => serde_json::from_value(labels.clone())?,
    };
    let value = pair[1].as_str().context("no value")?;
    let value = value.parse().with_context(|| format!("{value:?} is not a number"))?;
    Ok(Sample { name: labels.remove("__name__").unwrap_or_default(), labels, value })
}

/// Percent-encoding of all that is not plain.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}
