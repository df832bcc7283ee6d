//! Can an object from the API server, whatever it holds, bring the daemon down?
#![no_main]

use kubestrata::model::kind::Kind;
use kubestrata::model::text::Interner;
use kubestrata::sources::read_watch_event;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

kubestrata_fuzz::json_mutator!();

fuzz_target!(|data: &[u8]| {
    let Ok(documents) = serde_json::from_slice::<Vec<Value>>(data) else { return };
    let read = || {
        let mut texts = Interner::default();
        let documents = documents.iter().filter_map(|document| {
            let field = |name: &str| document[name].as_str().unwrap_or_default();
            let kind = Kind::of_manifest(field("apiVersion"), field("kind"))?;
            let kind_of_event = if document["deleted"] == true { "DELETED" } else { "MODIFIED" };
            let event = format!("{{\"type\":\"{kind_of_event}\",\"object\":{document}}}");
            read_watch_event(kind, &event, &mut texts)
        });
        documents.collect()
    };
    kubestrata_fuzz::look(read);
});
