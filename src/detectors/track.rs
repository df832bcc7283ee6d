//! Where does one series stand? Suspected, in an open anomaly, or on its way back.

use std::sync::Arc;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::flaps::Flaps;
use super::severity::{score, severity};
use super::{CALM, Changes, JudgedSeries, words};
use crate::model::anomaly::{Anomaly, Phase, State};
use crate::model::expectation::Expectation;
use crate::model::reading::SeriesKey;
use crate::model::record::Time;

/// An anomaly whose series has not been seen for so long closes: its object is gone, or nobody can look any more.
const UNSEEN: SignedDuration = SignedDuration::from_hours(1);

/// A new extreme is told when it is so many times as far off as the one that was told last.
const FURTHER: f64 = 2.0;

/// An anomaly recovers once its series has been calm for this part of the time after which it closes: a single calm
/// tick is none.
const RECOVERING: i32 = 5;

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
    /// Whether the anomaly has become worse since it opened.
    escalated: bool,
    flaps: Flaps,
    /// What is suspected or open.
    anomaly: Option<Arc<Anomaly>>,
}

/// An anomaly that is over, and what matters should it open again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) anomaly: Arc<Anomaly>,
    flaps: Flaps,
}

/// What is the same for all series at a tick.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tick {
    pub(super) now: Time,
    /// The p-value at or below which a series is rare.
    pub(super) threshold: f64,
    /// For how long a series must be calm before its anomaly closes, unless it flaps.
    pub(super) close_after: SignedDuration,
}

impl Tick {
    pub(super) fn is_rare(&self, expectation: &Expectation) -> bool {
        expectation.mature && expectation.p_value <= self.threshold
    }

    /// How long it has been since.
    fn lasts(&self, since: Option<Time>) -> SignedDuration {
        since.map_or(SignedDuration::ZERO, |since| self.now.duration_since(since))
    }
}

impl Track {
    /// Begins a tick. What was rare once and not again is suspected no more.
    pub(super) fn next_tick(&mut self) {
        self.rare = self.rare << 1 & 0b111;
        if self.rare == 0 && self.suspected().is_some() {
            self.anomaly = None;
        }
    }

    /// The open anomaly.
    pub(super) fn open(&self) -> Option<&Arc<Anomaly>> {
        self.anomaly.as_ref().filter(|a| a.state == State::Open)
    }

    /// Says who contributed most to the anomaly, which was told just now.
    pub(super) fn attribute(&mut self, told: &Arc<Anomaly>) {
        if self.anomaly.as_ref().is_some_and(|a| a.id == told.id) {
            self.anomaly = Some(Arc::clone(told));
        }
    }

    /// What may turn out to be an anomaly.
    pub(super) fn suspected(&self) -> Option<&Arc<Anomaly>> {
        self.anomaly.as_ref().filter(|a| a.state == State::Suspected)
    }

    /// Whether there is anything to remember.
    pub(super) fn is_of_interest(&self) -> bool {
        self.open().is_some() || self.rare != 0
    }

    /// Takes in what is expected of the series at this tick. `before` is its anomaly that closed lately.
    pub(super) fn see(
        &mut self,
        judged: &JudgedSeries,
        tick: Tick,
        before: impl FnOnce() -> Option<Ended>,
        changes: &mut Changes,
    ) {
        let (_, _, expectation) = judged;
        self.seen_at = Some(tick.now);
        let rare = tick.is_rare(expectation);
        if rare {
            if self.rare == 0 {
                self.rare_since = Some(tick.now);
            }
            self.rare |= 1;
        }
        if expectation.p_value <= CALM {
            self.calm_since = None;
        } else {
            self.calm_since.get_or_insert(tick.now);
        }
        if self.open().is_some() {
            changes.updated.extend(self.go_on(judged, rare, tick));
        } else if self.rare.count_ones() >= 2 {
            changes.opened.push(self.begin(judged, tick, before()));
        } else if rare {
            self.suspect(judged, tick, before());
        }
    }

    /// Rare for the first time of late.
    fn suspect(&mut self, judged: &JudgedSeries, tick: Tick, before: Option<Ended>) {
        let mut suspected = anomaly(judged, tick, tick.now);
        suspected.times = 0;
        if let Some(before) = before {
            let Anomaly { id, times, opened_at, .. } = &*before.anomaly;
            (suspected.id, suspected.times, suspected.opened_at) = (id.clone(), *times, *opened_at);
        }
        suspected.enter(Phase::Suspected, tick.now);
        self.anomaly = Some(Arc::new(suspected));
    }

    /// Rare again: it is told.
    fn begin(&mut self, judged: &JudgedSeries, tick: Tick, before: Option<Ended>) -> Arc<Anomaly> {
        let (_, _, expectation) = judged;
        let mut anomaly = anomaly(judged, tick, self.rare_since.unwrap_or(tick.now));
        self.flaps = before.as_ref().map(|before| before.flaps.clone()).unwrap_or_default();
        self.flaps.open(tick.now);
        if let Some(before) = before {
            anomaly = again(&before.anomaly, anomaly, self.told_hold(tick));
        }
        let anomaly = Arc::new(anomaly);
        (self.calm_since, self.adopted, self.escalated) = (None, false, false);
        self.history = expectation.history;
        self.anomaly = Some(Arc::clone(&anomaly));
        anomaly
    }

