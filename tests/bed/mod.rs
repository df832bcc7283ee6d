//! How do the integration tests reach real programs? Through this bed: a Kubernetes control plane,
//! a Prometheus, a collector and kubestrata itself, each a process on loopback that ends with its test.
//!
//! `tests/bed/README.md` says what builds from what; a test file says `mod bed;`.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part of the bed")]
#![allow(
    unreachable_pub,
    reason = "a test binary exports nothing, and pub is what a reader expects"
)]
#![allow(clippy::print_stderr, reason = "a failing test tells what its programs logged")]

mod alertmanager;
pub mod apply;
mod certificate;
mod child;
mod cluster;
mod collector;
pub mod crds;
mod exposition;
pub mod follower;
pub mod helm;
mod http;
mod kubelet;
pub mod manifests;
pub mod objects;
mod process;
mod prometheus;
pub mod rbac;
mod systems;

use std::collections::HashMap;
use std::fmt::Debug;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use alertmanager::Alertmanager;
pub use certificate::certificate;
pub use cluster::{Cluster, ClusterOptions};
pub use collector::{Collector, LogRecord, MetricPoint};
pub use exposition::{Metrics, Sample};
pub use follower::Follower;
pub use kubelet::Kubelet;
pub use process::Kubestrata;
pub use prometheus::{Prometheus, check_metrics};
pub use systems::Systems;

/// The path of a program of the bed, such as `promtool`; builds it first where that was not done.
pub fn bin(program: &str) -> PathBuf {
    static FOUND: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let found = found.get_or_insert_default();
    if let Some(path) = found.get(program) {
        return path.clone();
    }
    let directory = run(Command::new(script("build")).args(["--bin", program]));
    let path = Path::new(directory.trim()).join(program);
    found.insert(program.to_owned(), path.clone());
    path
}

/// A port on loopback that nobody listens on. It lies below the range from which the kernel takes
/// the ports of outgoing connections, so none of those gets it before the program that it is for.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + (std::process::id().wrapping_mul(61).wrapping_add(step) % 9_800) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// What one look of [`eventually`] can give: a value, or why there is none yet.
pub trait Look {
    /// What is waited for.
    type Value;
    /// The value, or why there is none yet.
    fn outcome(self) -> Result<Self::Value, String>;
}

impl Look for bool {
    type Value = ();
    fn outcome(self) -> Result<(), String> {
        self.then_some(()).ok_or_else(|| "not so yet".to_owned())
    }
}

impl<T> Look for Option<T> {
    type Value = T;
    fn outcome(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing yet".to_owned())
    }
}

impl<T, E: Debug> Look for Result<T, E> {
    type Value = T;
    fn outcome(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// Looks again and again until there is a value; panics with what the last look said when there is
/// none in time.
pub async fn eventually<L: Look>(
    timeout: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> L,
) -> L::Value {
    let deadline = tokio::time::Instant::now() + timeout;
    let mut last = "it was never looked at".to_owned();
    loop {
        let look = tokio::time::timeout_at(deadline, look()).await;
        match look.map(Look::outcome) {
            Ok(Ok(value)) => return value,
            Ok(Err(why)) => last = why,
            Err(_) => {}
        }
        // A look that waits for nothing is never too late by itself.
        let late = tokio::time::Instant::now() >= deadline;
        assert!(!late, "{what}: not within {timeout:?}; the last look said: {last}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Looks again and again for a time, and panics when something is not so even once.
pub async fn throughout<L: Look>(time: Duration, what: &str, mut look: impl AsyncFnMut() -> L) {
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        if let Err(why) = look().await.outcome() {
            panic!("{what}: not so throughout {time:?}: {why}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The path of a file of the bed.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bed").join(name)
}

/// Runs a command to its end and gives what it printed; panics with its complaints when it fails.
fn run(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|error| panic!("could not run {command:?}: {error}"));
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}:\n{complaints}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The last lines of a file, for a message.
fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
