//! Report → outside: Prometheus, OTLP, HTTP. Each fails alone: none can delay a tick or another.

pub mod http;
pub mod otlp;
pub mod prometheus;
