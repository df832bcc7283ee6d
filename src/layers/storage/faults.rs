//! What class of failure do a driver's words tell? One of a few, so that it can be a label.

/// Every class that [`fault`] and [`fault_by_code`] tell.
#[cfg(test)]
pub(super) const FAULTS: &[&str] = &[
    "quota_or_capacity",
    "auth",
    "topology",
    "params",
    "in_use",
    "not_found",
    "timeout",
    "unavailable",
    "other",
];

/// Words and the class that they tell; the first that is found decides. CSI drivers answer with the names of gRPC
/// codes (`rpc error: code = ResourceExhausted desc = …`), providers with words of their own.
const WORDS: &[(&str, &str)] = &[
    // The API server forbids what exceeds a quota: not a question of rights.
    ("exceeded quota", "quota_or_capacity"),
    ("unauthenticated", "auth"),
    ("permissiondenied", "auth"),
    ("permission", "auth"),
    ("unauthorized", "auth"),
    ("not authorized", "auth"),
    ("accessdenied", "auth"),
    ("access denied", "auth"),
    ("forbidden", "auth"),
    ("credential", "auth"),
    ("expiredtoken", "auth"),
    ("resourceexhausted", "quota_or_capacity"),
    ("quota", "quota_or_capacity"),
    ("insufficient", "quota_or_capacity"),
    ("not enough", "quota_or_capacity"),
    ("no space left", "quota_or_capacity"),
    ("limitexceeded", "quota_or_capacity"),
    ("limit exceeded", "quota_or_capacity"),
    ("maximum number", "quota_or_capacity"),
    ("topology", "topology"),
    ("accessibility", "topology"),
    ("availability zone", "topology"),
    ("invalidargument", "params"),
    ("invalid parameter", "params"),
    ("multi-attach", "in_use"),
    ("already attached", "in_use"),
    ("in use", "in_use"),
    ("failedprecondition", "in_use"),
    ("code = notfound", "not_found"),
    ("not found", "not_found"),
    ("does not exist", "not_found"),
    ("deadlineexceeded", "timeout"),
    ("deadline exceeded", "timeout"),
    ("timed out", "timeout"),
    ("timeout", "timeout"),
    ("code = unavailable", "unavailable"),
    ("connection refused", "unavailable"),
    ("connection reset", "unavailable"),
    ("no such host", "unavailable"),
];

/// The class of failure that a message tells.
pub(super) fn fault(message: &str) -> &'static str {
    let message = message.to_ascii_lowercase();
    WORDS.iter().find(|(word, _)| message.contains(word)).map_or("other", |(_, class)| class)
}

/// The class of failure that a gRPC status code tells, where it tells more than the message would.
pub(super) fn fault_by_code(code: Option<i32>, message: &str) -> &'static str {
    match code {
        Some(3) => "params",
        Some(4) => "timeout",
        Some(5) => "not_found",
        Some(7 | 16) => "auth",
        Some(8) => "quota_or_capacity",
        Some(9) => "in_use",
        Some(14) => "unavailable",
        _ => fault(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_drivers_and_providers_fall_into_their_class() {
        let cases = [
            (
                "rpc error: code = ResourceExhausted desc = not enough free space",
                "quota_or_capacity",
            ),
            ("persistentvolumeclaims \"a\" is forbidden: exceeded quota: rq", "quota_or_capacity"),
            ("rpc error: code = Internal desc = AccessDenied: not allowed", "auth"),
            ("insufficient permissions to create a disk", "auth"),
            ("rpc error: code = DeadlineExceeded desc = context deadline exceeded", "timeout"),
            ("error generating accessibility requirements: no topology key found", "topology"),
            ("The volume is not in the same availability zone as instance 'i-1'", "topology"),
            ("rpc error: code = InvalidArgument desc = type io9 is unknown", "params"),
            ("rpc error: code = Unavailable desc = connection error", "unavailable"),
            ("rpc error: code = NotFound desc = volume vol-1", "not_found"),
            ("disk is already attached to node b", "in_use"),
            ("something else", "other"),
        ];
        for (message, class) in cases {
            assert_eq!(fault(message), class, "{message}");
        }
        assert!(WORDS.iter().all(|(_, class)| FAULTS.contains(class)));
    }

    #[test]
    fn a_code_tells_more_than_words() {
        assert_eq!(fault_by_code(Some(8), "volume does not fit"), "quota_or_capacity");
        assert_eq!(fault_by_code(Some(13), "attach timed out"), "timeout", "Internal says nothing");
        assert_eq!(fault_by_code(None, "quota"), "quota_or_capacity");
    }
}
