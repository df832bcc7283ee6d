//! Does the pure half keep its promises? The same state, world and time give the same report; order does not matter;
//! a restart tells nothing twice; a limit that is reached is told.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use kubestrata::config::Settings;
use kubestrata::exports::prometheus::{About, Format, encode};
use kubestrata::model::finding::Finding;
use kubestrata::model::kind::Kind;
use kubestrata::model::record::{
    Claim, Container, ContainerState, Event, Meta, Namespace, Object, ObjectRef, Owner, Phase, Pod,
    Termination, Time, Uid,
};
use kubestrata::model::report::{Notice, Report};
use kubestrata::model::source::{Availability, SourceNote};
use kubestrata::model::text::Interner;
use kubestrata::model::world::{Delta, World};
use kubestrata::pipeline::{Pipeline, State};
use kubestrata::snapshot;
use kubestrata::sources::read_watch_event;
use proptest::prelude::*;

const START: i64 = 1_000_000;

fn at(second: i64) -> Time {
    Time::from_second(START + second).unwrap()
}

fn meta(namespace: &str, name: &str) -> Meta {
    let uid = Uid::parse(&format!("{namespace}/{name}"));
    Meta {
        namespace: namespace.into(),
        name: name.into(),
        uid,
        created: at(-3600),
        ..Meta::default()
    }
}

fn namespace(name: &str) -> Object {
    Object::Namespace(Namespace { meta: meta("", name), terminating: false })
}

/// A pod of the Deployment `web` that waits in a crash loop after so many restarts.
fn looping(name: &str, restarts: u32) -> Object {
    let owner = Owner { kind: "ReplicaSet".into(), name: "web-abc".into(), uid: Uid::default() };
    let last = Termination { reason: "Error".into(), exit_code: 1, ..Termination::default() };
    let state = ContainerState::Waiting { reason: "CrashLoopBackOff".into(), message: "".into() };
    let container = Container {
        name: "main".into(),
        restarts,
        state,
        last: Some(last),
        ..Container::default()
    };
    Object::Pod(Box::new(Pod {
        meta: Meta {
            owner: Some(Box::new(owner)),
            version: u64::from(restarts) + 1,
            ..meta("shop", name)
        },
        template_hash: "abc".into(),
        node: "n1".into(),
        phase: Phase::Running,
        containers: [container].into(),
        ..Pod::default()
    }))
}

fn pending(name: &str) -> Object {
    Object::Claim(Box::new(Claim {
        class: Some("nope".into()),
        meta: meta("shop", name),
        ..Claim::default()
    }))
}

fn unhealthy(pod: &str, count: u32) -> Object {
    let regarding = ObjectRef {
        kind: "Pod".into(),
        namespace: "shop".into(),
        name: pod.into(),
        ..ObjectRef::default()
    };
    Object::Event(Box::new(Event {
        meta: Meta { version: u64::from(count), ..meta("shop", &format!("{pod}.unhealthy")) },
        regarding,
        reason: "Unhealthy".into(),
        warning: true,
        count,
        first: at(-60),
        last: at(0),
        note: "Readiness probe failed: HTTP probe failed with statuscode: 503".into(),
        ..Event::default()
    }))
}

struct Run {
    pipeline: Pipeline,
    world: World,
}

impl Run {
    fn new(state: State) -> Self {
        Self { pipeline: Pipeline::new(Settings::default(), state), world: World::default() }
    }

    fn take(&mut self, second: i64, deltas: impl IntoIterator<Item = Delta>) {
        for delta in deltas {
            self.pipeline.absorb(&mut self.world, delta, at(second));
        }
    }

    /// Every kind's list, with these objects.
    fn list(&mut self, second: i64, objects: &[Object]) {
        let kinds = Kind::ALL.iter().copied();
        self.take(second, kinds.clone().map(Delta::Listing));
        self.take(second, objects.iter().cloned().map(Delta::Upsert));
        self.take(second, kinds.map(Delta::Synced));
    }

    fn step(&mut self, second: i64) -> Report {
        self.pipeline.step(&self.world, at(second))
    }

    /// The state as a restart finds it.
    fn saved(&self) -> State {
        snapshot::decode(&snapshot::encode(self.pipeline.state()).unwrap()).unwrap()
    }
}

fn exposition(report: Report) -> String {
    let text = encode(&Arc::new(report), &About::default(), Format::OpenMetrics).unwrap();
    // What kubestrata says of its own process is another matter.
    text.lines().filter(|l| !l.contains("process_")).collect::<Vec<_>>().join("\n")
}

fn objects() -> Vec<Object> {
    let mut objects = vec![namespace("shop"), pending("a"), pending("b"), unhealthy("web-0", 3)];
    objects.extend((0..5).map(|i| looping(&format!("web-{i}"), i)));
    objects
}

