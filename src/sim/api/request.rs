//! What does a request ask for?

use std::collections::BTreeMap;

use http::{Method, Uri};
use serde_json::Value;

use super::discovery;
use super::status::Failure;
use crate::sim::fields::Fields;
use crate::sim::kind::{Kind, SERVED, Served};

/// A request, understood.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) target: Target,
    pub(super) verb: Verb,
    pub(super) query: Query,
}

/// What is asked about.
#[derive(Debug)]
pub(super) enum Target {
    /// Discovery and version documents.
    Document(Value),
    Objects(Objects),
}

/// What is asked for.
#[derive(Debug)]
pub(super) enum Verb {
    Get(String),
    List,
    Watch,
}

/// Objects of one kind, in one namespace or in all, that match a selector.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    pub(super) served: &'static Served,
    pub(super) ns: Option<String>,
    selector: Vec<Term>,
}

#[derive(Clone, Debug)]
struct Term {
    path: &'static str,
    value: String,
    equal: bool,
}

impl Objects {
    /// Whether an object is among them, its kind given.
    pub(super) fn include(&self, object: &Value) -> bool {
        self.ns.as_ref().is_none_or(|ns| object.text("metadata/namespace") == ns)
            && self.selector.iter().all(|t| (object.text(t.path) == t.value) == t.equal)
    }

    /// Whether a selector narrows them.
    pub(super) const fn selected(&self) -> bool {
        !self.selector.is_empty()
    }
}

/// The query's parameters.
#[derive(Debug, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    fn parse(uri: &Uri) -> Self {
        let pairs = uri.query().unwrap_or("").split('&').filter(|p| !p.is_empty());
        Self(
            pairs
                .map(|p| p.split_once('=').unwrap_or((p, "")))
                .map(|(k, v)| (decode(k), decode(v)))
                .collect(),
        )
    }

    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(super) fn truth(&self, name: &str) -> bool {
        matches!(self.text(name), "true" | "1")
    }

    /// The number, if one is given.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Failure::bad_request(format!(
                    "unable to parse query parameter {name:?} from {text:?}"
                ))
            }),
        }
    }
}

/// Undoes percent-encoding and `+`.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digits = (byte == b'%').then(|| rest.as_slice_pair()).flatten();
        match (byte, digits) {
            (b'+', _) => bytes.push(b' '),
            (_, Some(value)) => {
                bytes.push(value);
                rest.nth(1);
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

trait HexPair {
    /// The byte that the next two hexadecimal digits stand for.
    fn as_slice_pair(&self) -> Option<u8>;
}

impl HexPair for std::str::Bytes<'_> {
    fn as_slice_pair(&self) -> Option<u8> {
        let mut ahead = self.clone();
        let mut digit = || char::from(ahead.next()?).to_digit(16);
        Some((digit()? * 16 + digit()?) as u8)
    }
}

/// Understands a request, or says why not.
pub(super) fn parse(method: &Method, uri: &Uri, accept: &str) -> Result<Parsed, Failure> {
    let path: Vec<_> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let query = Query::parse(uri);
    if let Some(document) = discovery::document(&path) {
        return Ok(Parsed { target: Target::Document(document), verb: Verb::List, query });
    }
    let (group, version, rest) = match path.as_slice() {
        ["api", "v1", rest @ ..] => ("", "v1", rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Err(Failure::no_path()),
    };
    let (ns, plural, name) = locate(rest)?;
    let same = |s: &&Served| s.group == group && s.version == version && s.plural == plural;
    let served = SERVED.iter().find(same);
    let served = served.filter(|s| s.namespaced || ns.is_none()).ok_or_else(Failure::no_path)?;
    if method != Method::GET {
        let text = "the server does not allow this method on the requested resource";
        return Err(Failure::new(405, "MethodNotAllowed", text));
    }
    if accept.contains("as=")
        && !accept.contains("application/json,")
        && !accept.ends_with("application/json")
    {
        let text = "only the following media types are accepted: application/json";
        return Err(Failure::new(406, "NotAcceptable", text));
    }
    let selector = selector(served.kind, &query)?;
    let verb = match name {
        Some(name) => Verb::Get(name.to_owned()),
        None if query.truth("watch") => Verb::Watch,
        None => Verb::List,
    };
    let objects = Objects { served, ns: ns.map(str::to_owned), selector };
    Ok(Parsed { target: Target::Objects(objects), verb, query })
}

type Location<'a> = (Option<&'a str>, &'a str, Option<&'a str>);

/// Namespace, plural and name of a path below the group's version.
fn locate<'a>(rest: &[&'a str]) -> Result<Location<'a>, Failure> {
    match rest {
        ["namespaces", ns, plural] => Ok((Some(ns), plural, None)),
        ["namespaces", ns, plural, name] => Ok((Some(ns), plural, Some(name))),
        [plural] => Ok((None, plural, None)),
        [plural, name] => Ok((None, plural, Some(name))),
        _ => Err(Failure::no_path()),
    }
}

