//! Who is notified of what? A real Alertmanager, whose receivers are one webhook of this file.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::child::Program;
use super::http;

/// A running Alertmanager and what it notified. It ends with this handle, or with the test process.
#[derive(Debug)]
pub struct Alertmanager {
    program: Program,
    port: u16,
    directory: TempDir,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Alertmanager {
    /// Starts one by a configuration in which `https://example.com` stands for the webhook.
    pub async fn start(config: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.unwrap_or_else(|error| panic!("no port: {error}"));
        let hook = listener.local_addr().unwrap_or_else(|error| panic!("no address: {error}"));
        let directory = tempfile::Builder::new().prefix("kubestrata-alertmanager-").tempdir();
        let directory = directory.unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        let file = directory.path().join("alertmanager.yml");
        let config = config.replace("https://example.com", &format!("http://{hook}"));
        std::fs::write(&file, config).unwrap_or_else(|error| panic!("could not write: {error}"));
        let port = super::free_port();
        let program = program(&file, directory.path(), port);
        let mut this = Self { program, port, directory, told: Arc::default() };
        let told = Arc::clone(&this.told);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(listen(stream, Arc::clone(&told)));
            }
        });
        let ready = format!("{}/-/ready", this.url());
        super::eventually(Duration::from_secs(30), "Alertmanager is ready", async || {
            this.program.assert_running();
            http::get(&ready).await
        })
        .await;
        this
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Its host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The notifications so far, as the webhook got them.
    pub fn notifications(&self) -> Vec<Value> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells it of alerts, as a Prometheus does: each a set of labels.
    pub async fn tell(&self, alerts: &[Value]) -> Result<()> {
        let alerts: Vec<Value> = alerts.iter().map(|labels| json!({"labels": labels})).collect();
        let request = Request::post(format!("{}/api/v2/alerts", self.url()))
            .header("content-type", "application/json")
            .body(Full::from(Value::from(alerts).to_string()))?;
        let answer = http::send(request).await?;
        ensure!(answer.status == 200, "{}", answer.text());
        Ok(())
    }

    /// The alerts that it knows, inhibited ones too.
    pub async fn alerts(&self) -> Result<Vec<Value>> {
        let text = http::get(&format!("{}/api/v2/alerts", self.url())).await?;
        serde_json::from_str(&text).context("not a list of alerts")
    }
}

fn program(file: &Path, directory: &Path, port: u16) -> Program {
    let mut command = Command::new(super::bin("alertmanager"));
    command.arg("--config.file").arg(file);
    command.arg("--storage.path").arg(directory.join("data"));
    command.args(["--web.listen-address", &format!("127.0.0.1:{port}")]);
    // Alone: it looks for no peers.
    command.args(["--cluster.listen-address", "", "--log.level=warn"]);
    Program::start(&mut command, &directory.join("log"))
}

/// Takes the notifications that come over one connection.
async fn listen(mut stream: TcpStream, told: Arc<Mutex<Vec<Value>>>) {
    let mut got = Vec::new();
    let mut piece = [0; 16_384];
    while let Ok(length @ 1..) = stream.read(&mut piece).await {
        got.extend_from_slice(&piece[..length]);
        while let Some((body, rest)) = split(&got) {
            let json = serde_json::from_slice(body);
            let json = json.unwrap_or_else(|error| panic!("a notification is no JSON: {error}"));
            told.lock().unwrap_or_else(PoisonError::into_inner).push(json);
            got = rest.to_vec();
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    }
}

/// The body of the first whole request, and what follows it.
fn split(got: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = got.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&got[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    let body = got.get(end..)?;
    body.split_at_checked(length.trim().parse().ok()?)
}
