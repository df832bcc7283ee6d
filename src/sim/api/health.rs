//! Is the API server well, by its own account?

use super::query::Query;
use super::status::Failure;

/// What is checked, in the order of the verbose answer.
const CHECKS: [&str; 5] = ["ping", "log", "etcd", "etcd-readiness", "informer-sync"];
/// Not asked by `/livez` and `/healthz`.
const READY_ONLY: [&str; 2] = ["etcd-readiness", "informer-sync"];

/// The text at `/healthz`, `/livez`, `/readyz` or below, if the path is one of these. Whatever fails does so with the
/// whole server: an unhealthy one does not answer.
pub(super) fn text(path: &[&str], query: &Query) -> Option<Result<String, Failure>> {
    let (name, checks) = match path {
        [name @ ("healthz" | "livez" | "readyz"), rest @ ..] => (*name, rest),
        _ => return None,
    };
    let asked = |check: &&str| name == "readyz" || !READY_ONLY.contains(check);
    match checks {
        [] if query.has("verbose") => {
            let line = |check: &str| {
                let excluded = if query.text("exclude") == check { " excluded:" } else { "" };
                format!("[+]{check}{excluded} ok\n")
            };
            let lines: String = CHECKS.iter().filter(|c| asked(c)).map(|c| line(c)).collect();
            Some(Ok(format!("{lines}{name} check passed\n")))
        }
        [] => Some(Ok("ok".to_owned())),
        [check] if CHECKS.iter().filter(|c| asked(c)).any(|c| c == check) => {
            Some(Ok("ok".to_owned()))
        }
        _ => Some(Err(Failure::no_page())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(uri: &str) -> Option<Result<String, Failure>> {
        let uri: http::Uri = uri.parse().expect("a path");
        let path: Vec<_> = uri.path().split('/').filter(|p| !p.is_empty()).collect();
        text(&path, &Query::parse(&uri))
    }

    #[test]
    fn checks_are_listed_asked_for_one_by_one_and_excluded() {
        assert_eq!(answer("/readyz"), Some(Ok("ok".to_owned())));
        assert_eq!(answer("/readyz/etcd"), Some(Ok("ok".to_owned())));
        assert!(matches!(answer("/livez/informer-sync"), Some(Err(_))));
        let verbose = answer("/readyz?verbose&exclude=etcd").expect("served").expect("well");
        assert!(verbose.contains("[+]etcd excluded: ok\n[+]etcd-readiness ok\n"), "{verbose}");
        assert!(verbose.ends_with("readyz check passed\n"));
        assert_eq!(answer("/version"), None);
    }
}
