//! Which of OpenTelemetry's own variables count? Those of the OTLP exporter specification, over the file.

use std::time::Duration;

use thiserror::Error;

use crate::config::{Compression, OtlpProtocol, OtlpSettings};

/// A variable that holds what it can't.
#[derive(Debug, Error, PartialEq)]
#[error("environment {variable}: expected {expected}, found {found:?}")]
pub struct EnvironmentError {
    variable: String,
    expected: &'static str,
    found: String,
}

/// Lays the `OTEL_*` variables over the settings. Empty variables count as not set, as the specification asks.
pub fn from_env(
    mut settings: OtlpSettings,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<OtlpSettings, EnvironmentError> {
    let mut disabled = false;
    for (variable, value) in variables.filter(|(_, value)| !value.is_empty()) {
        let expected = |expected: &'static str| EnvironmentError {
            variable: variable.clone(),
            expected,
            found: value.clone(),
        };
        let millis = || {
            let millis = value.parse().map_err(|_| expected("a number of milliseconds"));
            millis.map(Duration::from_millis)
        };
        match variable.as_str() {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => settings.endpoint = Some(value),
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT" => settings.logs_endpoint = Some(value),
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT" => settings.metrics_endpoint = Some(value),
            "OTEL_EXPORTER_OTLP_PROTOCOL" => {
                settings.protocol = match value.as_str() {
                    "grpc" => OtlpProtocol::Grpc,
                    "http/protobuf" => OtlpProtocol::HttpProtobuf,
                    _ => return Err(expected("grpc or http/protobuf")),
                };
            }
            "OTEL_EXPORTER_OTLP_HEADERS" => {
                let told = "name=value pairs with commas between them";
                settings.headers = headers(&value).ok_or(EnvironmentError {
                    variable,
                    expected: told,
                    found: "something else".to_owned(),
                })?;
            }
            "OTEL_EXPORTER_OTLP_COMPRESSION" => {
                settings.compression = match value.as_str() {
                    "gzip" => Compression::Gzip,
                    "none" => Compression::None,
                    _ => return Err(expected("gzip or none")),
                };
            }
            "OTEL_EXPORTER_OTLP_TIMEOUT" => settings.timeout = millis()?,
            "OTEL_METRIC_EXPORT_INTERVAL" => settings.metrics_interval = millis()?,
            "OTEL_EXPORTER_OTLP_CERTIFICATE" => settings.ca_file = Some(value.into()),
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE" => settings.cert_file = Some(value.into()),
            "OTEL_EXPORTER_OTLP_CLIENT_KEY" => settings.key_file = Some(value.into()),
            "OTEL_SDK_DISABLED" => disabled = value.eq_ignore_ascii_case("true"),
            _ => {}
        }
    }
    if settings.endpoint.is_none() {
        // The logs' own endpoint alone is enough to be sent events.
        settings.endpoint = settings.logs_endpoint.clone();
        settings.metrics &= settings.endpoint.is_none() || settings.metrics_endpoint.is_some();
    }
    if disabled {
        settings.endpoint = None;
    }
    Ok(settings)
}

/// `a=b,c=d` with percent-encoded values (W3C Baggage).
fn headers(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let value = decode(value.trim())?;
            Some((name.trim().to_owned(), value)).filter(|(name, _)| !name.is_empty())
        })
        .collect()
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |b: Option<u8>| char::from(b?).to_digit(16);
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            bytes.push((high * 16 + low) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(pairs: &[(&str, &str)]) -> Result<OtlpSettings, EnvironmentError> {
        let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        from_env(OtlpSettings::default(), pairs)
    }

    #[test]
    fn the_standard_variables_lay_over_the_settings() {
        let settings = laid(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x=y"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", ""),
        ])
        .unwrap();
        assert_eq!(settings.endpoint.as_deref(), Some("http://c:4318"));
        assert_eq!(settings.protocol, OtlpProtocol::HttpProtobuf);
        assert_eq!(settings.timeout, Duration::from_millis(2500));
        let expected = [("api-key", "a b"), ("x", "y")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(settings.headers, expected);
        assert_eq!(settings.compression, Compression::None);
    }

    #[test]
    fn a_variable_that_holds_what_it_can_not_is_named() {
        let cases = [
            (
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                "thrift",
                "expected grpc or http/protobuf, found \"thrift\"",
            ),
            (
                "OTEL_EXPORTER_OTLP_TIMEOUT",
                "10s",
                "expected a number of milliseconds, found \"10s\"",
            ),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "expected name=value pairs"),
        ];
        for (variable, value, expected) in cases {
            let error = laid(&[(variable, value)]).expect_err(value).to_string();
            assert!(error.contains(variable) && error.contains(expected), "{error}");
            assert!(!error.contains("secret"), "headers are secret: {error}");
        }
    }

    #[test]
    fn the_sdk_can_be_switched_off() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317");
        assert_eq!(laid(&[endpoint, ("OTEL_SDK_DISABLED", "true")]).unwrap().endpoint, None);
    }
}
