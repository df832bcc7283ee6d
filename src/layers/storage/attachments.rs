//! Do volumes reach their nodes, and how long does it take?

use jiff::SignedDuration;

use super::faults::fault_by_code;
use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{AttachError, Time, VolumeAttachment};
use crate::model::signal::{Lasted, Observation, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::text::Text;
use crate::model::view::View;
use crate::model::world::World;

pub(super) static ERROR: Signal = Signal {
    block: "S1.6",
    name: "storage_attach_error",
    layer: Layer::Storage,
    help: "Attachments that their driver fails to make or to undo, or does not answer; healthy is none.",
    unit: Unit::Count,
    labels: &["driver", "stage", "reason"],
    reasons: &[
        "quota_or_capacity",
        "auth",
        "topology",
        "params",
        "in_use",
        "not_found",
        "timeout",
        "unavailable",
        "other",
        "unanswered",
    ],
    bound: "drivers × 2 stages × 10 reasons",
    needs: &[Kind::VolumeAttachment],
    uses: &[Kind::PersistentVolume],
    profile: Profile::None,
    read: Read::Rule(error),
};

pub(super) static SECONDS: Signal = Signal {
    block: "S1.6",
    name: "storage_attach_seconds",
    layer: Layer::Storage,
    help: "How long volumes took to be attached to their nodes; healthy is stable.",
    unit: Unit::Seconds,
    labels: &["driver"],
    reasons: &[],
    bound: "drivers",
    needs: &[Kind::VolumeAttachment],
    uses: &[],
    profile: Profile::Durations,
    read: Read::Histogram(&[1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0]),
};

pub(super) static FAILURES: Signal = Signal {
    block: "S1.6",
    name: "storage_attach_failures_total",
    layer: Layer::Storage,
    help: "Failed attempts to attach or detach a volume; the API forgets them with the next success.",
    unit: Unit::Count,
    labels: &["driver", "stage", "reason"],
    reasons: &[
        "quota_or_capacity",
        "auth",
        "topology",
        "params",
        "in_use",
        "not_found",
        "timeout",
        "unavailable",
        "other",
    ],
    bound: "drivers × 2 stages × 9 reasons",
    needs: &[Kind::VolumeAttachment],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

/// What holds an attachment up.
struct Fault<'a> {
    stage: &'static str,
    reason: &'static str,
    since: Time,
    dwell: SignedDuration,
    message: &'a str,
}

fn error(view: &View<'_>, verdicts: &mut Verdicts) {
    for attachment in view.world.volume_attachments.iter() {
        let Some(fault) = fault_of(attachment) else { continue };
        let (stage, reason) = (fault.stage, fault.reason);
        let (driver, node) = (&attachment.driver, &attachment.node);
        let volume = describe(view.world, attachment);
        let told = if fault.message.is_empty() {
            format!(
                "{driver} has not answered the request to {stage} {volume}: look at its controller's pods"
            )
        } else {
            format!("{driver} fails to {stage} {volume}: \"{}\"", fault.message)
        };
        verdicts.push(Verdict {
            subject: Subject::new(Kind::VolumeAttachment, &Text::default(), &attachment.meta.name),
            labels: labels![driver, stage, reason],
            reason,
            severity: Severity::Warning,
            since: Some(fault.since),
            dwell: fault.dwell,
            message: format!("{told} (node {node})"),
        });
    }
}

fn fault_of(attachment: &VolumeAttachment) -> Option<Fault<'_>> {
    let created = attachment.meta.created;
    match (attachment.meta.deleting, &attachment.attach_error, &attachment.detach_error) {
        (Some(deleting), _, Some(error)) => Some(told("detach", deleting, 120, error)),
        (None, Some(error), _) if !attachment.attached => Some(told("attach", created, 30, error)),
        (None, None, _) if !attachment.attached => Some(Fault {
            stage: "attach",
            reason: "unanswered",
            since: created,
            dwell: SignedDuration::from_mins(5),
            message: "",
        }),
        _ => None,
    }
}

fn told<'a>(stage: &'static str, since: Time, dwell: i64, error: &'a AttachError) -> Fault<'a> {
    Fault {
        stage,
        reason: fault_by_code(error.code, &error.message),
        since,
        dwell: SignedDuration::from_secs(dwell),
        message: if error.message.is_empty() { "no message" } else { &error.message },
    }
}

/// The volume of an attachment with its claim, in words.
fn describe(world: &World, attachment: &VolumeAttachment) -> String {
    let name = &attachment.volume;
    if name.is_empty() {
        return "an inline volume".to_owned();
    }
    match world.volumes.get("", name).and_then(|volume| volume.claim.as_ref()) {
        Some(claim) => format!("volume {name} of claim {}/{}", claim.namespace, claim.name),
        None => format!("volume {name}"),
    }
}