/// Field selectors: `metadata.name` and `metadata.namespace` of everything, `reason` and `type` of events.
fn selector(kind: Kind, query: &Query) -> Result<Vec<Term>, Failure> {
    if !query.text("labelSelector").is_empty() {
        return Err(Failure::bad_request("the simulated API server serves no label selectors"));
    }
    let terms = query.text("fieldSelector").split(',').filter(|t| !t.is_empty());
    terms
        .map(|term| {
            let (field, value, equal) = if let Some((field, value)) = term.split_once("!=") {
                (field, value, false)
            } else if let Some((field, value)) =
                term.split_once("==").or_else(|| term.split_once('='))
            {
                (field, value, true)
            } else {
                let text = format!("invalid selector: {term:?}; can't understand {term:?}");
                return Err(Failure::bad_request(text));
            };
            let path = match (field, kind) {
                ("metadata.name", _) => "metadata/name",
                ("metadata.namespace", _) => "metadata/namespace",
                ("reason", Kind::Event) => "reason",
                ("type", Kind::Event) => "type",
                _ => {
                    return Err(Failure::bad_request(format!(
                        "field label not supported: {field}"
                    )));
                }
            };
            Ok(Term { path, value: value.to_owned(), equal })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects(uri: &'static str) -> Result<Objects, Failure> {
        let parsed = parse(&Method::GET, &Uri::from_static(uri), "")?;
        match parsed.target {
            Target::Objects(objects) => Ok(objects),
            Target::Document(_) => Err(Failure::no_path()),
        }
    }

    #[test]
    fn paths_lead_to_kinds_and_namespaces() {
        let cases = [
            ("/api/v1/pods", Some(("Pod", None))),
            ("/api/v1/namespaces/shop/pods?limit=5", Some(("Pod", Some("shop")))),
            ("/api/v1/namespaces/shop", Some(("Namespace", None))),
            ("/apis/apps/v1/deployments", Some(("Deployment", None))),
            ("/apis/events.k8s.io/v1/events", Some(("Event", None))),
            ("/api/v1/namespaces/shop/nodes", None),
            ("/apis/apps/v1beta1/deployments", None),
            ("/api/v1/widgets", None),
            ("/metrics", None),
        ];
        for (uri, expected) in cases {
            let found = objects(uri).ok();
            let found = found.as_ref().map(|o| (o.served.name, o.ns.as_deref()));
            assert_eq!(found, expected, "{uri}");
        }
    }

    #[test]
    fn field_selectors_of_events_exclude_reasons() {
        let found = objects("/api/v1/events?fieldSelector=reason%21%3DPulled%2Creason!=Created")
            .expect("parsed");
        assert!(found.include(&json!({"reason": "BackOff"})));
        assert!(!found.include(&json!({"reason": "Pulled"})));
        assert_eq!(
            objects("/api/v1/pods?fieldSelector=reason!=x").map_err(|f| f.code).err(),
            Some(400)
        );
        assert_eq!(
            objects("/api/v1/pods?labelSelector=a%3Db").map_err(|f| f.code).err(),
            Some(400)
        );
    }

    #[test]
    fn percent_encoding_is_undone() {
        assert_eq!(decode("a%3Db+c%2"), "a=b c%2");
    }
}
