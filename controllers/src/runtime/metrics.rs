//! Metrics under upstream's names.

use std::sync::OnceLock;

use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, Opts,
    core::Collector, exponential_buckets,
};

use crate::action::Count;

struct Vectors {
    depth: GaugeVec,
    adds: CounterVec,
    retries: CounterVec,
    waited: HistogramVec,
    work: HistogramVec,
    leading: GaugeVec,
    node_evictions: CounterVec,
    force_deletions: CounterVec,
    taint_evictions: Counter,
}

fn vectors() -> &'static Vectors {
    static VECTORS: OnceLock<Vectors> = OnceLock::new();
    VECTORS.get_or_init(|| {
        let buckets = || exponential_buckets(1e-8, 10.0, 10).expect("a positive start and factor");
        let histogram = |name: &str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(buckets());
            registered(HistogramVec::new(options, &["name"]).expect("a valid metric"))
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            registered(CounterVec::new(Opts::new(name, help), labels).expect("a valid metric"))
        };
        let counter = |name: &str, help: &str| counters(name, help, &["name"]);
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
            node_evictions: counters(
                "node_collector_evictions_total",
                "Number of Node evictions that happened since current instance of \
                 NodeController started.",
                &["zone"],
            ),
            force_deletions: counters(
                "pod_gc_collector_force_delete_pods_total",
                "Number of pods that are being forcefully deleted since the Pod GC Controller \
                 started.",
                &["namespace", "reason"],
            ),
            taint_evictions: registered(
                Counter::new(
                    "taint_eviction_controller_pod_deletions_total",
                    "Total number of Pods deleted by TaintEvictionController since its start.",
                )
                .expect("a valid metric"),
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

/// Counts a write as upstream does.
pub(crate) fn count(count: &Count) {
    let vectors = vectors();
    match count {
        Count::NodeEviction { zone } => vectors.node_evictions.with_label_values(&[zone]).inc(),
        Count::PodForceDeletion { namespace, reason } => {
            vectors.force_deletions.with_label_values(&[namespace.as_str(), reason]).inc();
        }
        Count::TaintEviction => vectors.taint_evictions.inc(),
    }
}

/// Tells whether this process leads.
pub(crate) fn set_leading(leading: bool) {
    let gauge = vectors().leading.with_label_values(&["kube-controller-manager"]);
    gauge.set(if leading { 1.0 } else { 0.0 });
}
