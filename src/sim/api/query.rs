//! What stands behind the question mark of a request?

use std::collections::BTreeMap;

use http::Uri;

use super::status::{Cause, Failure};

/// The query's parameters.
#[derive(Debug, Default)]
pub(super) struct Query(BTreeMap<String, String>);

/// Which version a list or watch is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Unset,
    NotOlderThan,
    Exact,
}

impl Query {
    pub(super) fn parse(uri: &Uri) -> Self {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or("").as_bytes());
        let mut all = BTreeMap::new();
        // Of a name that comes twice the first counts, as with Go's `url.Values.Get`.
        for (name, value) in pairs {
            all.entry(name.into_owned()).or_insert_with(|| value.into_owned());
        }
        Self(all)
    }

    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether a flag is set: anything but `false` and `0` does, even nothing, as the API server reads flags.
    pub(super) fn truth(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|v| !matches!(v.to_lowercase().as_str(), "false" | "0"))
    }

    /// The number, if one is given.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Failure::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            }),
        }
    }

    /// `resourceVersion`; none and `0` are not the same.
    pub(super) fn version(&self) -> Result<Option<u64>, String> {
        match self.text("resourceVersion") {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
                format!("resourceVersion: Invalid value: {text:?}: {why}")
            }),
        }
    }

    pub(super) fn matching(&self) -> Match {
        match self.text("resourceVersionMatch") {
            "Exact" => Match::Exact,
            "NotOlderThan" => Match::NotOlderThan,
            _ => Match::Unset,
        }
    }

    /// Which options of a list or watch go together, as `ValidateListOptions` of apimachinery has it.
    pub(super) fn check(&self, watch: bool) -> Result<(), Failure> {
        let mut wrong = Vec::new();
        let field = "resourceVersionMatch";
        let wanted = self.text(field);
        let initial = self.has("sendInitialEvents");
        let mut forbid = |when: bool, field, why| {
            if when {
                wrong.push(Cause::forbidden(field, why));
            }
        };
        if watch {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            forbid(initial && wanted != "NotOlderThan", field, why);
            let why =
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            forbid(!wanted.is_empty() && !initial, field, why);
            if !wanted.is_empty() && wanted != "NotOlderThan" {
                let value = format!("{wanted:?}");
                wrong.push(Cause::unsupported(field, &value, &["NotOlderThan"]));
            }
        } else {
            let matches = !wanted.is_empty();
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            forbid(matches && self.text("resourceVersion").is_empty(), field, why);
            let why = "resourceVersionMatch is forbidden when continue is provided";
            forbid(matches && !self.text("continue").is_empty(), field, why);
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            forbid(wanted == "Exact" && self.text("resourceVersion") == "0", field, why);
            let why = "sendInitialEvents is forbidden for list";
            forbid(initial, "sendInitialEvents", why);
            if matches && self.matching() == Match::Unset {
                let value = format!("{wanted:?}");
                wrong.push(Cause::unsupported(field, &value, &["Exact", "NotOlderThan", ""]));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(Failure::invalid_options("ListOptions", &wrong)) }
    }

    /// Whether nothing is to be stored.
    pub(super) fn dry_run(&self, options: &str) -> Result<bool, Failure> {
        match self.text("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => {
                let value = format!("[{other:?}]");
                let cause = Cause::unsupported("dryRun", &value, &["All"]);
                Err(Failure::invalid_options(options, &[cause]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(&format!("/api/v1/pods?{text}").parse().expect("a path"))
    }

    #[test]
    fn percent_encoding_is_undone_and_flags_are_set_by_anything() {
        assert_eq!(query("labelSelector=a%3Db+c%2").text("labelSelector"), "a=b c%2");
        for (text, expected) in
            [("watch", true), ("watch=1", true), ("watch=maybe", true), ("watch=False", false)]
        {
            assert_eq!(query(text).truth("watch"), expected, "{text}");
        }
        assert!(!query("").truth("watch"));
    }

    #[test]
    fn versions_and_what_they_match_belong_together() {
        let cases = [
            ("", false, true),
            ("resourceVersion=5&resourceVersionMatch=Exact", false, true),
            ("resourceVersionMatch=Exact", false, false),
            ("resourceVersion=0&resourceVersionMatch=Exact", false, false),
            ("resourceVersion=5&resourceVersionMatch=Other", false, false),
            ("sendInitialEvents=true", false, false),
            ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", true, true),
            ("sendInitialEvents=true", true, false),
            ("resourceVersionMatch=NotOlderThan", true, false),
        ];
        for (text, watch, fine) in cases {
            assert_eq!(query(text).check(watch).is_ok(), fine, "{text}");
        }
    }
}
