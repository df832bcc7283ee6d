//! What was a query's answer over a past time? Asked in parts, put together on one grid of steps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use http::StatusCode;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use thiserror::Error;

use super::steps::MOST;
use super::{PrometheusAccess, PrometheusError, Server, Steps, Unread, form, open};

/// How long Prometheus may take for a part, and how much later nothing is expected any more.
const PATIENCE: Duration = Duration::from_mins(2);
const GRACE: Duration = Duration::from_secs(10);

/// The largest answer that is read, and the most series that are kept.
const ANSWER_LIMIT: usize = 128 << 20;
const SERIES_LIMIT: usize = 1_000;

const API: &str = "/api/v1/query_range";

/// A series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name and labels as Prometheus writes them: `up{job="a"}`.
    pub labels: String,
    /// The same, one by one.
    pub metric: BTreeMap<String, String>,
    /// Time and value at every step from its first sample on; NaN where it has none.
    pub values: Vec<(f64, f64)>,
}

/// What was answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RangeAnswer {
    /// Sorted by their labels.
    pub series: Vec<Series>,
    /// How many more there are, which are left out.
    pub beyond: usize,
    /// What Prometheus warns of, such as that it does not know all.
    pub warnings: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum RangeError {
    /// What was given to reach it can't be used.
    #[error(transparent)]
    Access(#[from] PrometheusError),
    /// It was asked.
    #[error("{url}: {why}")]
    Query {
        /// Its URL, without credentials.
        url: String,
        /// What it said.
        why: String,
    },
}

/// Asks for the values of a query at these steps, one part after the other; `progress` is told after each how many
/// there were, and of how many.
pub async fn query_range(
    access: PrometheusAccess,
    query: &str,
    steps: &Steps,
    progress: impl FnMut(usize, usize),
) -> Result<RangeAnswer, RangeError> {
    ask(&Server::new(access)?, query, steps, progress).await
}

/// The same of a server that is asked more than once.
pub(super) async fn ask(
    server: &Server,
    query: &str,
    steps: &Steps,
    mut progress: impl FnMut(usize, usize),
) -> Result<RangeAnswer, RangeError> {
    let mut gathered = Gathered::new(*steps);
    let chunks = steps.chunks();
    let all = chunks.len();
    progress(0, all);
    for (done, chunk) in chunks.enumerate() {
        let form = form(&[
            ("query", query),
            ("start", &steps.time(chunk.start).to_string()),
            ("end", &steps.time(chunk.end - 1).to_string()),
            ("step", &steps.seconds().to_string()),
            ("timeout", &format!("{}s", PATIENCE.as_secs())),
        ]);
        let question = server.post(API, form)?;
        let failed = |why| RangeError::Query { url: server.shown(), why };
        let answer = server.send(question, PATIENCE + GRACE, ANSWER_LIMIT).await;
        let (status, body) = answer.map_err(|f| failed(f.message))?;
        gathered.add(status, &body).map_err(failed)?;
        progress(done + 1, all);
    }
    Ok(gathered.finish())
}

/// A series from its first step on.
struct Column {
    metric: BTreeMap<String, String>,
    first: usize,
    values: Vec<f64>,
}

/// What was answered so far.
struct Gathered {
    steps: Steps,
    columns: BTreeMap<String, Column>,
    /// Samples that the columns have once they are whole.
    samples: usize,
    beyond: BTreeSet<String>,
    warnings: BTreeSet<String>,
}

impl Gathered {
    fn new(steps: Steps) -> Self {
        Self {
            steps,
            columns: BTreeMap::new(),
            samples: 0,
            beyond: BTreeSet::new(),
            warnings: BTreeSet::new(),
        }
    }

    /// Takes in the answer for a part.
    fn add(&mut self, status: StatusCode, body: &[u8]) -> Result<(), String> {
        let data = open(body).map_err(|unread| match unread {
            Unread::Refused(why) if !why.is_empty() => format!("{why} ({})", status.as_u16()),
            unread if status == StatusCode::OK => unread.to_string(),
            // What stands before a Prometheus, or in its place, says so in its own form.
            _ => format!("{API} answers {status}"),
        })?;
        if status != StatusCode::OK {
            return Err(format!("{API} answers {status}"));
        }
        if data.result_type != "matrix" {
            return Err(format!("expected a matrix, found a {}", data.result_type));
        }
        for row in data.result::<Vec<Row>>()? {
            self.add_row(row)?;
        }
        self.warnings.extend(data.warnings);
        Ok(())
    }

    fn add_row(&mut self, row: Row) -> Result<(), String> {
        let name = name(&row.metric);
        if !row.histograms.is_empty() {
            let take = "take histogram_quantile, histogram_count or histogram_avg of them";
            return Err(format!("expected numbers, found histograms of {name}: {take}"));
        }
        let Some((first, _)) = row.values.first() else { return Ok(()) };
        if !self.columns.contains_key(&name) {
            if self.columns.len() >= SERIES_LIMIT {
                self.beyond.insert(name);
                return Ok(());
            }
            let first = self.place(*first)?;
            self.samples += self.steps.count() - first;
            if self.samples > MOST {
                let fewer = "a longer step, a shorter range or a narrower query has fewer";
                return Err(format!("the answer has more than {MOST} samples: {fewer}"));
            }
            let column = Column { metric: row.metric, first, values: Vec::new() };
            self.columns.insert(name.clone(), column);
        }
        for (time, Value(value)) in row.values {
            let place = self.place(time)?;
            let Some(column) = self.columns.get_mut(&name) else { break };
            let Some(later) = place.checked_sub(column.first + column.values.len()) else {
                return Err(format!("the answer is not in order at {time}"));
            };
            column.values.extend(std::iter::repeat_n(f64::NAN, later));
            column.values.push(value);
        }
        Ok(())
    }

    fn place(&self, time: f64) -> Result<usize, String> {
        let strange = || format!("the answer has a time that was not asked for, {time}");
        self.steps.place(time).ok_or_else(strange)
    }

    fn finish(self) -> RangeAnswer {
        let steps = self.steps;
        let whole = |(labels, column): (String, Column)| {
            let known = column.values.into_iter().chain(std::iter::repeat(f64::NAN));
            let times = (column.first..steps.count()).map(|place| steps.time(place));
            Series { labels, metric: column.metric, values: times.zip(known).collect() }
        };
        RangeAnswer {
            series: self.columns.into_iter().map(whole).collect(),
            beyond: self.beyond.len(),
            warnings: self.warnings.into_iter().collect(),
        }
    }
}

#[derive(serde::Deserialize)]
struct Row {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, Value)>,
    #[serde(default)]
    histograms: Vec<de::IgnoredAny>,
}

