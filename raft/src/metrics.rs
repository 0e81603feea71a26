//! What the store tells about itself, under etcd's names.

mod health;

use std::sync::OnceLock;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntGauge, exponential_buckets,
    register_histogram, register_histogram_vec, register_int_counter, register_int_gauge,
};

pub(crate) use self::health::health;

/// The store's metrics; members in one process share them.
pub(crate) struct StoreMetrics {
    pub(crate) wal_fsync_seconds: Histogram,
    pub(crate) backend_commit_seconds: Histogram,
    pub(crate) has_leader: IntGauge,
    pub(crate) is_leader: IntGauge,
    pub(crate) leader_changes: IntCounter,
    pub(crate) proposals_committed: IntGauge,
    pub(crate) proposals_applied: IntGauge,
    pub(crate) proposals_pending: IntGauge,
    pub(crate) proposals_failed: IntCounter,
    pub(crate) slow_read_indexes: IntCounter,
    pub(crate) watchers: IntGauge,
    pub(crate) slow_watchers: IntCounter,
    pub(crate) current_revision: IntGauge,
    pub(crate) compact_revision: IntGauge,
    pub(crate) database_bytes: IntGauge,
    pub(crate) peer_round_trip_seconds: HistogramVec,
    pub(crate) tick_lag_seconds: Histogram,
    pub(crate) members: MemberMetrics,
}

/// How many members there are.
pub(crate) struct MemberMetrics {
    pub(crate) voters: IntGauge,
    pub(crate) voters_even: IntGauge,
    pub(crate) learners: IntGauge,
}

/// The process's store metrics.
pub(crate) fn store() -> &'static StoreMetrics {
    static METRICS: OnceLock<StoreMetrics> = OnceLock::new();
    METRICS.get_or_init(|| {
        StoreMetrics::register().expect("every metric is registered once, under a valid name")
    })
}

impl MemberMetrics {
    fn register() -> prometheus::Result<MemberMetrics> {
        Ok(MemberMetrics {
            voters: register_int_gauge!("kontiki_store_voters", "Members that vote.")?,
            voters_even: register_int_gauge!(
                "kontiki_store_voters_even",
                "Whether the number of voters is even, which tolerates no more failures than one \
                 fewer. 1 if it is."
            )?,
            learners: register_int_gauge!("kontiki_store_learners", "Members that do not vote.")?,
        })
    }
}

impl StoreMetrics {
    fn register() -> prometheus::Result<StoreMetrics> {
        let seconds = |name: &str, help: &str| -> prometheus::Result<Histogram> {
            let buckets = exponential_buckets(0.001, 2.0, 14)?;
            register_histogram!(HistogramOpts::new(name, help).buckets(buckets))
        };
        let gauge = |name: &str, help: &str| register_int_gauge!(name, help);
        Ok(StoreMetrics {
            wal_fsync_seconds: seconds(
                "etcd_disk_wal_fsync_duration_seconds",
                "The latency distributions of fsync called by the log.",
            )?,
            backend_commit_seconds: seconds(
                "etcd_disk_backend_commit_duration_seconds",
                "The latency distributions of commit called by the backend.",
            )?,
            has_leader: gauge(
                "etcd_server_has_leader",
                "Whether or not a leader exists. 1 is existence, 0 is not.",
            )?,
            is_leader: gauge(
                "etcd_server_is_leader",
                "Whether or not this member is a leader. 1 if is, 0 otherwise.",
            )?,
            leader_changes: register_int_counter!(
                "etcd_server_leader_changes_seen_total",
                "The number of leader changes seen."
            )?,
            proposals_committed: gauge(
                "etcd_server_proposals_committed_total",
                "The total number of consensus proposals committed.",
            )?,
            proposals_applied: gauge(
                "etcd_server_proposals_applied_total",
                "The total number of consensus proposals applied.",
            )?,
            proposals_pending: gauge(
                "etcd_server_proposals_pending",
                "The current number of pending proposals to commit.",
            )?,
            proposals_failed: register_int_counter!(
                "etcd_server_proposals_failed_total",
                "The total number of failed proposals seen."
            )?,
            slow_read_indexes: register_int_counter!(
                "etcd_server_slow_read_indexes_total",
                "The total number of pending read indexes not in sync with leader's or timed out."
            )?,
            watchers: gauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers.")?,
            slow_watchers: register_int_counter!(
                "kontiki_store_watches_behind_total",
                "How often a watch did not keep up and went on from the disk."
            )?,
            current_revision: gauge(
                "etcd_debugging_mvcc_current_revision",
                "The current revision of store.",
            )?,
            tick_lag_seconds: seconds(
                "kontiki_store_tick_lag_seconds",
                "How much later than asked the store's own threads woke up.",
            )?,
            database_bytes: gauge(
                "etcd_mvcc_db_total_size_in_bytes",
                "Total size of the underlying database physically allocated in bytes.",
            )?,
            peer_round_trip_seconds: round_trips()?,
            members: MemberMetrics::register()?,
            compact_revision: gauge(
                "etcd_debugging_mvcc_compact_revision",
                "The revision of the last compaction in store.",
            )?,
        })
    }
}

fn round_trips() -> prometheus::Result<HistogramVec> {
    let buckets = exponential_buckets(0.0001, 2.0, 16)?;
    let options = HistogramOpts::new(
        "etcd_network_peer_round_trip_time_seconds",
        "Round-Trip-Time histogram between peers.",
    );
    register_histogram_vec!(options.buckets(buckets), &["To"])
}
