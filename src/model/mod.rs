//! The nouns. Every stage speaks them; they know no stage.

pub mod anomaly;
pub mod expectation;
pub mod finding;
pub mod kind;
pub mod layer;
pub mod reading;
pub mod record;
pub mod report;
pub mod signal;
pub mod source;
pub mod subject;
pub mod tally;
pub mod text;
pub mod view;
pub mod world;

pub use record::Time;
pub use text::Text;
