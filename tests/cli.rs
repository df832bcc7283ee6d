//! What does a user see who gives what can't be used? One clear line, the right exit code, no panic.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

fn kubestrata(args: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_kubestrata"))
        .args(args)
        .env_clear()
        .env("HOME", home.path())
        .output()
        .unwrap()
}

/// The exit code and the one line that stderr must hold.
fn refused(args: &[&str], code: i32) -> String {
    let output = kubestrata(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "{args:?}: {stderr}");
    assert!(output.stdout.is_empty(), "data goes to stdout, complaints to stderr");
    stderr
}

fn kubeconfig(folder: &Path, server: &str) -> String {
    let path = folder.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
         clusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
         users: [{{name: u, user: {{token: not-a-token}}}}]\n\
         contexts: [{{name: here, context: {{cluster: c, user: u}}}}]\n"
    );
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn unknown_input_is_one_line_and_exit_code_2() {
    let cases: [(&[&str], &str); 10] = [
        (&["fly"], "unrecognized subcommand 'fly'"),
        (&["run", "--fast"], "unexpected argument '--fast'"),
        (&["demo", "--speed", "warp"], "expected a number from 0.1 to 3600"),
        (&["demo", "--scenario", "doom"], "no fault is called \"doom\""),
        (&["demo", "--scenario", "./doom.yaml"], "could not read the scenario ./doom.yaml"),
        (&["evaluate", "--scenario", "doom"], "no fault is called \"doom\""),
        (&["evaluate", "--scenario", "tests/golden.rs"], "scenario tests/golden.rs"),
        (&["evaluate", "--seeds", "0"], "0 is not in 1..=1000"),
        (&["check", "--layer", "sky"], "expected one of storage, compute"),
        (&["signals", "-o", "xml"], "possible values: table, markdown, json"),
    ];
    for (args, expected) in cases {
        let line = refused(args, 2);
        assert!(line.contains(expected), "{args:?}: {line}");
    }
}

#[test]
fn a_mistaken_scenario_names_file_line_field_and_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outage.yaml");
    fs::write(&path, "name: a\nsummary: b\ntimelime: []\n").unwrap();
    let path = path.to_str().unwrap();
    for command in ["demo", "evaluate"] {
        let line = refused(&[command, "--scenario", path], 2);
        assert!(
            line.contains("outage.yaml:3: timelime: no such field; did you mean timeline?"),
            "{line}"
        );
    }
}

#[test]
fn an_evaluation_is_data_on_stdout_and_progress_on_stderr() {
    let scenario = "tests/scenarios/before-the-daemon.yaml";
    let output = kubestrata(&["evaluate", "--scenario", scenario, "-o", "json"]);
    assert!(output.status.success());
    let scores: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let kubestrata = &scores["sets"][0]["tellers"][0];
    assert_eq!(kubestrata["teller"], "kubestrata");
    assert_eq!((&kubestrata["faults"], &kubestrata["recall"]), (&2.into(), &1.0.into()));
    let progress = String::from_utf8_lossy(&output.stderr);
    assert_eq!(progress.trim(), "kubestrata: played 35m of before-the-daemon, seed 1");
}

#[test]
fn a_mistaken_configuration_names_file_line_field_and_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("k.yaml");
    fs::write(&file, "tick: soon\n").unwrap();
    let path = file.to_str().unwrap();
    for args in [&["config", "check", path][..], &["run", "--config", path]] {
        let line = refused(args, 2);
        assert!(line.contains("k.yaml:1: tick: expected a duration from 1s to 5m"), "{line}");
    }
    let own = "prometheus:\n  signals:\n  - {name: targets_down, layer: observability, unit: ratio, query: up, help: x}\n";
    fs::write(&file, own).unwrap();
    let line = refused(&["config", "check", path], 2);
    assert!(
        line.contains("the name observability_targets_down_ratio is that of a signal"),
        "{line}"
    );
    let line = refused(&["run", "--config", "/nowhere/k.yaml"], 2);
    assert!(line.contains("could not read the configuration /nowhere/k.yaml"), "{line}");
}

#[test]
fn a_good_configuration_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("k.yaml");
    fs::write(&file, "tick: 5s\n").unwrap();
    let output = kubestrata(&["config", "check", file.to_str().unwrap()]);
    assert!(output.status.success());
    let printed = kubestrata(&["config", "print", "--config", file.to_str().unwrap()]);
    assert!(String::from_utf8(printed.stdout).unwrap().contains("tick: 5s"));
}

#[test]
fn a_kubeconfig_that_can_not_be_used_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = kubeconfig(folder.path(), "https://127.0.0.1:1");
    let line = refused(&["check", "--kubeconfig", &path, "--context", "there"], 2);
    assert!(line.contains("there") && line.contains("here"), "{line}");
    let line = refused(&["run", "--kubeconfig", "/nowhere/kubeconfig"], 2);
    assert!(line.contains("/nowhere/kubeconfig"), "{line}");
    let broken = folder.path().join("broken");
    fs::write(&broken, "clusters: 5\n").unwrap();
    let line = refused(&["check", "--kubeconfig", broken.to_str().unwrap()], 2);
    assert!(line.contains("broken"), "{line}");
}

#[test]
fn an_api_server_that_does_not_answer_ends_a_check_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = kubeconfig(folder.path(), "https://127.0.0.1:1");
    let line = refused(&["check", "--kubeconfig", &path], 2);
    assert!(line.contains("127.0.0.1:1") && line.to_lowercase().contains("refused"), "{line}");
}

#[test]
fn a_port_in_use_is_told_before_anything_else() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = kubestrata(&["demo", "--listen", &address, "--log-level", "error"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
    assert!(stderr.contains(&format!("could not listen on {address}")), "{stderr}");
}

#[test]
fn help_version_and_completions_go_to_stdout() {
    for args in [&["--help"][..], &["--version"], &["completions", "bash"], &["signals"]] {
        let output = kubestrata(args);
        assert!(output.status.success() && !output.stdout.is_empty(), "{args:?}");
    }
}
