//! What did the user write, and what is meant by it? [`Config`] as written, [`Settings`] as meant; every mistake is
//! told at once, with file, line, field and what was expected.

mod duration;
mod fields;
mod file;
mod own_signals;
mod reference;
mod settings;
mod yaml;

pub use duration::{format_duration, parse_duration};
pub use fields::check_url;
pub use fields::{FIELDS, Field, Value};
pub use file::{Config, ConfigError, Mistake};
pub use reference::{effective_yaml, reference_markdown};
pub use settings::{
    AuditSettings, Bands, BaselineSettings, ClusterSettings, Compression, LeaderElectionSettings,
    LimitSettings, OtlpProtocol, OtlpSettings, PrometheusSettings, Settings, StateSettings,
};
pub(crate) use yaml::{Node, closest, parse as parse_yaml};
