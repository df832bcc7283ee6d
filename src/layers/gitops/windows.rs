//! May an application be synced by itself just now? The sync windows of its project say when.

use globset::Glob;
use jiff::SignedDuration;

use crate::layers::schedule::Schedule;
use crate::model::kind::Kind;
use crate::model::record::{Resource, Time};
use crate::model::value::Value;
use crate::model::view::View;

use super::flux::interval;

/// Whether the windows of its project forbid an automated sync of an application now. Argo CD's rule: an open window
/// that denies wins; else, where windows allow, one of them must be open.
pub(super) fn forbidden(view: &View<'_>, app: &Resource) -> bool {
    let name = app.body.text("spec.project");
    let mut projects = view.resources(Kind::ArgoAppProject).filter(|p| p.meta.name == *name);
    let Some(project) = projects.next() else { return false };
    let all = project.body.items("spec.syncWindows").iter();
    let mine: Vec<_> = all.filter(|window| concerns(window, app)).collect();
    let open = |w: &&Value| is_open(w, view.now());
    let of = |kind: &'static str| mine.iter().copied().filter(move |w| w.text("kind") == kind);
    of("deny").any(|w| open(&w)) || (of("allow").next().is_some() && !of("allow").any(|w| open(&w)))
}

/// Whether a window is about an application, by its name, its target namespace or its target cluster.
fn concerns(window: &Value, app: &Resource) -> bool {
    let target = |field: &str| app.body.at("spec.destination").text(field).as_str();
    let names = |list: &str, value: &str| {
        !value.is_empty() && window.texts(list).any(|pattern| glob(pattern, value))
    };
    let by_cluster = names("clusters", target("server")) || names("clusters", target("name"));
    let matches = [
        ("applications", names("applications", &app.meta.name)),
        ("namespaces", names("namespaces", target("namespace"))),
        ("clusters", by_cluster),
    ];
    if window.is_true("andOperator") {
        let mut asked = matches.iter().filter(|(list, _)| !window.items(list).is_empty());
        asked.clone().next().is_some() && asked.all(|(_, matched)| *matched)
    } else {
        matches.iter().any(|(_, matched)| *matched)
    }
}

/// Whether a window is open: it last opened less than its duration ago. One that nobody can read is closed.
fn is_open(window: &Value, now: Time) -> bool {
    let Ok(schedule) = Schedule::read(window.text("schedule"), window.text("timeZone")) else {
        return false;
    };
    let Some(seconds) = interval(window.text("duration")) else { return false };
    let then = now.checked_sub(SignedDuration::from_secs(seconds)).ok();
    then.and_then(|then| schedule.after(then)).is_some_and(|opened| opened <= now)
}

/// Whether a text matches a pattern: `*` and `?` stand for slashes too. A pattern that nobody can read matches nothing.
fn glob(pattern: &str, text: &str) -> bool {
    Glob::new(pattern).is_ok_and(|glob| glob.compile_matcher().is_match(text))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::layers::fixtures::{ago, objects, resource, world};

    fn held(windows: &Json) -> bool {
        let project =
            resource(Kind::ArgoAppProject, "shop", json!({"spec": {"syncWindows": windows}}));
        let spec = json!({"project": "shop",
            "destination": {"namespace": "web", "server": "https://kubernetes.default.svc"}});
        let app = resource(Kind::ArgoApplication, "cart", json!({"spec": spec}));
        let world = world(&[], objects![project, app.clone()]);
        forbidden(&View::new(&world, ago(0)), &app)
    }

    #[test]
    fn an_open_denial_wins_and_an_allowance_must_be_open() {
        // The tests look at 13:46:40 UTC on a Monday.
        let window = |kind: &str, schedule: &str, duration: &str| json!({"kind": kind, "schedule": schedule, "duration": duration, "applications": ["*"]});
        let (open, closed) = (("0 13 * * *", "1h"), ("0 20 * * *", "1h"));
        let deny = |(schedule, duration)| window("deny", schedule, duration);
        let allow = |(schedule, duration)| window("allow", schedule, duration);
        for (windows, expected) in [
            (json!([]), false),
            (json!([deny(open)]), true),
            (json!([deny(closed)]), false),
            (json!([allow(closed)]), true),
            (json!([allow(open)]), false),
            (json!([allow(open), deny(open)]), true),
            (json!([allow(open), allow(closed)]), false),
            (json!([window("deny", "whenever", "1h")]), false),
            (json!([window("deny", "0 13 * * *", "30m")]), false),
        ] {
            assert_eq!(held(&windows), expected, "{windows}");
        }
    }

    #[test]
    fn a_window_is_about_those_whom_it_names() {
        let deny = |more: &Json| {
            let mut window = json!({"kind": "deny", "schedule": "* * * * *", "duration": "1h"});
            let fields = more.as_object().unwrap().clone();
            window.as_object_mut().unwrap().extend(fields);
            held(&json!([window]))
        };
        assert!(deny(&json!({"applications": ["c*t"]})));
        assert!(deny(&json!({"namespaces": ["web"]})));
        assert!(deny(&json!({"clusters": ["https://*.svc"]})));
        assert!(!deny(&json!({"applications": ["other-*"]})));
        assert!(!deny(&json!({})));
        let both = json!({"applications": ["cart"], "namespaces": ["x"], "andOperator": true});
        assert!(!deny(&both));
        assert!(deny(
            &json!({"applications": ["cart"], "namespaces": ["w?b"], "andOperator": true})
        ));
    }

    #[test]
    fn a_pattern_is_read_as_argo_cd_reads_it() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abcc", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b", "abc", false),
            ("abc", "abcd", false),
            ("a**c", "ac", true),
            ("?b", "ab", true),
            ("?", "", false),
            ("*é*", "aéb", true),
            ("https://*", "https://kubernetes.default.svc/a", true),
            ("https://?ubernetes*", "https://kubernetes.default.svc", true),
            ("{dev,stage}-*", "stage-web", true),
            ("{dev,stage}-*", "prod-web", false),
            ("web-[0-9]", "web-7", true),
            ("web-[!0-9]", "web-7", false),
            ("web-[", "web-[", false),
            (r"\*", "a", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
