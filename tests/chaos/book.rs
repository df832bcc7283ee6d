//! Which promise was broken, and when? Holds each report of a daemon against what it has said before.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use kubestrata::config::Settings;
use kubestrata::evaluate::START;
use kubestrata::model::anomaly::State;
use kubestrata::model::finding::Finding;
use kubestrata::model::kind::Kind;
use kubestrata::model::reading::Labels;
use kubestrata::model::report::{Notice, Report, Series};
use kubestrata::model::signal::Signal;
use kubestrata::model::source::Availability;
use kubestrata::model::world::World;
use kubestrata::pipeline::Pipeline;

/// For how long after its end an anomaly may open again.
const AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// No dwell is longer.
const LONG_ENOUGH: SignedDuration = SignedDuration::from_mins(20);

/// The label under which series beyond a limit are summed up.
const FOLDED: &str = "other";

/// Something that was told of a finding, at a time of the cluster's.
#[derive(Clone, Debug)]
pub struct Told {
    pub at: Timestamp,
    pub opened: bool,
    pub finding: Finding,
    /// Kinds that its signal reads and did without.
    pub unseen: Vec<Kind>,
}

/// What looks without a past say of findings.
#[derive(Clone, Debug, Default)]
pub struct Looks {
    /// When they would not have told one that is open.
    pub over: BTreeMap<String, Vec<Timestamp>>,
    /// The earliest start that they saw, and when they saw it, whether or not it held for its dwell.
    pub seen: BTreeMap<String, (Timestamp, Vec<Timestamp>)>,
}