/// A number as Prometheus writes it, in quotes: `"0.5"`, `"NaN"`, `"+Inf"`.
struct Value(f64);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Quoted;
        impl Visitor<'_> for Quoted {
            type Value = Value;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number in quotes")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
                let number = text.parse().map_err(|_| E::custom(format!("{text:?} is no number")));
                number.map(Value)
            }
        }
        deserializer.deserialize_str(Quoted)
    }
}

/// The name and labels of a series as Prometheus writes them.
fn name(metric: &BTreeMap<String, String>) -> String {
    let metric_name = metric.get("__name__").map_or("", String::as_str);
    let mut out = metric_name.to_owned();
    let labels = metric.iter().filter(|(key, _)| *key != "__name__");
    for (place, (key, value)) in labels.enumerate() {
        out.push_str(if place == 0 { "{" } else { ", " });
        let _ = write!(out, "{key}=\"");
        for letter in value.chars() {
            match letter {
                '"' | '\\' => out.extend(['\\', letter]),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                other if other.is_control() => {
                    let _ = write!(out, "\\u{:04x}", u32::from(other));
                }
                other => out.push(other),
            }
        }
        out.push('"');
    }
    if metric.len() > usize::from(metric.contains_key("__name__")) {
        out.push('}');
    } else if metric_name.is_empty() {
        out.push_str("{}");
    }
    out
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    /// Ten steps a minute apart, from 60 s on.
    fn steps() -> Steps {
        let at = |seconds| Timestamp::from_second(seconds).expect("a time");
        Steps::between(at(60), at(600), Duration::from_mins(1)).expect("steps")
    }

    fn matrix(rows: &str) -> String {
        format!(
            r#"{{"status":"success","warnings":["partial"],"data":{{"resultType":"matrix","result":[{rows}]}}}}"#
        )
    }

    fn read(bodies: &[String]) -> Result<RangeAnswer, String> {
        let mut gathered = Gathered::new(steps());
        for body in bodies {
            gathered.add(StatusCode::OK, body.as_bytes())?;
        }
        Ok(gathered.finish())
    }

    #[test]
    fn parts_become_series_on_one_grid_with_gaps_that_are_unknown() {
        let first = matrix(
            r#"{"metric":{"__name__":"up","job":"b"},"values":[[120,"1"],[240,"+Inf"]]},
               {"metric":{"__name__":"up","job":"a"},"values":[[300,"NaN"]]}"#,
        );
        let second = matrix(
            r#"{"metric":{"__name__":"up","job":"b"},"values":[[420.000,"-Inf"],[480,"-3e2"]]},
               {"metric":{},"values":[[600,"0.5"]]}, {"metric":{"x":"none"},"values":[]}"#,
        );
        let answer = read(&[first, second]).expect("an answer");
        let names: Vec<&str> = answer.series.iter().map(|s| s.labels.as_str()).collect();
        assert_eq!(names, [r#"up{job="a"}"#, r#"up{job="b"}"#, "{}"]);
        let [a, b, bare] = &answer.series[..] else { panic!("{answer:?}") };
        let values = format!("{:?}", b.values.iter().map(|v| v.1).collect::<Vec<_>>());
        assert_eq!(values, "[1.0, NaN, inf, NaN, NaN, -inf, -300.0, NaN, NaN]");
        let times: Vec<f64> = b.values.iter().map(|v| v.0).collect();
        assert_eq!(times[..2], [120.0, 180.0]);
        assert_eq!((a.values.len(), a.values[0].0, times[8]), (6, 300.0, 600.0));
        assert_eq!(bare.values, [(600.0, 0.5)]);
        assert_eq!((answer.beyond, answer.warnings), (0, vec!["partial".to_owned()]));
    }

    #[test]
    fn series_are_named_as_prometheus_writes_them() {
        let table: [(&[(&str, &str)], &str); 5] = [
            (&[], "{}"),
            (&[("__name__", "up")], "up"),
            (&[("job", "a")], r#"{job="a"}"#),
            (&[("job", "a"), ("__name__", "up"), ("b", "")], r#"up{b="", job="a"}"#),
            (&[("a", "\"\\\n\t\u{1}é")], r#"{a="\"\\\n\t\u0001é"}"#),
        ];
        for (labels, written) in table {
            let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            assert_eq!(name(&labels.iter().map(own).collect()), written);
        }
    }

    #[test]
    fn what_is_no_matrix_of_numbers_says_what_it_is() {
        let row = |values: &str| matrix(&format!(r#"{{"metric":{{}},"values":[{values}]}}"#));
        let error = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
        let histograms = matrix(r#"{"metric":{"__name__":"h"},"histograms":[[60,{"count":"1"}]]}"#);
        for (status, body, words) in [
            (400, error.to_owned(), "parse error (400)"),
            (401, String::new(), "/api/v1/query_range answers 401 Unauthorized"),
            (502, row(""), "answers 502 Bad Gateway"),
            (404, "404 page not found\n".to_owned(), "answers 404 Not Found"),
            (200, "<html>".to_owned(), "the answer is no answer to a query"),
            (200, vector.to_owned(), "expected a matrix, found a vector"),
            (200, histograms, "expected numbers, found histograms of h: take histogram_quantile"),
            (200, row(r#"[60,"much"]"#), "\"much\" is no number"),
            (200, row(r"[60,1]"), "a number in quotes"),
            (200, row(r#"[61,"1"]"#), "a time that was not asked for, 61"),
            (200, row(r#"[660,"1"]"#), "a time that was not asked for, 660"),
            (200, row(r#"[120,"1"],[120,"1"]"#), "not in order at 120"),
            (200, row(r#"[120,"1"],[60,"1"]"#), "not in order at 60"),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let why = Gathered::new(steps()).add(status, body.as_bytes()).expect_err(&body);
            assert!(why.contains(words), "{body}: {why}");
        }
    }

    #[test]
    fn series_and_samples_are_bounded() {
        let row = |n| format!(r#"{{"metric":{{"n":"{n}"}},"values":[[60,"1"]]}}"#);
        let rows: Vec<String> = (0..SERIES_LIMIT + 2).map(row).collect();
        let answer =
            read(&[matrix(&rows.join(",")), matrix(&rows[900..].join(",").replace("[60", "[120"))]);
        let answer = answer.expect("an answer");
        assert_eq!((answer.series.len(), answer.beyond), (SERIES_LIMIT, 2));
        let at = |seconds| Timestamp::from_second(seconds).expect("a time");
        let long = Steps::between(at(0), at(MOST as i64 - 1), Duration::from_secs(1));
        let mut gathered = Gathered::new(long.expect("steps"));
        assert_eq!(
            gathered.add(StatusCode::OK, matrix(&rows[0]).replace("[60", "[0").as_bytes()),
            Ok(())
        );
        let why = gathered.add(StatusCode::OK, matrix(&rows[1]).as_bytes());
        assert!(why.expect_err("too many").contains("more than 3000000 samples"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            text in "\\PC*",
            time in any::<f64>(),
        ) {
            let _ = Gathered::new(steps()).add(StatusCode::OK, &bytes);
            let _ = read(&[matrix(&text)]);
            let _ = read(&[matrix(&format!(r#"{{"metric":{{}},"values":[[{time:e},"1"],{text}]}}"#))]);
            let quoted = serde_json::Value::from(text).to_string();
            let row = format!(r#"{{"metric":{{{quoted}:{quoted}}},"values":[[60,"1"],[120,{quoted}]]}}"#);
            let _ = read(&[matrix(&row)]);
        }

        #[test]
        fn what_is_put_on_the_grid_is_found_there(known in proptest::collection::btree_map(0_usize..10, -1e9_f64..1e9, 1..10), cut in 0_usize..10) {
            let part = |range: std::ops::Range<usize>| {
                let values: Vec<String> = known.range(range)
                    .map(|(place, value)| format!(r#"[{},"{value}"]"#, 60 * (place + 1)))
                    .collect();
                matrix(&format!(r#"{{"metric":{{}},"values":[{}]}}"#, values.join(",")))
            };
            let answer = read(&[part(0..cut), part(cut..10)]).expect("an answer");
            let values = &answer.series[0].values;
            let first = *known.keys().next().expect("one");
            prop_assert_eq!(values.len(), 10 - first);
            for (n, (time, value)) in values.iter().enumerate() {
                let place = first + n;
                prop_assert_eq!(*time, 60.0 * (place as f64 + 1.0));
                match known.get(&place) {
                    Some(known) => prop_assert_eq!(known, value),
                    None => prop_assert!(value.is_nan()),
                }
            }
        }
    }
}
