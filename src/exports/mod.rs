//! Report → outside: Prometheus, OTLP, HTTP; what one of several replicas says, and what is still to be told after a crash.
//! Each fails alone: none can delay a tick or another.

pub mod http;
pub mod otlp;
pub mod outbox;
pub mod prometheus;
pub mod speaker;
