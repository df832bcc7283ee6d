//! What does the API server count of webhooks, policies, Pod Security, clients and their keys?
//!
//! Its numbers are running totals of one process: only their increase counts.

use std::collections::BTreeMap;

use super::denials::{DENIALS, counted_until, is_audited};
use crate::labels;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Labels;
use crate::model::record::{AuditEvent, Sample, Scrape};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::tally::Tallies;

pub(super) static WEBHOOK_ERRORS: Signal = Signal {
    block: "S5.2",
    name: "security_webhook_errors_total",
    layer: Layer::Security,
    help: "Requests on which a webhook that fails closed could not be asked, or its match conditions not be evaluated, as \
           the API server counts them. Healthy is none.",
    unit: Unit::Count,
    labels: &["webhook", "type", "reason"],
    reasons: &["calling_webhook_error", "apiserver_internal_error", "match_condition", "other"],
    bound: "webhooks × 4 reasons",
    needs: &[Kind::ApiServerMetrics],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static FAIL_OPEN: Signal = Signal {
    block: "S5.3",
    name: "security_webhook_fail_open_total",
    layer: Layer::Security,
    help: "Requests that passed unchecked because a webhook could not be asked and fails open: policy was not enforced, \
           or a sidecar not injected. Counted by audit events where they come in, else by the API server. Healthy is none.",
    unit: Unit::Count,
    labels: &["webhook"],
    reasons: &[],
    bound: "webhooks",
    needs: &[],
    uses: &[Kind::Audit, Kind::ApiServerMetrics],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static POLICY_VIOLATIONS: Signal = Signal {
    block: "S5.5",
    name: "security_admission_policy_violations_total",
    layer: Layer::Security,
    help: "Requests that a ValidatingAdmissionPolicy let pass although they break it, because its binding only audits or \
           warns. Healthy is low and steady.",
    unit: Unit::Count,
    labels: &["policy", "action"],
    reasons: &[],
    bound: "policies × 2 actions",
    needs: &[Kind::ApiServerMetrics],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static POLICY_ERRORS: Signal = Signal {
    block: "S5.5",
    name: "security_admission_policy_errors_total",
    layer: Layer::Security,
    help: "Admission policies that could not be evaluated: expressions that do not compile or run out of budget. \
           Ordinary denials are none of these. Healthy is none.",
    unit: Unit::Count,
    labels: &["policy", "reason"],
    reasons: &["compile_error", "out_of_budget", "other"],
    bound: "policies × 3 reasons",
    needs: &[Kind::ApiServerMetrics],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static PSA_VIOLATIONS: Signal = Signal {
    block: "S5.6",
    name: "security_pod_security_violations_total",
    layer: Layer::Security,
    help: "Pods that break the level at which their namespace audits or warns and were let in. Healthy is low and steady.",
    unit: Unit::Count,
    labels: &["level", "mode"],
    reasons: &[],
    bound: "3 levels × 2 modes",
    needs: &[Kind::ApiServerMetrics],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static PSA_ERRORS: Signal = Signal {
    block: "S5.6",
    name: "security_pod_security_errors_total",
    layer: Layer::Security,
    help: "Requests that Pod Security admission could not judge; fatal ones were refused. Healthy is none.",
    unit: Unit::Count,
    labels: &["reason"],
    reasons: &["fatal", "tolerated"],
    bound: "2",
    needs: &[Kind::ApiServerMetrics],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static AUTHENTICATION: Signal = Signal {
    block: "S5.8",
    name: "security_authentication_problems_total",
    layer: Layer::Security,
    help: "Clients with stale or legacy service account tokens, TLS handshakes that failed, and requests on which the \
           authorizers gave an error. Healthy is low and steady.",
    unit: Unit::Count,
    labels: &["reason"],
    reasons: &["stale_token", "legacy_token", "tls_handshake", "authorizer_error"],
    bound: "4",
    needs: &[Kind::ApiServerMetrics],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static CLIENT_CERTIFICATES: Signal = Signal {
    block: "S5.17",
    name: "security_client_certificates_expiring_total",
    layer: Layer::Security,
    help: "Requests with a client certificate that expires within a day (`1d`), or within seven but not within one \
           (`7d`). Short-lived certificates always count, so it is judged against its own past.",
    unit: Unit::Count,
    labels: &["within"],
    reasons: &[],
    bound: "2",
    needs: &[Kind::ApiServerMetrics],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

/// Counts webhooks that failed open while an audited request passed.
pub(super) fn observe_audit(audit: &AuditEvent, tallies: &mut Tallies) {
    for webhook in &audit.failed_open {
        tallies.add(&FAIL_OPEN, labels![webhook], 1);
    }
}

/// Counts what has grown since the last answer of the same process.
pub(super) fn observe(o: &Observation<'_>, scrape: &Scrape, tallies: &mut Tallies) {
    let (kind, uid) = (scrape.kind, scrape.meta.uid);
    if kind != Kind::ApiServerMetrics {
        return;
    }
    // What the audit log tells is its to count, and what grew until now may have been told by it.
    let audited = is_audited(o, tallies);
    let was_audited = tallies.mark(kind, uid, "audited") > 0;
    tallies.advance(kind, uid, "audited", u64::from(audited));
    let silent = audited || was_audited;
    if !silent {
        counted_until(scrape.at, tallies);
    }
    for ((name, labels), (signal, total)) in totals(scrape) {
        let words: Vec<&str> = labels.iter().collect();
        let new = tallies.advance(kind, uid, &format!("{name} {}", words.join(" ")), total);
        let told_by_audit = name == DENIALS.name || name == FAIL_OPEN.name;
        if !(told_by_audit && silent) {
            tallies.add(signal, labels, new);
        }
    }
}

type Totals = BTreeMap<(&'static str, Labels), (&'static Signal, u64)>;

fn totals(scrape: &Scrape) -> Totals {
    let mut totals = Totals::new();
    let mut add = |signal: &'static Signal, labels: Labels, value: f64| {
        let (_, total) = totals.entry((signal.name, labels)).or_insert((signal, 0));
        *total += value.clamp(0.0, 1e15) as u64;
    };
    for sample in &scrape.samples {
        match sample.name.as_str() {
            "apiserver_validating_admission_policy_check_total" => policy(sample, &mut add),
            "apiserver_mutating_admission_policy_check_total" => policy_error(sample, &mut add),
            _ => {
                if let Some((signal, labels)) = series(sample) {
                    add(signal, labels, sample.value);
                }
            }
        }
    }
    let (day, week) = (expiring(scrape, 86_400.0), expiring(scrape, 604_800.0));
    add(&CLIENT_CERTIFICATES, labels!["1d"], day);
    add(&CLIENT_CERTIFICATES, labels!["7d"], week - day);
    totals
}

/// Under which series a sample counts.
fn series(sample: &Sample) -> Option<(&'static Signal, Labels)> {
    let label = |key: &str| sample.labels.value(key);
    let denied =
        |reason: &'static str, policy: &str| Some((&DENIALS, labels!["apiserver", reason, policy]));
    let problem = |reason: &'static str| Some((&AUTHENTICATION, labels![reason]));
    match sample.name.as_str() {
        "apiserver_admission_webhook_rejection_count" => match label("error_type") {
            "no_error" => denied("webhook", label("name")),
            error => {
                let reason = known(&WEBHOOK_ERRORS, error);
                Some((&WEBHOOK_ERRORS, labels![label("name"), stage(sample), reason]))
            }
        },
        // Those of policies count among the policies' own errors.
        "apiserver_admission_match_condition_evaluation_errors_total"
            if label("kind") == "webhook" =>
        {
            Some((&WEBHOOK_ERRORS, labels![label("name"), stage(sample), "match_condition"]))
        }
        "apiserver_admission_webhook_fail_open_count" => Some((&FAIL_OPEN, labels![label("name")])),
        "pod_security_evaluations_total"
            if label("decision") == "deny" && label("resource") == "pod" =>
        {
            let level = level(label("policy_level"));
            match label("mode") {
                "enforce" => denied("pod_security", level),
                "audit" => Some((&PSA_VIOLATIONS, labels![level, "audit"])),
                "warn" => Some((&PSA_VIOLATIONS, labels![level, "warn"])),
                _ => None,
            }
        }
        "pod_security_errors_total" => {
            let reason = if label("fatal") == "true" { "fatal" } else { "tolerated" };
            Some((&PSA_ERRORS, labels![reason]))
        }
        // An authorizer that does not allow has no opinion; `denied` is an explicit no.
        "authorization_attempts_total" => match label("result") {
            "no-opinion" | "denied" => denied("rbac", ""),
            "error" => problem("authorizer_error"),
            _ => None,
        },
        "authentication_attempts" => match label("result") {
            "error" | "failure" => denied("authentication", ""),
            _ => None,
        },
        "serviceaccount_stale_tokens_total" => problem("stale_token"),
        "serviceaccount_legacy_tokens_total" => problem("legacy_token"),
        "apiserver_tls_handshake_errors_total" => problem("tls_handshake"),
        _ => None,
    }
}

/// At which stage of admission a webhook is asked.
fn stage(sample: &Sample) -> &'static str {
    if sample.labels.value("type") == "admit" { "mutating" } else { "validating" }
}

fn policy(sample: &Sample, add: &mut impl FnMut(&'static Signal, Labels, f64)) {
    let name = sample.labels.value("policy");
    match sample.labels.value("enforcement_action") {
        "deny" => add(&DENIALS, labels!["apiserver", "admission_policy", name], sample.value),
        "audit" => add(&POLICY_VIOLATIONS, labels![name, "audit"], sample.value),
        "warn" => add(&POLICY_VIOLATIONS, labels![name, "warn"], sample.value),
        _ => {}
    }
    policy_error(sample, add);
}

fn policy_error(sample: &Sample, add: &mut impl FnMut(&'static Signal, Labels, f64)) {
    // `invalid_error` is what the API server calls an ordinary denial.
    let error = sample.labels.value("error_type");
    if !matches!(error, "" | "no_error" | "invalid_error") {
        let reason = known(&POLICY_ERRORS, error);
        add(&POLICY_ERRORS, labels![sample.labels.value("policy"), reason], sample.value);
    }
}

/// The word of the signal's list; `other` where it has no such word.
fn known(signal: &'static Signal, word: &str) -> &'static str {
    signal.reasons.iter().copied().find(|reason| *reason == word).unwrap_or("other")
}

/// The Pod Security level, as far as it is one.
pub(super) fn level(name: &str) -> &'static str {
    ["privileged", "baseline", "restricted"].into_iter().find(|l| *l == name).unwrap_or("other")
}

/// Requests whose certificate had at most so many seconds left, over the life of the process.
fn expiring(scrape: &Scrape, seconds: f64) -> f64 {
    let buckets = scrape.of("apiserver_client_certificate_expiration_seconds_bucket");
    let bound = |s: &&Sample| s.labels.value("le").parse::<f64>().is_ok_and(|le| le == seconds);
    buckets.filter(bound).map(|s| s.value).sum()
}

/// A sample: its name, its labels and its value.
#[cfg(test)]
pub(super) type Line<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

/// An answer of the API server's process of this name.
#[cfg(test)]
pub(super) fn scrape(name: &str, samples: &[Line<'_>]) -> crate::model::record::Object {
    use crate::layers::fixtures::{ago, meta};
    let samples = samples.iter().map(|(name, labels, value)| Sample {
        name: (*name).into(),
        labels: labels.iter().copied().collect(),
        value: *value,
    });
    let samples = samples.collect();
    let kind = Kind::ApiServerMetrics;
    Scrape { kind, meta: meta("", name, 86_400), at: ago(0), samples }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::fixtures::{Counted, ago};
    use crate::layers::security::LAYER;
    use crate::model::source::{Availability, SourceNote};
    use crate::model::world::Delta;

    fn unaudited() -> Counted {
        let mut counted = Counted::new(&LAYER, Vec::new());
        let availability = Availability::Disabled;
        let note =
            SourceNote::Failed { availability, message: String::new(), backoff_seconds: 0.0 };
        counted.world.apply(Delta::Note(Kind::Audit, note), ago(0));
        counted
    }

    fn told(counted: &Counted) -> Vec<String> {
        let mut told = Vec::new();
        for signal in LAYER.signals.iter().filter(|s| s.is_counter()) {
            for (labels, n) in counted.totals(signal) {
                told.push(format!("{} {labels} {n}", signal.name.trim_start_matches("security_")));
            }
        }
        told
    }

    /// A sample, and what counts when it grows to 4.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

    fn check(cases: &[Case<'_>]) {
        for (name, labels, expected) in cases {
            let mut counted = unaudited();
            counted.see(scrape("a", &[(name, labels, 3.0)]), 60);
            counted.see(scrape("a", &[(name, labels, 4.0)]), 0);
            assert_eq!(told(&counted), *expected, "{name} {labels:?}");
        }
    }

    #[test]
    fn webhooks_and_policies_count_where_they_belong() {
        let vap = "apiserver_validating_admission_policy_check_total";
        check(&[
            (
                "apiserver_admission_webhook_rejection_count",
                &[("name", "w"), ("type", "admit"), ("error_type", "calling_webhook_error")],
                &["webhook_errors_total w mutating calling_webhook_error 4"],
            ),
            (
                "apiserver_admission_match_condition_evaluation_errors_total",
                &[("name", "w"), ("kind", "webhook"), ("type", "validating")],
                &["webhook_errors_total w validating match_condition 4"],
            ),
            (
                "apiserver_admission_webhook_fail_open_count",
                &[("name", "w"), ("type", "validating")],
                &["webhook_fail_open_total w 4"],
            ),
            (
                vap,
                &[("policy", "p"), ("error_type", "invalid_error"), ("enforcement_action", "deny")],
                &["policy_denials_total apiserver admission_policy p 4"],
            ),
            (
                vap,
                &[
                    ("policy", "p"),
                    ("error_type", "out_of_budget"),
                    ("enforcement_action", "allow"),
                ],
                &["admission_policy_errors_total p out_of_budget 4"],
            ),
            (
                vap,
                &[("policy", "p"), ("error_type", "invalid_error"), ("enforcement_action", "warn")],
                &["admission_policy_violations_total p warn 4"],
            ),
        ]);
    }

    #[test]
    fn pods_count_once_and_their_workloads_do_not() {
        let psa = "pod_security_evaluations_total";
        check(&[
            (
                psa,
                &[
                    ("decision", "deny"),
                    ("mode", "enforce"),
                    ("policy_level", "restricted"),
                    ("resource", "pod"),
                ],
                &["policy_denials_total apiserver pod_security restricted 4"],
            ),
            (
                psa,
                &[
                    ("decision", "deny"),
                    ("mode", "audit"),
                    ("policy_level", "baseline"),
                    ("resource", "pod"),
                ],
                &["pod_security_violations_total baseline audit 4"],
            ),
            // The workload of a pod that is counted anyway, and a pod that is fine.
            (
                psa,
                &[
                    ("decision", "deny"),
                    ("mode", "warn"),
                    ("policy_level", "baseline"),
                    ("resource", "controller"),
                ],
                &[],
            ),
            (
                psa,
                &[
                    ("decision", "allow"),
                    ("mode", "enforce"),
                    ("policy_level", "baseline"),
                    ("resource", "pod"),
                ],
                &[],
            ),
            (
                "pod_security_errors_total",
                &[("fatal", "true")],
                &["pod_security_errors_total fatal 4"],
            ),
        ]);
    }

    #[test]
    fn clients_and_their_keys_count_where_they_belong() {
        let bucket = "apiserver_client_certificate_expiration_seconds_bucket";
        check(&[
            (
                "authorization_attempts_total",
                &[("result", "no-opinion")],
                &["policy_denials_total apiserver rbac  4"],
            ),
            ("authorization_attempts_total", &[("result", "allowed")], &[]),
            (
                "authentication_attempts",
                &[("result", "error")],
                &["policy_denials_total apiserver authentication  4"],
            ),
            ("authentication_attempts", &[("result", "success")], &[]),
            (
                "serviceaccount_stale_tokens_total",
                &[],
                &["authentication_problems_total stale_token 4"],
            ),
            (bucket, &[("le", "604800")], &["client_certificates_expiring_total 7d 4"]),
            (bucket, &[("le", "2.592e+06")], &[]),
            ("apiserver_request_total", &[("code", "403")], &[]),
        ]);
    }

    #[test]
    fn each_process_counts_for_itself_and_one_that_begins_anew_from_zero() {
        let attempts = |process: &str, n| {
            scrape(process, &[("authentication_attempts", &[("result", "error")], n)])
        };
        let mut counted = unaudited();
        for (process, n) in [("a", 5.0), ("b", 2.0), ("a", 6.0), ("b", 2.0), ("c", 1.0)] {
            counted.see(attempts(process, n), 0);
        }
        assert_eq!(counted.totals(&DENIALS), [("apiserver authentication ".to_owned(), 9)]);
    }

    #[test]
    fn a_certificate_within_a_day_does_not_count_for_the_week_too() {
        let bucket = "apiserver_client_certificate_expiration_seconds_bucket";
        let mut counted = unaudited();
        counted.see(
            scrape("a", &[(bucket, &[("le", "86400")], 3.0), (bucket, &[("le", "604800")], 5.0)]),
            0,
        );
        let expected = [("1d".to_owned(), 3), ("7d".to_owned(), 2)];
        assert_eq!(counted.totals(&CLIENT_CERTIFICATES), expected);
    }

    #[test]
    fn what_failed_open_counts_by_the_audit_where_it_is_heard() {
        use crate::model::record::Object;
        let open =
            scrape("a", &[("apiserver_admission_webhook_fail_open_count", &[("name", "w")], 2.0)]);
        let audit = AuditEvent { failed_open: ["w".into()].into(), ..AuditEvent::default() };
        let mut counted = Counted::new(&LAYER, Vec::new());
        counted.see(Object::Audit(Box::new(audit)), 0).see(open, 0);
        assert_eq!(counted.totals(&FAIL_OPEN), [("w".to_owned(), 1)]);
    }
}
