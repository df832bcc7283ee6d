//! How does it all go together? One cluster with several API servers, two daemons in trouble, one that has none, and
//! one that comes when all trouble is over; and what a flood and a collector that is away do.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kubestrata::clock::Clock;
use kubestrata::config::Settings;
use kubestrata::evaluate::{self, START};
use kubestrata::sim::{Cluster, Trouble};
use kubestrata::sources::KubeletAccess;
use tokio::time::{Instant, sleep_until};

use super::book::{Book, single_look};
use super::collector::Collector;
use super::ledger::Ledger;
use super::plan::{Flood, Plan, Planned, Random, TROUBLED};
use super::replica::{Life, Replica};
use super::{sight, truth};

/// What a play has shown.
pub struct Outcome {
    pub troubled: [Book; TROUBLED],
    pub calm: Book,
    pub flooded: u64,
    pub dropped_events: u64,
    /// How often the lead was taken, and how many events were told.
    pub terms: usize,
    pub words: usize,
    pub broken: Vec<String>,
}

/// Where the daemon without trouble, and the flood, find the cluster.
const CALM: usize = TROUBLED;

pub fn settings() -> Settings {
    let mut settings = evaluate::settings();
    settings.leader_election.namespace = "default".to_owned();
    settings
}

pub fn play(plan: &Plan, settings: &Settings) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(follow(plan, settings))
}

async fn follow(plan: &Plan, settings: &Settings) -> Outcome {
    let origin = Instant::now();
    let clock = Clock::of_timers(START);
    let cluster = Arc::new(Cluster::new(plan.shape, plan.scenario.clone(), clock));
    let client = |server| Client::new(cluster.server(server), "default");
    for (server, troubles) in plan.troubles.iter().enumerate() {
        for planned in troubles {
            let (from, until) = (time(planned.from), time(planned.until));
            cluster.server(server).trouble(planned.trouble.clone(), from, until);
        }
    }
    let running = tokio::spawn(Arc::clone(&cluster).run());
    let flood = tokio::spawn(flood(client(CALM), plan.seed, plan.flood, origin));

    let reach = |server| (client(server), KubeletAccess::Within(cluster.kubelets()));
    let replica = |name, server| Replica::new(name, reach(server), settings.clone());
    let ledger = Ledger::new(origin, &plan.away);
    let of_two = |name, server| replica(name, server).heard_by(&ledger);
    let (mut a, mut b) = (of_two("a", 0), of_two("b", 1));
    let (mut calm, mut fresh) = (replica("calm", CALM).looking(), replica("fresh", CALM));
    // A moment after everything that happens at whole seconds.
    let end = origin + plan.length + plan.calm + Duration::from_millis(7);
    let began = (origin, START);
    let collector = Collector::new(origin, plan.absence);
    let events = collector.export();
    let (mut seen_by_a, mut seen_by_b) = (Vec::new(), Vec::new());
    let (mut life_a, mut life_b, mut life_calm, mut life_fresh) = tokio::join!(
        a.live(began, &plan.stops[0], end, |report| {
            seen_by_a.extend(sight::pretended(report, &plan.troubles[0]));
        }),
        b.live(began, &plan.stops[1], end, |report| {
            seen_by_b.extend(sight::pretended(report, &plan.troubles[1]));
        }),
        calm.live(began, &[], end, |report| events.publish(report)),
        async {
            sleep_until(origin + plan.length).await;
            fresh.live(began, &[], end, |_| {}).await
        },
    );
    let told = calm.book.notices.clone();
    let of = |name: &'static str, seen: Vec<String>| {
        seen.into_iter().map(move |what| format!("{name} {what}"))
    };
    let mut broken: Vec<String> = of("a", seen_by_a).chain(of("b", seen_by_b)).collect();
    if running.is_finished() {
        broken.push("the cluster has ended".to_owned());
    }
    broken.extend(judge(&ledger, [&life_a, &life_b]));
    let (terms, words) = ledger.counts();
    // No time passes from here on: all look at the same moment.
    for (replica, life) in [
        (&mut a, &mut life_a),
        (&mut b, &mut life_b),
        (&mut calm, &mut life_calm),
        (&mut fresh, &mut life_fresh),
    ] {
        settle(replica, life).await;
        broken.extend(truth::of_cluster(&client(CALM), replica, life).await);
    }
    let says = single_look(life_calm.ticker.reader().world(), settings, calm.book.last);
    let dropped_events = life_calm.ticker.look().myself.dropped_events;
    let [a, b, calm, fresh] = [a, b, calm, fresh].map(|replica| replica.book);
    for (book, troubles) in [&a, &b].into_iter().zip(&plan.troubles) {
        let unnoticed: Vec<_> = troubles.iter().map(unnoticed).collect();
        broken.extend(truth::of_findings(book, &calm, &fresh, &says));
        broken.extend(truth::of_story(book, &calm, &unnoticed));
        broken.extend(truth::of_totals(book, &calm));
    }
    broken.extend([&a, &b, &calm, &fresh].into_iter().flat_map(|book| book.broken.clone()));
    broken.extend(collector.compare(events, &told).await);
    let flooded = flood.now_or_never().map_or(0, |written| written.unwrap_or(0));
    Outcome { troubled: [a, b], calm, flooded, dropped_events, terms, words, broken }
}

