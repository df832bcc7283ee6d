//! Can what the audit webhook is sent, whatever it is, bring the daemon down?
#![no_main]

use kubestrata::model::Time;
use kubestrata::model::world::Delta;
use kubestrata::sources::read_audit;
use libfuzzer_sys::fuzz_target;

kubestrata_fuzz::json_mutator!();

fuzz_target!(|data: &[u8]| {
    let now: Time = kubestrata_fuzz::NOW.parse().expect("a time");
    let read = || match read_audit(data, now) {
        Ok((events, _)) => events.into_iter().map(Delta::Upsert).collect(),
        Err(_) => Vec::new(),
    };
    kubestrata_fuzz::look(read);
});
