//! Does one of several replicas lead, and for how long does nobody? On the embedded cluster, in virtual time.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::api::{DeleteParams, Patch, PatchParams};
use kubestrata::clock::Clock;
use kubestrata::config::Settings;
use kubestrata::daemon::Voice;
use kubestrata::evaluate::START;
use kubestrata::exports::otlp::Turn;
use kubestrata::sim::{Cluster, Scenario, Shape, Trouble};
use kubestrata::sources::Candidate;
use tokio::time::{Instant, sleep};

struct Scene {
    cluster: Arc<Cluster>,
    clock: Clock,
}

impl Scene {
    fn new() -> Self {
        let clock = Clock::of_timers(START);
        let shape = Shape { nodes: 1, pods: 5, seed: 1 };
        let cluster = Arc::new(Cluster::new(shape, Scenario::healthy(), clock.clone()));
        tokio::spawn(Arc::clone(&cluster).run());
        Self { cluster, clock }
    }

    /// A candidate that sees all, with an API server of its own.
    fn candidate(&self, server: usize) -> (Candidate, Turn) {
        let client = Client::new(self.cluster.server(server), "default");
        let (clock, settings) = (self.clock.clone(), Settings::default().leader_election);
        let now = Arc::new(move || clock.now());
        let candidate = Candidate::start(&client, &settings, format!("replica-{server}"), now);
        candidate.set_ready(true);
        let turn = candidate.term();
        (candidate, turn)
    }

    fn trouble(&self, server: usize, trouble: Trouble, lasts: Duration) {
        let now = self.clock.now();
        let until: Timestamp = now + SignedDuration::try_from(lasts).unwrap();
        self.cluster.server(server).trouble(trouble, now, until);
    }
}

/// When it leads, counted from now.
async fn leads_after(turn: &mut Turn) -> Duration {
    let now = Instant::now();
    turn.wait_for(Option::is_some).await.unwrap();
    now.elapsed()
}

fn found(turn: &Turn) -> String {
    turn.borrow().as_ref().map(|term| term.found.to_string()).unwrap_or_default()
}

const MOMENT: Duration = Duration::from_millis(10);

#[tokio::test(start_paused = true)]
async fn of_several_one_leads_and_who_is_not_ready_does_not() {
    let scene = Scene::new();
    let all = [0, 1, 2].map(|server| scene.candidate(server));
    all[0].0.set_ready(false);
    sleep(Duration::from_mins(1)).await;
    let leads: Vec<bool> = all.iter().map(|(_, turn)| turn.borrow().is_some()).collect();
    assert_eq!(leads.iter().filter(|leads| **leads).count(), 1, "{leads:?}");
    assert!(!leads[0]);
}

#[tokio::test(start_paused = true)]
async fn who_is_killed_is_followed_when_the_lease_has_run_out_by_one_that_finds_what_was_left() {
    let scene = Scene::new();
    let (first, mut turn) = scene.candidate(0);
    leads_after(&mut turn).await;
    let (_second, mut next) = scene.candidate(1);
    sleep(Duration::from_secs(7)).await;
    first.leave(1, "later", 0, false);
    first.leave(1, "at once", 0, true);
    sleep(MOMENT).await;
    first.leave(1, "with the next sign of life, which never comes", 0, false);
    drop(first);
    let after = leads_after(&mut next).await;
    assert!((Duration::from_secs(13)..=Duration::from_secs(17)).contains(&after), "{after:?}");
    assert_eq!(found(&next), "at once");
}

#[tokio::test(start_paused = true)]
async fn words_are_cleared_when_the_lease_has_them() {
    let scene = Scene::new();
    let (first, mut turn) = scene.candidate(0);
    leads_after(&mut turn).await;
    let cleared = || turn.borrow().as_ref().map(|term| term.cleared);
    first.leave(1, "two", 2, true);
    assert_eq!(cleared(), Some(0), "not before");
    sleep(MOMENT).await;
    assert_eq!(cleared(), Some(2));
    scene.trouble(0, Trouble::Outage, Duration::from_secs(5));
    sleep(Duration::from_secs(1)).await;
    first.leave(1, "five", 5, true);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(cleared(), Some(2), "it could not be written");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(cleared(), Some(5));
}

