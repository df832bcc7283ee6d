//! Report → outside: Prometheus, OTLP, HTTP; and what one of several replicas says. Each fails alone: none can delay a tick or another.

pub mod http;
pub mod otlp;
pub mod prometheus;
pub mod speaker;
