//! What does kubestrata cost on a large cluster? Memory, start, CPU and scrape, on a real API server full of pods.
//!
//! `cargo bench --bench scale` prints the table of docs/performance.md. `KUBESTRATA_BENCH_PODS` (10000) and
//! `KUBESTRATA_BENCH_QUIET_SECONDS` (300) change its size; `KSM=<path>` measures that kube-state-metrics beside it, in
//! the same run on the same cluster, and its absence is said.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

#[path = "../tests/bed/mod.rs"]
mod bed;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bed::{Cluster, ClusterOptions};

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().map_or(default, |v| v.parse().unwrap())
}

/// A program under measurement; it ends with its handle.
struct Measured {
    name: &'static str,
    child: Child,
    port: u16,
    ready_after: Duration,
}

impl Drop for Measured {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Measured {
    fn start(name: &'static str, command: &mut Command, port: u16, ready: &str) -> Self {
        let started = Instant::now();
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut measured = Self { name, child, port, ready_after: Duration::ZERO };
        while !measured.get(ready, false).is_some_and(|(head, _)| head.starts_with("HTTP/1.1 200"))
        {
            assert!(started.elapsed() < Duration::from_mins(5), "{name} is not ready in time");
            std::thread::sleep(Duration::from_millis(20));
        }
        measured.ready_after = started.elapsed();
        measured
    }

    fn get(&self, path: &str, gzip: bool) -> Option<(String, Vec<u8>)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let encoding = if gzip { "gzip" } else { "identity" };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {encoding}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        Some((head, answer.split_off(end + 4)))
    }

    /// Resident and peak memory in MiB.
    fn memory(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|l| l.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// CPU seconds so far, user and system.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }

    /// The median time of a scrape, its bytes plain and compressed, and its series.
    fn scrape(&self) -> (Duration, usize, usize, usize) {
        let mut times = Vec::new();
        let mut plain = Vec::new();
        for _ in 0..9 {
            let begun = Instant::now();
            plain = self.get("/metrics", false).unwrap().1;
            times.push(begun.elapsed());
        }
        times.sort();
        let packed = self.get("/metrics", true).unwrap().1.len();
        let text = String::from_utf8_lossy(&plain);
        let series = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).count();
        (times[times.len() / 2], plain.len(), packed, series)
    }
}

fn main() {
    // `cargo test --benches` runs benches too, and this one is not a test.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let pods = number("KUBESTRATA_BENCH_PODS", 10_000);
    let quiet = Duration::from_secs(number("KUBESTRATA_BENCH_QUIET_SECONDS", 300) as u64);
    let nodes = (pods / 100).max(20);
    let cluster = Cluster::start(&ClusterOptions::default());
    eprintln!("filling a cluster with {pods} pods on {nodes} nodes");
    cluster.scale(nodes, pods, 100);
    let kubeconfig = cluster.kubeconfig();
    let port = bed::free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubestrata"));
    command
        .args(["run", "--listen", &format!("127.0.0.1:{port}"), "--kubeconfig"])
        .arg(&kubeconfig);
    let mut measured = vec![Measured::start("kubestrata", &mut command, port, "/readyz")];
    match std::env::var_os("KSM") {
        Some(path) => {
            let (port, telemetry) = (bed::free_port(), bed::free_port());
            let mut command = Command::new(path);
            command.args(["--host", "127.0.0.1", "--telemetry-host", "127.0.0.1", "--kubeconfig"]);
            command.arg(&kubeconfig).args(["--port", &port.to_string()]);
            command.args(["--telemetry-port", &telemetry.to_string()]);
            measured.push(Measured::start("kube-state-metrics", &mut command, port, "/readyz"));
        }
        None => eprintln!("no kube-state-metrics beside it: set KSM to the path of its binary"),
    }
    eprintln!("quiet for {} s", quiet.as_secs());
    std::thread::sleep(Duration::from_secs(30));
    let before: Vec<f64> = measured.iter().map(Measured::cpu).collect();
    std::thread::sleep(quiet);
    println!(
        "| {pods} pods, {nodes} nodes | resident | peak | ready after | CPU, nothing changing | scrape | bytes | gzip | series |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (program, before) in measured.iter().zip(before) {
        let cpu = (program.cpu() - before) / quiet.as_secs_f64() * 100.0;
        let (resident, peak) = program.memory();
        let (time, plain, packed, series) = program.scrape();
        println!(
            "| {} | {resident:.0} MiB | {peak:.0} MiB | {:.1} s | {cpu:.2} % of a core | {:.1} ms | {plain} | {packed} | {series} |",
            program.name,
            program.ready_after.as_secs_f64(),
            time.as_secs_f64() * 1000.0,
        );
    }
}
