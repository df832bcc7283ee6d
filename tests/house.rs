//! Does the house stand as it was planned? Who may import whom, no file that nobody compiles, one reader of time.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each room may import of ours. A star: stages know the nouns and no other stage; `pipeline` composes the pure
/// ones, `daemon` alone knows both ends, `cli` starts it.
const IMPORTS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("clock", &[]),
    ("config", &["model"]),
    ("sources", &["model", "config"]),
    ("layers", &["model"]),
    ("baselines", &["model", "config"]),
    ("detectors", &["model", "config"]),
    ("exports", &["model", "config", "clock"]),
    ("sim", &["clock", "config"]),
    ("catalog", &["model", "layers"]),
    ("pipeline", &["model", "config", "layers", "baselines", "detectors"]),
    ("snapshot", &["model"]),
    ("daemon", &["model", "config", "clock", "pipeline", "sources", "exports", "snapshot"]),
    ("evaluate", &["model", "config", "clock", "layers", "pipeline", "sources", "daemon", "sim"]),
    ("backtest", &["baselines"]),
    (
        "cli",
        &[
            "model", "config", "clock", "pipeline", "sources", "exports", "catalog", "daemon",
            "sim", "evaluate", "backtest",
        ],
    ),
];

/// Crates that only one room may use, so that what they are stays behind one door.
const DOORS: &[(&str, &[&str])] = &[
    ("kube", &["sources", "sim", "daemon"]),
    ("statrs", &["baselines"]),
    ("opentelemetry", &["exports"]),
    ("opentelemetry_otlp", &["exports"]),
    ("opentelemetry_sdk", &["exports"]),
    ("prometheus_client", &["exports"]),
    ("axum", &["exports"]),
    ("clap", &["cli"]),
    ("anyhow", &["cli"]),
    ("indicatif", &["cli"]),
];

/// Rooms that are functions of (state, world, now): no runtime, no I/O.
const PURE: &[&str] = &["model", "layers", "baselines", "detectors", "pipeline", "catalog"];

const IMPURE: &[&str] =
    &["tokio::", "std::fs", "std::net", "std::io::", "std::env", "std::thread", "crate::clock"];

struct Source {
    path: PathBuf,
    room: String,
    /// Code only: comments and the `mod tests` at the end are left out.
    lines: Vec<String>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(&root).unwrap();
            let top = inside.components().next().unwrap().as_os_str().to_str().unwrap();
            let room = top.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let strip = |line: &str| line.split("//").next().unwrap().to_owned();
            let lines = code.lines().map(strip).collect();
            Source { path, room, lines }
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

/// `file:line: message` for each line that breaks a rule.
fn report(mut broken: Vec<String>) {
    broken.sort();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

fn at(source: &Source, line: usize, message: &str) -> String {
    format!("{}:{}: {message}", source.path.display(), line + 1)
}

/// The paths of ours that a line names: `crate::x`, and each `x` of `crate::{x, y}`.
fn rooms_named(line: &str) -> Vec<&str> {
    let word = |c: char| !(c.is_alphanumeric() || c == '_');
    let mut rooms = Vec::new();
    for (start, _) in line.match_indices("crate::") {
        let rest = &line[start + "crate::".len()..];
        // `$crate::` is a macro of ours, used where it is called.
        if line[..start].ends_with('$') {
            continue;
        }
        match rest.strip_prefix('{') {
            Some(list) => {
                rooms.extend(list.split(',').map(|i| i.trim().split(word).next().unwrap()));
            }
            None => rooms.push(rest.split(word).next().unwrap()),
        }
    }
    rooms
}

#[test]
fn each_room_imports_only_what_the_table_allows() {
    let table: BTreeMap<&str, &[&str]> = IMPORTS.iter().copied().collect();
    let mut broken = Vec::new();
    for source in sources().iter().filter(|s| !matches!(s.room.as_str(), "lib" | "main")) {
        let Some(allowed) = table.get(source.room.as_str()) else {
            broken.push(at(source, 0, "this room is not in the table of tests/house.rs"));
            continue;
        };
        for (number, line) in source.lines.iter().enumerate() {
            for named in rooms_named(line) {
                // The macro `labels!` belongs to the nouns.
                let own = named == source.room || named == "labels";
                if !own && !allowed.contains(&named) {
                    let message = format!("{} may not import {named}", source.room);
                    broken.push(at(source, number, &message));
                }
            }
            if line.contains("super::super::") {
                broken.push(at(source, number, "name the path from the crate, not super::super"));
            }
        }
    }
    report(broken);
}

#[test]
fn a_crate_with_a_door_is_used_behind_it() {
    let mut broken = Vec::new();
    for source in sources() {
        for (number, line) in source.lines.iter().enumerate() {
            for (name, rooms) in DOORS {
                let used = line.contains(&format!("{name}::"))
                    && !line.contains(&format!("_{name}::"))
                    && !line.contains(&format!("crate::{name}"));
                if used && !rooms.contains(&source.room.as_str()) {
                    let message = format!("{name} is used only by {}", rooms.join(", "));
                    broken.push(at(&source, number, &message));
                }
            }
        }
    }
    report(broken);
}

#[test]
fn the_pure_rooms_have_no_clock_no_runtime_and_no_io() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|s| PURE.contains(&s.room.as_str())) {
        for (number, line) in source.lines.iter().enumerate() {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                broken.push(at(
                    source,
                    number,
                    &format!("{word} in the pure room {}", source.room),
                ));
            }
        }
    }
    report(broken);
}

