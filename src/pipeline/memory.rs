//! What did a signal read last, and would it read the same now? It is read anew only when something that it looked at
//! has changed, or the time has come at which it says something else of the same world.

use std::collections::BTreeMap;

use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::reading::{Label, Labels, Reading, Readings};
use crate::model::record::Time;
use crate::model::signal::{Read, Signal};
use crate::model::view::View;
use crate::model::world::Extract;

/// The last readings of signals, by their place among the signals.
#[derive(Debug, Default)]
pub(super) struct Memory(Vec<Option<Memo>>);

#[derive(Debug)]
pub(super) struct Memo {
    pub(super) said: Said,
    basis: Basis,
}

/// What a signal says of the world.
#[derive(Debug)]
pub(super) enum Said {
    Verdicts(Vec<Verdict>),
    /// In the order of their labels.
    Readings(Vec<Reading>),
}

/// What something that was read of a view rests on.
#[derive(Debug)]
pub(super) struct Basis {
    /// `None`: on more than can be told.
    extract: Option<Extract>,
    at: Time,
    due: Option<Time>,
}

impl Basis {
    /// Reads, and notes what that rests on.
    pub(super) fn of<T>(view: &View<'_>, read: impl FnOnce() -> T) -> (Self, T) {
        view.watch_reading();
        let read = read();
        let (extract, due) = (view.world.what_was_read(), view.due());
        (Self { extract, at: view.at(), due }, read)
    }

    /// Whether reading this view would give the same.
    pub(super) fn holds(&self, view: &View<'_>) -> bool {
        let now = view.at();
        self.at <= now
            && self.due.is_none_or(|due| now < due)
            && self.extract.as_ref().is_some_and(|extract| view.world.still_says(extract))
    }
}

impl Memory {
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// What the signal at this place says of the view; nothing of one that is not read from the world.
    pub(super) fn said(&mut self, place: usize, signal: &Signal, view: &View<'_>) -> Option<&Memo> {
        if self.0.len() <= place {
            self.0.resize_with(place + 1, || None);
        }
        let memo = &mut self.0[place];
        if !memo.as_ref().is_some_and(|memo| memo.basis.holds(view)) {
            let (basis, said) = Basis::of(view, || read(signal, view));
            *memo = said.map(|said| Memo { said, basis });
        }
        memo.as_ref()
    }
}

impl Memo {
    /// Whether the signal asks how sources are doing, and so judges by itself what it can see.
    pub(super) fn asks_sources(&self) -> bool {
        self.basis.extract.is_none()
    }
}

fn read(signal: &Signal, view: &View<'_>) -> Option<Said> {
    match signal.read {
        Read::Rule(read) => {
            let mut verdicts = Verdicts::default();
            read(view, &mut verdicts);
            // Objects come in no order, and what opens and closes is told in that of the verdicts.
            verdicts.0.sort_by(|a, b| order(a).cmp(&order(b)));
            Some(Said::Verdicts(verdicts.0))
        }
        Read::Gauge(read) => {
            let mut readings = Readings::default();
            read(view, &mut readings);
            Some(Said::Readings(readings.into_sorted()))
        }
        Read::Query(_) => Some(Said::Readings(answers(signal, view))),
        Read::Counter | Read::Histogram(_) => None,
    }
}

fn order(verdict: &Verdict) -> impl Ord + '_ {
    (&verdict.subject, verdict.reason, &verdict.labels, verdict.since, &verdict.message)
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
