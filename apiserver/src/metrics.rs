//! What the API server counts, under upstream's names.

use std::sync::LazyLock;

use prometheus::{
    CounterVec, GaugeVec, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, register_counter_vec,
    register_gauge_vec, register_histogram_vec, register_int_counter_vec, register_int_gauge_vec,
};

/// Upstream's buckets of request durations.
const DURATIONS: [f64; 20] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0,
];

/// Requests by verb, resource and answer.
pub static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let labels = [
        "verb",
        "dry_run",
        "group",
        "version",
        "resource",
        "subresource",
        "scope",
        "component",
        "code",
    ];
    register_int_counter_vec!(
        "apiserver_request_total",
        "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
        &labels
    )
    .expect("the name is free")
});

/// How long requests took.
pub static DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!(
        "apiserver_request_duration_seconds",
        "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
        &["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"],
        DURATIONS.to_vec()
    )
    .expect("the name is free")
});

/// Requests that run now.
static INFLIGHT: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "apiserver_current_inflight_requests",
        "Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
        &["request_kind"]
    )
    .expect("the name is free")
});

/// Those of them that change something.
pub static INFLIGHT_MUTATING: LazyLock<IntGauge> =
    LazyLock::new(|| INFLIGHT.with_label_values(&["mutating"]));
/// Those that only read.
pub static INFLIGHT_READING: LazyLock<IntGauge> =
    LazyLock::new(|| INFLIGHT.with_label_values(&["readOnly"]));

/// Long-running requests that run now.
pub static LONG_RUNNING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "apiserver_longrunning_requests",
        "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.",
        &["verb", "group", "version", "resource", "subresource", "scope", "component"]
    )
    .expect("the name is free")
});

/// Watch events sent.
pub static WATCH_EVENTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "apiserver_watch_events_total",
        "Number of events sent in watch clients",
        &["group", "version", "resource"]
    )
    .expect("the name is free")
});

/// Objects stored, by resource.
pub static OBJECTS: LazyLock<GaugeVec> = LazyLock::new(|| {
    register_gauge_vec!(
        "apiserver_storage_objects",
        "Number of stored objects at the time of last check split by kind.",
        &["resource"]
    )
    .expect("the name is free")
});

/// Stored values that could not be read.
pub static UNDECODABLE: LazyLock<CounterVec> = LazyLock::new(|| {
    register_counter_vec!(
        "apiserver_storage_decode_errors_total",
        "Number of stored object decode errors split by object type",
        &["resource"]
    )
    .expect("the name is free")
});

/// Panics that were caught at a request.
pub static PANICS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "apiserver_request_panics_total",
        "Number of requests that ended in a panic, by verb and resource.",
        &["verb", "resource"]
    )
    .expect("the name is free")
});

/// Everything that the process counts, in the text format.
pub fn render() -> Result<Vec<u8>, prometheus::Error> {
    use prometheus::Encoder as _;
    let mut out = Vec::new();
    prometheus::TextEncoder::new().encode(&prometheus::gather(), &mut out)?;
    Ok(out)
}
