//! What the store tells about its own health: names of ours, where etcd has none.

use std::sync::OnceLock;

use prometheus::{IntCounter, register_int_counter};

/// Signs of trouble; members in one process share them.
pub(crate) struct HealthMetrics {
    pub(crate) proposals_rejected: IntCounter,
    pub(crate) reads_rejected: IntCounter,
}

/// The process's health metrics.
pub(crate) fn health() -> &'static HealthMetrics {
    static METRICS: OnceLock<HealthMetrics> = OnceLock::new();
    METRICS.get_or_init(|| {
        HealthMetrics::register().expect("every metric is registered once, under a valid name")
    })
}

impl HealthMetrics {
    fn register() -> prometheus::Result<HealthMetrics> {
        Ok(HealthMetrics {
            proposals_rejected: register_int_counter!(
                "kontiki_store_proposals_rejected_total",
                "Proposals that found the line of this member full."
            )?,
            reads_rejected: register_int_counter!(
                "kontiki_store_reads_rejected_total",
                "Linearizable reads that found the line of this member full."
            )?,
        })
    }
}
