//! What was told, when, of what? By kubestrata, and by what others would have used on the same readings.

use crate::model::finding::Severity;
use crate::model::record::Time;
use crate::model::report::{Notice, Report};
use crate::model::subject::Subject;
use crate::model::text::Text;

/// Something that was told once.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// When.
    pub at: Time,
    /// The signal on which it rests.
    pub signal: Text,
    /// What it is about.
    pub subject: Subject,
    /// What it is called.
    pub what: What,
    /// In words; empty where the teller has none.
    pub message: String,
}

/// What kind of thing was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A finding of this severity.
    Finding(Severity),
    /// An anomaly.
    Anomaly,
    /// An alert of this name.
    Alert(&'static str),
}

impl Told {
    /// Whether somebody would have been disturbed: an informational finding only stands on a page.
    #[must_use]
    pub fn disturbs(&self) -> bool {
        self.what != What::Finding(Severity::Info)
    }
}

/// Something that looks at every report and tells.
pub(super) trait Watcher {
    /// What it tells anew.
    fn look(&mut self, report: &Report) -> Vec<Told>;
}

/// kubestrata: what opened.
pub(super) struct Kubestrata;

impl Watcher for Kubestrata {
    fn look(&mut self, report: &Report) -> Vec<Told> {
        let told = |notice: &Notice| {
            let (signal, subject, what, message) = match notice {
                Notice::FindingOpened(f) => {
                    (&f.signal, &f.subject, What::Finding(f.severity), &f.message)
                }
                Notice::AnomalyOpened(a) => (&a.signal, &a.subject, What::Anomaly, &a.explanation),
                _ => return None,
            };
            let (signal, subject, message) = (signal.clone(), subject.clone(), message.clone());
            Some(Told { at: report.at, signal, subject, what, message })
        };
        report.notices.iter().filter_map(told).collect()
    }
}
