//! What did the user write, and what is meant by it?

mod settings;

pub use settings::{
    BaselineSettings, ClusterSettings, Compression, LimitSettings, OtlpProtocol, OtlpSettings,
    Settings, StateSettings,
};
