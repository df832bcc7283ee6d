//! What can be asked on the command line? One file per command.

mod backtest;
mod check;
mod config;
mod demo;
mod evaluate;
mod logging;
mod run;
mod signals;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::catalog;
use crate::config::{Config, Settings};

/// Tells which layer of a Kubernetes cluster is unhealthy, since when, why, and what changed.
#[derive(Debug, Parser)]
#[command(name = "kubestrata", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
struct Global {
    /// How log lines are written to stderr.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "KUBESTRATA_LOG_FORMAT")]
    log_format: LogFormat,
    /// Least severe level that is logged: error, warn, info, debug, trace, or a filter such as `kubestrata=debug`.
    #[arg(long, global = true, default_value = "info", env = "KUBESTRATA_LOG_LEVEL")]
    log_level: String,
    /// When colour is used.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    /// Whether a stream gets colour: `NO_COLOR` and pipes do not (https://no-color.org).
    fn wanted(self, stream: &impl IsTerminal) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => stream.is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch a cluster and serve what is seen: the daemon.
    Run(RunArgs),
    /// The same daemon on an embedded simulated cluster, faults included; needs nothing else.
    Demo(demo::DemoArgs),
    /// Play labelled scenarios in virtual time through the whole daemon, and score it.
    Evaluate(evaluate::EvaluateArgs),
    /// Run the generic baseline over past data.
    Backtest(backtest::BacktestArgs),
    /// Look at the cluster once and print its health by layer.
    Check(check::CheckArgs),
    /// Print the signal catalogue.
    Signals(signals::SignalsArgs),
    /// Validate or print the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// What `run` and `check` know of the configuration and the cluster.
#[derive(Clone, Debug, Args)]
struct ClusterArgs {
    /// Configuration file (YAML).
    #[arg(long, value_name = "FILE", env = "KUBESTRATA_CONFIG")]
    config: Option<PathBuf>,
    /// Kubeconfig; without it the service account, else `KUBECONFIG`, else `~/.kube/config`.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Address on which `/metrics`, the status page and the API are served.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

/// A command that did not do what was asked, with its exit code.
#[derive(Debug)]
struct Failure {
    error: anyhow::Error,
    code: u8,
}

impl Failure {
    /// What the user gave can't be used.
    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into(), code: 2 }
    }

    /// What was attempted did not work.
    fn runtime(error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into(), code: 1 }
    }
}

type Outcome = Result<ExitCode, Failure>;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    run_with(std::env::args_os())
}

/// `docs/cli.md`: every command with its options, from their declarations.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "<!-- Generated from src/cli by tests/generated.rs. Do not edit. -->\n# Command line\n",
    );
    let mut root = Cli::command().term_width(100);
    root.build();
    describe(&mut root, 2, &mut page);
    page
}

fn describe(command: &mut clap::Command, level: usize, page: &mut String) {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let heading = "#".repeat(level);
    let text = lines.join("\n");
    let _ = write!(page, "\n{heading} {name}\n\n```text\n{}\n```\n", text.trim_end());
    for sub in command.get_subcommands_mut().filter(|c| c.get_name() != "help") {
        describe(sub, level + 1, page);
    }
}

fn run_with(args: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(Failure { error, code }) => {
            // A pipe that closed early, as `| head` does, is no failure of ours.
            let broken_pipe = error
                .downcast_ref::<io::Error>()
                .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe);
            if broken_pipe {
                return ExitCode::SUCCESS;
            }
            say(&chain(&error));
            ExitCode::from(code)
        }
    }
}

fn dispatch(cli: Cli) -> Outcome {
    let global = cli.global;
    match cli.command {
        Command::Run(args) => run::run(&args, &global),
        Command::Demo(args) => demo::run(&args, &global),
        Command::Evaluate(args) => evaluate::run(&args, &global),
        Command::Backtest(args) => backtest::run(&args, &global),
        Command::Check(args) => check::run(&args, &global),
        Command::Signals(args) => signals::run(&args),
        Command::Config(command) => config::run(&command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kubestrata", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

/// One clear line on stderr for input that is not understood; help and version go to stdout.
fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            let _ = error.print();
            ExitCode::from(code)
        }
        _ => {
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
            let told: Vec<&str> = lines.take_while(|l| !l.starts_with("Usage:")).collect();
            say(&format!("{}; see kubestrata --help", told.join("; ").replace("; tip:", ", tip:")));
            ExitCode::from(2)
        }
    }
}

/// The error and its causes, outermost first, on one line; a list of mistakes keeps its lines.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text
}

fn say(text: &str) {
    let mut stderr = io::stderr().lock();
    for line in text.lines() {
        let _ = writeln!(stderr, "kubestrata: {line}");
    }
}

fn print(text: &str) -> Outcome {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::runtime)?;
    Ok(ExitCode::SUCCESS)
}

/// The settings from file, environment and flags.
fn settings(args: &ClusterArgs, listen: Option<SocketAddr>) -> anyhow::Result<Settings> {
    let mut config = match &args.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    config.overlay_environment(std::env::vars())?;
    if let Some(path) = &args.kubeconfig {
        config.overlay_flag("kubeconfig", "cluster.kubeconfig", &path.to_string_lossy());
    }
    if let Some(context) = &args.context {
        config.overlay_flag("context", "cluster.context", context);
    }
    if let Some(listen) = listen {
        config.overlay_flag("listen", "listen", &listen.to_string());
    }
    checked(&config)
}

/// The settings, whose own signals take no name that is taken.
fn checked(config: &Config) -> anyhow::Result<Settings> {
    let settings = config.settings()?;
    match settings.prometheus.signals.iter().find(|own| catalog::holds(own.name)) {
        Some(own) => {
            anyhow::bail!(
                "prometheus.signals: the name {} is that of a signal of kubestrata's own",
                own.name
            )
        }
        None => Ok(settings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_error_chain_is_one_line_without_repetition() {
        let error = anyhow::anyhow!("connection refused").context("could not list pods");
        assert_eq!(chain(&error), "could not list pods: connection refused");
    }
}
