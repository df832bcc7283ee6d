//! Does an anomaly open, grow and close when it should, under one id?

mod phases;

use super::*;
use crate::labels;
use crate::model::anomaly::State;
use crate::model::finding::Severity;
use crate::model::layer::Layer;
use crate::model::signal::{Profile, Read, Unit};

static SIGNAL: Signal = Signal {
    block: "S0.0",
    name: "compute_test_total",
    layer: Layer::Compute,
    help: "A test.",
    unit: Unit::Count,
    labels: &["namespace"],
    reasons: &[],
    bound: "1",
    needs: &[],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

const BOUNDS: Bounds = Bounds {
    series: 100,
    tests: [100, 0, 100, 0],
    ticks_per_day: 5760.0,
    false_per_day: 1.0 / 7.0,
    all_bands: false,
    close_after: SignedDuration::from_secs(60),
    keep_closed: 2,
};

fn at(tick: i64) -> Time {
    Time::from_second(tick * 15).unwrap()
}

fn judged(p_value: f64, observed: f64, mature: bool) -> Vec<JudgedSeries> {
    let key = SeriesKey { signal: SIGNAL.name.into(), labels: labels!["shop"] };
    let expectation = Expectation {
        observed,
        expected: 1.0,
        lower: 0.0,
        upper: 3.0,
        p_value,
        tail: p_value,
        samples: 100,
        history: SignedDuration::from_hours(6),
        window: Some(SignedDuration::from_mins(10)),
        runs_out: None,
        mature,
        baseline: "gamma_poisson",
    };
    vec![(key, &SIGNAL, expectation)]
}

#[test]
fn two_rare_ticks_of_three_open_an_anomaly_and_calm_closes_it() {
    let mut detectors = Detectors::default();
    assert!(detectors.step(judged(1e-12, 9.0, true), BOUNDS, at(0)).opened.is_empty());
    assert!(detectors.step(vec![], BOUNDS, at(1)).opened.is_empty());
    let opened = detectors.step(judged(1e-12, 9.0, true), BOUNDS, at(2)).opened;
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0].opened_at, at(0), "since it first left its band");
    assert_eq!(opened[0].detector, "gamma_poisson/2_of_3");
    let mut calm = |tick| detectors.step(judged(0.5, 1.0, true), BOUNDS, at(tick)).closed;
    let closed: Vec<_> = (3..9).map(&mut calm).collect();
    assert_eq!(closed.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 0]);
    let told = &closed[4][0];
    assert_eq!((told.closed_at, told.state), (Some(at(7)), State::Closed));
    assert!(told.explanation.ends_with("; back in its band since 1970-01-01T00:00Z"));
    assert_eq!(detectors.recently_closed().count(), 1);
    assert_eq!(detectors.opened_totals().len(), 1);
    assert_eq!(detectors.tracks.len(), 0);
}

/// An anomaly that opened at tick 1.
fn open() -> Detectors {
    let mut detectors = Detectors::default();
    detectors.step(judged(1e-12, 9.0, true), BOUNDS, at(0));
    assert_eq!(detectors.step(judged(1e-12, 9.0, true), BOUNDS, at(1)).opened.len(), 1);
    detectors
}

#[test]
fn a_series_that_is_not_seen_is_not_calm_and_closes_in_the_end() {
    let mut detectors = open();
    for tick in 2..241 {
        assert_eq!(detectors.step(vec![], BOUNDS, at(tick)), Changes::default(), "{tick}");
    }
    let closed = detectors.step(vec![], BOUNDS, at(241)).closed;
    assert!(closed[0].explanation.ends_with("; not seen since 1970-01-01T00:00Z"));
}

#[test]
fn what_opens_again_soon_is_the_same() {
    let mut detectors = open();
    let first = Arc::clone(&detectors.open()[0]);
    let mut next = 2;
    let mut pass = |detectors: &mut Detectors, ticks, p_value| {
        let mut all = Changes::default();
        for _ in 0..ticks {
            let changes = detectors.step(judged(p_value, 9.0, true), BOUNDS, at(next));
            all.opened.extend(changes.opened);
            all.closed.extend(changes.closed);
            next += 1;
        }
        all
    };
    assert_eq!(pass(&mut detectors, 10, 0.5).closed.len(), 1);
    let again = pass(&mut detectors, 2, 1e-12).opened;
    assert_eq!((&*again[0].id, again[0].times), (&*first.id, 2));
    assert_eq!(again[0].opened_at, first.opened_at);
    assert!(again[0].explanation.ends_with("; 2 times since 1970-01-01T00:00Z"));
    assert_eq!(detectors.recently_closed().count(), 0);
    assert_eq!(detectors.opened_totals()[0].1, 1);
    assert_eq!(pass(&mut detectors, 10, 0.5).closed[0].times, 2);
    pass(&mut detectors, 241, 0.5);
    let another = pass(&mut detectors, 2, 1e-12).opened;
    assert_ne!(another[0].id, first.id);
    assert_eq!(another[0].times, 1);
}

