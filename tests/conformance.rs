//! Does the simulated API server answer as the real one does? The same requests go to both, and their answers are
//! compared with identities, versions and times masked. Every difference that is left is in a table with its reason,
//! and one that has disappeared fails the test until it leaves the table.

#![allow(clippy::unwrap_used)]
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

mod bed;
#[path = "conformance/calls.rs"]
mod calls;
#[path = "conformance/differences.rs"]
mod differences;
#[path = "conformance/masks.rs"]
mod masks;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::Duration;

use bed::ClusterOptions;
use calls::{Call, Step};
use differences::DIFFERENCES;
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use kubestrata::clock::Clock;
use kubestrata::sim::{Cluster, Scenario, Shape, Trouble};
use serde_json::{Value, json};

/// One of the two, with what it has answered so far.
struct Side {
    client: Client,
    /// The simulated cluster, whose time is moved here.
    simulated: Option<(Cluster, Clock)>,
    answers: BTreeMap<&'static str, Value>,
}

impl Side {
    async fn send(&self, call: &Call) -> http::Response<Body> {
        let request = http::Request::builder()
            .method(call.method)
            .uri(self.filled(&call.path))
            .header("content-type", call.kind)
            .header("accept", call.accept);
        let body = self.filled(&call.body);
        let request = request.body(Body::from(body.into_bytes())).unwrap();
        self.client.send(request).await.unwrap_or_else(|e| panic!("{}: {e}", call.name))
    }

    /// Code, type and body.
    async fn ask(&mut self, call: &Call) -> Value {
        let answer = self.send(call).await;
        let (code, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
        self.answers.insert(call.name, body.clone());
        let header = |name| headers.get(name).map(|v: &http::HeaderValue| v.to_str().unwrap());
        json!({"code": code, "type": header("content-type"), "retry": header("retry-after"),
            "body": body})
    }

    /// The events of a watch, begun before and read after these calls.
    async fn follow(&mut self, call: &Call, during: &[Call]) -> Value {
        let answer = self.send(call).await;
        let (code, mut body) = (answer.status().as_u16(), answer.into_body());
        for call in during {
            self.ask(call).await;
        }
        let mut bytes = Vec::new();
        loop {
            let frame = tokio::time::timeout(Duration::from_millis(20), body.frame()).await;
            match (frame, &self.simulated) {
                (Ok(Some(frame)), _) => {
                    bytes.extend_from_slice(&frame.unwrap().into_data().unwrap_or_default());
                }
                (Ok(None), _) => break,
                (Err(_), Some((cluster, clock))) => {
                    clock.advance(Duration::from_millis(250));
                    cluster.advance_to(clock.now());
                }
                (Err(_), None) => {}
            }
        }
        let lines = String::from_utf8(bytes).unwrap();
        let events: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        json!({"code": code, "events": events})
    }

    /// Puts in what was answered before: `<name:/pointer>`.
    fn filled(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("<<") {
            let (place, after) = after.split_once(">>").unwrap();
            let (name, pointer) = place.split_once(':').unwrap();
            let found = self.answers[name].pointer(pointer);
            let found = found.unwrap_or_else(|| panic!("{place}: {}", self.answers[name]));
            out.push_str(before);
            out.push_str(found.as_str().unwrap());
            rest = after;
        }
        out + rest
    }
}

/// Waits a minute at most.
async fn in_time(side: &str, call: &Call, answer: impl Future<Output = Value>) -> Value {
    let answer = tokio::time::timeout(Duration::from_mins(1), answer).await;
    answer.unwrap_or_else(|_| panic!("no answer from the {side} server: {}", call.name))
}

/// A real control plane without anything that reacts to objects.
fn real() -> bed::Cluster {
    bed::Cluster::start(&ClusterOptions {
        without_kwok: true,
        without_scheduler: true,
        without_controller_manager: true,
        ..Default::default()
    })
}

/// A client that takes every answer as it comes, also one that says to come back.
async fn client(cluster: &bed::Cluster) -> Client {
    let read = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    let mut config = config.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

fn simulated() -> Side {
    let clock = Clock::manual("2026-11-24T12:00:00Z".parse().unwrap());
    let shape = Shape { nodes: 3, pods: 20, seed: 1 };
    let cluster = Cluster::new(shape, Scenario::healthy(), clock.clone());
    Side { client: cluster.client(), simulated: Some((cluster, clock)), answers: BTreeMap::new() }
}

/// Has the real server forget everything before now: etcd is compacted, and the server's cache is gone with it.
fn forget(cluster: &bed::Cluster) {
    let env = cluster.kubeconfig().with_file_name("env");
    let env = std::fs::read_to_string(env).unwrap();
    let port = env.lines().find_map(|l| l.strip_prefix("ETCD_PORT=")).unwrap();
    let post = |path: &str, body: &str| {
        let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        let length = body.len();
        let head = "Host: etcd\r\nConnection: close\r\nContent-Type: application/json\r\n";
        write!(stream, "POST {path} HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        body.to_owned()
    };
    let newest = post("/v3/maintenance/status", "{}");
    let revision = newest.split("\"revision\":\"").nth(1).unwrap().split('"').next().unwrap();
    let body = format!("{{\"revision\":\"{revision}\",\"physical\":true}}");
    post("/v3/kv/compaction", &body);
    cluster.stop_part("kube-apiserver");
    cluster.start_part("kube-apiserver");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulated_api_server_answers_as_the_real_one_does() {
    let cluster = real();
    let mut real =
        Side { client: client(&cluster).await, simulated: None, answers: BTreeMap::new() };
    let mut sim = simulated();
    for call in calls::only_real() {
        real.ask(&call).await;
    }
    let mut found = Vec::new();
    for step in calls::all() {
        match step {
            Step::Ask(call) => {
                let a = in_time("real", &call, real.ask(&call)).await;
                let b = in_time("simulated", &call, sim.ask(&call)).await;
                masks::compare(&call, &a, &b, &mut found);
            }
            Step::Follow(call, during) => {
                let a = in_time("real", &call, real.follow(&call, &during)).await;
                let b = in_time("simulated", &call, sim.follow(&call, &during)).await;
                masks::compare(&call, &a, &b, &mut found);
            }
            Step::Forget => {
                forget(&cluster);
                let (cluster, clock) = sim.simulated.as_ref().unwrap();
                let (from, until) = (clock.now(), clock.now() + Duration::from_mins(10));
                let storm = Trouble::Expired { share: 1.0 };
                cluster.service().trouble(storm, from, until);
            }
        }
    }
    report(&found);
}

/// Each difference has to be in the table, and each of the table has to be there.
fn report(found: &[masks::Difference]) {
    let mut used = vec![false; DIFFERENCES.len()];
    let mut wrong = Vec::new();
    for difference in found {
        let known = DIFFERENCES.iter().enumerate().filter(|(_, known)| known.covers(difference));
        let known: Vec<usize> = known.map(|(index, _)| index).collect();
        if known.is_empty() {
            wrong.push(format!("{difference}"));
        }
        for index in known {
            used[index] = true;
        }
    }
    for (known, used) in DIFFERENCES.iter().zip(used) {
        if !used {
            wrong.push(format!("{} {} is no difference any more", known.call, known.path));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