/// Counts failed attempts and records how long a successful one took.
pub(super) fn observe(o: &Observation<'_>, attachment: &VolumeAttachment, tallies: &mut Tallies) {
    let (meta, driver) = (&attachment.meta, &attachment.driver);
    let errors = [("attach", &attachment.attach_error), ("detach", &attachment.detach_error)];
    for (stage, error) in errors {
        let Some(error) = error else { continue };
        // Each attempt that fails writes its time; drivers that leave it out are counted once.
        let second = error.time.map_or(1, |time| time.as_second().unsigned_abs());
        let fresh = tallies.mark(Kind::VolumeAttachment, meta.uid, stage) < second;
        if fresh && tallies.advance(Kind::VolumeAttachment, meta.uid, stage, second) > 0 {
            let reason = fault_by_code(error.code, &error.message);
            tallies.add(&FAILURES, labels![driver, stage, reason], 1);
        }
    }
    let held = o.world.volume_attachments.get("", &meta.name);
    if attachment.attached && held.is_some_and(|h| h.meta.uid == meta.uid && !h.attached) {
        let seconds = o.now.duration_since(meta.created).as_secs_f64();
        tallies.record(&SECONDS, labels![driver], seconds);
    }
}

/// How long the attachments took that there are.
pub(super) fn lasted<'v>(view: &'v View<'_>) -> impl Iterator<Item = Lasted> + 'v {
    view.world.volume_attachments.iter().filter_map(|attachment| {
        let (meta, ended) = (&attachment.meta, attachment.attached_at?);
        Some(Lasted {
            signal: &SECONDS,
            labels: labels![&attachment.driver],
            ended,
            seconds: ended.duration_since(meta.created).as_secs_f64(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Counted, ago, attachment, judge, meta, objects, volume, world};
    use super::*;
    use crate::model::record::{Meta, Object};

    fn failed(code: Option<i32>, message: &str, age: i64) -> AttachError {
        AttachError { time: Some(ago(age)), message: message.into(), code }
    }

    fn pending(age: i64, error: Option<AttachError>) -> VolumeAttachment {
        let meta = meta("", "csi-data-n1", age);
        VolumeAttachment { meta, attached: false, attach_error: error, ..attachment("data", "n1") }
    }

    fn leaving(error: Option<AttachError>) -> VolumeAttachment {
        let meta = Meta { deleting: Some(ago(200)), ..meta("", "csi-data-n1", 3600) };
        VolumeAttachment { meta, detach_error: error, ..attachment("data", "n1") }
    }

    #[test]
    fn attachments_that_are_there_tell_how_long_they_took() {
        let known = VolumeAttachment { attached_at: Some(ago(3590)), ..attachment("data", "n1") };
        let silent = attachment("logs", "n1");
        let world = world(&[], objects![known, silent]);
        let told: Vec<_> = lasted(&View::new(&world, ago(0))).collect();
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].seconds, told[0].ended), (10.0, ago(3590)));
        assert_eq!(told[0].labels, labels!["csi.example"]);
    }

    #[test]
    fn an_attachment_says_what_holds_it_up() {
        let full = || Some(failed(Some(8), "too many volumes", 5));
        let slow = || Some(failed(None, "rpc error: code = DeadlineExceeded", 5));
        let attached = || attachment("data", "n1");
        let cases = [
            ("attached", attached(), ""),
            (
                "attached after an error",
                VolumeAttachment { attach_error: full(), ..attached() },
                "",
            ),
            ("failing", pending(90, full()), "attach quota_or_capacity 90 30"),
            ("no answer", pending(90, None), "attach unanswered 90 300"),
            ("detaching", leaving(None), ""),
            ("failing to detach", leaving(slow()), "detach timeout 200 120"),
            ("an old error", VolumeAttachment { detach_error: slow(), ..attached() }, ""),
        ];
        for (name, attachment, expected) in cases {
            let verdicts = judge(&ERROR, &world(&[], objects![attachment, volume("data")]));
            let told: Vec<_> = verdicts
                .iter()
                .map(|verdict| {
                    let stage = verdict.labels.get(1).unwrap();
                    let age = ago(0).duration_since(verdict.since.unwrap()).as_secs();
                    format!("{stage} {} {age} {}", verdict.reason, verdict.dwell.as_secs())
                })
                .collect();
            assert_eq!(told.join(""), expected, "{name}");
        }
    }

    #[test]
    fn a_message_names_volume_claim_node_and_what_was_said() {
        let failing = pending(90, Some(failed(None, "zone is full", 5)));
        let verdict = &judge(&ERROR, &world(&[], objects![failing, volume("data")]))[0];
        for words in ["pv-data", "shop/data", "n1", "zone is full", "csi.example"] {
            assert!(verdict.message.contains(words), "{}", verdict.message);
        }
    }

    #[test]
    fn each_failed_attempt_counts_once_and_the_success_is_timed() {
        let failing = |message, age| pending(100, Some(failed(None, message, age)));
        let mut counted = Counted::new(objects![pending(100, None)]);
        counted.see(failing("quota", 90), 90).see(failing("quota", 90), 89);
        counted.see(failing("timeout", 80), 80);
        let done = VolumeAttachment { attached: true, ..pending(100, None) };
        counted.see(done.clone(), 60).see(done, 50);
        let expected = [("quota_or_capacity", 1), ("timeout", 1)];
        let expected = expected.map(|(reason, n)| (format!("csi.example attach {reason}"), n));
        assert_eq!(counted.totals(&FAILURES), expected);
        assert_eq!(counted.durations(&SECONDS), [("csi.example".to_owned(), 1, 40.0)]);
    }

    #[test]
    fn what_was_attached_before_the_watch_is_not_timed() {
        let mut counted = Counted::new(Vec::<Object>::new());
        counted.see(attachment("data", "n1"), 5);
        assert!(counted.durations(&SECONDS).is_empty());
    }
}
