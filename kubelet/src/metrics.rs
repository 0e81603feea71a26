//! The kubelet's metrics, under upstream's names.

use std::{sync::LazyLock, time::Duration};

use prometheus::{
    Histogram, IntCounterVec, IntGauge, IntGaugeVec, register_histogram, register_int_counter_vec,
    register_int_gauge, register_int_gauge_vec,
};

use crate::pod::spec::ProbeKind;

static RUNNING_PODS: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!("kubelet_running_pods", "Number of pods that have a running pod sandbox")
        .expect("the metric is registered once")
});
static RUNNING_CONTAINERS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "kubelet_running_containers",
        "Number of containers currently running",
        &["container_state"]
    )
    .expect("the metric is registered once")
});
static PROBES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "prober_probe_total",
        "Cumulative number of a liveness, readiness or startup probe for a container by result.",
        &["probe_type", "result"]
    )
    .expect("the metric is registered once")
});
static POD_START: LazyLock<Histogram> = LazyLock::new(|| {
    register_histogram!(
        "kubelet_pod_start_duration_seconds",
        "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
        vec![0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0]
    )
    .expect("the metric is registered once")
});

/// Counts an answer of a probe.
pub fn count_probe(kind: ProbeKind, passed: bool) {
    let result = if passed { "successful" } else { "failed" };
    let kind = match kind {
        ProbeKind::Startup => "Startup",
        ProbeKind::Liveness => "Liveness",
        ProbeKind::Readiness => "Readiness",
    };
    PROBES.with_label_values(&[kind, result]).inc();
}

/// Tells how many pods and containers run.
pub fn set_running(pods: usize, running: usize, exited: usize, created: usize) {
    let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    RUNNING_PODS.set(number(pods));
    for (state, count) in [("running", running), ("exited", exited), ("created", created)] {
        RUNNING_CONTAINERS.with_label_values(&[state]).set(number(count));
    }
}

/// Records how long a pod took to run.
pub fn observe_pod_start(took: Duration) {
    POD_START.observe(took.as_secs_f64());
}