#[test]
fn only_the_clock_reads_the_time() {
    let readers = ["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now", "Time::now"];
    let mut broken = Vec::new();
    for source in sources().iter().filter(|s| s.room != "clock") {
        for (number, line) in source.lines.iter().enumerate() {
            if readers.iter().any(|r| line.contains(r)) && !line.contains("tokio::time::Instant") {
                broken.push(at(source, number, "ask a Clock for the time"));
            }
        }
    }
    report(broken);
}

#[test]
fn every_file_is_compiled() {
    let all: BTreeSet<PathBuf> = sources().into_iter().map(|s| s.path).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut reached: BTreeSet<PathBuf> = BTreeSet::new();
    let mut open = vec![root.join("lib.rs"), root.join("main.rs")];
    while let Some(path) = open.pop() {
        let text = fs::read_to_string(&path).unwrap();
        let folder = match path.file_name().unwrap().to_str().unwrap() {
            "lib.rs" | "main.rs" | "mod.rs" => path.parent().unwrap().to_owned(),
            _ => path.with_extension(""),
        };
        for line in text.lines().map(str::trim) {
            let declared = line.trim_start_matches("pub ").trim_start_matches("pub(super) ");
            let declared = declared.trim_start_matches("pub(crate) ").strip_prefix("mod ");
            let Some(name) = declared.and_then(|d| d.strip_suffix(';')) else { continue };
            for file in [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")] {
                if file.exists() && reached.insert(file.clone()) {
                    open.push(file);
                }
            }
        }
        reached.insert(path);
    }
    let dead: Vec<_> = all.difference(&reached).map(|p| p.display().to_string()).collect();
    assert!(dead.is_empty(), "no `mod` declares {}", dead.join(", "));
}

#[test]
fn every_file_begins_with_the_question_that_it_answers() {
    let first = |path: &Path| fs::read_to_string(path).unwrap().lines().next().map(str::to_owned);
    let silent = sources()
        .into_iter()
        .filter(|s| first(&s.path).is_none_or(|line| !line.starts_with("//! ")));
    report(
        silent.map(|s| at(&s, 0, "the first line says what question the file answers")).collect(),
    );
}

#[test]
fn no_room_is_called_after_nothing() {
    let nothing = ["utils", "util", "helpers", "helper", "common", "misc"];
    let vague = sources().into_iter().filter(|s| {
        let names = s.path.components().map(|c| c.as_os_str().to_string_lossy().into_owned());
        names.into_iter().any(|n| nothing.contains(&n.trim_end_matches(".rs")))
    });
    report(vague.map(|s| at(&s, 0, "name the file after its job")).collect());
}

#[test]
fn functions_and_files_stay_small_enough_to_hold_in_the_head() {
    let long = sources().into_iter().filter(|s| s.lines.len() > 600);
    report(long.map(|s| at(&s, 600, "over 600 lines of code: split it by the job")).collect());
}

#[test]
fn every_promise_names_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let (_, table) = page.split_once("## Invariants").unwrap();
    let (table, _) = table.split_once("## ").unwrap();
    let mut promises = 0;
    for row in table.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| promise")) {
        let named: Vec<(&str, &str)> = (row.split('`').skip(1).step_by(2))
            .filter_map(|code| code.split_once(".rs: "))
            .collect();
        assert!(!named.is_empty(), "no test holds: {row}");
        for (file, test) in named {
            let text = fs::read_to_string(root.join(format!("{file}.rs"))).unwrap_or_default();
            assert!(text.contains(&format!("fn {test}(")), "{file}.rs has no test {test}");
        }
        promises += 1;
    }
    assert!(promises >= 9, "{promises} promises");
}
