//! In which form does the client want its answer? Negotiated from `Accept`, as far as JSON goes.

use super::status::Failure;

/// The forms in which the server writes what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Objects and lists as they are.
    Whole,
    /// `PartialObjectMetadata`: one object's metadata.
    Metadata,
    /// `PartialObjectMetadataList`: the metadata of many.
    MetadataList,
    /// `Table`: rows and columns, as `kubectl get` prints them.
    Table,
    /// `APIGroupDiscoveryList`: every group with its resources in one document.
    Discovery,
}

/// The first form in the header that the server can write for this path.
pub(super) fn form(accept: &str, discovery: bool) -> Result<Form, Failure> {
    if accept.trim().is_empty() {
        return Ok(Form::Whole);
    }
    let mut known = false;
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        known |= media.starts_with("application/");
        if !matches!(media, "application/json" | "application/*" | "*/*") {
            continue;
        }
        known = true;
        let (mut kind, mut group, mut version) = ("", "", "");
        for (name, value) in parts.filter_map(|p| p.split_once('=')) {
            match name {
                "as" => kind = value,
                "g" => group = value,
                "v" => version = value,
                _ => {}
            }
        }
        let wanted = match (kind, group, version) {
            ("", ..) => Some(Form::Whole),
            ("PartialObjectMetadata", "meta.k8s.io", "v1") if !discovery => Some(Form::Metadata),
            ("PartialObjectMetadataList", "meta.k8s.io", "v1") if !discovery => {
                Some(Form::MetadataList)
            }
            ("Table", "meta.k8s.io", "v1") if !discovery => Some(Form::Table),
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") if discovery => {
                Some(Form::Discovery)
            }
            _ => None,
        };
        if let Some(form) = wanted {
            return Ok(form);
        }
    }
    Err(Failure::not_acceptable(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_can_be_written_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        let both = format!("{table},application/json");
        let unknown = "application/json;as=Other;v=v1;g=meta.k8s.io";
        let rescued = format!("{unknown}, */*;q=0.8");
        let cases = [
            ("", Some(Form::Whole)),
            ("*/*", Some(Form::Whole)),
            ("application/vnd.kubernetes.protobuf, application/json", Some(Form::Whole)),
            (table, Some(Form::Table)),
            (partial, Some(Form::Metadata)),
            (&both, Some(Form::Table)),
            (&rescued, Some(Form::Whole)),
            (unknown, None),
            ("text/html", None),
        ];
        for (accept, expected) in cases {
            assert_eq!(form(accept, false).ok(), expected, "{accept}");
        }
        let discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        assert_eq!(form(discovery, true).ok(), Some(Form::Discovery));
        assert!(form(discovery, false).is_err());
    }
}
