//! Which question does a signal answer? One made of the first words of what it says about itself.

use crate::model::signal::{Read, Signal};

/// Words that keep their capital in the middle of a sentence, beside those that have two.
const NAMES: &[&str] = &[
    "Argo",
    "Calico",
    "Cilium",
    "Deployments",
    "Flux",
    "Gatekeeper",
    "Gatekeeper's",
    "Gateways",
    "Helm",
    "Ingresses",
    "Jobs",
    "Kubernetes",
    "Kustomizations",
    "Kyverno's",
    "Leases",
    "Loki",
    "Prometheus",
    "Secrets",
    "Services",
    "Trivy",
];

/// First words of what is one thing rather than a number of things.
const ONE: &[&str] = &["share", "age", "time", "size", "capacity", "99th"];

/// More letters than a title should have.
const LONG: usize = 120;

/// The question that a panel of this signal answers.
pub(super) fn question(signal: &Signal) -> String {
    let clause = clause(signal.help);
    if clause.starts_with("How ") {
        return format!("{clause}?");
    }
    if let Some(rest) = clause.strip_prefix("Whether ") {
        return format!("Is it so that {rest}?");
    }
    if let Some(rest) = clause.strip_prefix("1 for each ") {
        return format!("Is there a {rest}?");
    }
    if let Some(rest) = clause.strip_prefix("What ") {
        return format!("Is there anything that {rest}?");
    }
    if let Some(rest) = clause.strip_prefix("Drift ") {
        return format!("How much drift {rest}?");
    }
    if let Some(rest) = clause.strip_prefix("A ") {
        return format!("What is a {rest}?");
    }
    let words = uncapitalised(clause);
    if matches!(signal.read, Read::Rule(_)) {
        return format!("Are there {words}?");
    }
    let first = words.split(' ').next().unwrap_or_default();
    if ONE.contains(&first) {
        format!("What is the {words}?")
    } else {
        format!("How many {words}?")
    }
}

/// The first sentence up to a pause that follows three words or more; up to an aside only where that is long.
fn clause(help: &str) -> &str {
    let whole = before(help, &['.', ';', ':', '(']);
    if whole.len() <= LONG {
        return whole;
    }
    let asides = [
        ", and ",
        ", or ",
        ", as ",
        ", by ",
        ", for ",
        ", in ",
        ", of ",
        ", until ",
        ", although ",
        ", among ",
    ];
    let aside = asides.iter().filter_map(|aside| whole.find(aside)).min();
    aside.map_or_else(|| before(whole, &[',']), |at| &whole[..at])
}

/// The words before the first of these marks that follows three words or more and ends a word.
fn before<'a>(text: &'a str, marks: &[char]) -> &'a str {
    let mut ends = text.match_indices(marks).filter(|(at, mark)| {
        let rest = &text[at + 1..];
        let ends = *mark == "(" || rest.is_empty() || rest.starts_with(' ');
        ends && text[..*at].split_whitespace().count() >= 3
    });
    ends.next().map_or(text, |(at, _)| &text[..at]).trim()
}

fn uncapitalised(words: &str) -> String {
    let first = words.split(' ').next().unwrap_or_default();
    if NAMES.contains(&first) || first.chars().skip(1).any(char::is_uppercase) {
        return words.to_owned();
    }
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |l| l.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers;

    #[test]
    fn each_signal_asks_one_thing_of_its_own() {
        let mut asked = std::collections::BTreeMap::new();
        for signal in layers::signals() {
            let question = question(signal);
            assert!(question.len() <= 200, "{}: {question}", signal.name);
            if let Some(other) = asked.insert((signal.layer, question.clone()), signal.name) {
                panic!("{other} and {} ask both: {question}", signal.name);
            }
        }
    }

    #[test]
    fn a_question_ends_where_the_sentence_pauses_and_keeps_names() {
        assert_eq!(
            clause("Claims that fail, by reason; others are well."),
            "Claims that fail, by reason"
        );
        let long =
            format!("Users, groups and {}of all, of which there are many.", "accounts ".repeat(22));
        assert!(clause(&long).starts_with("Users, groups and"), "a pause after one word is none");
        assert!(!clause(&long).contains("many"), "{}", clause(&long));
        assert_eq!(uncapitalised("Claims that wait"), "claims that wait");
        assert_eq!(uncapitalised("CSI calls that fail"), "CSI calls that fail");
        assert_eq!(uncapitalised("Services without pods"), "Services without pods");
    }
}