#[test]
fn what_is_neither_rare_nor_calm_keeps_an_anomaly_open() {
    let mut detectors = open();
    for tick in 2..100 {
        assert_eq!(detectors.step(judged(1e-4, 5.0, true), BOUNDS, at(tick)), Changes::default());
    }
}

#[test]
fn a_new_normal_is_told_as_such() {
    let mut detectors = open();
    let mut changes = Changes::default();
    for tick in 2..7 {
        let mut young = judged(0.5, 9.0, false);
        young[0].2.history = SignedDuration::from_secs(tick * 15);
        changes = detectors.step(young, BOUNDS, at(tick));
    }
    assert!(changes.closed[0].explanation.contains("; the new normal since"));
}

#[test]
fn one_rare_tick_or_a_young_series_opens_nothing() {
    let mut detectors = Detectors::default();
    for tick in 0..20 {
        let rare = if tick % 5 == 0 { 1e-12 } else { 0.5 };
        assert!(detectors.step(judged(rare, 9.0, true), BOUNDS, at(tick)).opened.is_empty());
    }
    for tick in 20..30 {
        assert!(detectors.step(judged(1e-12, 9.0, false), BOUNDS, at(tick)).opened.is_empty());
    }
}

#[test]
fn an_open_anomaly_is_told_again_only_when_it_grows() {
    let mut detectors = Detectors::default();
    detectors.step(judged(1e-12, 9.0, true), BOUNDS, at(0));
    let id = detectors.step(judged(1e-12, 9.0, true), BOUNDS, at(1)).opened[0].id.clone();
    for tick in 2..10 {
        assert!(detectors.step(judged(1e-12, 9.0, true), BOUNDS, at(tick)).updated.is_empty());
    }
    let updated = detectors.step(judged(1e-30, 40.0, true), BOUNDS, at(10)).updated;
    assert_eq!(updated.len(), 1);
    assert_eq!(updated[0].id, id);
    assert_eq!(updated[0].severity, Severity::Critical);
}

#[test]
fn the_more_series_there_are_the_rarer_an_anomaly_must_be() {
    let p = 1e-7;
    for (series, opens) in [(1, true), (100_000, false)] {
        let bounds = Bounds { series, ..BOUNDS };
        let mut detectors = Detectors::default();
        detectors.step(judged(p, 9.0, true), bounds, at(0));
        let changes = detectors.step(judged(p, 9.0, true), bounds, at(1));
        assert_eq!(!changes.opened.is_empty(), opens, "{series} series");
    }
}

#[test]
fn scores_are_in_the_unit_interval_and_rise_with_rarity() {
    let scores = [1.0, 1e-3, 1e-8, 1e-300, 0.0].map(severity::score);
    assert!(scores.windows(2).all(|w| w[0] < w[1]), "{scores:?}");
    assert!(scores.iter().all(|s| (0.0..=1.0).contains(s)));
    assert!((severity::score(1e-8) - 0.5).abs() < 1e-12);
}

#[test]
fn an_anomaly_goes_on_under_its_id_after_a_restart() {
    let detectors = open();
    let saved = postcard::to_allocvec(&detectors).unwrap();
    let mut restored: Detectors = postcard::from_bytes(&saved).unwrap();
    assert_eq!(restored.open(), detectors.open());
    assert!(restored.step(judged(1e-12, 9.0, true), BOUNDS, at(2)).opened.is_empty());
    assert_eq!(restored.open()[0].id, detectors.open()[0].id);
}

#[test]
fn closed_anomalies_are_bounded() {
    let mut detectors = Detectors::default();
    for round in 0..5 {
        for tick in [0, 1] {
            detectors.step(judged(1e-12, 9.0, true), BOUNDS, at(round * 300 + tick));
        }
        for tick in 2..20 {
            detectors.step(judged(0.9, 1.0, true), BOUNDS, at(round * 300 + tick));
        }
    }
    assert_eq!(detectors.recently_closed().count(), 2);
    let newest_first: Vec<Time> = detectors.recently_closed().map(|a| a.opened_at).collect();
    assert_eq!(newest_first, [at(1200), at(900)]);
    assert_eq!(detectors.opened_totals()[0].1, 5);
}