fn restarts(report: &Report) -> f64 {
    total(report, "compute_container_restarts_total")
}

fn total(report: &Report, signal: &str) -> f64 {
    let report = report.signals.iter().find(|s| s.signal.name == signal).unwrap();
    match &report.series {
        kubestrata::model::report::Series::Values(values) => values.iter().map(|r| r.value).sum(),
        other => panic!("{signal}: {other:?}"),
    }
}

#[test]
fn the_same_state_world_and_time_give_the_same_report() {
    let run = || {
        let mut run = Run::new(State::default());
        run.list(0, &objects());
        (0..20).map(|tick| exposition(run.step(tick * 15))).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_order_of_changes_does_not_matter(order in Just(objects()).prop_shuffle()) {
        let play = |objects: &[Object]| {
            let mut run = Run::new(State::default());
            run.list(0, &[]);
            run.take(1, objects.iter().cloned().map(Delta::Upsert));
            run.step(5);
            exposition(run.step(200))
        };
        prop_assert_eq!(play(&order), play(&objects()));
    }

    /// Watch events may come late, twice, or not at all: the total is what the last version says.
    #[test]
    fn late_and_repeated_changes_count_once(looks in prop::collection::vec(0_u32..20, 1..30)) {
        let mut run = Run::new(State::default());
        run.list(0, &[namespace("shop"), looping("web-0", 0)]);
        for restarts in &looks {
            run.take(1, [Delta::Upsert(looping("web-0", *restarts))]);
        }
        let last = f64::from(*looks.iter().max().unwrap());
        prop_assert_eq!(restarts(&run.step(5)), last);
    }
}

#[test]
fn a_restart_tells_nothing_twice() {
    let mut before = Run::new(State::default());
    before.list(0, &[namespace("shop"), looping("web-0", 0), pending("a")]);
    before.take(1, [Delta::Upsert(looping("web-0", 2))]);
    let told: usize = (0..10).map(|t| opened(&before.step(5 + t * 15))).sum();
    assert_eq!(told, 2, "a crash loop and a claim");
    let state = before.saved();
    let bytes = |state| snapshot::encode(state).unwrap();
    assert_eq!(bytes(&state), bytes(before.pipeline.state()));

    let mut after = Run::new(state);
    // Three more restarts while nobody watched.
    after.list(300, &[namespace("shop"), looping("web-0", 5), pending("a")]);
    let report = after.step(300);
    assert_eq!(opened(&report), 0, "{:?}", report.notices);
    assert_eq!(report.findings.len(), 2);
    assert_eq!(restarts(&report), 5.0);
    assert!(report.anomalies.is_empty(), "what was missed is no burst");
}

#[test]
fn what_is_listed_after_a_restart_is_not_new() {
    let seen = |kind: Kind, name: &str| {
        let (api, plural) = (kind.api_version(), kind.name());
        let event = format!(
            r#"{{"type":"ADDED","object":{{"apiVersion":"{api}","kind":"{plural}",
            "metadata":{{"name":"{name}","uid":"{name}","resourceVersion":"5"}},"rules":[],"webhooks":[]}}}}"#
        );
        let change = read_watch_event(kind, &event, &mut Interner::default());
        let Some(Delta::Upsert(object)) = change else { unreachable!("an object is read") };
        object
    };
    let kept =
        [seen(Kind::ClusterRole, "kept"), seen(Kind::ValidatingWebhookConfiguration, "hook")];
    let made = |report: &Report| {
        ["security_rbac_changes_total", "security_webhook_config_changes_total"]
            .map(|signal| total(report, signal))
    };
    let mut before = Run::new(State::default());
    before.list(0, &kept);
    before.take(1, [Delta::Upsert(seen(Kind::ClusterRole, "made"))]);
    assert_eq!(made(&before.step(2)), [1.0, 0.0]);
    let mut after = Run::new(before.saved());
    let meanwhile = [seen(Kind::ClusterRole, "made"), seen(Kind::ClusterRole, "meanwhile")];
    after.list(100, &[&kept[..], &meanwhile].concat());
    assert_eq!(made(&after.step(101)), [2.0, 0.0], "one was made while nobody watched");
}

/// A source fails for now.
fn unreachable(kind: Kind) -> Delta {
    let (availability, message) = (Availability::Unreachable, "no answer".to_owned());
    Delta::Note(kind, SourceNote::Failed { availability, message, backoff_seconds: 1.0 })
}

/// What is told of ourselves.
const OWN_SIGHT: &str = "observability_kubestrata_blind";

/// What is told of the cluster's findings.
fn of_the_cluster(report: &Report) -> Vec<Notice> {
    let is_ours = |n: &&Notice| match n {
        Notice::FindingOpened(f) | Notice::FindingClosed(f) => f.signal != OWN_SIGHT,
        _ => false,
    };
    report.notices.iter().filter(is_ours).cloned().collect()
}