/// What one daemon has told.
#[derive(Clone, Debug)]
pub struct Book {
    pub name: &'static str,
    /// The last report's time, by the daemon's clock, and how far that is off.
    pub last: Timestamp,
    skew: SignedDuration,
    /// Open findings, with the earliest start that was told.
    pub open: BTreeMap<String, Finding>,
    anomalies: BTreeSet<String>,
    closed_anomalies: BTreeMap<String, Timestamp>,
    totals: BTreeMap<(&'static str, Labels), u64>,
    pub story: Vec<Told>,
    /// Names and ids of all notices, as they are exported.
    pub notices: Vec<String>,
    pub reports: usize,
    /// Kinds that could be seen at some time.
    pub served: BTreeSet<Kind>,
    /// When lives ended without a word.
    pub killed: Vec<Timestamp>,
    /// Of who is asked for it: what looks without a past say, at each of its ticks.
    pub looks: Option<Looks>,
    /// How often pods were listed anew in this life.
    pub relists: u64,
    pub broken: Vec<String>,
}

impl Book {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            last: Timestamp::MIN,
            skew: SignedDuration::ZERO,
            open: BTreeMap::new(),
            anomalies: BTreeSet::new(),
            closed_anomalies: BTreeMap::new(),
            totals: BTreeMap::new(),
            story: Vec::new(),
            notices: Vec::new(),
            reports: 0,
            served: BTreeSet::new(),
            killed: Vec::new(),
            looks: None,
            relists: 0,
            broken: Vec::new(),
        }
    }

    pub fn complain(&mut self, what: impl AsRef<str>) {
        let at = self.last;
        self.broken.push(format!("{} at {at}: {}", self.name, what.as_ref()));
    }

    /// A life begins, with a clock that is so far off.
    pub fn begin(&mut self, skew: SignedDuration) {
        (self.last, self.skew) = (Timestamp::MIN, skew);
    }

    /// What was told since `saved` is forgotten, though not that it was told.
    pub fn rewind(&mut self, saved: &Self) {
        let before = std::mem::replace(self, saved.clone());
        (self.story, self.notices, self.killed) = (before.story, before.notices, before.killed);
        self.killed.push(before.last.max(START) - before.skew);
        (self.reports, self.broken) = (before.reports, before.broken);
    }

    pub fn see(&mut self, report: &Report, world: &World, settings: &Settings) {
        if report.at < self.last {
            self.complain(format!("time went back to {}", report.at));
        }
        (self.last, self.reports) = (report.at, self.reports + 1);
        let served =
            report.sources.iter().filter(|(_, s, _)| s.availability == Availability::Served);
        self.served.extend(served.map(|(kind, ..)| *kind));
        let blind: BTreeSet<&str> = (report.signals.iter())
            .filter(|s| matches!(s.series, Series::Absent { .. }))
            .map(|s| s.signal.name)
            .collect();
        self.relists = world.source_ref(Kind::Pod).map_or(0, |s| s.relists);
        self.hear(report, &blind);
        if let Some(looks) = &mut self.looks {
            let seen = single_look(world, settings, report.at);
            for id in self.open.keys().filter(|id| !seen.contains_key(*id)) {
                looks.over.entry(id.clone()).or_default().push(report.at - self.skew);
            }
            // Who looked a moment later may have told what then ended: as if it had stayed so for long enough.
            for (id, since) in single_look(world, settings, report.at + LONG_ENOUGH) {
                let at = report.at - self.skew;
                // What the API does not tell the start of began at this look.
                let since = since.min(at);
                let (earliest, times) = looks.seen.entry(id).or_insert((since, Vec::new()));
                *earliest = since.min(*earliest);
                times.push(at);
            }
        }
        self.compare_findings(report, &blind);
        self.compare_anomalies(report);
        self.count(report);
        self.look_for_ghosts(report, world);
        self.ask_layers(report, &blind);
        if world.count(Kind::Event) > settings.limits.events {
            self.complain(format!("{} events are held", world.count(Kind::Event)));
        }
    }

    /// Each notice once, in its order, and no end of what merely can't be seen.
    fn hear(&mut self, report: &Report, blind: &BTreeSet<&str>) {
        let at = report.at - self.skew;
        for notice in &report.notices {
            self.notices.push(name_of(notice));
            match notice {
                Notice::FindingOpened(f) => {
                    if self.open.insert(f.id.clone(), f.clone()).is_some() {
                        self.complain(format!("finding {} opened twice: {}", f.id, f.message));
                    }
                    let unseen = unseen(report, &f.signal);
                    self.story.push(Told { at, opened: true, finding: f.clone(), unseen });
                }
                Notice::FindingClosed(f) => {
                    if self.open.remove(&f.id).is_none() {
                        self.complain(format!("finding {} closed unopened: {}", f.id, f.message));
                    }
                    if blind.contains(f.signal.as_str()) {
                        self.complain(format!("finding {} of a blind signal closed", f.id));
                    }
                    let unseen = unseen(report, &f.signal);
                    self.story.push(Told { at, opened: false, finding: f.clone(), unseen });
                }
                Notice::AnomalyOpened(a) => {
                    // What opens again within the hour is the same.
                    let closed = self.closed_anomalies.get(&a.id);
                    let again = closed.is_some_and(|at| report.at.duration_since(*at) > AGAIN);
                    if !self.anomalies.insert(a.id.clone()) || again {
                        self.complain(format!("anomaly {} opened twice: {}", a.id, a.explanation));
                    }
                }
                Notice::AnomalyUpdated(a) if !self.anomalies.contains(&a.id) => {
                    self.complain(format!("anomaly {} changed unopened", a.id));
                }
                Notice::AnomalyUpdated(_) => {}
                Notice::AnomalyClosed(a) => {
                    if !self.anomalies.remove(&a.id) {
                        self.complain(format!("anomaly {} closed unopened", a.id));
                    }
                    self.closed_anomalies.insert(a.id.clone(), report.at);
                }
            }
        }
    }

    /// What is open is in the report, unless nobody can see it, under the same id and since as long.
    fn compare_findings(&mut self, report: &Report, blind: &BTreeSet<&str>) {
        let mut shown = BTreeSet::new();
        for finding in &report.findings {
            if !shown.insert(finding.id.as_str()) {
                self.complain(format!("finding {} is shown twice", finding.id));
            }
            if blind.contains(finding.signal.as_str()) {
                self.complain(format!("finding {} of a blind signal is shown", finding.id));
            }
            match self.open.get_mut(&finding.id) {
                None => self.complain(format!("finding {} was never told", finding.id)),
                Some(told) if told.since < finding.since => {
                    let since = told.since;
                    let what = format!("{} since {since}, now {}", finding.id, finding.since);
                    self.complain(what);
                }
                Some(told) => told.clone_from(finding),
            }
        }
        let hidden: Vec<String> = (self.open.values())
            .filter(|f| !shown.contains(f.id.as_str()) && !blind.contains(f.signal.as_str()))
            .map(|f| format!("finding {} is open and not shown: {}", f.id, f.message))
            .collect();
        hidden.into_iter().for_each(|what| self.complain(what));
    }

    fn compare_anomalies(&mut self, report: &Report) {
        let open = report.anomalies.iter().filter(|a| a.state == State::Open);
        let open: BTreeSet<String> = open.map(|a| a.id.clone()).collect();
        if open != self.anomalies {
            let what = format!("anomalies open {open:?}, told {:?}", self.anomalies);
            self.complain(what);
        }
    }

    /// Totals never fall while what they are about is there.
    fn count(&mut self, report: &Report) {
        let mut now = BTreeMap::new();
        for s in &report.signals {
            match &s.series {
                Series::Absent { .. } => {
                    let before = self.totals.iter().filter(|((name, _), _)| *name == s.signal.name);
                    now.extend(before.map(|(key, total)| (key.clone(), *total)));
                }
                Series::Values(values) if s.signal.is_counter() => {
                    let total = |r: &kubestrata::model::reading::Reading| {
                        ((s.signal.name, r.labels.clone()), r.value as u64)
                    };
                    now.extend(values.iter().map(total));
                }
                Series::Values(_) => {}
                Series::Histograms(all) => {
                    now.extend(all.iter().map(|(l, h)| ((s.signal.name, l.clone()), h.count)));
                }
            }
        }
        let before = std::mem::take(&mut self.totals);
        for (key, before) in before {
            let folded = key.1.iter().any(|value| value == FOLDED);
            if let Some(total) = now.get(&key).filter(|total| **total < before && !folded) {
                self.complain(format!("{} {:?} fell from {before} to {total}", key.0, key.1));
            }
        }
        self.totals = now;
    }

    /// Each series is about a namespace and a node that are there, where those can be seen.
    fn look_for_ghosts(&mut self, report: &Report, world: &World) {
        let seen = |kind| {
            world
                .source_ref(kind)
                .is_some_and(|s| s.synced && matches!(s.availability, Availability::Served))
        };
        for (label, kind) in [("namespace", Kind::Namespace), ("node", Kind::Node)] {
            if !seen(kind) || !report.myself.ready {
                continue;
            }
            for signal in &report.signals {
                for labels in labels_of(&signal.series) {
                    let Some(name) = value(signal.signal, labels, label) else { continue };
                    let there = match kind {
                        Kind::Node => world.nodes.get("", name).is_some(),
                        _ => world.namespaces.get("", name).is_some(),
                    };
                    if !there && name != FOLDED {
                        let signal = signal.signal.name;
                        self.complain(format!("{signal} has a series of the gone {label} {name}"));
                    }
                }
            }
        }
    }

    /// A layer is unknown where more of its signals are blind than see, or none sees, and says which can't.
    fn ask_layers(&mut self, report: &Report, blind: &BTreeSet<&str>) {
        for layer in &report.layers {
            let mine: Vec<&str> = (report.signals.iter().map(|s| s.signal))
                .filter(|s| s.layer == layer.layer)
                .map(|s| s.name)
                .collect();
            let unseen: Vec<&str> = mine.iter().copied().filter(|s| blind.contains(s)).collect();
            let named: Vec<&str> = layer.absent.iter().map(|(name, _)| *name).collect();
            if named != unseen {
                self.complain(format!("{} can't see {unseen:?}, says {named:?}", layer.layer));
            }
            let lost = layer.absent.iter().filter(|(_, reason)| reason.is_blindness()).count();
            let sees = mine.len() - unseen.len();
            if layer.health.is_none() != (sees == 0 || lost > sees) {
                self.complain(format!("{} is {:?} though blind", layer.layer, layer.health));
            }
            let lost: f64 = layer.deductions.iter().map(|d| d.points).sum();
            if layer.health.is_some_and(|h| (100.0 - lost - 100.0 * h).abs() > 0.01) {
                self.complain(format!("{} lost {lost} of {:?}", layer.layer, layer.health));
            }
        }
    }

    /// All totals, by signal.
    pub fn sums(&self) -> BTreeMap<&'static str, u64> {
        let mut sums = BTreeMap::new();
        for ((signal, _), total) in &self.totals {
            *sums.entry(*signal).or_default() += total;
        }
        sums
    }
}

