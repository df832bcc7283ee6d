//! Can a user judge the baseline on data of his own? A file goes in; rows, a picture and episodes come out.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

fn backtest(directory: &Path, arguments: &[&str]) -> Output {
    let binary = env!("CARGO_BIN_EXE_kubestrata");
    Command::new(binary).arg("backtest").args(arguments).current_dir(directory).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A week at five minutes that goes up and down with the day, is rough, and stops for two hours on its last day.
fn week(directory: &Path) -> PathBuf {
    let row = |n: u32| {
        let day = (f64::from(n) / 288.0 * std::f64::consts::TAU).sin();
        let rough = f64::from(n * 7919 % 101) / 10.0;
        let value = if (1900..1924).contains(&n) { 0.0 } else { 200.0 + 50.0 * day + rough };
        format!("{},{value}\n", 1_772_409_600 + n * 300)
    };
    let csv: String =
        std::iter::once("timestamp,value\n".to_owned()).chain((0..2016).map(row)).collect();
    let path = directory.join("week.csv");
    std::fs::write(&path, csv).unwrap();
    path
}

#[test]
fn each_row_of_a_file_is_judged_by_those_before_it() {
    let directory = TempDir::new().unwrap();
    let whole = std::fs::read_to_string(week(directory.path())).unwrap();
    let part: String = whole.lines().take(1951).map(|line| format!("{line}\n")).collect();
    std::fs::write(directory.path().join("part.csv"), part).unwrap();
    let rows = |file: &str| -> Vec<String> {
        let out = backtest(directory.path(), &[file, "-o", "csv"]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout).lines().map(str::to_owned).collect()
    };
    let (whole, part) = (rows("week.csv"), rows("part.csv"));
    assert_eq!(whole[0], "timestamp,value,expected,lower,upper,score,anomaly");
    assert_eq!((whole.len(), part.len()), (2017, 1951));
    assert_eq!(part[..], whole[..1951]);
    let flagged = |row: &String| row.ends_with(",1");
    let first = whole[1500..].iter().position(flagged).unwrap() + 1500;
    assert!((1901..1906).contains(&first), "{first}: {}", whole[first]);
    for row in &whole[200..] {
        let cells: Vec<f64> = row.split(',').map(|cell| cell.parse().unwrap()).collect();
        assert!(cells[3] <= cells[2] && cells[2] <= cells[4], "{row}");
        assert!((0.0..1.0).contains(&cells[5]), "{row}");
        assert_eq!(cells[6] == 1.0, cells[5] >= 0.5, "{row}");
    }
}

#[test]
fn people_see_a_picture_and_machines_get_json() {
    let directory = TempDir::new().unwrap();
    week(directory.path());
    std::fs::copy(directory.path().join("week.csv"), directory.path().join("week.of.march.csv"))
        .unwrap();
    let files = ["week.csv", "week.of.march.csv", "--svg", "pictures"];
    let table = backtest(directory.path(), &files);
    assert!(directory.path().join("pictures/week.of.march.svg").exists());
    std::fs::create_dir(directory.path().join("old")).unwrap();
    std::fs::copy(directory.path().join("week.csv"), directory.path().join("old/week.csv"))
        .unwrap();
    let same = backtest(directory.path(), &["week.csv", "old/week.csv", "--svg", "same"]);
    for (file, picture) in [("week.csv", "week"), ("old/week.csv", "week-2")] {
        assert!(text(&same.stderr).contains(&format!("drew same/{picture}.svg\n")));
        let path = directory.path().join(format!("same/{picture}.svg"));
        assert!(std::fs::read_to_string(path).unwrap().contains(&format!("<title>{file}</title>")));
    }
    assert!(table.status.success(), "{}", text(&table.stderr));
    assert!(text(&table.stdout).contains("week.csv: 2016 samples"));
    assert!(text(&table.stdout).contains('▲'));
    let svg = std::fs::read_to_string(directory.path().join("pictures/week.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.contains("<circle"));
    let json = backtest(directory.path(), &["week.csv", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json[0]["samples"].as_array().unwrap().len(), 2016);
    let last = json[0]["episodes"].as_array().unwrap().last().unwrap();
    assert_eq!(last["observed"], 0.0);
    assert!(last["lower"].as_f64().unwrap() > 0.0, "{last}");
}

#[test]
fn what_cannot_be_read_is_named_with_its_place() {
    let directory = TempDir::new().unwrap();
    for (content, words) in [
        (
            "timestamp,value\n1,2\n2,much\n",
            "bad.csv: line 3: value: expected a number, found \"much\"",
        ),
        ("timestamp,value,host\n1,2,a\n", "not known: host"),
    ] {
        std::fs::write(directory.path().join("bad.csv"), content).unwrap();
        let out = backtest(directory.path(), &["bad.csv"]);
        assert_eq!(out.status.code(), Some(2));
        assert!(text(&out.stderr).contains(words), "{}", text(&out.stderr));
    }
    let none = backtest(directory.path(), &["none.csv"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none.stderr).contains("could not open none.csv"), "{}", text(&none.stderr));
}

#[test]
fn what_cannot_be_meant_is_told_in_one_line() {
    let directory = TempDir::new().unwrap();
    week(directory.path());
    let asked = ["--prometheus", "http://127.0.0.1:1", "--query", "up"];
    let table: [(&[&str], &[&str], &str); 10] = [
        (&[], &[], "<FILE|--prometheus <URL>>"),
        (&[], &["week.csv", "week.csv", "-o", "csv"], "-o csv is for one series"),
        (&asked, &["week.csv"], "'--prometheus <URL>' cannot be used with '[FILE]...'"),
        (&asked[..2], &[], "--query <PROMQL>"),
        (&[], &["week.csv", "--step", "5m"], "--prometheus <URL>"),
        (&asked, &["--step", "100ms"], "expected at least 1s"),
        (&asked, &["--start", "-1d", "--end", "-2d"], "is not after the start"),
        (&asked, &["--start", "yesterday"], "expected a time before now such as -14d, RFC 3339"),
        (&asked, &["--ca-file", "none.pem"], "could not use none.pem as the authority"),
        (&asked, &["--bearer-token-file", "none"], "could not use none as the token"),
    ];
    for (asked, more, words) in table {
        let out = backtest(directory.path(), &[asked, more].concat());
        let told = text(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{more:?}: {told}");
        assert!(told.contains(words) && told.lines().count() == 1, "{more:?}: {told}");
        assert!(out.stdout.is_empty());
    }
    let url = backtest(directory.path(), &["--prometheus", "prometheus", "--query", "up"]);
    assert_eq!(url.status.code(), Some(2));
    assert!(text(&url.stderr).contains("expected a URL such as http://prometheus:9090"));
}
