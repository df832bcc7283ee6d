//! Can what an endpoint says, whatever it is, bring the daemon down?
#![no_main]

use kubestrata::model::Time;
use kubestrata::model::kind::Kind;
use kubestrata::model::text::Interner;
use kubestrata::sources::read_exposition;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let now: Time = kubestrata_fuzz::NOW.parse().expect("a time");
    let read = || {
        let mut texts = Interner::default();
        let endpoints = Kind::ALL.iter().filter(|kind| !kind.is_resource());
        let endpoints = endpoints.filter(|k| !matches!(k, Kind::Audit | Kind::PrometheusQuery));
        endpoints.map(|kind| read_exposition(*kind, "one", data, now, &mut texts)).collect()
    };
    kubestrata_fuzz::look(read);
});
