//! Makes histories: a seed gives the same requests for ever.
//!
//! Few keys, so that requests meet; all fields of all requests, invalid ones among them.

use kontiki_tests::etcd::proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseKeepAliveRequest,
    LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest,
    RequestOp, TxnRequest, WatchCreateRequest, compare::TargetUnion, request_op,
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::step::{Request, Step};

/// Not more than Go sorts stably.
const KEYS: [&[u8]; 11] =
    [b"a", b"a/1", b"a/2", b"a/3", b"ab", b"b", b"b/1", b"c/1", b"\0", b"\xff", b"\xff\xff"];
const ENDS: [&[u8]; 6] = [b"\0", b"a0", b"b0", b"c", b"\xff", b"a/3"];
const VALUES: [&[u8]; 6] = [b"", b"1", b"2", b"30", b"4\0", b"\xff"];
const LEASES: [i64; 5] = [7, 8, 9, 1 << 40, 77];
/// More operations than a transaction may have.
const TOO_MANY: usize = 130;

/// Draws requests.
pub(crate) struct Generator {
    rng: StdRng,
    /// The store's revision, as far as answers told.
    pub(crate) revision: i64,
}

impl Generator {
    pub(crate) fn new(seed: u64, revision: i64) -> Generator {
        Generator { rng: StdRng::seed_from_u64(seed), revision }
    }

    pub(crate) fn step(&mut self) -> Step {
        let at = self.rng.random_range(0..3);
        let request = match self.rng.random_range(0..1_000) {
            0..250 => Request::Range(self.range(false)),
            250..430 => Request::Put(self.put()),
            430..520 => Request::Delete(self.delete(false)),
            520..780 => Request::Txn(self.txn(2)),
            780..792 => Request::Compact(self.compaction()),
            792..830 => Request::Grant(self.grant()),
            830..840 => Request::Revoke(LeaseRevokeRequest { id: self.lease() }),
            840..860 => Request::KeepAlive(LeaseKeepAliveRequest { id: self.lease() }),
            860..890 => {
                let keys = self.rng.random();
                Request::TimeToLive(LeaseTimeToLiveRequest { id: self.lease(), keys })
            }
            890..900 => Request::Leases(LeaseLeasesRequest {}),
            900..960 => Request::Watch(self.watch()),
            960..985 => Request::CancelWatch(self.rng.random_range(-1..9)),
            _ => Request::Progress,
        };
        Step { at, request }
    }

    fn rarely(&mut self) -> bool {
        self.rng.random_ratio(1, 40)
    }

    fn often(&mut self, share: f64) -> bool {
        self.rng.random_bool(share)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *from.choose(&mut self.rng).unwrap()
    }

    fn key(&mut self) -> Vec<u8> {
        if self.rarely() { Vec::new() } else { self.pick(&KEYS).to_vec() }
    }

    fn range_end(&mut self) -> Vec<u8> {
        match self.rng.random_range(0..10) {
            0..4 => Vec::new(),
            4..6 => self.pick(&KEYS).to_vec(),
            _ => self.pick(&ENDS).to_vec(),
        }
    }

    fn lease(&mut self) -> i64 {
        self.pick(&LEASES)
    }

    /// A revision of the recent past, or one that does not exist.
    fn some_revision(&mut self) -> i64 {
        match self.rng.random_range(0..20) {
            0 => self.revision + self.rng.random_range(1..5),
            1 => self.rng.random_range(-2..3),
            _ => (self.revision - self.rng.random_range(0..30)).max(1),
        }
    }

    fn some_bound(&mut self) -> i64 {
        if self.often(0.9) { 0 } else { self.some_revision().max(0) }
    }

    fn range(&mut self, nested: bool) -> RangeRequest {
        let revision = if self.often(0.7) { 0 } else { self.some_revision() };
        // Below 0, etcd says "compacted" within a transaction and means "latest" outside.
        let revision = if nested { revision.max(0) } else { revision };
        let sort_target = self.rng.random_range(0..5);
        // Without an order, etcd sorts only what it has cut to the limit already.
        let sort_order = self.rng.random_range(i32::from(sort_target != 0)..3);
        RangeRequest {
            key: self.key().into(),
            range_end: self.range_end().into(),
            limit: if self.often(0.6) { 0 } else { self.rng.random_range(-1..6) },
            revision,
            sort_order,
            sort_target,
            serializable: !nested && self.often(0.2),
            keys_only: self.often(0.2),
            count_only: self.often(0.1),
            min_mod_revision: self.some_bound(),
            max_mod_revision: self.some_bound(),
            min_create_revision: self.some_bound(),
            max_create_revision: self.some_bound(),
        }
    }

