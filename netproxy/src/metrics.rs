//! What the proxy and DNS measure, under kube-proxy's and CoreDNS's names.

use std::sync::LazyLock;

use prometheus::{
    Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, exponential_buckets, register_gauge,
    register_histogram, register_int_counter, register_int_counter_vec, register_int_gauge,
};

/// The metrics of this room.
pub(crate) struct Metrics {
    pub(crate) sync_duration: Histogram,
    pub(crate) full_sync_duration: Histogram,
    pub(crate) partial_sync_duration: Histogram,
    pub(crate) last_sync: Gauge,
    pub(crate) last_queued: Gauge,
    pub(crate) sync_failures: IntCounter,
    pub(crate) endpoint_changes: IntCounter,
    pub(crate) service_changes: IntCounter,
    pub(crate) pending_services: IntGauge,
    pub(crate) dns_requests: IntCounterVec,
    pub(crate) dns_responses: IntCounterVec,
}

/// One set for the process.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let unique = "each metric is registered once";
    let histogram = |name: &str, help: &str| {
        // Upstream's buckets: 1 ms to 16 s.
        let buckets = exponential_buckets(0.001, 2.0, 15).expect("constant and valid");
        register_histogram!(name, help, buckets).expect(unique)
    };
    Metrics {
        sync_duration: histogram(
            "kubeproxy_sync_proxy_rules_duration_seconds",
            "SyncProxyRules latency in seconds",
        ),
        full_sync_duration: histogram(
            "kubeproxy_sync_full_proxy_rules_duration_seconds",
            "SyncProxyRules latency in seconds for full resyncs",
        ),
        partial_sync_duration: histogram(
            "kubeproxy_sync_partial_proxy_rules_duration_seconds",
            "SyncProxyRules latency in seconds for partial resyncs",
        ),
        last_sync: register_gauge!(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
            "The last time proxy rules were successfully synced"
        )
        .expect(unique),
        last_queued: register_gauge!(
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
            "The last time a sync of proxy rules was queued"
        )
        .expect(unique),
        sync_failures: register_int_counter!(
            "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
            "Cumulative proxy nftables sync failures"
        )
        .expect(unique),
        endpoint_changes: register_int_counter!(
            "kubeproxy_sync_proxy_rules_endpoint_changes_total",
            "Cumulative proxy rules Endpoint changes"
        )
        .expect(unique),
        service_changes: register_int_counter!(
            "kubeproxy_sync_proxy_rules_service_changes_total",
            "Cumulative proxy rules Service changes"
        )
        .expect(unique),
        pending_services: register_int_gauge!(
            "kubeproxy_sync_proxy_rules_service_changes_pending",
            "Pending proxy rules Service changes"
        )
        .expect(unique),
        dns_requests: register_int_counter_vec!(
            "coredns_dns_requests_total",
            "Counter of DNS requests made per protocol and type",
            &["proto", "type"]
        )
        .expect(unique),
        dns_responses: register_int_counter_vec!(
            "coredns_dns_responses_total",
            "Counter of DNS responses per response code",
            &["rcode"]
        )
        .expect(unique),
    }
});