    /// A further tick of an open anomaly; gives it where that is worth telling.
    fn go_on(&mut self, judged: &JudgedSeries, rare: bool, tick: Tick) -> Option<Arc<Anomaly>> {
        let (_, _, expectation) = judged;
        let calm = self.calm_since.is_some();
        let lasts = tick.lasts(self.calm_since);
        let settled = lasts >= self.flaps.hold(tick.close_after) / RECOVERING;
        self.flaps.calm(lasts, tick.close_after);
        if rare {
            self.flaps.rare(tick.now);
        }
        let hold = self.told_hold(tick);
        self.adopted |= expectation.history < self.history;
        let open = self.anomaly.as_mut()?;
        let grown = rare && grow(open, judged, tick, hold);
        self.escalated |= grown;
        let phase = match (calm, self.escalated) {
            (true, _) if settled => Phase::Recovering,
            (true, _) => open.phase,
            (false, true) => Phase::Escalated,
            (false, false) => Phase::Open,
        };
        if phase != open.phase {
            Arc::make_mut(open).enter(phase, tick.now);
        }
        grown.then(|| Arc::clone(open))
    }

    /// Closes the anomaly when its series has been calm or unseen for long enough.
    pub(super) fn close(&mut self, tick: Tick) -> Option<Ended> {
        self.open()?;
        let after = self.flaps.hold(tick.close_after);
        let seen = self.seen_at == Some(tick.now);
        let lasts = tick.lasts(self.calm_since) >= after;
        let calm = seen && self.calm_since.is_some() && lasts;
        if !calm && tick.lasts(self.seen_at) < UNSEEN.max(after) {
            return None;
        }
        let mut anomaly = self.anomaly.take()?;
        let closed = Arc::make_mut(&mut anomaly);
        closed.enter(Phase::Closed, tick.now);
        closed.closed_at = Some(tick.now);
        let (why, since) = match (calm, self.adopted) {
            (true, false) => ("back in its band", self.calm_since),
            (true, true) => ("the new normal", self.calm_since),
            (false, _) => ("not seen", self.seen_at),
        };
        closed.explanation.push_str(&words::closed(why, since.unwrap_or(tick.now)));
        Some(Ended { anomaly, flaps: std::mem::take(&mut self.flaps) })
    }

    /// For how long the series must be calm, where that is longer than usual.
    fn told_hold(&self, tick: Tick) -> Option<SignedDuration> {
        self.flaps.is_flapping().then(|| self.flaps.hold(tick.close_after))
    }
}

/// An anomaly that opens at this tick, of a series that left its band at `since`.
fn anomaly((key, signal, expectation): &JudgedSeries, tick: Tick, since: Time) -> Anomaly {
    Anomaly {
        id: id(key, since),
        layer: signal.layer,
        signal: key.signal.clone(),
        labels: key.labels.clone(),
        subject: signal.subject(&key.labels),
        state: State::Open,
        phase: Phase::Open,
        phase_since: tick.now,
        severity: severity(expectation, tick.threshold),
        times: 1,
        opened_at: since,
        updated_at: tick.now,
        closed_at: None,
        observed: expectation.observed,
        expected: expectation.expected,
        lower: expectation.lower,
        upper: expectation.upper,
        score: score(expectation.tail),
        p_value: expectation.p_value,
        detector: format!("{}/2_of_3", expectation.baseline).as_str().into(),
        contributors: Vec::new(),
        explanation: words::explain(signal, &key.labels, expectation, since),
    }
}

/// What closed lately and is open again: the same, once more.
fn again(before: &Anomaly, now: Anomaly, hold: Option<SignedDuration>) -> Anomaly {
    let times = before.times.saturating_add(1);
    Anomaly {
        id: before.id.clone(),
        severity: now.severity.max(before.severity),
        times,
        opened_at: before.opened_at,
        explanation: now.explanation + &words::again(times, before.opened_at, hold),
        ..now
    }
}

/// Takes in a further rare tick. True when it is worth telling: a higher severity, or a markedly new extreme.
fn grow(
    open: &mut Arc<Anomaly>,
    judged: &JudgedSeries,
    tick: Tick,
    hold: Option<SignedDuration>,
) -> bool {
    let (_, _, expectation) = judged;
    let severity = severity(expectation, tick.threshold).max(open.severity);
    let off = (expectation.observed - expectation.expected).abs();
    let told = severity > open.severity || off > FURTHER * (open.observed - open.expected).abs();
    let open = Arc::make_mut(open);
    open.updated_at = tick.now;
    if told {
        let grown = anomaly(judged, tick, open.opened_at);
        let (times, phase, phase_since) = (open.times, open.phase, open.phase_since);
        *open = Anomaly { phase, phase_since, severity, times, ..grown };
        if times > 1 {
            open.explanation.push_str(&words::again(times, open.opened_at, hold));
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
