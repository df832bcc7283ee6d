//! Where does one series stand? Suspected, in an open anomaly, or on its way back.

use std::sync::Arc;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::severity::{score, severity};
use super::{CALM, Changes, JudgedSeries, words};
use crate::model::anomaly::{Anomaly, State};
use crate::model::expectation::Expectation;
use crate::model::reading::SeriesKey;
use crate::model::record::Time;
use crate::model::signal::Signal;

/// An anomaly whose series has not been seen for so long closes: its object is gone, or nobody can look any more.
const UNSEEN: SignedDuration = SignedDuration::from_hours(1);

/// A new extreme is told when it is so many times as far off as the one that was told last.
const FURTHER: f64 = 2.0;

/// What is known of a series that was rare of late.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Track {
    /// Whether each of the last three ticks was rare, the newest in the lowest bit.
    rare: u8,
    /// When the first of the rare ticks was.
    rare_since: Option<Time>,
    /// Since when the series of an open anomaly is calm.
    calm_since: Option<Time>,
    /// When it was last seen.
    seen_at: Option<Time>,
    /// How far back the past reached when the anomaly opened; it stands still until the anomaly closes.
    history: SignedDuration,
    /// Whether what is unusual has become what is usual: the past was begun anew.
    adopted: bool,
    open: Option<Arc<Anomaly>>,
}

impl Track {
    pub(super) fn next_tick(&mut self) {
        self.rare = self.rare << 1 & 0b111;
    }

    pub(super) fn anomaly(&self) -> Option<&Arc<Anomaly>> {
        self.open.as_ref()
    }

    /// Whether there is anything to remember.
    pub(super) fn is_of_interest(&self) -> bool {
        self.open.is_some() || self.rare != 0
    }

    /// Takes in what is expected of the series at this tick. `before` is its anomaly that closed lately.
    pub(super) fn see(
        &mut self,
        (key, signal, expectation): &JudgedSeries,
        threshold: f64,
        now: Time,
        before: impl FnOnce() -> Option<Arc<Anomaly>>,
        changes: &mut Changes,
    ) {
        self.seen_at = Some(now);
        let rare = expectation.mature && expectation.p_value <= threshold;
        if rare {
            if self.rare == 0 {
                self.rare_since = Some(now);
            }
            self.rare |= 1;
        }
        if expectation.p_value <= CALM {
            self.calm_since = None;
        } else {
            self.calm_since.get_or_insert(now);
        }
        let Some(anomaly) = &mut self.open else {
            if self.rare.count_ones() >= 2 {
                let since = self.rare_since.unwrap_or(now);
                let anomaly = anomaly(key, signal, expectation, threshold, since, now);
                let anomaly = Arc::new(match before() {
                    Some(before) => again(&before, anomaly),
                    None => anomaly,
                });
                (self.calm_since, self.adopted) = (None, false);
                self.history = expectation.history;
                self.open = Some(Arc::clone(&anomaly));
                changes.opened.push(anomaly);
            }
            return;
        };
        self.adopted |= expectation.history < self.history;
        if rare && grow(anomaly, key, signal, expectation, threshold, now) {
            changes.updated.push(Arc::clone(anomaly));
        }
    }

    /// Closes the anomaly when its series has been calm or unseen for long enough.
    pub(super) fn close(&mut self, after: SignedDuration, now: Time) -> Option<Arc<Anomaly>> {
        let lasts =
            |since: Option<Time>| since.map_or(SignedDuration::ZERO, |s| now.duration_since(s));
        self.open.as_ref()?;
        let seen = self.seen_at == Some(now);
        let calm = seen && self.calm_since.is_some() && lasts(self.calm_since) >= after;
        if !calm && lasts(self.seen_at) < UNSEEN.max(after) {
            return None;
        }
        let mut anomaly = self.open.take()?;
        let closed = Arc::make_mut(&mut anomaly);
        (closed.state, closed.closed_at) = (State::Closed, Some(now));
        let (why, since) = match (calm, self.adopted) {
            (true, false) => ("back in its band", self.calm_since),
            (true, true) => ("the new normal", self.calm_since),
            (false, _) => ("not seen", self.seen_at),
        };
        closed.explanation.push_str(&words::closed(why, since.unwrap_or(now)));
        Some(anomaly)
    }
}

fn anomaly(
    key: &SeriesKey,
    signal: &'static Signal,
    expectation: &Expectation,
    threshold: f64,
    since: Time,
    now: Time,
) -> Anomaly {
    Anomaly {
        id: id(key, since),
        layer: signal.layer,
        signal: key.signal.clone(),
        labels: key.labels.clone(),
        subject: signal.subject(&key.labels),
        state: State::Open,
        severity: severity(expectation, threshold),
        times: 1,
        opened_at: since,
        updated_at: now,
        closed_at: None,
        observed: expectation.observed,
        expected: expectation.expected,
        lower: expectation.lower,
        upper: expectation.upper,
        score: score(expectation.p_value),
        p_value: expectation.p_value,
        detector: format!("{}/2_of_3", expectation.baseline).as_str().into(),
        explanation: words::explain(signal, &key.labels, expectation, since),
    }
}

/// What closed lately and is open again: the same, once more.
fn again(before: &Anomaly, now: Anomaly) -> Anomaly {
    let times = before.times.saturating_add(1);
    Anomaly {
        id: before.id.clone(),
        severity: now.severity.max(before.severity),
        times,
        opened_at: before.opened_at,
        explanation: now.explanation + &words::again(times, before.opened_at),
        ..now
    }
}

/// Takes in a further rare tick. True when it is worth telling: a higher severity, or a markedly new extreme.
fn grow(
    open: &mut Arc<Anomaly>,
    key: &SeriesKey,
    signal: &'static Signal,
    expectation: &Expectation,
    threshold: f64,
    now: Time,
) -> bool {
    let severity = severity(expectation, threshold).max(open.severity);
    let off = (expectation.observed - expectation.expected).abs();
    let told = severity > open.severity || off > FURTHER * (open.observed - open.expected).abs();
    let (since, times) = (open.opened_at, open.times);
    let open = Arc::make_mut(open);
    open.updated_at = now;
    if told {
        let grown = anomaly(key, signal, expectation, threshold, since, now);
        *open = Anomaly { severity, times, ..grown };
        if times > 1 {
            open.explanation.push_str(&words::again(times, since));
        }
    }
    told
}

/// FNV-1a over 64 bits: the same anomaly has the same id over restarts and on both replicas.
fn id(key: &SeriesKey, since: Time) -> String {
    let second = since.as_second().to_string();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in [key.signal.as_str(), &second].into_iter().chain(key.labels.iter()) {
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("a-{hash:016x}")
}
