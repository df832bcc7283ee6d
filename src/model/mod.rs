//! The nouns. Every stage speaks them; they know no stage.

pub mod anomaly;
pub mod contributors;
pub mod disruption;
pub mod expectation;
pub mod fields;
pub mod finding;
pub mod history;
pub mod kind;
pub mod layer;
pub mod quantity;
pub mod reading;
pub mod record;
pub mod report;
pub mod selector;
pub mod signal;
pub mod source;
pub mod subject;
pub mod tally;
pub mod term;
pub mod text;
pub mod value;
pub mod view;
pub mod world;

pub use record::Time;
pub use text::Text;
