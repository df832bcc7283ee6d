//! What follows from the cluster's state? A [`Report`], once a tick: the same state, world and time give the same bytes.

mod budget;
mod findings;
mod health;
mod sight;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::baselines::{Baselines, Circumstances};
use crate::config::Settings;
use crate::detectors::{Bounds, Detectors};
use crate::layers;
use crate::model::finding::{Finding, Verdicts};
use crate::model::kind::{Kind, Origin};
use crate::model::layer::Layer;
use crate::model::reading::{Label, Labels, Reading, Readings, SeriesKey};
use crate::model::record::{Object, Time};
use crate::model::report::{Notice, Report, SelfReport, Series, SignalReport};
use crate::model::signal::{Observation, Profile, Read, Signal};
use crate::model::tally::Tallies;
use crate::model::view::View;
use crate::model::world::{Delta, World};

use findings::Findings;

/// How long after a list was completed its numbers may still jump for reasons of ours: rates and bands wait.
const SETTLING: SignedDuration = SignedDuration::from_secs(30);

/// The pure half of the daemon: takes changes in, and says at each tick what follows.
#[derive(Debug)]
pub struct Pipeline {
    settings: Settings,
    signals: Vec<&'static Signal>,
    impatient: bool,
    state: State,
    relists: u64,
    settled_at: Option<Time>,
    dropped_events: u64,
}

/// What survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    tallies: Tallies,
    findings: Findings,
    baselines: Baselines,
    detectors: Detectors,
    watching_since: Option<Time>,
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
        let signals = layers::signals().chain(own).filter(enabled).collect();
        Self {
            settings,
            signals,
            impatient: false,
            state,
            relists: 0,
            settled_at: None,
            dropped_events: 0,
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
        sight::kinds_of(&self.signals, &self.settings.opted())
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
        sight::ready(&self.kinds(), world)
    }

    /// Reads the world at `now`.
    pub fn step(&mut self, world: &World, now: Time) -> Report {
        let kinds = self.kinds();
        let ready = sight::ready(&kinds, world);
        let settled = self.settle(world, &kinds, ready, now);
        let view = View::new(world, now);
        if ready {
            self.drop_totals_of_the_gone(&view);
        }
        let mut notices = Vec::new();
        let mut signals: Vec<SignalReport> = Vec::with_capacity(self.signals.len());
        for signal in self.signals.clone() {
            let series = match sight::absence(signal, world, now) {
                Some((kind, reason)) => Series::Absent { kind, reason },
                None => self.read(signal, &view, &mut notices),
            };
            signals.push(SignalReport { signal, series });
        }
        let dropped_series = self.bound(&mut signals);
        self.judge(&signals, settled, now, &mut notices);
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
            anomalies_opened: detectors.opened_totals(),
            bands: detectors.bands(),
            scores: detectors.scores(),
            notices,
            sources: kinds.iter().map(|k| (*k, world.source(*k), world.count(*k))).collect(),
            myself: SelfReport {
                series: signals.iter().map(|s| count(&s.series)).sum(),
                baselines: self.state.baselines.len(),
                dropped_series: dropped_series + self.state.baselines.dropped(),
                dropped_events: self.dropped_events,
                ready,
            },
            signals,
        }
    }

    /// Whether numbers may be judged: not right after a list, when they jump for reasons of ours.
    fn settle(&mut self, world: &World, kinds: &[Kind], ready: bool, now: Time) -> bool {
        // What is polled is listed again and again, and jumps no more than its objects do.
        let watched = |k: &&Kind| matches!(k.origin(), Origin::Watch | Origin::Metadata);
        let watched = kinds.iter().filter(watched);
        let relists = watched.filter_map(|k| world.source_ref(*k)).map(|s| s.relists).sum();
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
        let signals = &self.signals;
        self.state.tallies.retain(|key| {
            let signal = signals.iter().find(|s| key.signal == s.name);
            signal.is_none_or(|s| view.is_about_something(s, &key.labels))
        });
    }

    fn read(&mut self, signal: &Signal, view: &View<'_>, notices: &mut Vec<Notice>) -> Series {
        match signal.read {
            Read::Rule(read) => {
                let mut verdicts = Verdicts::default();
                read(view, &mut verdicts);
                let findings = &mut self.state.findings;
                notices.extend(findings.update(signal, verdicts.0, view.now, self.impatient));
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
            Read::Gauge(read) => {
                let mut readings = Readings::default();
                read(view, &mut readings);
                Series::Values(readings.into_sorted())
            }
            Read::Query(_) => Series::Values(answers(signal, view)),
            Read::Counter => {
                let mut readings = Readings::default();
                for (labels, total) in self.state.tallies.counters(signal) {
                    readings.push(labels.clone(), total as f64);
                }
                Series::Values(readings.into_sorted())
            }
            Read::Histogram(_) => {
                let histograms = self.state.tallies.histograms(signal);
                Series::Histograms(histograms.map(|(l, h)| (l.clone(), h.clone())).collect())
            }
        }
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

    fn judge(
        &mut self,
        signals: &[SignalReport],
        settled: bool,
        now: Time,
        notices: &mut Vec<Notice>,
    ) {
        let mut judged = Vec::new();
        let State { baselines, detectors, watching_since, .. } = &mut self.state;
        let at = Circumstances {
            now,
            watching_since: watching_since.unwrap_or(now),
            settled,
            settings: &self.settings.baseline,
            limit: self.settings.limits.baselines,
        };
        for report in signals.iter().filter(|s| s.signal.profile != Profile::None) {
            let Series::Values(readings) = &report.series else { continue };
            let signal = report.signal;
            let watched = |key: &SeriesKey| detectors.is_open(key);
            let expectations = baselines.judge(signal, readings, at, watched);
            judged.extend(expectations.into_iter().map(|(key, e)| (key, signal, e)));
        }
        let bounds = Bounds {
            series: baselines.len(),
            ticks_per_day: 86_400.0 / self.settings.tick.as_secs_f64(),
            close_after: signed(self.settings.baseline.close_after),
            keep_closed: self.settings.limits.closed_anomalies,
        };
        let changes = detectors.step(judged, bounds, now);
        notices.extend(changes.opened.into_iter().map(Notice::AnomalyOpened));
        notices.extend(changes.updated.into_iter().map(Notice::AnomalyUpdated));
        notices.extend(changes.closed.into_iter().map(Notice::AnomalyClosed));
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

/// What a query's last answer says. Series that the signal's labels do not tell apart count with the largest.
fn answers(signal: &Signal, view: &View<'_>) -> Vec<Reading> {
    let answer = view.world.scrapes(Kind::PrometheusQuery).and_then(|s| s.get("", signal.name));
    let mut values: BTreeMap<Labels, f64> = BTreeMap::new();
    for sample in answer.iter().flat_map(|a| a.samples.iter()).filter(|s| s.value.is_finite()) {
        let label = |name: &&str| sample.labels.get(name).map_or_else(|| "".into(), Label::from);
        let held = values.entry(Labels::new(signal.labels.iter().map(label)));
        held.and_modify(|v| *v = v.max(sample.value)).or_insert(sample.value);
    }
    let mut readings = Readings::default();
    values.into_iter().for_each(|(labels, value)| readings.push(labels, value));
    readings.into_sorted()
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
