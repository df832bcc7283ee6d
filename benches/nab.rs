//! What is each part of the one-pass detector worth, and would another do better? By the Numenta Anomaly Benchmark.
//!
//! `KUBESTRATA_NAB=DIR cargo bench --bench nab` prints the tables of docs/detection.md; `DIR` holds `data` and
//! `labels/combined_windows.json` of the benchmark, or some files of both. Cross-validated is the score of half of the
//! files at the threshold that is best for the other half: fifty seeded halvings, both ways, mean and standard deviation.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::thread;

use anyhow::Context;
use kubestrata::backtest::nab::{Profile, Steps, Truth};
use kubestrata::backtest::{Sample, parse_time, read};
use kubestrata::baselines::gauge::{Gauge, Pooling, Recipe, THRESHOLD, Tail, WARM_UP};

/// In seconds: the step of most files, for which the detector's time constants were chosen.
const STEP: f64 = 300.0;
const HALVINGS: u64 = 50;
const WHOLE: Recipe = Recipe::WHOLE;

/// A recipe, which may depend on how far apart a file's samples are.
type Of = fn(step: f64) -> Recipe;

/// The whole, then what each part is worth.
const ABLATION: [(&str, Of); 15] = [
    ("whole", |_| WHOLE),
    ("no escalation filter", |_| Recipe { escalation: false, ..WHOLE }),
    ("no escalation filter, no discounts", |_| Recipe {
        escalation: false,
        habituation: 0.0,
        long_memory: 0.0,
        ..WHOLE
    }),
    ("no season", |_| Recipe { season: false, ..WHOLE }),
    ("largest surprise, not the 2-norm", |_| Recipe { pooling: Pooling::Largest, ..WHOLE }),
    ("no habituation", |_| Recipe { habituation: 0.0, ..WHOLE }),
    ("no persistence", |_| Recipe { persistence: 0.0, ..WHOLE }),
    ("no long memory", |_| Recipe { long_memory: 0.0, ..WHOLE }),
    ("exponential tails", |_| Recipe { tail: Tail::Exponential, ..WHOLE }),
    ("residual, drift and shift", |_| of([true, true, true, false])),
    ("residual and shift", |_| of([true, false, true, false])),
    ("residual alone", |_| of([true, false, false, false])),
    ("drift alone", |_| of([false, true, false, false])),
    ("shift alone", |_| of([false, false, true, false])),
    ("roughness alone", |_| of([false, false, false, true])),
];

/// What might do better.
const CHANGES: [(&str, Of); 10] = [
    ("sum of surprises", |_| Recipe { pooling: Pooling::Sum, ..WHOLE }),
    ("twice the persistence", |_| Recipe { persistence: 1.0, ..WHOLE }),
    ("half the habituation", |_| Recipe { habituation: 0.2, ..WHOLE }),
    ("1.5 times the habituation", |_| Recipe { habituation: 0.6, ..WHOLE }),
    ("half the long memory", |_| Recipe { long_memory: 0.05, ..WHOLE }),
    ("twice the long memory", |_| Recipe { long_memory: 0.2, ..WHOLE }),
    ("means half as fast", |_| Recipe { pace: 0.5, ..WHOLE }),
    ("means twice as fast", |_| Recipe { pace: 2.0, ..WHOLE }),
    ("means by time, not by sample", |step| Recipe { pace: step / STEP, ..WHOLE }),
    ("means halfway between the two", |step| Recipe { pace: (step / STEP).sqrt(), ..WHOLE }),
];

const fn of(statistics: [bool; 4]) -> Recipe {
    Recipe { statistics, ..WHOLE }
}

/// A file of the benchmark. Its category is the folder that it is in.
struct Series {
    name: String,
    samples: Vec<Sample>,
    truth: Truth,
}

