//! Does a daemon say what it can't see? For as long as it is not allowed to, or nobody answers, its layers are unknown.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kubestrata::model::kind::Kind;
use kubestrata::model::report::{Report, Series};
use kubestrata::model::source::Availability;
use kubestrata::sim::Trouble;

use super::plan::Planned;
use super::play::time;

/// A right that is taken away shows when a watch is begun anew, every two minutes.
const RIGHT: Duration = Duration::from_secs(170);
/// A definition that is taken away shows when the API server is asked what it serves.
const SERVED: Duration = Duration::from_secs(90);
/// What was known is worth reading for five minutes.
const ANSWER: Duration = Duration::from_secs(340);
/// By how much clocks are off.
const SKEW: SignedDuration = SignedDuration::from_secs(10);

/// What a report says to see that can't be seen.
pub fn pretended(report: &Report, troubles: &[Planned]) -> Vec<String> {
    let mut pretended = Vec::new();
    for Planned { trouble, from, until } in troubles {
        let lasts = |known: Duration| -> bool {
            let (from, until): (Timestamp, Timestamp) = (time(*from + known), time(*until));
            from + SKEW <= report.at && report.at + SKEW < until
        };
        let kinds: Vec<Kind> = match trouble {
            Trouble::Forbidden { resource } if lasts(RIGHT) => kinds(resource),
            Trouble::Withdrawn { resource } if lasts(SERVED) => kinds(resource),
            Trouble::Unknown if lasts(RIGHT + ANSWER) => all(),
            Trouble::Outage if lasts(ANSWER) => all(),
            _ => continue,
        };
        let served = report.sources.iter().filter(|(kind, source, _)| {
            kinds.contains(kind) && source.availability == Availability::Served
        });
        pretended.extend(served.map(|(kind, ..)| format!("{kind:?} is seen in {trouble:?}")));
        let seeing = report.signals.iter().filter(|s| {
            // Where nobody answers either, the last state is worth reading for a while.
            let refused = |kind: &Kind| {
                let mut sources = report.sources.iter();
                let source = sources.find(|(k, ..)| k == kind).map(|(_, s, _)| s.availability);
                let gone = matches!(source, Some(Availability::Forbidden | Availability::Absent));
                gone || *trouble == Trouble::Outage
            };
            let needs = s.signal.needs.iter().any(|kind| kinds.contains(kind) && refused(kind));
            needs && !matches!(s.series, Series::Absent { .. })
        });
        pretended.extend(seeing.map(|s| format!("{} sees in {trouble:?}", s.signal.name)));
    }
    pretended.iter_mut().for_each(|what| *what = format!("at {}: {what}", report.at));
    pretended
}

/// The kind of a resource. Events are served twice, and one may be read where the other may not.
fn kinds(resource: &str) -> Vec<Kind> {
    let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
    let named = |k: &Kind| k.plural() == plural && k.group() == group && *k != Kind::Event;
    Kind::ALL.iter().copied().filter(|k| k.is_resource()).filter(named).collect()
}

/// Every kind of the API.
fn all() -> Vec<Kind> {
    Kind::ALL.iter().copied().filter(|k| k.is_resource()).collect()
}
