//! Metrics under upstream's names.

use std::sync::OnceLock;

use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, Opts,
    core::Collector, exponential_buckets,
};

struct Vectors {
    depth: GaugeVec,
    adds: CounterVec,
    retries: CounterVec,
    waited: HistogramVec,
    work: HistogramVec,
    leading: GaugeVec,
}

fn vectors() -> &'static Vectors {
    static VECTORS: OnceLock<Vectors> = OnceLock::new();
    VECTORS.get_or_init(|| {
        let buckets = || exponential_buckets(1e-8, 10.0, 10).expect("a positive start and factor");
        let histogram = |name: &str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(buckets());
            registered(HistogramVec::new(options, &["name"]).expect("a valid metric"))
        };
        let counter = |name: &str, help: &str| {
            registered(CounterVec::new(Opts::new(name, help), &["name"]).expect("a valid metric"))
        };
        let gauge = |name: &str, help: &str| {
            registered(GaugeVec::new(Opts::new(name, help), &["name"]).expect("a valid metric"))
        };
        Vectors {
            depth: gauge("workqueue_depth", "Current depth of workqueue"),
            adds: counter("workqueue_adds_total", "Total number of adds handled by workqueue"),
            retries: counter(
                "workqueue_retries_total",
                "Total number of retries handled by workqueue",
            ),
            waited: histogram(
                "workqueue_queue_duration_seconds",
                "How long in seconds an item stays in workqueue before being requested.",
            ),
            work: histogram(
                "workqueue_work_duration_seconds",
                "How long in seconds processing an item from workqueue takes.",
            ),
            leading: gauge(
                "leader_election_master_status",
                "Gauge of if the reporting system is master of the relevant lease, 0 indicates \
                 backup, 1 indicates master.",
            ),
        }
    })
}

/// Registers a collector; a second process-wide user of the name keeps its own.
fn registered<C: Collector + Clone + 'static>(collector: C) -> C {
    if let Err(error) = prometheus::register(Box::new(collector.clone())) {
        tracing::debug!("metric not registered: {error}");
    }
    collector
}

/// The metrics of one work queue.
pub(crate) struct QueueMetrics {
    pub(crate) depth: Gauge,
    pub(crate) adds: Counter,
    pub(crate) retries: Counter,
    pub(crate) waited: Histogram,
    pub(crate) work: Histogram,
}

impl QueueMetrics {
    pub(crate) fn new(name: &str) -> QueueMetrics {
        let vectors = vectors();
        QueueMetrics {
            depth: vectors.depth.with_label_values(&[name]),
            adds: vectors.adds.with_label_values(&[name]),
            retries: vectors.retries.with_label_values(&[name]),
            waited: vectors.waited.with_label_values(&[name]),
            work: vectors.work.with_label_values(&[name]),
        }
    }
}

/// Tells whether this process leads.
pub(crate) fn set_leading(leading: bool) {
    let gauge = vectors().leading.with_label_values(&["kube-controller-manager"]);
    gauge.set(if leading { 1.0 } else { 0.0 });
}
