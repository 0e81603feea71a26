//! How a member is started.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use kontiki_base::tls::{Identity, Roots};

/// Everything a member needs to know to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its folder: log, state, identity.
    pub data_dir: PathBuf,
    /// The host's name, for people.
    pub name: String,
    /// Where it listens for peers.
    pub listen: SocketAddr,
    /// `host:port` where peers reach it.
    pub peer_address: String,
    /// `host:port` of its API server, told to clients and joiners.
    pub api_address: String,
    /// `host:port` where it speaks etcd's API, told to clients; empty if it does not.
    pub client_address: String,
    /// Its identity among peers.
    pub tls: PeerTls,
    /// Heartbeats and elections.
    pub timing: Timing,
    /// What an empty folder becomes.
    pub start: Start,
    /// What hardly anybody changes.
    pub tuning: Tuning,
}

/// What hardly anybody changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// `host:port` of peers to try when nobody is where they were last seen.
    pub peers: Vec<String>,
    /// Bytes per second of a snapshot to another member.
    pub snapshot_rate: u64,
    /// The version that the cluster is not raised beyond, so that members can go back to it.
    pub cluster_version_max: Option<u32>,
    /// The version that this member speaks.
    pub version: u32,
    /// Bytes of the data folder's disk that are kept free of puts; `None` is a twentieth of the
    /// disk, a GiB at most.
    pub disk_reserve: Option<u64>,
    /// Between comparisons of what the members hold.
    pub compare_every: Duration,
    /// Bytes that the log holds, roughly: half of them may have to be replayed by a restart, the other
    /// half serves members that were away.
    pub log_bytes: u64,
    /// Which history goes by itself.
    pub retention: Retention,
}

/// How much history is kept, at least; with neither bound, all is kept until [`Store::compact`].
/// With both, it is kept as long as either says so.
///
/// [`Store::compact`]: crate::Store::compact
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// So many revisions.
    pub revisions: Option<u64>,
    /// What was current within this time.
    pub period: Option<Duration>,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            peers: Vec::new(),
            snapshot_rate: 100 << 20,
            cluster_version_max: None,
            version: crate::PROTOCOL_VERSION,
            disk_reserve: None,
            compare_every: Duration::from_secs(300),
            log_bytes: 512 << 20,
            retention: Retention::default(),
        }
    }
}

/// Who this member is to its peers, and whom it believes: the store's own authority.
#[derive(Clone, Debug)]
pub struct PeerTls {
    /// Certificate for both directions.
    pub identity: Identity,
    /// Authorities of peers.
    pub roots: Roots,
}

/// What an empty folder becomes. A folder that holds a member just restarts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The first member of a new cluster.
    Bootstrap,
    /// A member that waits until a leader adds it.
    Join,
}

/// Heartbeats and elections. A leader counts as lost after the lease, which is `election_max`.
///
/// Openraft waits for the answer to a heartbeat as long as for the next one: an interval far below
/// the lease makes a leader on a busy machine believe that it has lost its followers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// Shortest wait after the lease before a member campaigns.
    pub election_min: Duration,
    /// Longest wait, and the lease.
    pub election_max: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(200),
            election_max: Duration::from_millis(300),
        }
    }
}

impl Timing {
    /// Openraft's configuration with this timing.
    pub(crate) fn raft_config(&self) -> Result<openraft::Config, openraft::ConfigError> {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        openraft::Config {
            cluster_name: "kontiki".to_owned(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            enable_pre_vote: Some(true),
            // A leader that lost its quorum stops refreshing the others' leases.
            quorum_loss_probe_interval: Some(millis(self.election_max) * 2),
            // `committed` is not synced on its own, so a restarted leader must be elected.
            enable_leader_restore: Some(false),
            install_snapshot_timeout: 60_000,
            max_payload_entries: 1_024,
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(SNAPSHOT_ENTRIES),
            max_in_snapshot_log_to_keep: LOG_ENTRIES_KEPT,
            purge_batch_size: 1_024,
            replication_lag_threshold: LOG_ENTRIES_KEPT + SNAPSHOT_ENTRIES,
            // Followers write while the leader still does: it need not be durable here to be sent.
            broadcast_submitted_on_append: Some(true),
            backoff: "50ms 100ms ..500ms".to_owned(),
            ..openraft::Config::default()
        }
        .validate()
    }
}

/// Entries between flushes of the state: what a restart replays at most.
const SNAPSHOT_ENTRIES: u64 = 50_000;
/// Flushed entries that stay in the log, so that a member that was away needs no snapshot.
const LOG_ENTRIES_KEPT: u64 = 20_000;
