//! What the store tells about its own health: names of ours, where etcd has none.

use std::sync::OnceLock;

use prometheus::{
    Gauge, IntCounter, IntGauge, register_gauge, register_int_counter, register_int_gauge,
};

/// Signs of trouble; members in one process share them.
pub(crate) struct HealthMetrics {
    pub(crate) proposals_rejected: IntCounter,
    pub(crate) reads_rejected: IntCounter,
    pub(crate) fsync_p99_seconds: Gauge,
    pub(crate) election_timeout_seconds: Gauge,
    pub(crate) handovers: IntCounter,
    pub(crate) disk_available_bytes: IntGauge,
    pub(crate) disk_full: IntGauge,
    pub(crate) takes_puts: IntGauge,
    pub(crate) hash_checks: IntCounter,
    pub(crate) hash_mismatches: IntCounter,
    pub(crate) corrupt: IntGauge,
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
            fsync_p99_seconds: register_gauge!(
                "kontiki_store_fsync_p99_seconds",
                "The 99th percentile of the log's fsyncs over the last ten seconds."
            )?,
            election_timeout_seconds: register_gauge!(
                "kontiki_store_election_timeout_seconds",
                "Silence of the leader after which this member campaigns, as it is now."
            )?,
            handovers: register_int_counter!(
                "kontiki_store_sick_leader_handovers_total",
                "Times that this member gave leadership away because of its disk or its state."
            )?,
            disk_available_bytes: register_int_gauge!(
                "kontiki_store_disk_available_bytes",
                "Room on the disk of the data folder."
            )?,
            disk_full: register_int_gauge!(
                "kontiki_store_disk_full",
                "0: there is room, 1: no more puts, 2: no more of the log."
            )?,
            takes_puts: register_int_gauge!(
                "kontiki_store_takes_puts",
                "1 on a leader while a majority of the voters has room, otherwise 0."
            )?,
            hash_checks: register_int_counter!(
                "kontiki_store_hash_checks_total",
                "Comparisons of the members' states that this member has led."
            )?,
            hash_mismatches: register_int_counter!(
                "kontiki_store_hash_mismatch_total",
                "Comparisons in which members differed. Alert on any."
            )?,
            corrupt: register_int_gauge!(
                "kontiki_store_corrupt",
                "1 when this member's state differs from the majority's: it refuses to serve."
            )?,
        })
    }
}
