//! Does what wears on show a little in several places, where it wears and nowhere else?

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node, Pod};

use super::Bench;
use crate::sim::Scenario;
use crate::sim::scenario::Action;

const MINUTE: Duration = Duration::from_mins(1);

impl Bench {
    /// Warnings so far whose text holds this, by the node that tells of them.
    async fn warnings(&self, words: &str) -> BTreeMap<String, i32> {
        let mut count = BTreeMap::new();
        for event in self.all::<Event>().await {
            let host = event.source.and_then(|s| s.host).unwrap_or_default();
            if event.message.is_some_and(|text| text.contains(words)) {
                *count.entry(host).or_default() += event.count.unwrap_or(1);
            }
        }
        count
    }

    async fn restarts(&self, prefix: &str) -> i32 {
        let pods = self.all::<Pod>().await;
        let mine = pods
            .into_iter()
            .filter(|p| p.metadata.name.as_deref().unwrap_or("").starts_with(prefix));
        let statuses = mine.filter_map(|p| p.status?.container_statuses).flatten();
        statuses.map(|c| c.restart_count).sum()
    }
}

#[tokio::test]
async fn a_node_writes_what_its_own_clock_says() {
    let bench = Bench::new("clock-skew");
    bench.pass(8 * MINUTE);
    let mut newest = BTreeMap::<String, i64>::new();
    for _ in 0..36 {
        bench.pass(MINUTE / 6);
        let now = bench.clock.now().as_second();
        let mut see = |name: &str, at: Timestamp| {
            let ahead = at.as_second() - now;
            newest
                .entry(name.to_owned())
                .and_modify(|most| *most = ahead.max(*most))
                .or_insert(ahead);
        };
        for node in bench.all::<Node>().await {
            let name = node.metadata.name.expect("a name");
            for condition in node.status.and_then(|s| s.conditions).expect("conditions") {
                see(&format!("{name} reports"), condition.last_heartbeat_time.expect("a time").0);
            }
        }
        for lease in bench.all::<Lease>().await {
            let name = lease.metadata.name.expect("a name");
            let renewed = lease.spec.and_then(|s| s.renew_time).expect("a time");
            see(&format!("{name} renews"), renewed.0);
        }
    }
    for (what, ahead) in &newest {
        assert_eq!(*ahead > 0, what.starts_with("node-c1 "), "{what} is {ahead} s ahead");
    }
    assert!(newest["node-c1 renews"] > 10 && newest["node-b1 renews"] > -10);
}

#[tokio::test]
async fn a_noisy_neighbour_has_probes_of_its_node_alone_answered_late() {
    let bench = Bench::new("noisy-neighbour");
    bench.pass(60 * MINUTE);
    let late = bench.warnings("context deadline exceeded").await;
    assert_eq!(late.keys().collect::<Vec<_>>(), ["node-b1"]);
    assert!(late["node-b1"] > 20, "{late:?}");
    bench.pass(126 * MINUTE);
    let before = bench.warnings("context deadline exceeded").await;
    // Before it begins anew.
    bench.pass(8 * MINUTE);
    let after = bench.warnings("context deadline exceeded").await;
    assert!(after.values().sum::<i32>() <= before.values().sum(), "it is over");
}

#[tokio::test]
async fn a_registry_that_throttles_turns_some_pulls_away_and_gives_others() {
    let bench = Bench::new("registry-throttles");
    let (mut refused, mut given) = (0, 0);
    for _ in 0..4 {
        bench.pass(45 * MINUTE);
        refused += bench.warnings("429 Too Many Requests").await.values().sum::<i32>();
        given += bench.warnings("Successfully pulled image").await.values().sum::<i32>();
    }
    assert!(refused > 5 && given > 5, "{refused} refused, {given} given");
}

#[tokio::test]
async fn creeping_restarts_come_ever_more_often() {
    let bench = Bench::new("restarts-creep");
    bench.pass(3 * 60 * MINUTE);
    let early = bench.restarts("profiles-").await;
    bench.pass(3 * 60 * MINUTE);
    let until = bench.restarts("profiles-").await;
    bench.pass(2 * 60 * MINUTE);
    let late = bench.restarts("profiles-").await - until;
    assert!(late > early, "{early} in three hours, then {until}, {late} in two");
}

#[tokio::test]
async fn slow_disks_hold_pods_up() {
    let took = |scenario: Scenario| async move {
        let bench = Bench::of(scenario);
        let mut seconds = 0;
        for _ in 0..120 {
            bench.pass(MINUTE / 4);
            for set in bench.all::<StatefulSet>().await {
                let wanted = set.spec.replicas.unwrap_or(0);
                let ready = set.status.and_then(|s| s.ready_replicas).unwrap_or(0);
                if set.metadata.name.as_deref() == Some("shards") {
                    seconds += 15 * (wanted - ready);
                }
            }
        }
        seconds
    };
    let slow = Scenario::builtin("slow-disks").unwrap();
    let mut usual = slow.clone();
    for planned in &mut usual.timeline {
        let Action::Fault { fault, .. } = &mut planned.action else { continue };
        *fault = fault.clone().with("times", "1.01").unwrap();
    }
    let (slow, usual) = (took(slow).await, took(usual).await);
    assert!(usual > 0 && slow > 2 * usual, "{slow} s, {usual} s usually");
}
