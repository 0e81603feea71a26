//! One side of a comparison: a cluster's members with their credentials, connections and meters.

use std::sync::Arc;

use anyhow::{Context, Result};
use http::Method;
use kontiki_base::tasks::Tasks;
use rustls::ClientConfig;

use super::{
    grpc::Grpc,
    messages::{StatusRequest, StatusResponse},
};
use crate::{connection::Connection, process::Process};

/// What counts a log's fsyncs, on both sides.
const FSYNCS: &str = "etcd_disk_wal_fsync_duration_seconds_count";

/// A cluster to be measured.
#[derive(Clone)]
pub(super) struct Side {
    /// What tables call it.
    pub(super) name: String,
    /// Version of what runs there.
    pub(super) version: String,
    /// `host:port` of every member's client API.
    pub(super) endpoints: Vec<String>,
    /// How to speak TLS to them; plain without.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// The members' processes.
    pub(super) processes: Vec<Process>,
}

impl Side {
    /// Connections shared out among the members: the n-th leads to member n modulo their number.
    pub(super) async fn connect(&self, count: usize, tasks: &Tasks) -> Result<Vec<Grpc>> {
        let mut connections = Vec::with_capacity(count);
        for number in 0..count {
            let endpoint = &self.endpoints[number % self.endpoints.len()];
            connections.push(Grpc::connect(endpoint, self.tls.as_ref(), tasks).await?);
        }
        Ok(connections)
    }

    /// What every member says of itself.
    pub(super) async fn statuses(&self, tasks: &Tasks) -> Result<Vec<StatusResponse>> {
        let mut statuses = Vec::new();
        for connection in self.connect(self.endpoints.len(), tasks).await? {
            statuses.push(status(&connection).await?);
        }
        Ok(statuses)
    }

    /// Which of the members leads.
    pub(super) async fn leader(&self, tasks: &Tasks) -> Result<usize> {
        let statuses = self.statuses(tasks).await?;
        let leads = |s: &StatusResponse| s.header.as_ref().is_some_and(|h| h.member_id == s.leader);
        statuses.iter().position(leads).context("no member leads")
    }

    /// Reads every meter.
    pub(super) async fn reading(&self, tasks: &Tasks) -> Result<Reading> {
        let mut reading =
            Reading { fsyncs: self.metric(FSYNCS, tasks).await, ..Reading::default() };
        for process in &self.processes {
            let usage = process.usage()?;
            reading.cpu_seconds += usage.cpu_seconds;
            reading.rss += usage.rss;
            reading.anonymous += usage.anonymous;
        }
        let this = Process { name: "generator".to_owned(), pid: std::process::id() };
        reading.generator_cpu_seconds = this.usage()?.cpu_seconds;
        Ok(reading)
    }

    /// The sum of a metric over all members, if all of them publish it.
    pub(super) async fn metric(&self, name: &str, tasks: &Tasks) -> Option<f64> {
        let tls = self.tls.as_ref()?;
        let mut sum = 0.0;
        for endpoint in &self.endpoints {
            let mut connection = Connection::open(endpoint, tls, tasks).await.ok()?;
            let answer =
                connection.call(Method::GET, "/metrics", None).await.ok()?.success().ok()?;
            sum += sample(&String::from_utf8_lossy(&answer.body), name)?;
        }
        Some(sum)
    }
}

/// What one member says of itself.
pub(super) async fn status(connection: &Grpc) -> Result<StatusResponse> {
    connection.call("/etcdserverpb.Maintenance/Status", &StatusRequest {}).await
}

/// Sum of a metric's samples in the exposition format, over all its labels.
fn sample(text: &str, name: &str) -> Option<f64> {
    let mut samples = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.trim().parse::<f64>().ok()
    });
    let first = samples.next()?;
    Some(samples.fold(first, |sum, value| sum + value))
}

/// All meters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// Seconds of CPU that the members have used.
    pub(super) cpu_seconds: f64,
    /// Seconds of CPU that the generator has used.
    pub(super) generator_cpu_seconds: f64,
    /// Fsyncs of the members' logs, where they tell.
    pub(super) fsyncs: Option<f64>,
    /// Resident memory of all members in bytes.
    pub(super) rss: u64,
    /// The part of it that is no file's.
    pub(super) anonymous: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_over_labels() {
        let text = "# HELP a b\na_count 3\na_count_more 9\nb{x=\"1 }\"} 2\nb{x=\"2\"} 2.5e1\n";
        assert_eq!(sample(text, "a_count"), Some(3.0));
        assert_eq!(sample(text, "b"), Some(27.0));
        assert_eq!(sample(text, "c"), None);
    }
}
