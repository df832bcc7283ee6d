//! How many requests are refused by policy, and by which? Each counted once, by the source that sees most.
//!
//! The rule: from the first audit event on, audit events alone count, without those older than what was counted before,
//! until the audit log falls silent. Else the API server's metrics count what they have: webhooks, admission policies, Pod Security, authorization and
//! authentication. Events count what neither sees: quotas beside the metrics, and everything that they tell where there
//! are no metrics. A scrape right after the end of the audit only sets the marks, for the audit may have counted what it
//! holds: at a change of sources a refusal may be lost, but never counts twice. A request that two webhooks refuse at
//! once counts for both in the API server's own numbers. Refused evictions are not policy: a disruption budget works.

use crate::labels;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{AuditEvent, Event, Refusal, Time, Uid};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::source::Availability;
use crate::model::tally::Tallies;
use crate::model::world::World;

pub(super) static DENIALS: Signal = Signal {
    block: "S5.2",
    name: "security_policy_denials_total",
    layer: Layer::Security,
    help: "Requests refused by webhooks, admission policies, Pod Security, quotas, authorization or authentication, each \
           counted once: by audit events where they come in, else by the API server's metrics, and by events what \
           neither sees. Healthy is low and steady.",
    unit: Unit::Count,
    labels: &["source", "reason", "policy"],
    reasons: &[
        "webhook",
        "admission_policy",
        "pod_security",
        "quota",
        "rbac",
        "authentication",
        "other",
    ],
    bound: "3 sources × policies, webhooks and quotas",
    needs: &[],
    uses: &[Kind::Audit, Kind::ApiServerMetrics, Kind::Event],
    profile: Profile::Rate,
    read: Read::Counter,
};

fn is_served(world: &World, kind: Kind) -> bool {
    world.source_ref(kind).is_some_and(|s| s.availability == Availability::Served)
}

/// Marks of the audit log as a whole: that it has spoken, and up to which second others have counted.
const HEARD: &str = "heard";
const UNTIL: &str = "until";

/// Seconds without a word after which the audit log is taken to have ended: API servers audit their own controllers,
/// and these never rest.
const SILENT: i64 = 900;

/// Whether the audit log counts: its receiver is there, something to tell has come, and something still comes. A
/// receiver alone tells nothing.
pub(super) fn is_audited(o: &Observation<'_>, tallies: &Tallies) -> bool {
    let source = o.world.source_ref(Kind::Audit);
    let heard = source.filter(|s| s.availability == Availability::Served).and_then(|s| s.last_sync);
    let speaks = heard.is_some_and(|at| o.now.duration_since(at).as_secs() <= SILENT);
    speaks && tallies.mark(Kind::Audit, Uid::default(), HEARD) > 0
}

/// Notes that the audit log speaks, and says whether nobody else has counted what it tells.
pub(super) fn hear(o: &Observation<'_>, audit: &AuditEvent, tallies: &mut Tallies) -> bool {
    tallies.advance(Kind::Audit, Uid::default(), HEARD, 1);
    let until = tallies.mark(Kind::Audit, Uid::default(), UNTIL);
    is_served(o.world, Kind::Audit) && (until == 0 || seconds(audit.at) > until)
}

/// Notes that others have counted what happened until then.
pub(super) fn counted_until(at: Time, tallies: &mut Tallies) {
    tallies.advance(Kind::Audit, Uid::default(), UNTIL, seconds(at));
}

fn seconds(at: Time) -> u64 {
    at.as_second().max(0) as u64
}

/// Whether the API server's metrics count, or may turn out to: after an outage of theirs, and after our start, the next
/// answer makes up for it.
fn is_measured(world: &World) -> bool {
    use Availability::{Served, Syncing, Unauthorized, Unreachable};
    let source = world.source_ref(Kind::ApiServerMetrics);
    source.is_none_or(|s| matches!(s.availability, Syncing | Served | Unreachable | Unauthorized))
}

/// Counts a refusal in the audit log.
pub(super) fn observe_audit(audit: &AuditEvent, tallies: &mut Tallies) {
    let Some(refusal) = audit.refusal else { return };
    match refusal {
        Refusal::DisruptionBudget => {}
        Refusal::PodSecurity => {
            let level = up_to(&audit.by, &[':']);
            tallies.add(&DENIALS, labels!["audit", refusal.name(), level], 1);
        }
        Refusal::Authorization | Refusal::Authentication => {
            tallies.add(&DENIALS, labels!["audit", refusal.name(), ""], 1);
        }
        _ => tallies.add(&DENIALS, labels!["audit", refusal.name(), &audit.by], 1),
    }
}

/// Counts what an event tells of refusals, as far as nobody else does.
pub(super) fn observe_event(o: &Observation<'_>, event: &Event, tallies: &mut Tallies) {
    let Some((reason, policy)) = refusal(event) else { return };
    let new = tallies.advance(Kind::Event, event.meta.uid, "denial", u64::from(event.count));
    let measured = is_measured(o.world) && reason != "quota";
    if !measured && !is_audited(o, tallies) {
        tallies.add(&DENIALS, labels!["event", reason, policy], new);
        counted_until(event.last, tallies);
    }
}

