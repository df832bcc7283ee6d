//! What follows from the cluster's state? A [`Report`], once a tick: the same state, world and time give the same bytes.

mod budget;
mod findings;
mod health;
mod limits;
mod memory;
mod relive;
mod sight;

use std::collections::BTreeMap;

use hashbrown::HashMap;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::baselines::{Baselines, Circumstances};
use crate::config::{Bands, Settings};
use crate::detectors::{Bounds, Detectors};
use crate::layers;
use crate::model::disruption::Disruptions;
use crate::model::finding::Finding;
use crate::model::history::History;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::{Labels, Readings, SeriesKey};
use crate::model::record::{Object, Time};
use crate::model::report::{Notice, Report, SelfReport, Series, SignalReport};
use crate::model::signal::{Observation, Read, Signal, Unit};
use crate::model::tally::Tallies;
use crate::model::view::View;
use crate::model::world::{Delta, Recall, World};

use findings::Findings;
use memory::{Basis, Memory, Said};

/// How long after a list was completed its numbers may still jump for reasons of ours: rates and bands wait.
const SETTLING: SignedDuration = SignedDuration::from_secs(30);

/// The pure half of the daemon: takes changes in, and says at each tick what follows.
#[derive(Debug)]
pub struct Pipeline {
    settings: Settings,
    signals: Vec<&'static Signal>,
    kinds: Vec<Kind>,
    impatient: bool,
    state: State,
    relists: u64,
    settled_at: Option<Time>,
    dropped_events: u64,
    memory: Memory,
    /// How many totals there were when all were about something, and what that rests on.
    totals: Option<(usize, Basis)>,
}

/// What survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    tallies: Tallies,
    findings: Findings,
    baselines: Baselines,
    detectors: Detectors,
    recall: Recall,
    disruptions: Disruptions,
    watching_since: Option<Time>,
}

impl State {
    /// What the world has shown that no object shows any more.
    #[must_use]
    pub const fn recall(&self) -> &Recall {
        &self.recall
    }
}

