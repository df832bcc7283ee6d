//! kubestrata tells which layer of a Kubernetes cluster is unhealthy, since when, why, and what changed.
//!
//! ```text
//! cluster API ─▶ sources ─▶ World ─▶ layers ─▶ Reading ─▶ baselines ─▶ Expectation ─▶ detectors ─▶ Anomaly ─▶ Report ─▶ exports
//!                                       ╰──────────▶ Finding (deterministic bad state) ─────────────────────╯
//! ```
//!
//! The modules in the order in which to read them: the nouns ([`model`]), then the stages along the flow.

/// A tick frees what it made, small and in no order, and a simulated cluster does little else: the system's allocators
/// are slow at that, that of musl most of all.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod model;

pub mod clock;
pub mod config;

pub mod sources;

pub mod layers;

pub mod baselines;

pub mod detectors;

pub mod pipeline;

pub mod snapshot;

pub mod catalog;

pub mod exports;

pub mod daemon;

pub mod sim;

pub mod evaluate;

pub mod backtest;

pub mod cli;