/// What refused, and which policy, as far as an event tells.
fn refusal(event: &Event) -> Option<(&'static str, &str)> {
    match event.reason.as_str() {
        "FailedCreate" => refused(&event.note).filter(|(_, policy)| !is_kyverno(policy)),
        // Kyverno reports each violation; only one that it blocked was a refusal, and its scans refuse nothing.
        "PolicyViolation" if event.actor == "kyverno-admission" => {
            event.note.contains("(blocked)").then_some(("webhook", &*event.regarding.name))
        }
        _ => None,
    }
}

/// Kyverno's webhooks: what they refuse, Kyverno tells by policy.
fn is_kyverno(webhook: &str) -> bool {
    webhook.contains(".kyverno.svc")
}

/// What refused, by the API server's words, and which policy they name.
fn refused(note: &str) -> Option<(&'static str, &str)> {
    if let Some((before, _)) = note.split_once(" denied the request") {
        let (_, name) = before.rsplit_once("webhook ")?;
        return Some(("webhook", name.trim_matches('"')));
    }
    for words in ["exceeded quota: ", "failed quota: "] {
        if let Some((_, rest)) = note.split_once(words) {
            return Some(("quota", up_to(rest, &[',', ':'])));
        }
    }
    if let Some((_, rest)) = note.split_once("violates PodSecurity \"") {
        return Some(("pod_security", up_to(rest, &[':', '"'])));
    }
    if let Some((_, rest)) = note.split_once("AdmissionPolicy '")
        && note.contains("denied request")
    {
        return Some(("admission_policy", up_to(rest, &['\''])));
    }
    note.contains(" cannot create resource ").then_some(("rbac", ""))
}

