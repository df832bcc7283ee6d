//! How many events come at once? Learned from all series of a signal, for a series that has little past of its own.
//!
//! Replicas run the same program and fail together; a node's pods ask the same network. So events out of silence are not
//! single, and a Poisson law fitted to silence takes the first three for a wonder. If clusters come by chance and have
//! sizes n, the counts of any window have the dispersion E n² / E n (compound Poisson; Feller, An Introduction to
//! Probability Theory and Its Applications, vol. 1, 3rd ed., §XII.2). What came within two minutes, after an hour of
//! silence, is one cluster; what belongs to an anomaly is none. A series' own dispersion counts the more, the more events
//! it has had (empirical Bayes).
//!
//! It is wrong where series of a signal are of different kinds: then what is usual of one is taken to be of all.

use serde::{Deserialize, Serialize};

/// Events that are taken to have come alone before any has been seen.
const ALONE: f64 = 3.0;

/// How many events of its own weigh as much as what is known of all series.
const OWN: f64 = 5.0;

/// The largest size that counts: one flood must not hide the next.
const LARGEST: u64 = 10;

/// What is left of the past when a cluster comes: about the last fifty count.
const KEPT: f64 = 0.98;

/// The sizes of clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Clusters {
    /// Of those that are known: sums of sizes and of their squares.
    sizes: f64,
    squares: f64,
    /// How many are new, and the same sums.
    new: (f64, f64, f64),
}

impl Clusters {
    /// Takes in a cluster of so many events, which is known from [`Clusters::learn`] on.
    pub(super) fn take(&mut self, size: u64) {
        let size = size.min(LARGEST) as f64;
        let (count, sizes, squares) = self.new;
        self.new = (count + 1.0, sizes + size, squares + size * size);
    }

    /// Learns what was taken in: at the end of a tick, so that the order of series does not matter.
    pub(super) fn learn(&mut self) {
        let (count, sizes, squares) = std::mem::take(&mut self.new);
        let kept = KEPT.powf(count);
        (self.sizes, self.squares) = (self.sizes * kept + sizes, self.squares * kept + squares);
    }

    /// The dispersion (variance over mean, ≥ 1) of the counts of a series that has had so many events with a dispersion of
    /// `own`, which it never falls below.
    pub(super) fn dispersion(&self, own: f64, events: u64) -> f64 {
        let of_all = (ALONE + self.squares) / (ALONE + self.sizes);
        let events = events as f64;
        own.max((OWN * of_all + events * own) / (OWN + events))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(sizes: &[u64]) -> Clusters {
        let mut clusters = Clusters::default();
        for size in sizes {
            clusters.take(*size);
            clusters.learn();
        }
        clusters
    }

    #[test]
    fn what_comes_in_clusters_elsewhere_is_expected_to_here() {
        let cases: &[(&[u64], f64, u64, f64)] = &[
            (&[], 1.0, 0, 1.0),
            (&[1, 1, 1, 1], 1.0, 0, 1.0),
            (&[3], 1.0, 0, 2.0),
            (&[3], 1.0, 5, 1.5),
            (&[3], 4.0, 0, 4.0),
        ];
        for (sizes, own, events, expected) in cases {
            let dispersion = taken(sizes).dispersion(*own, *events);
            assert!((dispersion - expected).abs() < 1e-9, "{sizes:?} {own} {events}: {dispersion}");
        }
    }

    #[test]
    fn what_comes_in_the_same_tick_is_known_after_it_in_any_order() {
        let at_once = |sizes: [u64; 3]| {
            let mut clusters = taken(&[2, 2]);
            sizes.iter().for_each(|size| clusters.take(*size));
            assert_eq!(clusters.dispersion(1.0, 0), taken(&[2, 2]).dispersion(1.0, 0));
            clusters.learn();
            clusters
        };
        assert_eq!(at_once([1, 5, 9]), at_once([9, 1, 5]));
        assert!(at_once([1, 5, 9]).dispersion(1.0, 0) > 3.0);
    }

    #[test]
    fn what_was_is_forgotten() {
        let mut sizes = vec![9; 20];
        sizes.extend([1; 300]);
        assert!(taken(&sizes).dispersion(1.0, 0) < 1.1);
    }

    proptest! {
        #[test]
        fn it_is_at_least_what_it_is_of_its_own_and_bounded(
            sizes in prop::collection::vec(any::<u64>(), 0..80), own in 1.0..50.0_f64, events in any::<u64>(),
        ) {
            let dispersion = taken(&sizes).dispersion(own, events);
            prop_assert!(dispersion >= own && dispersion <= own.max(LARGEST as f64) + 1e-9);
        }
    }
}