impl Series {
    /// The median distance of samples in the warm-up, in which nothing is told yet.
    fn step(&self) -> f64 {
        let warm_up = &self.samples[..self.samples.len().min(WARM_UP as usize)];
        let mut steps: Vec<f64> = warm_up.windows(2).map(|two| two[1].time - two[0].time).collect();
        steps.sort_by(f64::total_cmp);
        steps[steps.len() / 2]
    }
}

fn main() -> anyhow::Result<()> {
    // `cargo test --benches` runs benches too, and this one is not a test.
    if !std::env::args().any(|a| a == "--bench") {
        return Ok(());
    }
    let Some(directory) = std::env::var_os("KUBESTRATA_NAB") else {
        println!("set KUBESTRATA_NAB to the directory with the benchmark's data and labels");
        return Ok(());
    };
    let corpus = corpus(Path::new(&directory))?;
    profiles(&corpus);
    let measure = |(name, of): &(&'static str, Of)| {
        (*name, steps(&corpus, &scores(&corpus, *of), Profile::STANDARD))
    };
    let measured: Vec<_> = ABLATION.iter().chain(&CHANGES).map(measure).collect();
    let halves: Vec<_> = (0..HALVINGS).map(|seed| halves(&corpus, seed)).collect();
    table(&measured, &halves);
    Ok(())
}

/// All files that are labelled, in the order of their names.
fn corpus(directory: &Path) -> anyhow::Result<Vec<Series>> {
    let path = directory.join("labels/combined_windows.json");
    let labels = fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
    let labels: BTreeMap<String, Vec<[String; 2]>> =
        serde_json::from_slice(&labels).with_context(|| path.display().to_string())?;
    let data = directory.join("data");
    labels.into_iter().map(|(name, windows)| series(&data, name, &windows)).collect()
}

fn series(data: &Path, name: String, windows: &[[String; 2]]) -> anyhow::Result<Series> {
    let open = File::open(data.join(&name)).with_context(|| format!("could not open {name}"))?;
    let samples = read(open).with_context(|| name.clone())?;
    let place = |stamp: &str| {
        let time = parse_time(stamp);
        let place = samples.iter().position(|sample| Some(sample.time) == time);
        place.with_context(|| format!("{name}: no sample at {stamp}, where a window ends"))
    };
    let within = |[from, until]: &[String; 2]| Ok(place(from)?..=place(until)?);
    let windows = windows.iter().map(within).collect::<anyhow::Result<_>>()?;
    Ok(Series { truth: Truth::new(samples.len(), windows), name, samples })
}

/// Each recipe on files that its threshold has not seen, and what is lost, or won, against the whole on the same files.
fn table(measured: &[(&str, Vec<Steps>)], halves: &[[Half; 2]]) {
    let Some((_, whole)) = measured.first() else { return };
    let whole = unseen(whole, halves);
    println!(
        "\n| recipe | standard | its threshold | cross-validated | against the whole |\n\
         |---|---|---|---|---|"
    );
    let row = |name: &str, own: &str, unseen: &[f64]| {
        let against: Vec<f64> =
            unseen.iter().zip(&whole).map(|(part, whole)| part - whole).collect();
        let ((mean, spread), (more, paired)) = (mean_and_spread(unseen), mean_and_spread(&against));
        println!("| {name} | {own} | {mean:.1} ± {spread:.1} | {more:+.1} ± {paired:.1} |");
    };
    for (name, files) in measured {
        let (best, threshold) = Steps::together(files).best();
        row(name, &format!("{best:.1} | {threshold:.2}"), &unseen(files, halves));
    }
    row("the best of these on the other half", " | ", &chosen(measured, halves));
}

