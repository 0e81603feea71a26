//! Ours and the real etcd, side by side.

use kontiki_tests::{cluster::Cluster, etcd::RealEtcd};

use crate::{
    side::Side,
    step::{Request, Step},
};

/// Both sides.
pub(crate) struct Pair {
    pub(crate) ours: Side,
    pub(crate) theirs: Side,
    _cluster: Option<Cluster>,
    etcd: Vec<RealEtcd>,
    log: Vec<String>,
}

impl Pair {
    /// Starts both.
    pub(crate) async fn start() -> Pair {
        let etcd = RealEtcd::start().await.unwrap();
        let theirs = (0..3).map(|_| etcd.channel().unwrap()).collect();
        let (ours, cluster, mut others) = match std::env::var_os("KONTIKI_PARITY_STAND_IN") {
            Some(program) => {
                let other = RealEtcd::start_as(program.into()).await.unwrap();
                let channels = (0..3).map(|_| other.channel().unwrap()).collect();
                (channels, None, vec![other])
            }
            None => {
                let cluster = Cluster::start_store().await.unwrap();
                let channels = cluster.servers.iter().map(|s| s.store().unwrap()).collect();
                (channels, Some(cluster), vec![])
            }
        };
        others.push(etcd);
        let (ours, theirs) = (Side::new(ours).await, Side::new(theirs).await);
        Pair { ours, theirs, _cluster: cluster, etcd: others, log: Vec::new() }
    }

    /// Asks both the same and compares; the answer.
    pub(crate) async fn ask(&mut self, step: &Step) -> String {
        self.log.push(short(&format!("{step:?}")));
        let theirs = self.theirs.ask(step).await;
        self.log.push(short(&format!("    {theirs}")));
        let ours = self.ours.ask(step).await;
        assert!(
            same(&step.request, &ours, &theirs),
            "{step:?}\n\nours: {}\n\netcd: {}",
            short(&ours),
            short(&theirs)
        );
        ours
    }

    /// Waits until all watches of both sides have all their events, and compares them.
    pub(crate) async fn settle(&mut self) {
        let count = self.ours.members.len();
        for at in 0..count {
            let ours = &mut self.ours.members[at];
            ours.catch_up().await;
            // Behind this, everything has been delivered.
            ours.stream.progress().await;
            let theirs = &mut self.theirs.members[at].stream;
            theirs.follow(&ours.stream.counts()).await;
            for (ours, theirs) in ours.stream.logs().iter().zip(theirs.logs()) {
                assert_eq!(ours.events, theirs.events, "{:?} on member {at}", ours.request);
                assert_eq!(ours.end, theirs.end, "{:?} on member {at}", ours.request);
            }
        }
    }

    /// The revision of both.
    pub(crate) async fn revision(&self) -> i64 {
        let ours = self.ours.members[0].catch_up().await;
        assert_eq!(ours, self.theirs.members[0].catch_up().await);
        ours
    }
}

/// Refusals of a transaction's operations. Of several that apply, each side names the first that
/// it meets: etcd looks at all puts before it looks at a range.
const REFUSALS: [&str; 4] = [
    "OutOfRange: etcdserver: mvcc: required revision has been compacted",
    "OutOfRange: etcdserver: mvcc: required revision is a future revision",
    "InvalidArgument: etcdserver: key not found",
    "NotFound: etcdserver: requested lease not found",
];

fn same(request: &Request, ours: &str, theirs: &str) -> bool {
    let refused = |answer: &str| REFUSALS.contains(&answer);
    ours == theirs || (matches!(request, Request::Txn(_)) && refused(ours) && refused(theirs))
}

/// As much of a text as anyone reads.
fn short(text: &str) -> String {
    text.chars().take(2_000).collect()
}

impl Drop for Pair {
    #[expect(clippy::print_stderr, reason = "what led to a failure")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let from = self.log.len().saturating_sub(12);
            eprintln!("the last steps and etcd's answers:\n{}", self.log[from..].join("\n"));
            for etcd in &self.etcd {
                eprintln!("etcd: {}", etcd.log());
            }
        }
    }
}
