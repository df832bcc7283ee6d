//! What does a request ask for?

use http::Method;

use super::query::Query;
use super::resource;
use super::selector::Selector;
use super::status::Failure;
use crate::sim::fields::Fields;
use crate::sim::kind::Served;
use serde_json::Value;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    /// As `apiserver_request_total` has it.
    pub(super) const fn counted(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::List => "LIST",
            Self::Watch => "WATCH",
            Self::Create => "POST",
            Self::Update => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::DeleteCollection => "DELETECOLLECTION",
        }
    }

    /// As authorization has it.
    pub(super) const fn authorized(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// Which part of an object is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Main,
    Status,
    Scale,
}

/// A request for objects, understood.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) verb: Verb,
    pub(super) objects: Objects,
    /// Empty for a collection.
    pub(super) name: String,
    pub(super) part: Part,
}

/// Objects of one resource, in one namespace or in all, that match a selector.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    pub(super) served: &'static Served,
    pub(super) ns: Option<String>,
    pub(super) selector: Selector,
}

impl Objects {
    /// Whether an object is among them, its kind given.
    pub(super) fn include(&self, object: &Value) -> bool {
        self.ns.as_ref().is_none_or(|ns| object.text("metadata/namespace") == ns)
            && self.selector.selects(object)
    }
}

/// Understands a request for objects, or says why not.
pub(super) fn parse(
    method: &Method,
    path: &[&str],
    query: &Query,
    visible: &dyn Fn(&Served) -> bool,
) -> Result<Target, Failure> {
    let (group, version, rest) = match path {
        ["api", "v1", rest @ ..] => ("", "v1", rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Err(Failure::no_page()),
    };
    let absent =
        || if resource::own_group(group) { Failure::no_path() } else { Failure::no_page() };
    let (ns, plural, name, part) = locate(rest).ok_or_else(absent)?;
    let served =
        resource::find(group, version, plural).filter(|s| visible(s)).ok_or_else(absent)?;
    let whole = !served.namespaced || ns.is_some() || (name.is_empty() && part.is_empty());
    if !whole || (ns.is_some() && !served.namespaced) {
        return Err(absent());
    }
    let part = match part {
        "" => Part::Main,
        part if !resource::subresources(served).contains(&part) => return Err(absent()),
        "scale" => Part::Scale,
        _ => Part::Status,
    };
    let everywhere = served.namespaced && ns.is_none();
    let verb = match (method.as_str(), name.is_empty()) {
        ("GET", true) if query.truth("watch") => Verb::Watch,
        ("GET", true) => Verb::List,
        ("POST", true) if !everywhere => Verb::Create,
        ("DELETE", true) if !everywhere => Verb::DeleteCollection,
        ("GET", false) => Verb::Get,
        ("PUT", false) => Verb::Update,
        ("PATCH", false) => Verb::Patch,
        ("DELETE", false) if part == Part::Main => Verb::Delete,
        _ => return Err(Failure::not_allowed()),
    };
    let many = matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection);
    let selector = if many { Selector::parse(served, query)? } else { Selector::default() };
    let objects = Objects { served, ns: ns.map(str::to_owned), selector };
    Ok(Target { verb, objects, name: name.to_owned(), part })
}

type Location<'a> = (Option<&'a str>, &'a str, &'a str, &'a str);

/// Namespace, plural, name and subresource of a path below the group's version.
fn locate<'a>(rest: &[&'a str]) -> Option<Location<'a>> {
    match rest {
        ["namespaces", ns, "status"] => Some((None, "namespaces", ns, "status")),
        ["namespaces", ns, plural] => Some((Some(ns), plural, "", "")),
        ["namespaces", ns, plural, name] => Some((Some(ns), plural, name, "")),
        ["namespaces", ns, plural, name, part] => Some((Some(ns), plural, name, part)),
        [plural] => Some((None, plural, "", "")),
        [plural, name] => Some((None, plural, name, "")),
        [plural, name, part] => Some((None, plural, name, part)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(method: &str, uri: &str) -> Result<Target, Failure> {
        let uri: http::Uri = uri.parse().expect("a path");
        let path: Vec<_> = uri.path().split('/').filter(|p| !p.is_empty()).collect();
        let method = method.parse().expect("a method");
        parse(&method, &path, &Query::parse(&uri), &|_| true)
    }

    #[test]
    fn paths_lead_to_kinds_namespaces_and_parts() {
        let cases = [
            ("/api/v1/pods", "Pod", None, Part::Main),
            ("/api/v1/namespaces/shop/pods?limit=5", "Pod", Some("shop"), Part::Main),
            ("/api/v1/namespaces/shop", "Namespace", None, Part::Main),
            ("/api/v1/namespaces/shop/status", "Namespace", None, Part::Status),
            ("/apis/apps/v1/deployments", "Deployment", None, Part::Main),
            (
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                "Deployment",
                Some("a"),
                Part::Scale,
            ),
            ("/apis/events.k8s.io/v1/events", "Event", None, Part::Main),
        ];
        for (uri, kind, ns, part) in cases {
            let found = target("GET", uri).unwrap_or_else(|e| panic!("{uri}: {e:?}"));
            let objects = &found.objects;
            assert_eq!((objects.served.name, objects.ns.as_deref(), found.part), (kind, ns, part));
        }
    }

    #[test]
    fn other_paths_lead_nowhere() {
        let cases = [
            ("GET", "/api/v1/namespaces/shop/nodes", 404, false),
            ("GET", "/apis/apps/v1beta1/deployments", 404, false),
            ("GET", "/api/v1/secretss", 404, false),
            ("GET", "/api/v1/pods/x", 404, false),
            ("GET", "/api/v1/namespaces/shop/pods/p/none", 404, false),
            ("GET", "/apis/example.com/v1/widgets", 404, true),
            ("GET", "/none", 404, true),
            ("POST", "/api/v1/pods", 405, false),
            ("POST", "/api/v1/nodes/n", 405, false),
        ];
        for (method, uri, code, plain) in cases {
            let failure = target(method, uri).expect_err(uri);
            assert_eq!((failure.code, failure.plain), (code, plain), "{uri}");
        }
    }

    #[test]
    fn a_withdrawn_resource_is_not_found() {
        let hidden = |s: &Served| s.plural != "deployments";
        let path = ["apis", "apps", "v1", "deployments"];
        assert!(parse(&Method::GET, &path, &Query::default(), &hidden).is_err());
        assert!(parse(&Method::GET, &path, &Query::default(), &|_| true).is_ok());
    }
}
