//! How a process tells what it does: log lines on stderr, metrics in one registry.
//!
//! Metrics live in the default registry of the `prometheus` crate, under the names that upstream
//! Kubernetes and etcd use, so that existing dashboards and alerts work.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One readable line per event.
    #[default]
    Text,
    /// One JSON object per event.
    Json,
}

/// Installs the process's log subscriber. `filter` is in the syntax of `RUST_LOG`
/// (`info,kontiki_raft=debug`); an unparsable filter is an error naming it.
pub fn init(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(filter).map_err(|error| format!("log filter {filter:?}: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
    .map_err(|error| format!("log subscriber: {error}"))
}

/// The default registry in Prometheus text format.
pub fn metrics_text() -> String {
    let mut text = String::new();
    let encoded = prometheus::TextEncoder::new().encode_utf8(&prometheus::gather(), &mut text);
    if let Err(error) = encoded {
        tracing::error!("cannot encode metrics: {error}");
    }
    text
}
