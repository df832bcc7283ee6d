//! How well does the daemon do? It is played on the embedded cluster, in virtual time.

mod play;

pub use play::{PlayError, START, play};
