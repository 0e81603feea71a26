//! The live account of a scenario, for the person who watches, and the numbers it collected.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use serde::Serialize;

/// Tells what happens, with the time since the beginning, on standard error: standard output is
/// for the result.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    start: Instant,
}

impl Default for Account {
    fn default() -> Account {
        Account { start: Instant::now() }
    }
}

impl Account {
    /// A new part of the story.
    pub fn chapter(&self, title: &str) {
        let _ = writeln!(std::io::stderr(), "\n{title}");
    }

    /// Something happened.
    pub fn tell(&self, text: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
        let _ = writeln!(std::io::stderr(), "  {seconds:7.2} s  {text}");
    }

    /// What a program printed, indented.
    pub fn quote(&self, text: &str) {
        for line in text.lines() {
            let _ = writeln!(std::io::stderr(), "             | {line}");
        }
    }
}

/// What `--check` prints. What a scenario did not come to is absent.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Control nodes of the cluster.
    pub control_nodes: usize,
    /// Workers of the cluster.
    pub workers: usize,
    /// From the first server's start until it says that it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_ready_ms: Option<u64>,
    /// From the first server's start until all members vote and all nodes are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_ready_ms: Option<u64>,
    /// From applying the first Deployment until it is rolled out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout_ms: Option<u64>,
    /// From the leader's end until a write through another server succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader_kill_write_ms: Option<u64>,
    /// From the leader's end until a pod created after it was bound to a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader_kill_bind_ms: Option<u64>,
    /// Requests made to the service from outside.
    pub requests: usize,
    /// Of these, those that failed while the leader died.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_failed_leader_kill: Option<usize>,
    /// Of these, those that failed during the rolling updates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_failed_rollout: Option<usize>,
    /// Requests made to the cluster address from a pod.
    pub pod_requests: u64,
    /// Of these, those that failed before a worker was powered off; without those that the killed
    /// process took with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_requests_failed: Option<u64>,
    /// From the end of an app's process until its container is ready again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_restart_ms: Option<u64>,
    /// From a worker's end until its endpoints are in no EndpointSlice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_loss_endpoints_gone_ms: Option<u64>,
    /// From a worker's end until all its pods are replaced and ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_loss_replaced_ms: Option<u64>,
    /// Whether all members have the same state at one revision after the dead ones came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejoin_hash_equal: Option<bool>,
    /// What did not hold; empty if everything did.
    pub failures: Vec<String>,
}

/// Whole milliseconds.
pub fn milliseconds(time: Duration) -> Option<u64> {
    u64::try_from(time.as_millis()).ok()
}
