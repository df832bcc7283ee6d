//! Which certificates run out, and which do not come?

use crate::labels;
use crate::layers::conditions::words;
use crate::model::finding::{Severity, Verdict, Verdicts, short_age};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Resource, Status, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::view::View;

use super::duration;

pub(super) static EXPIRY: Signal = Signal {
    block: "S5.15",
    name: "security_certificate_expiry_seconds",
    layer: Layer::Security,
    help: "Time until a certificate of cert-manager runs out; below 0 it has. Healthy is renewed at two thirds of its life.",
    unit: Unit::Seconds,
    labels: &["namespace", "certificate", "issuer"],
    reasons: &[],
    bound: "certificates",
    needs: &[Kind::Certificate],
    uses: &[],
    profile: Profile::Countdown,
    read: Read::Gauge(expiry),
};

pub(super) static UNHEALTHY: Signal = Signal {
    block: "S5.15",
    name: "security_certificate_unhealthy",
    layer: Layer::Security,
    help: "Certificates of cert-manager that have run out, soon will, are late with their renewal, fail to be issued, or \
           have not been ready for 10 minutes; each by the gravest. A first issuance takes minutes. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "certificate", "issuer", "reason"],
    reasons: &["expired", "expires_soon", "renewal_overdue", "issuance_failing", "not_ready"],
    bound: "certificates × 5 reasons",
    needs: &[Kind::Certificate],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(unhealthy),
};

fn expiry(view: &View<'_>, out: &mut Readings) {
    for certificate in view.resources(Kind::Certificate) {
        if let Some(end) = certificate.body.time("status.notAfter") {
            let left = end.as_second() - view.now().as_second();
            let issuer = certificate.body.text("spec.issuerRef.name");
            let labels = labels![&certificate.meta.namespace, &certificate.meta.name, issuer];
            out.push(labels, left as f64);
        }
    }
}

/// What is wrong with a certificate.
struct Fault {
    reason: &'static str,
    severity: Severity,
    since: Option<Time>,
    dwell: i64,
    message: String,
}

fn unhealthy(view: &View<'_>, out: &mut Verdicts) {
    for certificate in view.resources(Kind::Certificate).filter(|c| c.meta.deleting.is_none()) {
        let fault = running_out(view, certificate).or_else(|| not_issued(certificate));
        let Some(fault) = fault else { continue };
        let Fault { reason, severity, since, dwell, message } = fault;
        let issuer = certificate.body.text("spec.issuerRef.name");
        let labels = labels![&certificate.meta.namespace, &certificate.meta.name, issuer, reason];
        let verdict = Verdict::new(Subject::of(certificate), labels, reason, message);
        out.push(verdict.severity(severity).since(since).dwell(dwell));
    }
}

/// Seconds that a certificate lives, as far as it says.
fn lifetime(certificate: &Resource) -> Option<i64> {
    let body = &certificate.body;
    match (body.time("status.notBefore"), body.time("status.notAfter")) {
        (Some(begin), Some(end)) => Some(end.as_second() - begin.as_second()),
        _ => duration::seconds(body.text("spec.duration")),
    }
    .filter(|seconds| *seconds > 0)
}

fn running_out(view: &View<'_>, certificate: &Resource) -> Option<Fault> {
    const WEEK: i64 = 7 * 86_400;
    let body = &certificate.body;
    let end = body.time("status.notAfter")?;
    let left = end.as_second() - view.now().as_second();
    let fault = |reason, severity, since, message| {
        Some(Fault { reason, severity, since: Some(since), dwell: 0, message })
    };
    if left <= 0 {
        let message = format!("it ran out {} ago{}", short_age(-left), attempts(certificate));
        return fault("expired", Severity::Critical, end, message);
    }
    let renewal = body.time("status.renewalTime");
    // Whoever set a late renewal means it: until then all is as planned.
    if renewal.is_some_and(|at| at > view.now()) {
        return None;
    }
    let life = lifetime(certificate);
    let soon = life.map_or(WEEK, |life| WEEK.min(life / 10));
    if left < soon {
        let since = Time::from_second(end.as_second() - soon).unwrap_or(view.now());
        let message = format!("it runs out in {}{}", short_age(left), attempts(certificate));
        return fault("expires_soon", Severity::Critical, since, message);
    }
    let grace = life.map_or(3600, |life| (life / 20).max(3600));
    let late = Time::from_second(renewal?.as_second() + grace).ok()?;
    if view.now() <= late {
        return None;
    }
    let message = format!(
        "it was to be renewed at {} and has {} left{}",
        renewal?,
        short_age(left),
        attempts(certificate)
    );
    fault("renewal_overdue", Severity::Warning, late, message)
}

