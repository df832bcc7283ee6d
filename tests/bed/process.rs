//! How does a test run kubestrata as a user would? As the built program, asked over HTTP.

use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use anyhow::{Result, ensure};
use http_body_util::Full;
use hyper::Request;
use serde_json::Value;
use tempfile::TempDir;

use super::child::Program;
use super::exposition::Metrics;
use super::http::{self, Answer};

/// A running kubestrata. It ends with this handle, or with the test process.
#[derive(Debug)]
pub struct Kubestrata {
    program: Program,
    port: u16,
    directory: TempDir,
}

impl Kubestrata {
    /// Starts it with these arguments and a free port, such as `&["run", "--kubeconfig", path]`.
    pub fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    /// The same, with environment variables.
    pub fn start_with(args: &[&str], env: &[(&str, &str)]) -> Self {
        let directory = tempfile::Builder::new().prefix("kubestrata-test-").tempdir();
        let directory = directory.unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        let port = super::free_port();
        let mut command = command(args);
        command.args(["--listen", &format!("127.0.0.1:{port}")]).envs(env.iter().copied());
        let program = Program::start(&mut command, &directory.path().join("log"));
        Self { program, port, directory }
    }

    /// Runs it to its end, as for `check`.
    pub fn run(args: &[&str]) -> Output {
        let output = command(args).output();
        output.unwrap_or_else(|error| panic!("could not run kubestrata: {error}"))
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its address, as a scrape target.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Waits until it says that it is ready.
    pub async fn wait_ready(&mut self) {
        self.wait_ready_within(Duration::from_secs(30)).await;
    }

    /// Waits until it says that it is ready; panics with its log when it ends or takes longer.
    pub async fn wait_ready_within(&mut self, timeout: Duration) {
        let url = format!("{}/readyz", self.url());
        super::eventually(timeout, "kubestrata is ready", async || {
            self.program.assert_running();
            http::get(&url).await
        })
        .await;
    }

    /// What it answers to a GET of a path, whatever the status.
    pub async fn answer(&self, path: &str) -> Result<Answer> {
        self.answer_to(path, &[]).await
    }

    /// What it answers to a GET of a path with these request headers, whatever the status.
    pub async fn answer_to(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        let mut request = Request::get(format!("{}{path}", self.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        http::send(request.body(Full::default())?).await
    }

    /// The text at a path.
    pub async fn text(&self, path: &str) -> Result<String> {
        http::get(&format!("{}{path}", self.url())).await
    }

    /// The JSON at a path.
    pub async fn json(&self, path: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.text(path).await?)?)
    }

    /// One scrape.
    pub async fn metrics(&self) -> Result<Metrics> {
        let text = self.text("/metrics").await?;
        ensure!(!text.is_empty(), "an empty exposition");
        Ok(Metrics::parse(&text))
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Where it logs to.
    pub fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Its resident memory in bytes, now.
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    }

    /// Whether it has ended, and how.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.program.exited()
    }

    /// Ends it without a chance to tidy up, as an out-of-memory kill does.
    pub fn kill9(&mut self) {
        self.program.kill();
    }

    /// Asks it to end with SIGTERM, and gives how it did within 10 s.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.program.terminate(Duration::from_secs(10)).await
    }
}

/// The program with these arguments, and no setting from the developer's own environment.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubestrata"));
    command.args(args).env_remove("KUBECONFIG");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KUBESTRATA_") {
            command.env_remove(name);
        }
    }
    command
}
