//! Does each fault show where its record says, and nothing else, through the real decoders and the real pipeline?

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use jiff::Timestamp;
    use serde_json::json;

    use crate::config::Settings;
    use crate::model::kind::Kind as Seen;
    use crate::model::source::{Availability, SourceNote};
    use crate::model::text::Interner;
    use crate::model::world::{Delta, World};
    use crate::pipeline::{Pipeline, State};
    use crate::sim::apiserver;
    use crate::sim::controllers::leases;
    use crate::sim::faults::{Class, Fault, all};
    use crate::sim::founding;
    use crate::sim::kind::{Kind, SERVED};
    use crate::sim::layout::Shape;
    use crate::sim::moment::{MINUTE, Moment, SECOND};
    use crate::sim::simulation::Simulation;
    use crate::sources;

    const NOON: &str = "2026-11-24T12:00:00Z";
    const TICK: Moment = 15 * SECOND;
    /// How long a fault may still be told of after its end.
    const ECHO: Moment = 40 * MINUTE;

    /// A cluster under the eyes of the pipeline.
    struct Play {
        sim: Simulation,
        pipeline: Pipeline,
        world: World,
        texts: Interner,
        version: u64,
    }

    impl Play {
        fn new() -> Self {
            let now: Timestamp = NOON.parse().unwrap();
            let shape = Shape { nodes: 6, pods: 90, seed: 7 };
            let sim = founding::found(shape, now.as_millisecond(), 8192);
            let pipeline = Pipeline::new(Settings::default(), State::default());
            let mut play = Self {
                sim,
                pipeline,
                world: World::default(),
                texts: Interner::default(),
                version: 0,
            };
            for kind in play.pipeline.kinds() {
                play.absorb(Delta::Listing(kind));
            }
            for served in &SERVED[..Kind::COUNT] {
                if served.kind != Kind::Lease {
                    play.list(served.kind);
                }
            }
            play.version = play.sim.store.version();
            for kind in play.pipeline.kinds() {
                play.absorb(Delta::Synced(kind));
                if !served(kind) {
                    let (availability, message) = (Availability::Absent, String::new());
                    let note = SourceNote::Failed { availability, message, backoff_seconds: 0.0 };
                    play.absorb(Delta::Note(kind, note));
                }
            }
            play
        }

        fn now(&self) -> Timestamp {
            Timestamp::from_millisecond(self.sim.now).unwrap()
        }

        fn absorb(&mut self, delta: Delta) {
            let now = self.now();
            self.pipeline.absorb(&mut self.world, delta, now);
        }

        fn show(&mut self, kind: Kind, verb: &str, object: &serde_json::Value) {
            let Some(seen) = Seen::by_name(kind.name()) else { return };
            if !self.pipeline.kinds().contains(&seen) {
                return;
            }
            // In the order in which the API server writes it.
            let event = format!("{{\"type\":{},\"object\":{object}}}", json!(verb));
            if let Some(delta) = sources::read_watch_event(seen, &event, &mut self.texts) {
                self.absorb(delta);
            }
        }

        fn list(&mut self, kind: Kind) {
            let all: Vec<_> = self.sim.store.list(kind, None).map(|(_, o)| o.clone()).collect();
            for object in all {
                let shown = leases::shown(&self.sim, &object).into_owned();
                self.show(kind, "ADDED", if kind == Kind::Lease { &shown } else { &object });
            }
        }

        /// Lives on for one tick; gives the signals with a finding.
        fn tick(&mut self) -> BTreeMap<String, String> {
            self.sim.advance(self.sim.now + TICK);
            for served in &SERVED[..Kind::COUNT] {
                let changes: Vec<_> =
                    self.sim.store.since(served.kind, self.version).unwrap().cloned().collect();
                if served.kind == Kind::Lease {
                    continue;
                }
                for change in changes {
                    self.show(served.kind, change.verb.name(), &change.object);
                }
            }
            self.version = self.sim.store.version();
            if self.sim.now / TICK % 2 == 0 {
                self.absorb(Delta::Listing(Seen::Lease));
                self.list(Kind::Lease);
                self.absorb(Delta::Synced(Seen::Lease));
            }
            for kind in self.pipeline.kinds().into_iter().filter(|kind| served(*kind)) {
                self.absorb(Delta::Note(kind, SourceNote::Alive));
            }
            let checks = apiserver::readyz(&self.sim).1;
            let (kind, text) = (Seen::ApiServerHealth, checks.as_bytes());
            let delta = sources::read_exposition(kind, "one", text, self.now(), &mut self.texts);
            self.absorb(delta);
            let report = self.pipeline.step(&self.world, self.now());
            let told = report.findings.iter();
            told.map(|f| (f.signal.to_string(), format!("{:?} {}", f.subject, f.message))).collect()
        }
    }

    /// Whether the simulated API has the kind.
    fn served(kind: Seen) -> bool {
        kind == Seen::ApiServerHealth || SERVED.iter().any(|s| s.name == kind.name())
    }

    fn name(signal: &str) -> &str {
        signal.strip_prefix("kubestrata_").unwrap_or(signal)
    }

    fn play(name_of: &str) {
        let fault = Fault::named(name_of).unwrap();
        let mut play = Play::new();
        let known: BTreeSet<&str> = fault.kind.names().collect();
        let mut last = BTreeMap::new();
        for _ in 0..8 {
            last = play.tick();
        }
        assert!(last.is_empty(), "before {name_of}: {last:#?}");
        (fault.kind.begin)(&mut play.sim, &fault);
        let begun = play.sim.now;
        let lasts = Moment::from(fault.kind.lasts) * SECOND;
        let (mut told, mut strange) = (None, BTreeMap::new());
        let mut look = |findings: &BTreeMap<String, String>, after: Moment| {
            for (signal, message) in findings {
                if fault.kind.tells.contains(&name(signal)) {
                    told.get_or_insert(after / SECOND);
                }
                if !known.contains(name(signal)) {
                    strange
                        .entry(signal.clone())
                        .or_insert(format!("+{} s {message}", after / SECOND));
                }
            }
        };
        while play.sim.now < begun + lasts {
            let findings = play.tick();
            let after = play.sim.now - begun;
            look(&findings, after);
        }
        (fault.kind.end)(&mut play.sim, &fault);
        let ended = play.sim.now;
        let mut quiet = false;
        while play.sim.now < ended + ECHO && !quiet {
            last = play.tick();
            let after = play.sim.now - begun;
            look(&last, after);
            quiet = last.is_empty() && play.sim.now > ended + 7 * MINUTE;
        }
        assert!(strange.is_empty(), "{name_of} also gave {strange:#?}");
        assert!(last.is_empty(), "{name_of} still gives {last:#?}");
        if fault.kind.class != Class::Healthy {
            let told = told.unwrap_or_else(|| panic!("{name_of} was not told"));
            assert!(told <= i64::from(fault.kind.within), "{name_of} was told after {told} s");
        }
    }

    macro_rules! faults {
        ($($test:ident $name:literal),* $(,)?) => {
            $(#[test] fn $test() { play($name); })*
            /// The faults that are played above.
            const PLAYED: &[&str] = &[$($name),*];
        };
    }

    faults!(
        selector_broken "selector-broken",
        target_port_renamed "target-port-renamed",
        endpoints_unready "endpoints-unready",
        dns_down "dns-down",
        ingress_backend_missing "ingress-backend-missing",
        gateway_controller_down "gateway-controller-down",
        listener_certificate_missing "listener-certificate-missing",
        gateway_class_invalid "gateway-class-invalid",
        route_backend_missing "route-backend-missing",
        balancer_refused "balancer-refused",
        balancer_lost "balancer-lost",
        cni_down "cni-down",
        proxy_missing "proxy-missing",
        policy_cuts "policy-cuts",
        policy_allows "policy-allows",
        balancer_made "balancer-made",
        dns_released "dns-released",
        apiservice_down "apiservice-down",
        monitor_without_match "monitor-without-match",
        monitor_without_port "monitor-without-port",
        monitors_unselected "monitors-unselected",
        prometheus_down "prometheus-down",
        collector_down "collector-down",
        log_agent_missing "log-agent-missing",
        controller_manager_down "controller-manager-down",
        scheduler_down "scheduler-down",
        etcd_unready "etcd-unready",
        prometheus_restarted "prometheus-restarted",
        quota_exhausted "quota-exhausted",
        autoscaler_blind "autoscaler-blind",
        autoscaler_at_limit "autoscaler-at-limit",
        drain_blocked "drain-blocked",
        node_memory "node-memory",
        node_disk "node-disk",
        node_flapping "node-flapping",
        zone_outage "zone-outage",
        image_missing "image-missing",
        config_key_missing "config-key-missing",
        slow_start "slow-start",
        drain "drain-by-eviction",
        busy_hour "busy-hour",
        crashloop "crashloop",
        oom "oom",
        probe "probe",
        hang "hang",
        node_loss "node-loss",
        image_pull "image-pull",
        unschedulable "unschedulable",
        clock_behind "clock-behind",
        clock_skew "clock-skew",
        busy_neighbour "busy-neighbour",
    );

    #[test]
    fn every_signal_that_a_record_names_is_declared() {
        let pipeline = Pipeline::new(Settings::default(), State::default());
        let declared: BTreeSet<&str> = pipeline.signals().iter().map(|s| s.name).collect();
        for kind in all() {
            for named in kind.names() {
                assert!(declared.contains(named), "{} names {named}", kind.name);
            }
        }
        for played in PLAYED {
            assert!(Fault::named(played).is_ok(), "{played}");
        }
    }
}
