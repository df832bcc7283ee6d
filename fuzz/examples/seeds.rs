//! Where does fuzzing begin? Writes each document of the golden manifests as a seed of `objects`: `seeds GOLDEN OUT`.

use std::path::Path;

use serde_json::Value;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(golden), Some(out)) = (arguments.next(), arguments.next()) else {
        panic!("usage: seeds GOLDEN OUT");
    };
    std::fs::create_dir_all(&out).expect("a folder for the seeds");
    let mut count = 0;
    for entry in std::fs::read_dir(golden).expect("the golden files") {
        let path = entry.expect("a golden file").path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a golden file");
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML documents");
        for document in documents.into_iter().filter(|d| d["apiVersion"].is_string()) {
            // In a list, so that a mutation can repeat or drop objects.
            let seed = Value::Array(vec![document]).to_string();
            count += 1;
            std::fs::write(Path::new(&out).join(format!("golden-{count}")), seed).expect("a seed");
        }
    }
    println!("{count} seeds");
}