#[test]
fn nothing_opens_on_what_was_seen_last() {
    let mut run = Run::new(State::default());
    run.list(0, &[namespace("shop"), pending("a")]);
    run.take(10, [unreachable(Kind::PersistentVolumeClaim)]);
    let told = |run: &mut Run, from: i64, until: i64| -> usize {
        (from..until).step_by(15).map(|t| of_the_cluster(&run.step(t)).len()).sum()
    };
    assert_eq!(told(&mut run, 15, 300), 0, "who knows whether it is still pending?");
    run.take(300, [Delta::Note(Kind::PersistentVolumeClaim, SourceNote::Alive)]);
    assert_eq!(told(&mut run, 300, 400), 1);
}

#[test]
fn nothing_ends_because_it_can_not_be_seen_for_now() {
    let mut run = Run::new(State::default());
    run.list(0, &[namespace("shop"), pending("a"), looping("web-0", 3)]);
    let before = (0..20).map(|t| run.step(t * 15)).last().unwrap();
    assert_eq!(before.findings.len(), 2);
    run.take(300, Kind::ALL.iter().copied().map(unreachable));
    let told: usize = (20..40).map(|t| of_the_cluster(&run.step(t * 15)).len()).sum();
    assert_eq!(told, 0);
    // A restart in which one kind after the other is listed.
    let mut after = Run::new(run.saved());
    let (mut told, kinds) = (Vec::new(), Kind::ALL.iter().copied());
    for (place, kind) in kinds.enumerate() {
        let second = 700 + 15 * place as i64;
        let objects = [namespace("shop"), pending("a"), looping("web-0", 3)];
        let of_kind = objects.into_iter().filter(|o| o.kind() == kind).map(Delta::Upsert);
        after.take(second, [Delta::Listing(kind)]);
        after.take(second, of_kind);
        after.take(second, [Delta::Synced(kind)]);
        told.extend(of_the_cluster(&after.step(second)));
    }
    assert!(told.is_empty(), "{told:?}");
    let findings = after.step(10_000).findings;
    let ids = |findings: &[Finding]| {
        let of_cluster = findings.iter().filter(|f| f.signal != OWN_SIGHT);
        of_cluster.map(|f| f.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&findings), ids(&before.findings));
}

fn opened(report: &Report) -> usize {
    let new = |n: &&Notice| matches!(n, Notice::FindingOpened(_) | Notice::AnomalyOpened(_));
    report.notices.iter().filter(new).count()
}

#[test]
fn what_had_happened_before_is_not_counted() {
    let mut run = Run::new(State::default());
    run.list(0, &[namespace("shop"), looping("web-0", 40), unhealthy("web-0", 9)]);
    let report = run.step(0);
    assert_eq!(restarts(&report), 0.0);
    assert_eq!(total(&report, "compute_probe_failures_total"), 0.0);
}

#[test]
fn events_that_are_listed_before_their_pods_are_not_new() {
    let mut run = Run::new(State::default());
    for (kind, object) in [(Kind::Event, unhealthy("web-0", 9)), (Kind::Pod, looping("web-0", 0))] {
        run.take(0, [Delta::Listing(kind), Delta::Upsert(object), Delta::Synced(kind)]);
    }
    run.list(1, &[namespace("shop"), unhealthy("web-0", 9), looping("web-0", 0)]);
    assert_eq!(total(&run.step(2), "compute_probe_failures_total"), 0.0);
    run.take(3, [Delta::Upsert(unhealthy("web-0", 11))]);
    assert_eq!(total(&run.step(4), "compute_probe_failures_total"), 2.0);
}

#[test]
fn a_burst_is_an_anomaly_told_in_words_and_it_ends() {
    let mut run = Run::new(State::default());
    run.list(0, &[namespace("shop"), looping("web-0", 0)]);
    let mut notices = Vec::new();
    // Two hours of silence, then a restart every 15 s for five minutes, then silence.
    for tick in 0..1200_i64 {
        let burst = (tick - 480).clamp(0, 20) as u32;
        // What is polled is listed at each tick, which is no reason to look away.
        let polled = [Kind::ApiServerHealth, Kind::Lease].map(Delta::Synced);
        run.take(tick * 15, [Delta::Upsert(looping("web-0", burst))].into_iter().chain(polled));
        notices.extend(run.step(tick * 15).notices);
    }
    let anomalies: Vec<&Notice> = (notices.iter())
        .filter(|n| matches!(n, Notice::AnomalyOpened(_) | Notice::AnomalyClosed(_)))
        .collect();
    let [Notice::AnomalyOpened(opened), Notice::AnomalyClosed(closed)] = anomalies[..] else {
        panic!("{anomalies:?}")
    };
    assert_eq!(opened.id, closed.id);
    assert_eq!(&*opened.signal, "compute_container_restarts_total");
    assert!(opened.opened_at < at(481 * 15 + 120), "told within two minutes: {}", opened.opened_at);
    assert!(opened.explanation.contains("Deployment shop/web"), "{}", opened.explanation);
}