#[tokio::test(start_paused = true)]
async fn who_ends_is_followed_at_the_next_look_by_one_that_finds_the_last_word() {
    let scene = Scene::new();
    let (first, mut turn) = scene.candidate(0);
    leads_after(&mut turn).await;
    let (_second, mut next) = scene.candidate(1);
    sleep(Duration::from_secs(7)).await;
    first.leave(1, "the last word", 0, false);
    first.give_back(Duration::from_secs(5)).await;
    let after = leads_after(&mut next).await;
    assert!(after <= Duration::from_secs(2), "{after:?}");
    assert_eq!(found(&next), "the last word");
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_exports_nothing_gives_the_lease_back_too() {
    let scene = Scene::new();
    let (first, mut turn) = scene.candidate(0);
    leads_after(&mut turn).await;
    let (_second, mut next) = scene.candidate(1);
    sleep(Duration::from_secs(7)).await;
    let voice = Voice::new(None, Some(first), &Settings::default(), Arc::default());
    voice.end(Duration::from_secs(5)).await;
    let after = leads_after(&mut next).await;
    assert!(after <= Duration::from_secs(2), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_falls_silent_before_another_leads_and_comes_back_as_another_term() {
    let scene = Scene::new();
    let (first, mut turn) = scene.candidate(0);
    leads_after(&mut turn).await;
    let (second, mut next) = scene.candidate(1);
    sleep(Duration::from_secs(7)).await;
    let cut = Instant::now();
    // Not an answer and not a refusal: what is sent is never heard of again.
    scene.trouble(0, Trouble::Slow { median: Duration::from_hours(1) }, Duration::from_mins(5));
    turn.wait_for(Option::is_none).await.unwrap();
    let silent = cut.elapsed();
    // The cluster notices what is wrong within its next step.
    assert!(silent <= Duration::from_secs(15), "{silent:?}");
    assert!(next.borrow().is_none());
    next.wait_for(Option::is_some).await.unwrap();
    let nobody = cut.elapsed().saturating_sub(silent);
    let expected = Duration::from_secs(5)..=Duration::from_secs(9);
    assert!(expected.contains(&nobody), "{nobody:?}");
    sleep(Duration::from_mins(6)).await;
    assert!(turn.borrow().is_none() && next.borrow().is_some());
    second.give_back(Duration::from_secs(5)).await;
    leads_after(&mut turn).await;
    assert_eq!(turn.borrow().as_ref().unwrap().number, 2);
    first.leave(1, "of a term that is over", 0, true);
    sleep(Duration::from_secs(3)).await;
    first.give_back(Duration::from_secs(5)).await;
    let (_third, mut last) = scene.candidate(2);
    leads_after(&mut last).await;
    assert_eq!(found(&last), "");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_deleted_or_written_to_by_others_is_kept() {
    let scene = Scene::new();
    let (_first, mut turn) = scene.candidate(0);
    leads_after(&mut turn).await;
    let (_second, next) = scene.candidate(1);
    let client = Client::new(scene.cluster.server(2), "default");
    let leases: kube::Api<k8s_openapi::api::coordination::v1::Lease> =
        kube::Api::namespaced(client, "default");
    sleep(Duration::from_secs(7)).await;
    let labels = serde_json::json!({"metadata": {"labels": {"seen": "yes"}}});
    let patch = Patch::Merge(labels);
    leases.patch("kubestrata", &PatchParams::default(), &patch).await.unwrap();
    sleep(Duration::from_secs(7)).await;
    leases.delete("kubestrata", &DeleteParams::default()).await.unwrap();
    sleep(Duration::from_mins(1)).await;
    assert_eq!(turn.borrow().as_ref().map(|term| term.number), Some(1));
    assert!(next.borrow().is_none());
    let lease = leases.get("kubestrata").await.unwrap();
    assert_eq!(lease.spec.unwrap().holder_identity.as_deref(), Some("replica-0"));
}
