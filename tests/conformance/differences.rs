//! In what does the simulated API server differ from the real one, and why is that left?

use super::masks::Difference;

/// A difference that is known.
pub struct Known {
    /// The call's name; `*` at the end stands for any rest.
    pub call: &'static str,
    /// The place in the answer; `*` at the end stands for any rest.
    pub path: &'static str,
    /// Why it is left.
    #[allow(dead_code, reason = "it is for who reads the table")]
    pub why: &'static str,
}

impl Known {
    pub fn covers(&self, difference: &Difference) -> bool {
        let fits = |pattern: &str, text: &str| match pattern.strip_suffix('*') {
            // An item of an array ends with a star of its own.
            Some(start) => text.starts_with(start),
            None => pattern == text,
        };
        fits(self.call, difference.call) && fits(self.path, &difference.path)
    }
}

const fn known(call: &'static str, path: &'static str, why: &'static str) -> Known {
    Known { call, path, why }
}

/// All of them.
pub const DIFFERENCES: &[Known] = &[
    // What the server is.
    known("version", "/body/buildDate", "it is built otherwise"),
    known("version", "/body/gitCommit", "it is built otherwise"),
    known("version", "/body/goVersion", "it is built otherwise"),
    known("api", "/body/serverAddressByClientCIDRs/#", "it has no address"),
    known(
        "readyz-verbose",
        "/body",
        "its checks are those that every version has; hooks after the start are not simulated",
    ),
    // JSON is the only encoding.
    known("form-unknown", "/body/message", "it names the encodings that it has"),
    known("form-html", "/body/message", "it names the encodings that it has"),
    known("discovery-resources", "/body/message", "it names the encodings that it has"),
    known("discovery-old", "/body/message", "it names the encodings that it has"),
    known("create-text", "/body/message", "it names the encodings that it has"),
    known(
        "form-yaml",
        "*",
        "YAML and protobuf are not written: no client that matters here asks for them",
    ),
    // Words of Go's standard library.
    known("list-token-garbage", "/body/message", "the error is the JSON reader's"),
    known("create-no-json", "/body/message", "the error is the JSON reader's"),
    known("json-patch-object", "/body/message", "the error is the JSON reader's"),
    // Discovery.
    known("api-v1", "/body/resources/*/shortNames", "short names are for kubectl"),
    known("api-v1", "/body/resources/*/storageVersionHash", "there is one storage version"),
    known("api-v1", "/body/resources/*/categories", "categories are for kubectl"),
    known("apis-apps-v1", "/body/resources/*/shortNames", "short names are for kubectl"),
    known("apis-apps-v1", "/body/resources/*/storageVersionHash", "there is one storage version"),
    known("apis-apps-v1", "/body/resources/*/categories", "categories are for kubectl"),
    known(
        "discovery-core",
        "/body/items/*/versions/*/resources/*/shortNames",
        "short names are for kubectl",
    ),
    known(
        "discovery",
        "/body/items/*/versions/*/resources/*/shortNames",
        "short names are for kubectl",
    ),
    known(
        "discovery",
        "/body/items/*/versions/*/resources/*/categories",
        "categories are for kubectl",
    ),
    known(
        "discovery-core",
        "/body/items/*/versions/*/resources/*/subresources/*",
        "nodes have no proxy",
    ),
    // Tables.
    known("table*", "/body/columnDefinitions/*/description", "descriptions are for people"),
    known(
        "watch-table",
        "/events/*/object/columnDefinitions/*/description",
        "descriptions are for people",
    ),
    known("table-events", "/body/columnDefinitions/#", "events have the columns of any kind"),
    known("table-events", "/body/columnDefinitions/*/name", "events have the columns of any kind"),
    known(
        "table-events",
        "/body/columnDefinitions/*/format",
        "events have the columns of any kind",
    ),
    // Writes.
    known(
        "apply",
        "*",
        "there is no server-side apply: nothing that the simulator runs owns fields",
    ),
    known("deployment-invalid", "*", "specs are not validated: scenarios bring valid ones"),
    known("class-immutable", "*", "specs are not validated: scenarios bring valid ones"),
    known(
        "event*",
        "/body/reportingComponent",
        "fields are not defaulted: an author writes what matters",
    ),
    known(
        "event*",
        "/body/reportingInstance",
        "fields are not defaulted: an author writes what matters",
    ),
    known("event*", "/body/source", "fields are not defaulted: an author writes what matters"),
    known(
        "event-new",
        "/body/deprecatedSource",
        "fields are not defaulted: an author writes what matters",
    ),
    known(
        "event-selected",
        "/body/items/*/reportingComponent",
        "fields are not defaulted: an author writes what matters",
    ),
    known(
        "event-selected",
        "/body/items/*/reportingInstance",
        "fields are not defaulted: an author writes what matters",
    ),
    known(
        "event-selected",
        "/body/items/*/source",
        "fields are not defaulted: an author writes what matters",
    ),
    known(
        "event-new-selected",
        "/body/items/*/deprecatedSource",
        "fields are not defaulted: an author writes what matters",
    ),
    known("pod-evict", "*", "nothing evicts through the API but the controllers, which are inside"),
    known("pod-*", "/body/spec/volumes", "no service account has a token"),
    known("pod-*", "/body/spec/containers/*/volumeMounts", "no service account has a token"),
    known("pod-by-node", "/body/items/*/spec/volumes", "no service account has a token"),
    known(
        "pod-by-node",
        "/body/items/*/spec/containers/*/volumeMounts",
        "no service account has a token",
    ),
];
