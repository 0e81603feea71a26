//! What the scheduler reports, under upstream's names.

use std::{sync::LazyLock, time::Duration};

use prometheus::{
    Histogram, HistogramVec, IntCounterVec, IntGaugeVec, exponential_buckets, histogram_opts, opts,
    register_histogram, register_histogram_vec, register_int_counter_vec, register_int_gauge_vec,
};

use crate::queue::Pending;

const INVARIANT: &str = "the metric is registered once, with valid buckets";

static PENDING_PODS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let options = opts!("scheduler_pending_pods", "Number of pending pods, by the queue type.");
    register_int_gauge_vec!(options, &["queue"]).expect(INVARIANT)
});

static ATTEMPTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = opts!(
        "scheduler_schedule_attempts_total",
        "Number of attempts to schedule pods, by the result."
    );
    register_int_counter_vec!(options, &["result", "profile"]).expect(INVARIANT)
});

static ATTEMPT_DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    let options = histogram_opts!(
        "scheduler_scheduling_attempt_duration_seconds",
        "Scheduling attempt latency in seconds (scheduling algorithm + binding)",
        exponential_buckets(0.001, 2.0, 15).expect(INVARIANT)
    );
    register_histogram_vec!(options, &["result", "profile"]).expect(INVARIANT)
});

static ALGORITHM_DURATION: LazyLock<Histogram> = LazyLock::new(|| {
    let options = histogram_opts!(
        "scheduler_scheduling_algorithm_duration_seconds",
        "Scheduling algorithm latency in seconds",
        exponential_buckets(0.00001, 2.0, 20).expect(INVARIANT)
    );
    register_histogram!(options).expect(INVARIANT)
});

static SLI_DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    let options = histogram_opts!(
        "scheduler_pod_scheduling_sli_duration_seconds",
        "E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue \
         and might involve multiple scheduling attempts.",
        exponential_buckets(0.01, 2.0, 20).expect(INVARIANT)
    );
    register_histogram_vec!(options, &["attempts"]).expect(INVARIANT)
});

static SCHEDULING_ATTEMPTS: LazyLock<Histogram> = LazyLock::new(|| {
    let options = histogram_opts!(
        "scheduler_pod_scheduling_attempts",
        "Number of attempts to successfully schedule a pod.",
        exponential_buckets(1.0, 2.0, 5).expect(INVARIANT)
    );
    register_histogram!(options).expect(INVARIANT)
});

static PREEMPTION_ATTEMPTS: LazyLock<prometheus::IntCounter> = LazyLock::new(|| {
    prometheus::register_int_counter!(
        "scheduler_preemption_attempts_total",
        "Total preemption attempts in the cluster till now"
    )
    .expect(INVARIANT)
});

static PREEMPTION_VICTIMS: LazyLock<Histogram> = LazyLock::new(|| {
    let options = histogram_opts!(
        "scheduler_preemption_victims",
        "Number of selected preemption victims",
        exponential_buckets(1.0, 2.0, 7).expect(INVARIANT)
    );
    register_histogram!(options).expect(INVARIANT)
});

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Scheduled,
    Unschedulable,
    Error,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Outcome::Scheduled => "scheduled",
            Outcome::Unschedulable => "unschedulable",
            Outcome::Error => "error",
        }
    }
}

/// Reports the sizes of the queue's parts.
pub(crate) fn pending(pending: Pending) {
    let parts = [
        ("active", pending.active),
        ("backoff", pending.backoff),
        ("unschedulable", pending.unschedulable),
        ("gated", pending.gated),
    ];
    for (queue, pods) in parts {
        let pods = i64::try_from(pods).unwrap_or(i64::MAX);
        PENDING_PODS.with_label_values(&[queue]).set(pods);
    }
}

/// Reports one cycle.
pub(crate) fn algorithm(duration: Duration) {
    ALGORITHM_DURATION.observe(duration.as_secs_f64());
}

/// Reports one attempt.
pub(crate) fn attempt(outcome: Outcome, profile: &str, duration: Duration) {
    let labels = [outcome.label(), profile];
    ATTEMPTS.with_label_values(&labels).inc();
    ATTEMPT_DURATION.with_label_values(&labels).observe(duration.as_secs_f64());
}

/// Reports a pod that found its node.
pub(crate) fn scheduled(attempts: u32, since_queued: Duration) {
    SCHEDULING_ATTEMPTS.observe(f64::from(attempts));
    let label = if attempts > 15 { "16+".to_owned() } else { attempts.to_string() };
    SLI_DURATION.with_label_values(&[&label]).observe(since_queued.as_secs_f64());
}

/// Reports a preemption.
pub(crate) fn preemption(victims: usize) {
    PREEMPTION_ATTEMPTS.inc();
    if victims > 0 {
        PREEMPTION_VICTIMS.observe(u32::try_from(victims).map_or(f64::MAX, f64::from));
    }
}
