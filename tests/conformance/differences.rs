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
            Some(start) if !pattern.ends_with("/*") => text.starts_with(start),
            _ => pattern == text,
        };
        fits(self.call, difference.call) && fits(self.path, &difference.path)
    }
}

const fn known(call: &'static str, path: &'static str, why: &'static str) -> Known {
    Known { call, path, why }
}

/// All of them.
pub const DIFFERENCES: &[Known] = &[known("none", "", "")];