    fn put(&mut self) -> PutRequest {
        let (ignore_value, ignore_lease) = (self.often(0.1), self.often(0.1));
        let value = if ignore_value && !self.rarely() { b"" } else { self.pick(&VALUES) };
        let leased = if ignore_lease { self.rarely() } else { self.often(0.3) };
        PutRequest {
            key: self.key().into(),
            value: value.to_vec().into(),
            // Of a put that is wrong twice, etcd says one or the other, within a transaction or not.
            lease: if leased && !ignore_value { self.lease() } else { 0 },
            prev_kv: self.often(0.4),
            ignore_value,
            ignore_lease,
        }
    }

    fn delete(&mut self, nested: bool) -> DeleteRangeRequest {
        let range_end = match self.range_end() {
            // etcd does not see that such a range overlaps what the transaction puts.
            end if nested && end == b"\0" => b"\xff\xff\xff".to_vec(),
            end => end,
        };
        DeleteRangeRequest {
            key: self.key().into(),
            range_end: range_end.into(),
            prev_kv: self.often(0.5),
        }
    }

    fn txn(&mut self, depth: usize) -> TxnRequest {
        let compares = self.rng.random_range(0..3);
        let many = depth == 2 && self.rng.random_ratio(1, 100);
        TxnRequest {
            compare: (0..compares).map(|_| self.compare()).collect(),
            success: self.operations(depth, if many { TOO_MANY } else { 4 }),
            failure: self.operations(depth, 4),
        }
    }

    fn operations(&mut self, depth: usize, most: usize) -> Vec<RequestOp> {
        let count = if most == TOO_MANY { most } else { self.rng.random_range(0..most) };
        (0..count).map(|_| self.operation(depth)).collect()
    }

    fn operation(&mut self, depth: usize) -> RequestOp {
        let request = match self.rng.random_range(0..10) {
            0..3 => request_op::Request::RequestRange(self.range(true)),
            3..7 => request_op::Request::RequestPut(self.put()),
            7..9 => request_op::Request::RequestDeleteRange(self.delete(true)),
            _ if depth > 0 => request_op::Request::RequestTxn(self.txn(depth - 1)),
            _ => request_op::Request::RequestPut(self.put()),
        };
        RequestOp { request: Some(request) }
    }

    fn compare(&mut self) -> Compare {
        let revision = if self.often(0.3) { 0 } else { self.some_revision() };
        let (target, target_union) = match self.rng.random_range(0..5) {
            0 => (0, TargetUnion::Version(self.rng.random_range(0..4))),
            1 => (1, TargetUnion::CreateRevision(revision)),
            2 => (2, TargetUnion::ModRevision(revision)),
            3 => (3, TargetUnion::Value(self.pick(&VALUES).to_vec().into())),
            _ => (4, TargetUnion::Lease(if self.often(0.5) { 0 } else { self.lease() })),
        };
        Compare {
            result: self.rng.random_range(0..4),
            target,
            key: self.key().into(),
            range_end: if self.often(0.6) { Vec::new() } else { self.range_end() }.into(),
            target_union: Some(target_union),
        }
    }

    fn compaction(&mut self) -> CompactionRequest {
        CompactionRequest { revision: self.some_revision(), physical: self.often(0.5) }
    }

    fn grant(&mut self) -> LeaseGrantRequest {
        let ttl = match self.rng.random_range(0..10) {
            0 => 9_000_000_001,
            _ => self.rng.random_range(1_000..2_000),
        };
        LeaseGrantRequest { id: self.lease(), ttl }
    }

    fn watch(&mut self) -> WatchCreateRequest {
        let filters = match self.rng.random_range(0..8) {
            0 => vec![0],
            1 => vec![1],
            2 => vec![0, 1],
            _ => vec![],
        };
        WatchCreateRequest {
            key: self.key().into(),
            range_end: self.range_end().into(),
            start_revision: if self.often(0.3) { 0 } else { self.some_revision().max(0) },
            progress_notify: self.often(0.2),
            filters,
            prev_kv: self.often(0.5),
            watch_id: if self.often(0.6) { 0 } else { self.rng.random_range(1..9) },
            fragment: self.often(0.2),
        }
    }
}
