//! What does it look like? The series, its band and the flags: as SVG, and in a terminal.

use std::fmt::Write;

use super::{Judged, Judgement, Sample};

/// Size of the picture in SVG's units, and its margins.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 30.0;
const TOP: f64 = 30.0;

/// Columns that are drawn at most: more samples than that are drawn as the range that they span.
const COLUMNS: usize = 900;

/// What is drawn over one column of the picture.
#[derive(Clone, Debug)]
struct Column {
    /// Lowest and highest value.
    values: (f64, f64),
    /// Lowest lower and highest upper end of the band.
    band: Option<(f64, f64)>,
    flagged: bool,
}

/// The series in at most so many columns of equally many samples.
fn columns(judged: &Judged, most: usize) -> Vec<Column> {
    let known: Vec<_> = judged.known().collect();
    let each = known.len().div_ceil(most).max(1);
    let span = |all: &mut dyn Iterator<Item = f64>| {
        all.fold(None, |span: Option<(f64, f64)>, x| {
            Some(span.map_or((x, x), |(low, high)| (low.min(x), high.max(x))))
        })
    };
    let column = |part: &[(&Sample, &Judgement)]| {
        let lower = span(&mut part.iter().filter_map(|(_, j)| Some(j.band?.0)));
        let upper = span(&mut part.iter().filter_map(|(_, j)| Some(j.band?.1)));
        Some(Column {
            values: span(&mut part.iter().map(|(s, _)| s.value))?,
            band: lower.zip(upper).map(|(lower, upper)| (lower.0, upper.1)),
            flagged: part.iter().any(|(_, j)| j.is_anomaly()),
        })
    };
    known.chunks(each).filter_map(column).collect()
}

/// The range that is shown: that of the values, a little more where there is only one.
fn range(columns: &[Column]) -> Option<(f64, f64)> {
    let low = columns.iter().map(|c| c.values.0).reduce(f64::min)?;
    let high = columns.iter().map(|c| c.values.1).reduce(f64::max)?;
    let margin = ((high - low) * 0.05).max(high.abs().max(low.abs()) * 1e-6).max(1e-12);
    Some((low - margin, high + margin))
}

/// A picture for a page or a file.
#[must_use]
pub fn svg(judged: &Judged) -> String {
    let columns = columns(judged, COLUMNS);
    let (low, high) = range(&columns).unwrap_or((0.0, 1.0));
    let across = (WIDTH - LEFT) / columns.len().max(1) as f64;
    let x = |place: usize| LEFT + (place as f64 + 0.5) * across;
    let y = |value: f64| {
        let part = ((value - low) / (high - low)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP)
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"system-ui,sans-serif\" font-size=\"12\" role=\"img\">\n\
         <title>{name}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"18\">{name}</text>\n",
        name = escape(&judged.name)
    );
    for part in [0.0, 0.5, 1.0] {
        let value = low + part * (high - low);
        let at = y(value);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            short(value)
        );
    }
    out.push_str(&band(&columns, x, y));
    let mut line = String::new();
    for (place, column) in columns.iter().enumerate() {
        let _ = write!(line, "{:.1},{:.1} ", x(place), y(column.values.0));
        if column.values.0 < column.values.1 {
            let _ = write!(line, "{:.1},{:.1} ", x(place), y(column.values.1));
        }
    }
    let _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#1f4e79\"/>",
        line.trim_end()
    );
    for (place, column) in columns.iter().enumerate().filter(|(_, c)| c.flagged) {
        let (x, y) = (x(place), y(column.values.1));
        let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"#c0392b\"/>");
    }
    if let (Some(first), Some(last)) = (judged.samples.first(), judged.samples.last()) {
        let (y, right) = (HEIGHT - 8.0, WIDTH - 4.0);
        let (first, last) = (escape(&first.stamp), escape(&last.stamp));
        let _ = writeln!(
            out,
            "<text x=\"{LEFT}\" y=\"{y}\">{first}</text>\
             <text x=\"{right}\" y=\"{y}\" text-anchor=\"end\">{last}</text>"
        );
    }
    out.push_str("</svg>\n");
    out
}

