//! What do the targets share? A look at the world with what was read, and a mutator that keeps JSON whole.

use kubestrata::config::Settings;
use kubestrata::exports::prometheus::{About, Format, encode};
use kubestrata::model::Time;
use kubestrata::model::kind::Kind;
use kubestrata::model::source::SourceNote;
use kubestrata::model::world::{Delta, World};
use kubestrata::pipeline::{Pipeline, State};
use serde_json::Value;

/// The moment at which the golden manifests are looked at.
pub const NOW: &str = "2026-01-02T00:00:00Z";

/// Seconds between the two looks: longer than every dwell.
const LATER: i64 = 30 * 3600;

/// Takes changes in as a first list and, again, as changes of a day later; looks both times, and writes both down.
pub fn look(changes: impl Fn() -> Vec<Delta>) {
    let later: Time = NOW.parse().expect("a time");
    let earlier = Time::from_second(later.as_second() - LATER).expect("a time");
    let opt_in = Kind::ALL.iter().copied().filter(|k| k.is_opt_in()).collect();
    let settings = Settings { opt_in, ..Settings::default() };
    let mut pipeline = Pipeline::new(settings, State::default());
    let mut world = World::default();
    let kinds = pipeline.kinds();
    let all = |delta: fn(Kind) -> Delta| kinds.iter().copied().map(delta).collect::<Vec<_>>();
    let listed = all(Delta::Listing).into_iter().chain(changes()).chain(all(Delta::Synced));
    let alive = all(|kind| Delta::Note(kind, SourceNote::Alive));
    for (now, taken) in [(earlier, listed.collect()), (later, [changes(), alive].concat())] {
        for delta in taken {
            pipeline.absorb(&mut world, delta, now);
        }
        let report = pipeline.step(&world, now);
        let text = encode(&report.into(), &About::default(), Format::OpenMetrics);
        let text = text.expect("every report can be written");
        assert!(!text.contains("NaN"), "no NaN leaves");
    }
}

/// Values that fields hold when they should not.
const ODD: &[&str] = &[
    "null", "{}", "[]", "\"\"", "0", "-1", "1e308", "18446744073709551615", "true", "\"True\"",
    "\"Unknown\"", "\"1970-01-01T00:00:00Z\"", "\"9999-12-31T23:59:59Z\"", "\"2026-01-03T00:00:00Z\"",
    "\"-1m\"", "\"1e99999\"", "\"99999999999999999999Ei\"", "\"\\u0000\\ud83d\\ude00\"", "[null]", "[[]]",
];

/// Changes one place of a JSON text and leaves it JSON; `None` where it is none.
pub fn mutate_json(text: &[u8], seed: u32) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(text).ok()?;
    let mut draw = Draw(u64::from(seed) | 1 << 40);
    let places = places(&value);
    let at = draw.below(places);
    change(&mut value, &mut { at }, &mut draw);
    serde_json::to_vec(&value).ok()
}

struct Draw(u64);

impl Draw {
    /// Xorshift (Marsaglia 2003).
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

fn places(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(places).sum(),
        Value::Object(fields) => fields.values().map(places).sum(),
        _ => 0,
    }
}

/// Goes `left` places on, and changes what is there.
fn change(value: &mut Value, left: &mut usize, draw: &mut Draw) -> bool {
    if *left == 0 {
        *value = changed(value, draw);
        return true;
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|item| change(item, left, draw)),
        Value::Object(fields) => fields.values_mut().any(|field| change(field, left, draw)),
        _ => false,
    }
}

fn changed(value: &Value, draw: &mut Draw) -> Value {
    let odd = |draw: &mut Draw| {
        serde_json::from_str(ODD[draw.below(ODD.len())]).expect("the odd values are JSON")
    };
    match value {
        Value::Array(items) if !items.is_empty() && draw.below(2) == 0 => {
            let mut items = items.clone();
            let at = draw.below(items.len());
            match draw.below(3) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                _ => items.reverse(),
            }
            Value::Array(items)
        }
        Value::Object(fields) if !fields.is_empty() && draw.below(2) == 0 => {
            let mut fields = fields.clone();
            let name = fields.keys().nth(draw.below(fields.len())).cloned().expect("one of them");
            fields.remove(&name);
            Value::Object(fields)
        }
        Value::String(text) if draw.below(2) == 0 => {
            let mut text = text.clone();
            let cut = text.floor_char_boundary(draw.below(text.len() + 1));
            match draw.below(3) {
                0 => text.truncate(cut),
                1 => text.insert_str(cut, ["/", ":", " ", "-", ".", "é", "\"", "_"][draw.below(8)]),
                _ => text = text.split_off(cut) + &text,
            }
            Value::String(text)
        }
        Value::Number(number) if draw.below(2) == 0 => {
            let number = number.as_f64().unwrap_or_default();
            let factor = [-1.0, 0.0, 1000.0, 1e18][draw.below(4)];
            serde_json::Number::from_f64(number * factor).map_or(Value::Null, Value::Number)
        }
        _ => odd(draw),
    }
}

/// The mutator of targets whose input is JSON: mostly it stays JSON.
#[macro_export]
macro_rules! json_mutator {
    () => {
        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            if seed % 8 != 0
                && let Some(new) = $crate::mutate_json(&data[..size], seed)
                && new.len() <= max_size
            {
                data[..new.len()].copy_from_slice(&new);
                return new.len();
            }
            libfuzzer_sys::fuzzer_mutate(data, size, max_size)
        });
    };
}
