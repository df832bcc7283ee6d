//! Can a table of objects, whatever its columns and cells, bring the daemon down?
#![no_main]

use kubestrata::model::kind::Kind;
use kubestrata::model::text::Interner;
use kubestrata::sources::read_page;
use libfuzzer_sys::fuzz_target;

kubestrata_fuzz::json_mutator!();

fuzz_target!(|data: &[u8]| {
    let read = || {
        let mut texts = Interner::default();
        let kinds = [Kind::VulnerabilityReport, Kind::PolicyReport, Kind::Lease];
        let pages = kinds.map(|kind| read_page(kind, data, &mut texts).unwrap_or_default());
        pages.into_iter().flatten().collect()
    };
    kubestrata_fuzz::look(read);
});
