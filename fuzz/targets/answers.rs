//! Can what a Prometheus answers, whatever it is, bring the daemon down?
#![no_main]

use kubestrata::model::Time;
use kubestrata::model::text::Interner;
use kubestrata::sources::read_answer;
use libfuzzer_sys::fuzz_target;

kubestrata_fuzz::json_mutator!();

/// Signals that are read by a query, with labels and without.
const SIGNALS: [&str; 2] = ["networking_dns_errors_ratio", "networking_cilium_drops"];

fuzz_target!(|data: &[u8]| {
    let now: Time = kubestrata_fuzz::NOW.parse().expect("a time");
    let read = || {
        let mut texts = Interner::default();
        let answers = SIGNALS.iter().filter_map(|s| read_answer(s, data, now, &mut texts).ok());
        answers.collect()
    };
    kubestrata_fuzz::look(read);
});
