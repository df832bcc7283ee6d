//! `kubestrata evaluate`: plays labelled scenarios in virtual time through the whole daemon and scores it.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Failure, Global, Outcome, demo, logging, print, say};
use crate::clock::Clock;
use crate::config::format_duration;
use crate::evaluate::{self, Plan};
use crate::sim::{Scenario, Set};

#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    /// What is played: a built-in name (see `demo --help`) or a file; may be given more than once. Without it: the
    /// shipped scenarios, every fault and everything that only looks wrong.
    #[arg(long, value_name = "NAME|FILE")]
    scenario: Vec<String>,
    /// How many clusters each is played in: seeds 1 to N.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    seeds: u64,
    /// Days to play, again and again where a scenario repeats; without it, each takes as long as it lasts.
    #[arg(long, value_name = "N", value_parser = days)]
    days: Option<f64>,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Table,
    Json,
}

fn days(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(days) if (0.01..=90.0).contains(&days) => Ok(days),
        _ => Err("expected a number from 0.01 to 90".to_owned()),
    }
}

pub(super) fn run(args: &EvaluateArgs, global: &Global) -> Outcome {
    let settings = evaluate::settings();
    // What is built in begins when series are judged; files say themselves when.
    let lead = settings.baseline.warm_up + Duration::from_mins(5);
    let scenarios = match &args.scenario[..] {
        [] => everything(lead).map_err(Failure::usage)?,
        names => {
            let named = names.iter().map(|name| one(name, lead));
            named.collect::<Result<_, _>>().map_err(Failure::usage)?
        }
    };
    // The daemon says a line for each finding: that is for those who ask.
    let level = if global.log_level == "info" { "error" } else { &global.log_level };
    logging::start(&Global { log_level: level.to_owned(), ..global.clone() })?;
    let duration = args.days.map(|days| Duration::from_secs_f64(days * 86_400.0));
    let plans: Vec<Plan> = scenarios
        .into_iter()
        .flat_map(|scenario| (1..=args.seeds).map(move |seed| (scenario.clone(), seed)))
        .map(|(scenario, seed)| Plan::new(scenario, seed, duration))
        .collect();
    let (clock, count) = (Clock::system(), plans.len());
    let began = clock.now();
    let plays = evaluate::mark_all(&plans, &settings, |played| {
        let (name, seed) = (&played.scenario, played.seed);
        say(&format!("played {} of {name}, seed {seed}", format_duration(played.duration)));
    });
    let plays = plays.map_err(Failure::runtime)?;
    let took = clock.now().duration_since(began).as_secs_f64();
    let summaries: Vec<_> = [Set::Tuning, Set::HeldOut]
        .into_iter()
        .filter_map(|set| evaluate::summarise(&plays, set))
        .collect();
    match args.output {
        Format::Table => {
            let table = evaluate::table(&summaries, &plays);
            print(&format!("{table}{count} plays took {took:.1} s\n"))?;
        }
        Format::Json => {
            let json = evaluate::as_json(&summaries, &plays, took);
            let json = serde_json::to_string_pretty(&json).map_err(Failure::runtime)?;
            print(&format!("{json}\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn everything(lead: Duration) -> anyhow::Result<Vec<Scenario>> {
    let mut all = evaluate::shipped()?;
    for name in ["all", "everyday"] {
        all.push(Scenario::builtin(name)?.delayed(lead));
    }
    Ok(all)
}

fn one(name: &str, lead: Duration) -> anyhow::Result<Scenario> {
    let scenario = demo::scenario(name)?;
    let from_file = Path::new(name).exists() && Scenario::builtin(name).is_err();
    if scenario.ends() == Duration::ZERO && scenario.lasts.is_none() {
        return Ok(Scenario { lasts: Some(Duration::from_hours(24)), ..scenario });
    }
    if from_file { Ok(scenario) } else { Ok(scenario.delayed(lead)) }
}
