//! How is a label selector read? By the grammar of `k8s.io/apimachinery/pkg/labels`, and with its complaints.

use serde_json::Value;

use crate::sim::fields::Fields;

/// What one label has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Requirement {
    key: String,
    demand: Demand,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Demand {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

impl Requirement {
    pub(super) fn holds(&self, object: &Value) -> bool {
        let labels = object.at("metadata/labels");
        let value = labels.and_then(|l| l.get(&self.key)).and_then(Value::as_str);
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match &self.demand {
            Demand::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
            Demand::NotIn(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
            Demand::Exists => value.is_some(),
            Demand::Absent => value.is_none(),
            Demand::Greater(than) => number().is_some_and(|n| n > *than),
            Demand::Less(than) => number().is_some_and(|n| n < *than),
        }
    }
}

/// Reads a selector; nothing selects everything.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, String> {
    let mut tokens = Tokens { all: lex(text), at: 0 };
    let mut found = Vec::new();
    loop {
        match tokens.look() {
            "" => return Ok(found),
            token if token == "!" || word(token) => {}
            other => {
                return Err(format!(
                    "found '{other}', expected: !, identifier, or 'end of string'"
                ));
            }
        }
        let one = requirement(&mut tokens).map_err(|e| format!("unable to parse requirement: {e}"));
        found.push(one?);
        match tokens.take().as_str() {
            "" => return Ok(found),
            "," if tokens.look() == "!" || word(tokens.look()) => {}
            "," => {
                return Err(format!("found '{}', expected: identifier after ','", tokens.look()));
            }
            other => return Err(format!("found '{other}', expected: ',' or 'end of string'")),
        }
    }
}

struct Tokens {
    all: Vec<String>,
    at: usize,
}

impl Tokens {
    /// The next token; the end is empty.
    fn look(&self) -> &str {
        self.all.get(self.at).map_or("", String::as_str)
    }

    fn take(&mut self) -> String {
        let token = self.look().to_owned();
        self.at += 1;
        token
    }
}

const SYMBOLS: [char; 7] = ['=', '!', '(', ')', ',', '>', '<'];

fn word(token: &str) -> bool {
    !token.is_empty() && !token.starts_with(SYMBOLS)
}

fn lex(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut open = false;
    for c in text.chars() {
        let symbol = SYMBOLS.contains(&c);
        let white = matches!(c, ' ' | '\t' | '\r' | '\n');
        match tokens.last_mut() {
            // `==` and `!=` are one token, and so is a word.
            Some(last) if symbol && c == '=' && open && matches!(last.as_str(), "=" | "!") => {
                last.push(c);
                open = false;
            }
            Some(last) if !symbol && !white && open && word(last) => last.push(c),
            _ if white => open = false,
            _ => {
                tokens.push(c.to_string());
                open = true;
            }
        }
    }
    tokens
}

fn requirement(tokens: &mut Tokens) -> Result<Requirement, String> {
    let mut key = tokens.take();
    let absent = key == "!";
    if absent {
        key = tokens.take();
    }
    if !word(&key) {
        return Err(format!("found '{key}', expected: identifier"));
    }
    check_key(&key)?;
    if absent {
        return Ok(Requirement { key, demand: Demand::Absent });
    }
    if matches!(tokens.look(), "" | ",") {
        return Ok(Requirement { key, demand: Demand::Exists });
    }
    let operator = tokens.take();
    let demand = match operator.as_str() {
        "in" => Demand::In(values(tokens)?),
        "notin" => Demand::NotIn(values(tokens)?),
        "=" | "==" => Demand::In(vec![value(tokens)?]),
        "!=" => Demand::NotIn(vec![value(tokens)?]),
        ">" => Demand::Greater(number(&value(tokens)?)?),
        "<" => Demand::Less(number(&value(tokens)?)?),
        other => {
            return Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt"));
        }
    };
    if let Demand::In(all) | Demand::NotIn(all) = &demand {
        for (index, value) in all.iter().enumerate() {
            check_value(&key, index, value)?;
        }
    }
    Ok(Requirement { key, demand })
}

fn value(tokens: &mut Tokens) -> Result<String, String> {
    match tokens.look() {
        "" | "," => Ok(String::new()),
        token if word(token) => Ok(tokens.take()),
        other => Err(format!("found '{other}', expected: identifier")),
    }
}

fn number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| {
        let why = "for 'Gt', 'Lt' operators, the value must be an integer";
        format!("values[0]: Invalid value: {text:?}: {why}")
    })
}

/// The words in brackets, sorted, each once; nothing between two commas is the empty word.
fn values(tokens: &mut Tokens) -> Result<Vec<String>, String> {
    let first = tokens.take();
    if first != "(" {
        return Err(format!("found '{first}' expected: '('"));
    }
    let mut found = Vec::new();
    let mut empty = true;
    loop {
        match tokens.take().as_str() {
            ")" => {
                if empty {
                    found.push(String::new());
                }
                found.sort_unstable();
                found.dedup();
                return Ok(found);
            }
            "," => {
                if empty {
                    found.push(String::new());
                }
                empty = true;
            }
            token if word(token) => {
                found.push(token.to_owned());
                empty = false;
                if !matches!(tokens.look(), "," | ")") {
                    return Err(format!("found '{}', expected: ',' or ')'", tokens.look()));
                }
            }
            other => return Err(format!("found '{other}', expected: ',', or identifier")),
        }
    }
}

/// Letters, digits, and the others only inside.
fn plain(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && text.len() <= 63
}

fn check_key(key: &str) -> Result<(), String> {
    let name = key.split_once('/').map_or(key, |(_, name)| name);
    if plain(name) {
        return Ok(());
    }
    let why = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
               alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
               '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    Err(format!("<nil>: Invalid value: {key:?}: {why}"))
}

fn check_value(key: &str, index: usize, value: &str) -> Result<(), String> {
    if value.is_empty() || plain(value) {
        return Ok(());
    }
    let why = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
               start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
               for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    Err(format!("values[{index}][{key}]: Invalid value: {value:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_operator_selects() {
        let object = json!({"metadata": {"labels": {"app": "cart", "n": "5", "e": ""}}});
        let cases = [
            ("", true),
            ("app=cart", true),
            ("app == cart,n", true),
            ("app!=cart", false),
            ("other!=cart", true),
            ("app in (cart, shop)", true),
            ("app notin (cart,shop)", false),
            ("other notin (cart)", true),
            ("e in (,x)", true),
            ("app in ()", false),
            ("!other,app", true),
            ("!app", false),
            ("other", false),
            ("n>4,n<6", true),
            ("n > 5", false),
            ("app>1", false),
            ("e=", true),
        ];
        for (text, expected) in cases {
            let all = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(all.iter().all(|r| r.holds(&object)), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_the_api_servers_words() {
        let cases = [
            ("a===b", "unable to parse requirement: found '=', expected: identifier"),
            (
                "app foo b",
                "unable to parse requirement: found 'foo', expected: in, notin, =, ==, !=, gt, lt",
            ),
            (",", "found ',', expected: !, identifier, or 'end of string'"),
            ("app=a b", "found 'b', expected: ',' or 'end of string'"),
            ("app in (a,b", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a,", "found '', expected: identifier after ','"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Err(expected.to_owned()), "{text}");
        }
        assert!(parse("-a=x").is_err() && parse("a=x&").is_err() && parse("a>x").is_err());
    }
}