/// What is told of each sample of each file, on two threads.
fn scores(corpus: &[Series], of: Of) -> Vec<Vec<f64>> {
    let judge = |series: &Series| {
        let (recipe, mut gauge) = (of(series.step()), Gauge::default());
        let told = |s: &Sample| gauge.judge_by(&recipe, s.time, s.value).map_or(0.0, |j| j.told);
        series.samples.iter().map(told).collect::<Vec<f64>>()
    };
    let all = |part: &[Series]| part.iter().map(judge).collect::<Vec<_>>();
    let (first, second) = corpus.split_at(corpus.len() / 2);
    thread::scope(|scope| {
        let first = scope.spawn(|| all(first));
        let second = all(second);
        let mut scores = first.join().unwrap();
        scores.extend(second);
        scores
    })
}

fn steps(corpus: &[Series], scores: &[Vec<f64>], profile: Profile) -> Vec<Steps> {
    corpus.iter().zip(scores).map(|(series, scores)| series.truth.steps(scores, profile)).collect()
}

/// The whole recipe by each of the benchmark's profiles, and at the threshold that `backtest` has.
fn profiles(corpus: &[Series]) {
    let samples: usize = corpus.iter().map(|series| series.samples.len()).sum();
    println!(
        "| {} files, {samples} samples | score | its threshold | at {THRESHOLD} |\n|---|---|---|---|",
        corpus.len()
    );
    let scores = scores(corpus, |_| WHOLE);
    let profiles = [
        ("standard", Profile::STANDARD),
        ("few false", Profile::FEW_FALSE),
        ("few missed", Profile::FEW_MISSED),
    ];
    for (name, profile) in profiles {
        let all = Steps::together(&steps(corpus, &scores, profile));
        let (best, threshold) = all.best();
        println!("| {name} | {best:.6} | {threshold:.6} | {:.6} |", all.at(THRESHOLD));
    }
}

/// The places of half of the files.
type Half = Vec<usize>;

/// Two halves, drawn with a seed from each category by itself; where its files are odd in number, first the second half
/// gets one more, then the first, and so on.
fn halves(corpus: &[Series], seed: u64) -> [Half; 2] {
    let mut categories: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, series) in corpus.iter().enumerate() {
        let (category, _) = series.name.split_once('/').unwrap_or_default();
        categories.entry(category).or_default().push(place);
    }
    let mut state = seed;
    let (mut halves, mut odd) = ([Half::new(), Half::new()], 0);
    for mut files in categories.into_values() {
        for last in (1..files.len()).rev() {
            files.swap(last, (random(&mut state) % (last as u64 + 1)) as usize);
        }
        let left_over = files.len() % 2;
        let first = files.len() / 2 + left_over * odd;
        odd = (odd + left_over) % 2;
        halves[0].extend(&files[..first]);
        halves[1].extend(&files[first..]);
    }
    halves
}

/// SplitMix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// To choose on, and to be scored on.
fn both_ways(halves: &[[Half; 2]]) -> impl Iterator<Item = (&[usize], &[usize])> {
    halves.iter().flat_map(|[a, b]| [(&a[..], &b[..]), (&b[..], &a[..])])
}

fn on(half: &[usize], files: &[Steps]) -> Steps {
    Steps::together(half.iter().map(|place| &files[*place]))
}

/// The score of each half at the other's best threshold.
fn unseen(files: &[Steps], halves: &[[Half; 2]]) -> Vec<f64> {
    let score = |(seen, unseen)| on(unseen, files).at(on(seen, files).best().1);
    both_ways(halves).map(score).collect()
}

/// The same where the recipe, too, is the best of the other half.
fn chosen(measured: &[(&str, Vec<Steps>)], halves: &[[Half; 2]]) -> Vec<f64> {
    let score = |(seen, unseen)| {
        let best = measured.iter().map(|(_, files)| (on(seen, files).best(), files));
        let ((_, threshold), files) = best.max_by(|a, b| a.0.0.total_cmp(&b.0.0)).unwrap();
        on(unseen, files).at(threshold)
    };
    both_ways(halves).map(score).collect()
}

/// Mean and standard deviation.
fn mean_and_spread(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0)).sqrt())
}