/// What a look without a past tells of the cluster, and since when.
pub fn single_look(
    world: &World,
    settings: &Settings,
    now: Timestamp,
) -> BTreeMap<String, Timestamp> {
    let report = Pipeline::for_single_look(settings.clone()).step(world, now);
    report.findings.into_iter().map(|f| (f.id, f.since)).collect()
}

fn labels_of(series: &Series) -> Vec<&Labels> {
    match series {
        Series::Absent { .. } => Vec::new(),
        Series::Values(values) => values.iter().map(|r| &r.labels).collect(),
        Series::Histograms(all) => all.iter().map(|(labels, _)| labels).collect(),
    }
}

fn value<'a>(signal: &Signal, labels: &'a Labels, name: &str) -> Option<&'a str> {
    let index = signal.labels.iter().position(|l| *l == name)?;
    labels.get(index).map(kubestrata::model::text::Text::as_str).filter(|v| !v.is_empty())
}

fn name_of(notice: &Notice) -> String {
    let (what, id) = match notice {
        Notice::FindingOpened(f) => ("finding.opened", &f.id),
        Notice::FindingClosed(f) => ("finding.closed", &f.id),
        Notice::AnomalyOpened(a) => ("anomaly.opened", &a.id),
        Notice::AnomalyUpdated(a) => ("anomaly.updated", &a.id),
        Notice::AnomalyClosed(a) => ("anomaly.closed", &a.id),
    };
    format!("kubestrata.{what} {id}")
}

/// The kinds that a signal reads and that can't be seen.
fn unseen(report: &Report, signal: &str) -> Vec<Kind> {
    let signal = report.signals.iter().map(|s| s.signal).find(|s| s.name == signal);
    let reads = |kind: &Kind| signal.is_some_and(|s| [s.needs, s.uses].concat().contains(kind));
    let sources = report.sources.iter().filter(|(kind, ..)| reads(kind));
    sources.filter(|(_, s, _)| s.availability != Availability::Served).map(|(k, ..)| *k).collect()
}