fn not_issued(certificate: &Resource) -> Option<Fault> {
    let ready = certificate.condition("Ready").filter(|c| c.status == Status::False);
    if certificate.body.count("status.failedIssuanceAttempts") >= 2 {
        let why = ready.map_or_else(String::new, |c| format!(": {}", words(c)));
        return Some(Fault {
            reason: "issuance_failing",
            severity: Severity::Warning,
            since: certificate.body.time("status.lastFailureTime"),
            dwell: 60,
            message: format!("it is not issued{}{why}", attempts(certificate)),
        });
    }
    let ready = ready?;
    Some(Fault {
        reason: "not_ready",
        severity: Severity::Warning,
        since: ready.since,
        dwell: 600,
        message: format!("it is not ready: {}", words(ready)),
    })
}

fn attempts(certificate: &Resource) -> String {
    match certificate.body.count("status.failedIssuanceAttempts") {
        0 => String::new(),
        1 => ", after a failed attempt".to_owned(),
        n => format!(", after {n} failed attempts"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{ago, judge, objects, readings, reasons, resource, world};

    const DAY: i64 = 86_400;

    /// A certificate that began and ends so many seconds from now, to be renewed at the third.
    fn certificate(begin: i64, end: i64, renewal: Option<i64>) -> Resource {
        let time = |seconds: i64| ago(-seconds).to_string();
        let status = json!({"notBefore": time(begin), "notAfter": time(end),
            "renewalTime": renewal.map(time)});
        let manifest = json!({"spec": {"issuerRef": {"name": "ca"}}, "status": status});
        resource(Kind::Certificate, "web", manifest)
    }

    #[test]
    fn a_certificate_is_judged_by_its_own_life() {
        let cases = [
            ("fresh", certificate(-10 * DAY, 80 * DAY, Some(50 * DAY)), vec![]),
            ("renewing", certificate(-60 * DAY, 30 * DAY, Some(-600)), vec![]),
            ("late", certificate(-70 * DAY, 20 * DAY, Some(-6 * DAY)), vec!["renewal_overdue"]),
            ("soon", certificate(-85 * DAY, 5 * DAY, Some(-25 * DAY)), vec!["expires_soon"]),
            ("renewed late on purpose", certificate(-85 * DAY, 5 * DAY, Some(4 * DAY)), vec![]),
            ("short-lived", certificate(-3600, 23 * 3600, Some(15 * 3600)), vec![]),
            (
                "short-lived, late",
                certificate(-20 * 3600, 4 * 3600, Some(-4 * 3600)),
                vec!["renewal_overdue"],
            ),
            ("no renewal said", certificate(-80 * DAY, 10 * DAY, None), vec![]),
            ("over", certificate(-90 * DAY, -60, Some(-30 * DAY)), vec!["expired"]),
        ];
        for (name, certificate, expected) in cases {
            assert_eq!(reasons(&UNHEALTHY, objects![certificate]), expected, "{name}");
        }
    }

    #[test]
    fn what_is_not_issued_is_told_after_its_time() {
        let status = |attempts: u32, ready: &str| {
            let conditions =
                json!([{"type": "Ready", "status": ready, "reason": "DoesNotExist", "age": 700}]);
            let status = json!({"failedIssuanceAttempts": attempts, "conditions": conditions,
                "lastFailureTime": ago(300).to_string()});
            resource(Kind::Certificate, "web", json!({"status": status}))
        };
        let cases = [
            (0, "False", Some(("not_ready", 600, Some(ago(700))))),
            (1, "False", Some(("not_ready", 600, Some(ago(700))))),
            (2, "False", Some(("issuance_failing", 60, Some(ago(300))))),
            (0, "True", None),
            (0, "Unknown", None),
        ];
        for (attempts, ready, expected) in cases {
            let found = judge(&UNHEALTHY, &world(&[], objects![status(attempts, ready)]));
            let found = found.first().map(|v| (v.reason, v.dwell.as_secs(), v.since));
            assert_eq!(found, expected, "{attempts} {ready}");
        }
        let odd = resource(Kind::Certificate, "odd", json!({"status": {"notAfter": "soon"}}));
        assert!(reasons(&UNHEALTHY, objects![odd]).is_empty());
    }

    #[test]
    fn what_is_left_is_told_and_what_was_never_issued_has_none() {
        let new = resource(Kind::Certificate, "new", json!({}));
        let told = readings(&EXPIRY, objects![certificate(-60, 600, None), new]);
        assert_eq!(told.iter().map(|r| r.value).collect::<Vec<_>>(), [600.0]);
    }
}
