//! What goes wrong, when, and for whom? All of it follows from the seed.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use kubestrata::model::kind::Kind;
use kubestrata::sim::{Class, Scenario, Shape, Trouble, faults};

/// Daemons that have trouble, each with an API server of its own.
pub const TROUBLED: usize = 2;

/// A small generator (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn share(&mut self) -> f64 {
        0.2 + 0.8 * (self.below(1000) as f64 / 1000.0)
    }

    /// Between these, short ones as likely as long ones ten times as long.
    pub fn seconds(&mut self, least: u64, most: u64) -> Duration {
        let (least, most) = ((least as f64).ln(), (most as f64).ln());
        let at = self.below(10_000) as f64 / 10_000.0;
        Duration::from_secs_f64((least + (most - least) * at).exp())
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

/// A trouble with when it begins and ends, counted from the start.
#[derive(Clone, Debug)]
pub struct Planned {
    pub trouble: Trouble,
    pub from: Duration,
    pub until: Duration,
}

/// The end of one life of a daemon.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    pub at: Duration,
    /// Whether it is killed, rather than asked to end.
    pub killed: bool,
    /// How long nobody is there.
    pub down: Duration,
    /// How far the clock of the next life is off, in seconds.
    pub skew: i64,
}

/// A time for which a collector is away.
#[derive(Clone, Copy, Debug)]
pub struct Away {
    pub from: Duration,
    pub until: Duration,
}

/// A flood of Events, written in bursts.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    pub from: Duration,
    pub until: Duration,
    pub per_hour: u64,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub shape: Shape,
    pub scenario: Scenario,
    pub troubles: [Vec<Planned>; TROUBLED],
    pub stops: [Vec<Stop>; TROUBLED],
    pub flood: Option<Flood>,
    /// When the collector that both troubled daemons tell is away.
    pub away: Vec<Away>,
    /// For how long, from the start, the collector of the one without trouble is away.
    pub absence: Duration,
    /// For how long there is trouble, and for how long none afterwards.
    pub length: Duration,
    pub calm: Duration,
}

/// Kinds that are forbidden now and then, as a role names them.
const FORBIDDEN: &[&str] = &[
    "pods",
    "nodes",
    "namespaces",
    "events.events.k8s.io",
    "events",
    "deployments.apps",
    "replicasets.apps",
    "persistentvolumeclaims",
    "storageclasses.storage.k8s.io",
    "services",
    "endpointslices.discovery.k8s.io",
    "leases.coordination.k8s.io",
    "secrets",
    "clusterroles.rbac.authorization.k8s.io",
    "certificates.cert-manager.io",
];

/// Definitions that are taken away and put back.
const WITHDRAWN: &[Kind] = &[
    Kind::ArgoApplication,
    Kind::Certificate,
    Kind::CertificateRequest,
    Kind::Kustomization,
    Kind::HelmRelease,
    Kind::Gateway,
    Kind::HttpRoute,
    Kind::ServiceMonitor,
    Kind::NodeMetrics,
];

impl Plan {
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let (length, calm) = (Duration::from_mins(50), Duration::from_mins(20));
        let shape = Shape { nodes: 4, pods: 60, seed };
        let scenario = scenario(&mut random);
        let troubles = [(); TROUBLED].map(|()| troubles(&mut random, length));
        let stops = [(); TROUBLED].map(|()| stops(&mut random, length));
        let flood = (random.below(2) == 0).then(|| {
            let from = random.seconds(60, 1200);
            let until = (from + random.seconds(600, 2400)).min(length);
            Flood { from, until, per_hour: 20_000 }
        });
        let away = away(&mut random, length);
        let absence = Duration::from_hours(1);
        Self { seed, shape, scenario, troubles, stops, flood, away, absence, length, calm }
    }
}