/// The band as one area for each run of columns that have one.
fn band(columns: &[Column], x: impl Fn(usize) -> f64, y: impl Fn(f64) -> f64) -> String {
    let with_band: Vec<_> =
        columns.iter().enumerate().filter_map(|(place, c)| Some((place, c.band?))).collect();
    let mut out = String::new();
    for run in with_band.chunk_by(|a, b| a.0 + 1 == b.0) {
        let upper = run.iter().map(|(place, (_, upper))| (x(*place), y(*upper)));
        let lower = run.iter().rev().map(|(place, (lower, _))| (x(*place), y(*lower)));
        let mut points = String::new();
        for (x, y) in upper.chain(lower) {
            let _ = write!(points, "{x:.1},{y:.1} ");
        }
        let _ = writeln!(out, "<polygon points=\"{}\" fill=\"#cfe2f3\"/>", points.trim_end());
    }
    out
}

/// Rows of the picture in a terminal.
const ROWS: usize = 10;

/// A picture of so many characters across: the band is shaded, values are marked, and flags stand in a line below.
#[must_use]
pub fn terminal(judged: &Judged, width: usize) -> String {
    let columns = columns(judged, width.max(10));
    let Some((low, high)) = range(&columns) else { return "no values\n".to_owned() };
    let row = |value: f64| {
        let part = ((value - low) / (high - low)).clamp(0.0, 1.0);
        ((1.0 - part) * (ROWS - 1) as f64).round() as usize
    };
    let mut out = String::new();
    for line in 0..ROWS {
        let label = match line {
            0 => short(high),
            l if l == ROWS - 1 => short(low),
            _ => String::new(),
        };
        let _ = write!(out, "{label:>10} ");
        for column in &columns {
            let within = |(low, high): (f64, f64)| (row(high)..=row(low)).contains(&line);
            out.push(match column {
                c if within(c.values) && c.flagged => '█',
                c if within(c.values) => '•',
                c if c.band.is_some_and(within) => '░',
                _ => ' ',
            });
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    let flags = columns.iter().map(|c| if c.flagged { '▲' } else { ' ' });
    let flags: String = flags.collect();
    let _ = writeln!(out, "{:>10} {}", "flags", flags.trim_end());
    out
}

/// A number in few characters.
#[must_use]
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size != 0.0 && !(1e-3..1e6).contains(&size) => format!("{value:.2e}"),
        size if size >= 100.0 => format!("{value:.0}"),
        _ => {
            let text = format!("{value:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::{Sample, judge};
    use super::*;

    fn judged() -> Judged {
        let sample = |n: u32| Sample {
            time: f64::from(n) * 60.0,
            value: f64::from(n * 7919 % 101) + if n >= 900 { 400.0 } else { 0.0 },
            stamp: format!("<{n}>"),
        };
        judge("a&b".to_owned(), (0..1000).map(sample).collect())
    }

    #[test]
    fn a_picture_has_the_series_its_band_and_a_mark_for_each_flag() {
        let svg = svg(&judged());
        assert_eq!(svg.matches("<polyline").count(), 1);
        assert_eq!(svg.matches("<polygon").count(), 1);
        assert!(svg.contains("<circle"));
        assert!(svg.contains("a&amp;b") && svg.contains("&lt;999&gt;"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn a_terminal_shows_where_the_flag_is() {
        let text = terminal(&judged(), 100);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), ROWS + 1);
        assert!(lines[ROWS].trim_end().ends_with('▲') || lines[ROWS].contains('▲'));
        let flag = lines[ROWS].chars().position(|c| c == '▲').expect("a flag");
        assert!((95..105).contains(&flag), "{text}");
        assert!(text.contains('░') && lines[0].contains('•') | lines[0].contains('█'), "{text}");
    }

    #[test]
    fn nothing_and_a_constant_can_be_drawn() {
        let empty = judge(String::new(), Vec::new());
        assert!(svg(&empty).contains("</svg>"));
        assert_eq!(terminal(&empty, 80), "no values\n");
        let constant = |n: u32| Sample { time: f64::from(n), value: 5.0, stamp: String::new() };
        let constant = judge(String::new(), (0..10).map(constant).collect());
        assert!(!svg(&constant).contains("NaN"));
    }

    #[test]
    fn numbers_are_short() {
        let table =
            [(0.0, "0"), (1.5, "1.5"), (123.4, "123"), (1e7, "1.00e7"), (-2e-4, "-2.00e-4")];
        for (value, text) in table {
            assert_eq!(short(value), text);
        }
    }
}
