//! What does the log say? What opened and closed, and which sources can't see: once each, not at every tick.

use std::collections::BTreeMap;

use tracing::{info, warn};

use crate::model::kind::Kind;
use crate::model::report::{Notice, Report};
use crate::model::source::{Availability, SourceStatus};
use crate::model::text::Text;

#[derive(Debug, Default)]
pub(super) struct Journal {
    sight: BTreeMap<Kind, Availability>,
    undecodable: BTreeMap<Kind, u64>,
    silent: BTreeMap<Kind, Vec<Text>>,
    ready: bool,
    dropped_series: u64,
    dropped_events: u64,
}

impl Journal {
    pub(super) fn log(&mut self, report: &Report) {
        self.log_sources(&report.sources);
        if report.myself.ready && !self.ready {
            let objects: usize = report.sources.iter().map(|(_, _, count)| count).sum();
            info!(objects, series = report.myself.series, "synced with the cluster");
            self.ready = true;
        }
        for notice in &report.notices {
            log_notice(notice);
        }
        let limits = [
            (
                "limits.series or limits.baselines",
                report.myself.dropped_series,
                &mut self.dropped_series,
            ),
            ("limits.events", report.myself.dropped_events, &mut self.dropped_events),
        ];
        for (limit, dropped, told) in limits {
            if dropped > 0 && *told == 0 {
                warn!(limit, dropped, "a limit is reached, what is beyond it is left out");
            }
            *told = dropped;
        }
    }

    /// Sources that fail alike are one line: an API server that is down is one fault, not sixteen.
    fn log_sources(&mut self, sources: &[(Kind, SourceStatus, usize)]) {
        let mut changed: BTreeMap<(Availability, &str), Vec<&str>> = BTreeMap::new();
        for (kind, status, _) in sources {
            let before = self.sight.insert(*kind, status.availability).unwrap_or_default();
            if before != status.availability {
                // Which request was refused with 401 first says nothing about the others.
                let message = match status.availability {
                    Availability::Forbidden | Availability::Unreachable => status.message.as_str(),
                    _ => "",
                };
                changed.entry((status.availability, message)).or_default().push(kind.source());
            }
            let told = self.undecodable.entry(*kind).or_default();
            if status.undecodable > *told {
                let (count, why) = (status.undecodable, &status.message);
                warn!(
                    source = kind.source(),
                    count, why, "an object could not be read and is left out"
                );
                *told = status.undecodable;
            }
            let silent = self.silent.entry(*kind).or_default();
            if *silent != status.silent {
                match status.silent.is_empty() {
                    true => info!(source = kind.source(), "all answer again"),
                    false => warn!(source = kind.source(), why = status.message, "not all answer"),
                }
                silent.clone_from(&status.silent);
            }
        }
        for ((availability, why), kinds) in changed {
            let sources = kinds.join(", ");
            match availability {
                Availability::Served if self.ready => info!(sources, "sources can see again"),
                Availability::Served | Availability::Syncing | Availability::Disabled => {}
                Availability::Absent => {
                    info!(sources, "kinds not served, layers read without them");
                }
                Availability::Forbidden => {
                    warn!(
                        sources,
                        why, "not allowed to list and watch; grant it with docs/clusterrole.yaml"
                    );
                }
                Availability::Unauthorized => {
                    warn!(sources, "the API server does not accept our credentials, trying again");
                }
                Availability::Unreachable => {
                    warn!(sources, why, "no answer, trying again with back-off");
                }
            }
        }
    }
}

fn log_notice(notice: &Notice) {
    match notice {
        Notice::FindingOpened(f) => info!(
            id = f.id, layer = %f.layer, signal = %f.signal, severity = f.severity.name(),
            reason = %f.reason, since = %f.since, "finding opened: {}", f.message
        ),
        Notice::FindingClosed(f) => info!(
            id = f.id, layer = %f.layer, signal = %f.signal, reason = %f.reason,
            "finding closed: {}: {}", f.subject, f.message
        ),
        Notice::AnomalyOpened(a) => info!(
            id = a.id, layer = %a.layer, severity = a.severity.name(), "anomaly opened: {}",
            a.explanation
        ),
        Notice::AnomalyUpdated(a) => info!(
            id = a.id, layer = %a.layer, severity = a.severity.name(), "anomaly grew: {}",
            a.explanation
        ),
        Notice::AnomalyClosed(a) => {
            info!(id = a.id, layer = %a.layer, signal = %a.signal, "anomaly closed: {}", a.subject);
        }
    }
}
