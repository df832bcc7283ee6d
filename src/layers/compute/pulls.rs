//! Which registries turn pulls away, and why? From the kubelet's `Failed` events: a pull that succeeds at the third try
//! leaves no other trace.

use crate::labels;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Event, registry};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::tally::Tallies;

pub(super) static FAILURES: Signal = Signal {
    block: "S2.6",
    name: "compute_image_pull_failures_total",
    layer: Layer::Compute,
    help: "Failed pulls of images that the kubelet reported, by registry and reason. Reports are rationed, so the number is \
           a lower bound. One now and then is normal: the next try succeeds.",
    unit: Unit::Count,
    labels: &["registry", "reason"],
    reasons: REASONS,
    bound: "registries × 5 reasons",
    needs: &[Kind::Event],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

const REASONS: &[&str] = &["throttled", "unauthorized", "not_found", "unreachable", "other"];

/// How the kubelet begins to tell of a pull that failed; the image stands in quotes behind it.
const FAILED: &str = "Failed to pull image \"";

/// Words of containerd, CRI-O and registries, in small letters, and the reason that they tell; the first that is found
/// decides. Registries say `denied` of repositories that they do not have, too.
const WORDS: &[(&str, &str)] = &[
    ("toomanyrequests", "throttled"),
    ("too many requests", "throttled"),
    ("rate limit", "throttled"),
    ("401 unauthorized", "unauthorized"),
    ("403 forbidden", "unauthorized"),
    ("authorization failed", "unauthorized"),
    ("authentication required", "unauthorized"),
    ("no basic auth credentials", "unauthorized"),
    ("unauthorized:", "unauthorized"),
    ("denied", "unauthorized"),
    ("manifest unknown", "not_found"),
    ("name unknown", "not_found"),
    ("404 not found", "not_found"),
    (": not found", "not_found"),
    ("no such host", "unreachable"),
    ("server misbehaving", "unreachable"),
    ("name resolution", "unreachable"),
    ("dial tcp", "unreachable"),
    ("timeout", "unreachable"),
    ("deadline exceeded", "unreachable"),
    ("connection re", "unreachable"),
    ("x509", "unreachable"),
    ("unexpected eof", "unreachable"),
    ("500 internal server error", "unreachable"),
    ("502 bad gateway", "unreachable"),
    ("503 service unavailable", "unreachable"),
    ("504 gateway time-out", "unreachable"),
    ("registryunavailable", "unreachable"),
];

/// The image that could not be pulled, and why.
fn failure(note: &str) -> Option<(&str, &'static str)> {
    let (_, told) = note.split_once(FAILED)?;
    let (image, words) = told.split_once('"')?;
    // Images and addresses are quoted: what they are called tells nothing.
    let words: String = words.split('"').step_by(2).collect();
    let words = words.to_ascii_lowercase();
    let known = WORDS.iter().find(|(word, _)| words.contains(word));
    Some((image, known.map_or("other", |(_, reason)| reason)))
}

/// Counts what a series of events has grown by.
pub(super) fn observe(event: &Event, tallies: &mut Tallies) {
    if event.reason != "Failed" || event.regarding.kind != "Pod" {
        return;
    }
    let Some((image, reason)) = failure(&event.note) else { return };
    let (uid, seen) = (event.meta.uid, u64::from(event.count));
    // An older report that comes late must not count as a new series.
    if seen >= tallies.mark(Kind::Event, uid, "pull") {
        let new = tallies.advance(Kind::Event, uid, "pull", seen);
        tallies.add(&FAILURES, labels![registry(image), reason], new);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::event;
    use super::*;

    #[test]
    fn the_runtimes_words_tell_why() {
        let cases = [
            (
                "unexpected status from HEAD request to https://r/v2/a/manifests/1: 429 Too Many Requests",
                "throttled",
            ),
            (
                "failed to copy: httpReadSeeker: failed open: unexpected status code https://r/v2/a: 429 Too Many Requests \
                 - Server message: toomanyrequests: You have reached your unauthenticated pull rate limit.",
                "throttled",
            ),
            (
                "reading manifest 1 in r/a: toomanyrequests: pull rate limit reached, authentication required",
                "throttled",
            ),
            (
                "unexpected status from HEAD request to https://r/v2/a/manifests/1: 401 Unauthorized",
                "unauthorized",
            ),
            (
                "pull access denied, repository does not exist or may require authorization: server message: \
                 insufficient_scope: authorization failed",
                "unauthorized",
            ),
            ("reading manifest 1 in r/a: manifest unknown", "not_found"),
            ("failed to resolve reference \"r/denied:1\": r/a:1: not found", "not_found"),
            (
                "failed to do request: Head \"https://r/v2\": dial tcp: lookup r: i/o timeout",
                "unreachable",
            ),
            (
                "pinging container registry r: Get \"https://r/v2/\": read tcp 10.0.0.1: connection reset by peer",
                "unreachable",
            ),
            ("failed to extract layer: no space left on device", "other"),
        ];
        for (words, reason) in cases {
            let note = format!(
                "Failed to pull image \"r.example/x509:1\": failed to pull and unpack image \"r.example/x509:1\": {words}"
            );
            assert_eq!(failure(&note), Some(("r.example/x509:1", reason)), "{words}");
            assert!(REASONS.contains(&reason));
        }
        assert_eq!(failure("Error: ErrImagePull"), None);
        assert_eq!(failure("Failed to pull image"), None);
    }

    /// The totals after reports with these counts, of which some were there before kubestrata.
    fn counted(before: &[u32], since: &[u32]) -> Vec<(String, u64)> {
        let note = "(combined from similar events): Failed to pull image \"r.example/a:1\": 429 Too Many Requests";
        let event = event(Kind::Pod, "web-1", "Failed", note);
        let mut tallies = Tallies::default();
        let look = |counts: &[u32], tallies: &mut Tallies| {
            for count in counts {
                observe(&Event { count: *count, ..event.clone() }, tallies);
            }
        };
        look(before, &mut tallies);
        tallies.synced(Kind::Event, std::iter::once(event.meta.uid));
        look(since, &mut tallies);
        let totals = tallies.counters(&FAILURES);
        totals.map(|(l, n)| (l.iter().collect::<Vec<_>>().join(" "), n)).collect()
    }

    #[test]
    fn a_series_counts_what_it_grows_by_since_kubestrata_came() {
        let all = |n| vec![("r.example throttled".to_owned(), n)];
        assert_eq!(counted(&[], &[1, 1, 4, 3, 9]), all(9));
        assert_eq!(counted(&[7], &[7]), []);
        assert_eq!(counted(&[7], &[7, 9]), all(2));
    }

    #[test]
    fn only_what_is_told_of_pods_counts() {
        let mut tallies = Tallies::default();
        tallies.synced(Kind::Event, std::iter::empty());
        let note = "Failed to pull image \"a:1\": a:1: not found";
        observe(&event(Kind::Node, "n1", "Failed", note), &mut tallies);
        observe(&event(Kind::Pod, "web-1", "BackOff", note), &mut tallies);
        assert_eq!(tallies.counters(&FAILURES).count(), 0);
        observe(&event(Kind::Pod, "web-1", "Failed", note), &mut tallies);
        let (labels, _) = tallies.counters(&FAILURES).next().unwrap();
        assert_eq!(labels.iter().collect::<Vec<_>>(), ["docker.io", "not_found"]);
    }
}