/// What the two that elect a leader have told otherwise than as one.
fn judge(ledger: &Ledger, [a, b]: [&Life; 2]) -> Vec<String> {
    let last = match ledger.leader() {
        Some("a") => a.last.as_deref(),
        Some(_) => b.last.as_deref(),
        None => None,
    };
    ledger.judge(last)
}

/// The time in the cluster when so much has passed.
pub fn time(passed: Duration) -> Timestamp {
    START + SignedDuration::try_from(passed).expect("a time")
}

/// When a daemon can't know yet of a trouble: for as long as watches are stuck, and for a moment of any other.
fn unnoticed(planned: &Planned) -> (Timestamp, Timestamp) {
    let until = match planned.trouble {
        Trouble::Stalled => planned.until,
        _ => planned.until.min(planned.from + Duration::from_secs(45)),
    };
    (time(planned.from), time(until))
}

/// Lets a daemon take in what has been sent to it, and look.
async fn settle(replica: &mut Replica, life: &mut Life) {
    for _ in 0..300 {
        tokio::task::yield_now().await;
        if let Some(report) = life.ticker.tick().now_or_never() {
            match report {
                Some(report) => replica.see(life, &report),
                None => return replica.book.complain("its sources are gone"),
            }
        }
    }
    let report = life.ticker.look();
    replica.see(life, &report);
}

/// Writes Events as a component does that has run wild: half of them about pods that are there.
async fn flood(client: Client, seed: u64, flood: Option<Flood>, origin: Instant) -> u64 {
    const EVERY: Duration = Duration::from_secs(5);
    let Some(flood) = flood else { return 0 };
    let mut random = Random(seed);
    let each = flood.per_hour * EVERY.as_secs() / 3600 + 1;
    let (mut at, mut written) = (origin + flood.from, 0);
    let ask = |path: &str| {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        client.request::<serde_json::Value>(request)
    };
    sleep_until(at).await;
    let pods = ask("/api/v1/pods").await.expect("pods");
    let pods = pods["items"].as_array().expect("a list");
    while at < origin + flood.until {
        for _ in 0..each {
            written += 1;
            let pod = &pods[random.below(pods.len() as u64) as usize]["metadata"];
            let time = time(origin.elapsed());
            let event = event(pod, written, time, random.below(2) == 0);
            let path = format!("/api/v1/namespaces/{}/events", pod["namespace"].as_str().unwrap());
            let request = http::Request::post(path)
                .header("content-type", "application/json")
                .body(event.to_string().into_bytes())
                .expect("a request");
            // The namespace may be on its way out.
            let _ = client.request::<serde_json::Value>(request).await;
        }
        at += EVERY;
        sleep_until(at).await;
    }
    written
}

fn event(pod: &serde_json::Value, nth: u64, time: Timestamp, warning: bool) -> serde_json::Value {
    let name = pod["name"].as_str().unwrap();
    let (kind, reason, message) = match warning {
        true => ("Warning", "Unhealthy", "Readiness probe failed: connection refused"),
        false => ("Normal", "Reconciled", "everything is as it should be"),
    };
    let time = Timestamp::from_second(time.as_second()).expect("a time").to_string();
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": format!("{name}.flood{nth:x}"), "namespace": pod["namespace"]},
        "involvedObject": {
            "apiVersion": "v1", "kind": "Pod", "name": name, "namespace": pod["namespace"], "uid": pod["uid"],
            "fieldPath": "spec.containers{main}",
        },
        "type": kind, "reason": reason, "message": message, "count": 1,
        "firstTimestamp": time, "lastTimestamp": time,
        "source": {"component": "kubelet", "host": "node-a1"},
        "reportingComponent": "kubelet", "reportingInstance": "node-a1",
    })
}