fn up_to<'a>(text: &'a str, ends: &[char]) -> &'a str {
    text.split(ends).next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::fixtures::{Counted, ago, event};
    use crate::layers::security::LAYER;
    use crate::layers::security::apiserver::scrape;
    use crate::model::record::Object;
    use crate::model::source::SourceNote;
    use crate::model::world::Delta;

    /// A world in which only these of the three sources are heard.
    fn heard(kinds: &[Kind]) -> Counted {
        let mut counted = Counted::new(&LAYER, Vec::new());
        for kind in [Kind::Audit, Kind::ApiServerMetrics, Kind::Event] {
            if !kinds.contains(&kind) {
                hush(&mut counted, kind);
            }
        }
        counted
    }

    fn hush(counted: &mut Counted, kind: Kind) {
        let availability = Availability::Disabled;
        let note =
            SourceNote::Failed { availability, message: String::new(), backoff_seconds: 0.0 };
        counted.world.apply(Delta::Note(kind, note), ago(0));
    }

    fn audit(refusal: Refusal, by: &str, age: i64) -> Object {
        let (at, refusal, by) = (ago(age), Some(refusal), by.into());
        Object::Audit(Box::new(AuditEvent { at, refusal, by, ..AuditEvent::default() }))
    }

    fn failed_create(note: &str) -> Event {
        Event { count: 2, ..event((Kind::ReplicaSet, "web-abc"), "FailedCreate", note, 60, 60) }
    }

    const DENIED: &str =
        "Error creating: admission webhook \"pods.example.com\" denied the request: no";
    const FULL: &str =
        "Error creating: pods \"web-x\" is forbidden: exceeded quota: rq, requested: pods=1";
    const REJECTIONS: &str = "apiserver_admission_webhook_rejection_count";

    /// The API server's count of a webhook's refusals, so many seconds ago.
    fn rejections(n: f64, age: i64) -> Object {
        let labels =
            [("name", "pods.example.com"), ("type", "validating"), ("error_type", "no_error")];
        let Object::Scrape(mut answer) = scrape("a", &[(REJECTIONS, &labels, n)]) else { panic!() };
        answer.at = ago(age);
        Object::Scrape(answer)
    }

    #[test]
    fn a_refusal_names_its_policy() {
        let cases = [
            (DENIED, Some(("webhook", "pods.example.com"))),
            (FULL, Some(("quota", "rq"))),
            ("failed quota: rq: must specify limits.cpu for: c", Some(("quota", "rq"))),
            (
                "pods \"b\" is forbidden: violates PodSecurity \"restricted:latest\": privileged",
                Some(("pod_security", "restricted")),
            ),
            (
                "pods \"b\" is forbidden: ValidatingAdmissionPolicy 'nolatest' with binding 'b' denied request: image",
                Some(("admission_policy", "nolatest")),
            ),
            (
                "pods is forbidden: User \"x\" cannot create resource \"pods\" in API group",
                Some(("rbac", "")),
            ),
            ("failed calling webhook \"v.example\": connection refused", None),
            ("serviceaccount \"x\" not found", None),
        ];
        for (note, expected) in cases {
            assert_eq!(refused(note), expected, "{note}");
        }
    }

    #[test]
    fn one_refusal_seen_by_three_sources_counts_once() {
        let (audits, metrics, events) = (Kind::Audit, Kind::ApiServerMetrics, Kind::Event);
        let cases = [
            (vec![audits, metrics, events], "audit webhook pods.example.com", 1),
            (vec![metrics, events], "apiserver webhook pods.example.com", 1),
            (vec![events], "event webhook pods.example.com", 2),
        ];
        for (sources, series, total) in cases {
            let mut counted = heard(&sources);
            if sources.contains(&audits) {
                counted.see(audit(Refusal::Webhook, "pods.example.com", 100), 0);
            }
            if sources.contains(&metrics) {
                counted.see(rejections(1.0, 0), 0);
            }
            counted.see(failed_create(DENIED), 0);
            assert_eq!(counted.totals(&DENIALS), [(series.to_owned(), total)], "{sources:?}");
        }
    }

    #[test]
    fn what_the_metrics_do_not_see_is_told_by_events() {
        let mut counted = heard(&[Kind::ApiServerMetrics, Kind::Event]);
        counted.see(failed_create(FULL), 0).see(failed_create(FULL), 0);
        assert_eq!(counted.totals(&DENIALS), [("event quota rq".to_owned(), 2)]);
    }

    #[test]
    fn before_the_metrics_have_answered_events_do_not_count_in_their_stead() {
        let mut counted = Counted::new(&LAYER, Vec::new());
        counted.see(failed_create(DENIED), 30).see(rejections(7.0, 20), 20);
        counted.see(rejections(9.0, 10), 10);
        let expected = [("apiserver webhook pods.example.com".to_owned(), 9)];
        assert_eq!(counted.totals(&DENIALS), expected);
    }

    #[test]
    fn nothing_counts_twice_when_a_source_comes_or_goes() {
        let mut counted = heard(&[Kind::ApiServerMetrics]);
        let refused = |age| audit(Refusal::Webhook, "pods.example.com", age);
        counted.see(rejections(3.0, 300), 300);
        counted.world.apply(Delta::Synced(Kind::Audit), ago(290));
        // A receiver to which nothing has come: the metrics go on. Its first events tell what they have told.
        counted.see(rejections(4.0, 240), 240).see(refused(250), 239).see(refused(245), 239);
        counted.see(refused(230), 229).see(rejections(5.0, 200), 200).see(refused(190), 189);
        hush(&mut counted, Kind::Audit);
        counted.see(rejections(6.0, 180), 180).see(rejections(8.0, 120), 120);
        let expected = [
            ("apiserver webhook pods.example.com".to_owned(), 6),
            ("audit webhook pods.example.com".to_owned(), 2),
        ];
        assert_eq!(counted.totals(&DENIALS), expected);
    }

    #[test]
    fn an_audit_log_that_fell_silent_leaves_the_counting_to_others() {
        let mut counted = heard(&[Kind::Audit, Kind::ApiServerMetrics]);
        counted.world.apply(Delta::Note(Kind::Audit, SourceNote::Alive), ago(3600));
        counted.see(audit(Refusal::Webhook, "pods.example.com", 3600), 3600);
        // It still speaks; then nothing comes any more; then it is back with what others have counted.
        for (n, age) in [(1.0, 3580), (2.0, 3520), (4.0, 1800), (7.0, 1740)] {
            counted.see(rejections(n, age), age);
        }
        counted.see(audit(Refusal::Webhook, "pods.example.com", 1750), 1700);
        let expected = [
            ("apiserver webhook pods.example.com".to_owned(), 3),
            ("audit webhook pods.example.com".to_owned(), 1),
        ];
        assert_eq!(counted.totals(&DENIALS), expected);
    }

    #[test]
    fn kyverno_tells_by_policy_what_its_webhook_refused() {
        let violation = |actor: &str, note: &str| Event {
            actor: actor.into(),
            count: 1,
            ..event((Kind::KyvernoClusterPolicy, "no-latest"), "PolicyViolation", note, 60, 60)
        };
        let mut counted = heard(&[Kind::Event]);
        counted
            .see(
                failed_create(
                    "admission webhook \"validate.kyverno.svc-fail\" denied the request: x",
                ),
                0,
            )
            .see(violation("kyverno-admission", "Pod shop/a: [tag] fail (blocked); use a tag"), 0)
            .see(violation("kyverno-admission", "Pod shop/b: [tag] fail; use a tag"), 0)
            .see(violation("kyverno-scan", "Pod shop/c: [tag] fail"), 0);
        assert_eq!(counted.totals(&DENIALS), [("event webhook no-latest".to_owned(), 1)]);
    }

    #[test]
    fn a_disruption_budget_is_no_policy_and_no_user_is_named() {
        let mut counted = heard(&[Kind::Audit]);
        counted.see(audit(Refusal::DisruptionBudget, "web", 0), 0);
        counted.see(audit(Refusal::Authorization, "someone", 0), 0);
        assert_eq!(counted.totals(&DENIALS), [("audit rbac ".to_owned(), 1)]);
    }
}