impl Plan {
    /// What goes wrong and when, in lines.
    pub fn describe(&self) -> String {
        let minutes = |d: &Duration| format!("{}:{:02}", d.as_secs() / 60, d.as_secs() % 60);
        let mut lines = self.scenario.describe();
        for (name, troubles, stops) in
            [("a", &self.troubles[0], &self.stops[0]), ("b", &self.troubles[1], &self.stops[1])]
        {
            for Planned { trouble, from, until } in troubles {
                lines.push(format!("{name} {} to {}: {trouble:?}", minutes(from), minutes(until)));
            }
            for Stop { at, killed, down, skew } in stops {
                let how = if *killed { "killed" } else { "stopped" };
                let back = minutes(&(*at + *down));
                lines.push(format!("{name} {how} {}, back {back}, off by {skew} s", minutes(at)));
            }
        }
        for Away { from, until } in &self.away {
            lines.push(format!("collector away {} to {}", minutes(from), minutes(until)));
        }
        lines.extend(
            self.flood.map(|f| format!("flood {} to {}", minutes(&f.from), minutes(&f.until))),
        );
        lines.join("\n  ")
    }
}

/// Some faults, of which about half are there to the end.
fn scenario(random: &mut Random) -> Scenario {
    let kinds: Vec<_> = faults().filter(|k| k.class != Class::Healthy).collect();
    let mut names: Vec<&str> = Vec::new();
    let mut text = "name: chaos\nsummary: some faults\nlasts: 2h\ntimeline:\n".to_owned();
    for _ in 0..4 + random.below(3) {
        let name = random.pick(&kinds).name;
        if names.contains(&name) {
            continue;
        }
        names.push(name);
        let at = 2 + random.below(35);
        let lasts = if random.below(2) == 0 { 3 + random.below(20) } else { 110 - at };
        let _ = writeln!(text, "  - {{at: {at}m, fault: {name}, lasts: {lasts}m}}");
    }
    Scenario::read(&text, Path::new("chaos.yaml"), &[]).expect("a scenario")
}

/// Troubles of a daemon, one after the other and some at once.
fn troubles(random: &mut Random, length: Duration) -> Vec<Planned> {
    let mut all = Vec::new();
    let mut now = random.seconds(1, 300);
    while now < length {
        let until = (now + random.seconds(10, 900)).min(length);
        all.push(Planned { trouble: trouble(random), from: now, until });
        if random.below(4) == 0 {
            // The next begins while this one lasts.
            now = (now + until) / 2;
        } else {
            now = until + random.seconds(5, 300);
        }
    }
    all
}

fn trouble(random: &mut Random) -> Trouble {
    let (share, length) = (random.share(), random.seconds(1, 30));
    match random.below(14) {
        0 => Trouble::Outage,
        1 => Trouble::Throttled { share, retry_after: length },
        2 => Trouble::Unknown,
        3 | 4 => Trouble::Forbidden { resource: (*random.pick(FORBIDDEN)).to_owned() },
        5 => Trouble::Failing { share },
        6 => Trouble::Unavailable { share },
        7 => Trouble::Slow { median: length },
        8 => Trouble::CutWatches { after: length },
        9 => Trouble::Stalled,
        10 => Trouble::Behind { changes: 1 + random.below(300) as usize },
        11 => Trouble::Duplicated { share },
        12 => match random.below(2) {
            0 => Trouble::Reordered,
            _ => Trouble::Expired { share },
        },
        _ => {
            let kind = random.pick(WITHDRAWN);
            Trouble::Withdrawn { resource: format!("{}.{}", kind.plural(), kind.group()) }
        }
    }
}

fn away(random: &mut Random, length: Duration) -> Vec<Away> {
    let mut all = Vec::new();
    for _ in 0..random.below(5) {
        let from = Duration::from_secs(random.below(length.as_secs()));
        all.push(Away { from, until: (from + random.seconds(60, 1200)).min(length) });
    }
    all
}

fn stops(random: &mut Random, length: Duration) -> Vec<Stop> {
    let mut all = Vec::new();
    let mut now = Duration::ZERO;
    loop {
        let at = now + random.seconds(20, 2400);
        let down = random.seconds(1, 600);
        if at + down >= length {
            return all;
        }
        let skew = match random.below(2) {
            0 => 0,
            _ => random.below(17) as i64 - 8,
        };
        all.push(Stop { at, killed: random.below(2) == 0, down, skew });
        now = at + down;
    }
}