#[test]
fn a_kind_that_can_not_be_seen_silences_its_signals_only() {
    let mut run = Run::new(State::default());
    run.list(0, &objects());
    let forbidden = SourceNote::Failed {
        availability: Availability::Forbidden,
        message: "no".to_owned(),
        backoff_seconds: 20.0,
    };
    run.take(1, [Delta::Note(Kind::PersistentVolumeClaim, forbidden)]);
    run.step(5);
    let report = run.step(200);
    let text = exposition(report);
    assert!(text.contains("kubestrata_source_up{source=\"persistentvolumeclaims\"} 0"));
    assert!(text.contains("signal=\"storage_pvc_pending_abnormal\",source=\"persistentvolumeclaims\",reason=\"forbidden\""));
    assert!(!text.contains("kubestrata_storage_pvc_pending_abnormal{"));
    assert!(text.contains("kubestrata_compute_crashloop{"));
}

#[test]
fn a_deleted_namespace_takes_its_totals_along() {
    let mut run = Run::new(State::default());
    run.list(0, &[namespace("shop"), looping("web-0", 0)]);
    run.take(1, [Delta::Upsert(looping("web-0", 3))]);
    assert_eq!(restarts(&run.step(5)), 3.0);
    let gone = |kind, object: Object| {
        let meta = object.meta().clone();
        Delta::Delete { kind, key: (meta.namespace, meta.name), uid: meta.uid }
    };
    run.take(10, [gone(Kind::Pod, looping("web-0", 3)), gone(Kind::Namespace, namespace("shop"))]);
    assert!(!exposition(run.step(15)).contains("shop"));
}

#[test]
fn a_deleted_object_takes_its_totals_along() {
    let seen = |body: &str| {
        let event = format!("{{\"type\":\"MODIFIED\",\"object\":{body}}}");
        let kind = if body.contains("argoproj") { Kind::ArgoApplication } else { Kind::Lease };
        read_watch_event(kind, &event, &mut Interner::default()).unwrap()
    };
    let app = |name: &str, id: u32| {
        seen(&format!(
            r#"{{"apiVersion":"argoproj.io/v1alpha1","kind":"Application",
            "metadata":{{"name":"{name}","namespace":"shop","uid":"{name}","resourceVersion":"{id}"}},
            "status":{{"history":[{{"id":{id},"revision":"{id}"}}]}}}}"#
        ))
    };
    let lease = |hands: u32| {
        seen(&format!(
            r#"{{"apiVersion":"coordination.k8s.io/v1","kind":"Lease",
            "metadata":{{"name":"leads","namespace":"shop","uid":"leads","resourceVersion":"{}"}},
            "spec":{{"holderIdentity":"a","leaseTransitions":{hands}}}}}"#,
            hands + 1
        ))
    };
    let mut run = Run::new(State::default());
    run.list(0, &[namespace("shop")]);
    run.take(1, [app("web", 1), app("kept", 1), lease(0)]);
    run.take(2, [app("web", 2), app("kept", 2), lease(1)]);
    let totals = |run: &mut Run, second| {
        let text = exposition(run.step(second));
        ["name=\"web\"", "name=\"kept\"", "lease=\"leads\""]
            .map(|label| text.lines().any(|line| line.contains("_total{") && line.contains(label)))
    };
    assert_eq!(totals(&mut run, 5), [true; 3]);
    let gone = |change: Delta| {
        let Delta::Upsert(object) = change else { unreachable!("an object is read") };
        let (kind, meta) = (object.kind(), object.meta().clone());
        Delta::Delete { kind, key: (meta.namespace, meta.name), uid: meta.uid }
    };
    run.take(10, [gone(app("web", 2)), gone(lease(1))]);
    assert_eq!(totals(&mut run, 15), [false, true, false]);
}

#[test]
fn a_limit_that_is_reached_is_told() {
    let mut settings = Settings::default();
    settings.limits.series = 2;
    settings.limits.events = 100;
    let mut run =
        Run { pipeline: Pipeline::new(settings, State::default()), world: World::default() };
    run.list(0, &objects());
    run.take(1, (0..500).map(|i| Delta::Upsert(unhealthy(&format!("web-{i}"), 1))));
    let report = run.step(200);
    assert_eq!(report.myself.series, 2);
    assert!(report.myself.dropped_series > 0 && report.myself.dropped_events >= 400);
    assert!(run.world.count(Kind::Event) <= 100);
}