impl Pipeline {
    /// A pipeline that goes on from `state`.
    #[must_use]
    pub fn new(settings: Settings, state: State) -> Self {
        let enabled = |signal: &&'static Signal| {
            settings.layers.contains(&signal.layer)
                && !settings.disabled_signals.iter().any(|name| name == signal.name)
        };
        let own = settings.prometheus.signals.iter().copied();
        let signals: Vec<_> = layers::signals().chain(own).filter(enabled).collect();
        let kinds = sight::kinds_of(&signals, &settings.opted());
        Self {
            settings,
            signals,
            kinds,
            impatient: false,
            state,
            relists: 0,
            settled_at: None,
            dropped_events: 0,
            memory: Memory::default(),
            totals: None,
        }
    }

    /// A pipeline for a single look: a bad state whose start the API does not tell counts at once.
    #[must_use]
    pub fn for_single_look(settings: Settings) -> Self {
        Self { impatient: true, ..Self::new(settings, State::default()) }
    }

    /// What has to survive a restart.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The enabled signals.
    #[must_use]
    pub fn signals(&self) -> &[&'static Signal] {
        &self.signals
    }

    /// The queries of the enabled signals, by the signals' names.
    #[must_use]
    pub fn queries(&self) -> Vec<(&'static str, &'static str)> {
        let query = |signal: &&'static Signal| match signal.read {
            Read::Query(query) => Some((signal.name, query)),
            _ => None,
        };
        self.signals.iter().filter_map(query).collect()
    }

    /// The kinds that the enabled signals read.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        self.kinds.clone()
    }

    /// Forgets what was read at ticks before: everything is read anew at the next. Says nothing else.
    pub fn forget(&mut self) {
        self.memory.forget();
        self.totals = None;
    }

    /// Whether any series has a past.
    #[must_use]
    pub fn has_pasts(&self) -> bool {
        !self.state.baselines.is_empty()
    }

    /// Takes over the pasts of series as somebody else has kept them, where nothing is known of any; how many there are.
    pub fn relive(&mut self, history: &History) -> usize {
        relive::relive(&mut self.state.baselines, history, &self.settings)
    }

    /// Takes over findings that another replica has told, by signal and id: as far as they are so here too, they have
    /// held for their dwell.
    pub fn adopt<'a>(&mut self, told: impl Iterator<Item = (&'a str, &'a str)>) {
        let known: Vec<&str> = self.signals.iter().map(|s| s.name).collect();
        self.state.findings.adopt(told.filter(|(signal, _)| known.contains(signal)));
    }

    /// Takes a change in: what it tells is counted, then the world holds it. A late or repeated change counts nothing.
    pub fn absorb(&mut self, world: &mut World, delta: Delta, now: Time) {
        match &delta {
            Delta::Upsert(object) if !world.is_stale(object) => {
                let observation = Observation { world, object, now };
                let tallies = &mut self.state.tallies;
                // What a process had counted before anybody looked is not ours to tell; one that began since is.
                let looked = world.source_ref(object.kind()).and_then(|s| s.last_sync);
                let first = matches!(object, Object::Scrape(_))
                    && tallies.meets(object)
                    && looked.is_none_or(|at| object.meta().created < at);
                if first {
                    tallies.look_only(object.kind(), true);
                }
                tallies.contributors.see(object, now);
                for layer in layers::ALL {
                    (layer.observe)(&observation, tallies);
                }
                if first {
                    tallies.look_only(object.kind(), false);
                }
            }
            Delta::Delete { kind, uid, .. } => self.state.tallies.forget(*kind, *uid),
            _ => {}
        }
        let synced = match delta {
            Delta::Synced(kind) => Some(kind),
            _ => None,
        };
        let is_event = matches!(&delta, Delta::Upsert(object) if object.kind() == Kind::Event);
        world.apply(delta, now);
        if let Some(kind) = synced {
            self.state.tallies.synced(kind, world.uids(kind).into_iter());
        }
        if is_event {
            self.dropped_events += world.trim_events(self.settings.limits.events) as u64;
        }
    }

    /// Whether every reachable source has synced.
    #[must_use]
    pub fn ready(&self, world: &World) -> bool {
        sight::ready(&self.kinds, world)
    }

    /// Reads the world at `now`.
    pub fn step(&mut self, world: &World, now: Time) -> Report {
        if self.state.recall != *world.recall() {
            self.state.recall.clone_from(world.recall());
        }
        let ready = sight::ready(&self.kinds, world);
        let settled = self.settle(world, ready, now);
        let view = View::new(world, now);
        if ready {
            self.drop_totals_of_the_gone(&view);
        }
        let mut notices = Vec::new();
        let mut signals: Vec<SignalReport> = Vec::with_capacity(self.signals.len());
        for place in 0..self.signals.len() {
            let signal = self.signals[place];
            let series = match sight::absence(signal, world, now) {
                Some((kind, reason)) => Series::Absent { kind, reason },
                None => self.read(place, signal, &view, &mut notices),
            };
            signals.push(SignalReport { signal, series });
        }
        let dropped_series = self.bound(&mut signals);
        if ready {
            self.state.disruptions.see(&view);
        }
        if settled && !self.state.baselines.remembers() {
            self.remember(&view);
        }
        let explained = self.judge(&signals, settled, now, &mut notices);
        let findings = self.findings(&signals);
        let detectors = &self.state.detectors;
        let mut anomalies = detectors.open();
        let layers =
            Layer::ALL.map(|l| health::of_layer(l, &signals, &findings, &anomalies)).to_vec();
        anomalies.extend(detectors.recently_closed());
        Report {
            at: now,
            layers,
            findings,
            anomalies,
            suspected: detectors.suspected(),
            anomalies_opened: detectors.opened_totals(),
            bands: detectors.bands(),
            scores: detectors.scores(),
            limits: limits::of(&signals, &self.state.baselines),
            notices,
            undecided: self.state.findings.undecided().map(str::to_owned).collect(),
            sources: self.kinds.iter().map(|k| (*k, world.source(*k), world.count(*k))).collect(),
            myself: SelfReport {
                series: signals.iter().map(|s| count(&s.series)).sum(),
                baselines: self.state.baselines.len(),
                mature_baselines: self.state.baselines.mature(now, &self.settings.baseline),
                explained_series: explained,
                dropped_series: dropped_series + self.state.baselines.dropped(),
                dropped_events: self.dropped_events,
                ready,
                watching_since: self.state.watching_since,
                rarities: detectors.rarities(),
                calibration: detectors.calibration(),
                threshold: detectors.threshold(),
            },
            signals,
        }
    }

    /// Whether numbers may be judged: not right after a list, when they jump for reasons of ours.
    fn settle(&mut self, world: &World, ready: bool, now: Time) -> bool {
        let relists =
            self.kinds.iter().filter_map(|k| world.source_ref(*k)).map(|s| s.relists).sum();
        if !ready || self.settled_at.is_none() || relists != self.relists {
            self.relists = relists;
            self.settled_at = Some(now + SETTLING);
        }
        if ready {
            self.state.watching_since.get_or_insert(now);
        }
        ready && self.settled_at.is_some_and(|at| now >= at)
    }

    fn drop_totals_of_the_gone(&mut self, view: &View<'_>) {
        let tallies = &mut self.state.tallies;
        // Between ticks totals only come.
        if self.totals.as_ref().is_some_and(|(n, basis)| *n == tallies.len() && basis.holds(view)) {
            return;
        }
        let signals: HashMap<&str, &Signal> = self.signals.iter().map(|s| (s.name, *s)).collect();
        let (basis, ()) = Basis::of(view, || {
            tallies.retain(|key| {
                let signal = signals.get(key.signal.as_str());
                signal.is_none_or(|s| view.is_about_something(s, &key.labels))
            });
        });
        self.totals = Some((tallies.len(), basis));
    }

    fn read(
        &mut self,
        place: usize,
        signal: &Signal,
        view: &View<'_>,
        notices: &mut Vec<Notice>,
    ) -> Series {
        let doubt = !self.impatient && sight::in_doubt(signal, view.world, view.at());
        let memo = self.memory.said(place, signal, view);
        match memo.map(|memo| (&memo.said, memo.asks_sources())) {
            Some((Said::Verdicts(verdicts), asks_sources)) => {
                let findings = &mut self.state.findings;
                let is_gone = |labels: &Labels| view.is_of_a_gone_namespace(signal, labels);
                notices.extend(findings.end(signal.name, is_gone));
                if asks_sources || !doubt {
                    let at = (view.at(), self.impatient);
                    let is_there = |labels: &Labels| view.is_about_something(signal, labels);
                    let verdicts = verdicts.iter().filter(|v| !is_gone(&v.labels));
                    notices.extend(findings.update(signal, verdicts, at, is_there));
                }
                let mut counts = BTreeMap::new();
                for finding in findings.open(signal.name) {
                    *counts.entry(finding.labels.clone()).or_insert(0_u64) += 1;
                }
                let mut readings = Readings::default();
                for (labels, count) in counts {
                    readings.push(labels, count as f64);
                }
                Series::Values(readings.into_sorted())
            }
            Some((Said::Readings(readings), _)) => Series::Values(readings.clone()),
            None => self.totals_of(signal),
        }
    }

    /// What has been counted for a signal.
    fn totals_of(&self, signal: &Signal) -> Series {
        let tallies = &self.state.tallies;
        if matches!(signal.read, Read::Histogram(_)) {
            let histograms = tallies.histograms(signal);
            return Series::Histograms(histograms.map(|(l, h)| (l.clone(), h.clone())).collect());
        }
        let mut readings = Readings::default();
        for (labels, total) in tallies.counters(signal) {
            readings.push(labels.clone(), total as f64);
        }
        Series::Values(readings.into_sorted())
    }

    /// Holds each family and the whole to their budgets, and says how many series were folded into another or left out.
    fn bound(&self, signals: &mut [SignalReport]) -> u64 {
        let limits = &self.settings.limits;
        let mut dropped = 0;
        for report in signals.iter_mut() {
            dropped += budget::hold(report, limits.family);
        }
        let mut left = limits.series;
        for report in signals {
            dropped += budget::hold(report, left);
            left -= count(&report.series).min(left);
        }
        dropped
    }

    /// Lets baselines know what objects tell of the time before anybody watched.
    fn remember(&mut self, view: &View<'_>) {
        let enabled = |signal: &Signal| self.signals.iter().any(|s| s.name == signal.name);
        let all = layers::ALL.iter().flat_map(|layer| (layer.lasted)(view));
        let lasted = all.filter(|lasted| enabled(lasted.signal)).collect();
        self.state.baselines.remember(lasted);
    }

    /// Judges all series; how many were not judged because a disruption explains them.
    fn judge(
        &mut self,
        signals: &[SignalReport],
        settled: bool,
        now: Time,
        notices: &mut Vec<Notice>,
    ) -> u64 {
        let mut judged = Vec::new();
        let State { baselines, detectors, disruptions, watching_since, tallies, .. } =
            &mut self.state;
        let at = Circumstances {
            now,
            watching_since: watching_since.unwrap_or(now),
            settled,
            disruptions,
            settings: &self.settings.baseline,
            limit: self.settings.limits.baselines,
        };
        let mut judge = baselines.tick(at);
        for report in signals.iter().filter(|s| s.signal.profile.family().is_some()) {
            let signal = report.signal;
            let watched = |key: &SeriesKey| detectors.is_open(key);
            let expectations = judge.judge(signal, &report.series, watched);
            judged.extend(expectations.into_iter().map(|(key, e)| (key, signal, e)));
        }
        let (explained, tests) = (judge.explained(), judge.tests());
        let bounds = Bounds {
            tests,
            series: baselines.len(),
            ticks_per_day: 86_400.0 / self.settings.tick.as_secs_f64(),
            false_per_day: self.settings.baseline.false_per_day,
            all_bands: self.settings.baseline.bands == Bands::All,
            close_after: signed(self.settings.baseline.close_after),
            keep_closed: self.settings.limits.closed_anomalies,
        };
        let mut changes = detectors.step(judged, bounds, now);
        detectors.attribute(&mut changes, |anomaly| {
            let signal = signals.iter().find(|s| anomaly.signal == s.signal.name);
            let most = |s: &Signal| (s.unit, tallies.contributors.most(s, &anomaly.labels, now));
            signal.map_or((Unit::Count, Vec::new()), |s| most(s.signal))
        });
        notices.extend(changes.opened.into_iter().map(Notice::AnomalyOpened));
        notices.extend(changes.updated.into_iter().map(Notice::AnomalyUpdated));
        notices.extend(changes.closed.into_iter().map(Notice::AnomalyClosed));
        explained
    }

    /// The open findings of signals that can see, worst first, then oldest first.
    fn findings(&self, signals: &[SignalReport]) -> Vec<Finding> {
        let seeing = signals.iter().filter(|s| !matches!(s.series, Series::Absent { .. }));
        let mut findings: Vec<Finding> =
            seeing.flat_map(|s| self.state.findings.open(s.signal.name)).cloned().collect();
        findings.sort_by(|a, b| {
            (std::cmp::Reverse(a.severity), a.since, &a.id).cmp(&(
                std::cmp::Reverse(b.severity),
                b.since,
                &b.id,
            ))
        });
        findings
    }
}

fn signed(duration: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn count(series: &Series) -> usize {
    match series {
        Series::Absent { .. } => 0,
        Series::Values(values) => values.len(),
        Series::Histograms(histograms) => histograms.len(),
    }
}
