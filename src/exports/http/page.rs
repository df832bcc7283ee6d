//! What does the status page show? The seven strata, what is wrong in each, and what cannot be seen.
//!
//! Rendered here, so the first view needs no script; the script only fetches the page anew.

use std::fmt::Write;

use crate::model::anomaly::{Anomaly, Phase, State};
use crate::model::finding::{Finding, Severity, short_age};
use crate::model::report::{LayerReport, Report};
use crate::model::source::Availability;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page of a report. Names and messages come from the cluster and are escaped.
pub(super) fn render(report: &Report) -> String {
    let mut page = String::with_capacity(16 * 1024);
    let at = report.at.strftime("%Y-%m-%d %H:%M:%S UTC");
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{}kubestrata</title><style>{STYLE}</style></head><body><header><h1>kubestrata</h1>\
         <p>{}</p><p class=\"at\">as of <time>{at}</time></p></header><main id=\"main\">",
        title(report),
        summary(report),
    );
    page.push_str("<section aria-label=\"Layers\"><ol class=\"strata\">");
    for layer in report.layers.iter().rev() {
        stratum(&mut page, report, layer);
    }
    page.push_str("</ol></section>");
    anomalies(&mut page, report);
    blindness(&mut page, report);
    let _ = write!(
        page,
        "</main><footer><a href=\"/metrics\">metrics</a> <a href=\"/api/v1/layers\">layers</a> \
         <a href=\"/api/v1/findings\">findings</a> <a href=\"/api/v1/anomalies?state=all\">anomalies</a> \
         <a href=\"/api/v1/signals\">signals</a> <a href=\"/api/v1/sources\">sources</a> \
         <span>{} series, version {}</span></footer><script>{SCRIPT}</script></body></html>",
        report.myself.series,
        env!("CARGO_PKG_VERSION"),
    );
    page
}

fn open(report: &Report) -> impl Iterator<Item = &Anomaly> {
    report.anomalies.iter().map(AsRef::as_ref).filter(|a| a.state == State::Open)
}

fn title(report: &Report) -> String {
    match report.findings.iter().filter(|f| f.severity == Severity::Critical).count() {
        0 => String::new(),
        critical => format!("({critical}) "),
    }
}

fn summary(report: &Report) -> String {
    if !report.myself.ready {
        return "Not synced with the cluster yet.".to_owned();
    }
    let (findings, anomalies) = (report.findings.len(), open(report).count());
    let plural =
        |n: usize, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    match (findings, anomalies) {
        (0, 0) => "All that can be seen is healthy.".to_owned(),
        _ => format!(
            "{}, {}.",
            plural(findings, "finding", "findings"),
            plural(anomalies, "anomaly", "anomalies")
        ),
    }
}

fn stratum(page: &mut String, report: &Report, layer: &LayerReport) {
    let (class, health) = match layer.health {
        None if layer.absent.is_empty() => ("blind", "not watched".to_owned()),
        None => ("blind", "can't see".to_owned()),
        Some(h) if h >= 0.999 => ("good", "healthy".to_owned()),
        Some(h) if h >= 0.7 => ("fair", format!("{:.0} %", h * 100.0)),
        Some(h) => ("poor", format!("{:.0} %", h * 100.0)),
    };
    let filled = layer.health.unwrap_or(0.0) * 100.0;
    let _ = write!(
        page,
        "<li class=\"{class}\"><h2>{}</h2><p class=\"health\">{health}</p>\
         <div class=\"bar\" aria-hidden=\"true\"><i style=\"width:{filled:.0}%\"></i></div>",
        layer.layer
    );
    let mine: Vec<&Finding> = report.findings.iter().filter(|f| f.layer == layer.layer).collect();
    if !mine.is_empty() {
        page.push_str("<ul class=\"findings\">");
        for finding in mine.iter().take(SHOWN) {
            let severity = finding.severity.name();
            let _ = write!(
                page,
                "<li class=\"{severity}\"><b>{severity}</b> <span class=\"age\">{}</span> \
                 <span class=\"subject\">{}</span> {}</li>",
                short_age(report.at.as_second() - finding.since.as_second()),
                escape(&finding.subject.to_string()),
                escape(&finding.message),
            );
        }
        if mine.len() > SHOWN {
            let more = mine.len() - SHOWN;
            let _ = write!(
                page,
                "<li>and <a href=\"/api/v1/findings?layer={}\">{more} more</a></li>",
                layer.layer
            );
        }
        page.push_str("</ul>");
    }
    page.push_str("</li>");
}

/// Findings of a layer that the page shows; the API has them all.
const SHOWN: usize = 25;

fn anomalies(page: &mut String, report: &Report) {
    let mut open = open(report).peekable();
    let suspected = report.suspected.series;
    if open.peek().is_none() && suspected == 0 {
        return;
    }
    page.push_str("<section><h2>Unusual</h2><ul class=\"findings\">");
    for anomaly in open {
        let severity = anomaly.severity.name();
        let phase = match anomaly.phase {
            Phase::Open => String::new(),
            phase => format!("<span class=\"phase\">{}</span> ", phase.name()),
        };
        let _ = write!(
            page,
            "<li class=\"{severity}\"><b>{severity}</b> <span class=\"age\">{}</span> {phase}{}</li>",
            short_age(report.at.as_second() - anomaly.opened_at.as_second()),
            escape(&anomaly.explanation),
        );
    }
    page.push_str("</ul>");
    if suspected > 0 {
        let _ = write!(
            page,
            "<p class=\"quiet\"><a href=\"/api/v1/anomalies?state=suspected\">suspected: {suspected} series</a></p>",
        );
    }
    page.push_str("</section>");
}

fn blindness(page: &mut String, report: &Report) {
    let blind = report.sources.iter().filter(|(_, s, _)| s.availability != Availability::Served);
    let (absent, blind): (Vec<_>, Vec<_>) =
        blind.partition(|(_, s, _)| s.availability == Availability::Absent);
    if absent.is_empty() && blind.is_empty() {
        return;
    }
    page.push_str("<section><h2>Can't be seen</h2><ul class=\"findings\">");
    for (kind, status, _) in blind {
        let _ = write!(
            page,
            "<li><b>{}</b> <span class=\"subject\">{}</span> {}</li>",
            status.availability.name(),
            kind.source(),
            escape(&status.message),
        );
    }
    if !absent.is_empty() {
        let names: Vec<_> = absent.iter().map(|(kind, ..)| kind.source()).collect();
        let _ = write!(
            page,
            "<li><b>absent</b> the API server does not serve <span class=\"quiet\">{}</span></li>",
            names.join(", "),
        );
    }
    page.push_str("</ul></section>");
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cluster_says_cannot_become_markup() {
        assert_eq!(escape("<script>\"&'"), "&lt;script&gt;&quot;&amp;&#39;");
    }
}
