//! What a random history would seldom meet: large responses, and leases that run out.

use kontiki_tests::etcd::proto::etcdserverpb::{
    DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, WatchCreateRequest,
};

use crate::{
    pair::Pair,
    side::Side,
    step::{Request, Step},
};

fn put(key: &str, value: Vec<u8>, lease: i64) -> Step {
    let (key, value) = (key.to_owned().into(), value.into());
    Step { at: 0, request: Request::Put(PutRequest { key, value, lease, ..Default::default() }) }
}

fn below(prefix: &str) -> (bytes::Bytes, bytes::Bytes) {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().unwrap() += 1;
    (prefix.to_owned().into(), end.into())
}

/// One revision of several megabytes: in one response, or in fragments where they were asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_revision_is_cut_only_for_who_asks() {
    let mut pair = Pair::start().await;
    let (key, range_end) = below("big/");
    for (at, fragment) in [(0, true), (1, false)] {
        let watch = WatchCreateRequest {
            key: key.clone(),
            range_end: range_end.clone(),
            prev_kv: true,
            fragment,
            ..Default::default()
        };
        pair.ask(&Step { at, request: Request::Watch(watch) }).await;
    }
    for number in 0..6 {
        pair.ask(&put(&format!("big/{number}"), vec![b'x'; 700 << 10], 0)).await;
    }
    let delete = DeleteRangeRequest { key, range_end, prev_kv: false };
    pair.ask(&Step { at: 1, request: Request::Delete(delete) }).await;
    pair.ask(&put("big/end", b"small".to_vec(), 0)).await;
    pair.settle().await;
    for at in 0..2 {
        // Revisions of their own may be joined; the deletion's events are many.
        let shape = |side: &Side| -> Vec<_> {
            let shape = side.members[at].stream.logs()[0].shape.iter();
            shape.filter(|(revision, ..)| *revision == 8).copied().collect()
        };
        let (ours, theirs) = (shape(&pair.ours), shape(&pair.theirs));
        assert_eq!(ours, theirs);
        assert_eq!(theirs.len() > 1, at == 0, "{theirs:?}");
    }
}

/// The keys of a lease that runs out end at one revision.
#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_a_lease_end_together() {
    let mut pair = Pair::start().await;
    let (key, range_end) = below("l/");
    let watch = WatchCreateRequest {
        key: key.clone(),
        range_end: range_end.clone(),
        prev_kv: true,
        ..Default::default()
    };
    pair.ask(&Step { at: 0, request: Request::Watch(watch) }).await;
    let grant = LeaseGrantRequest { id: 5, ttl: 2 };
    pair.ask(&Step { at: 1, request: Request::Grant(grant) }).await;
    for number in 0..4 {
        pair.ask(&put(&format!("l/{number}"), vec![b'x'], 5)).await;
    }
    // One is taken off before.
    pair.ask(&put("l/2", vec![b'y'], 0)).await;
    for side in [&mut pair.ours, &mut pair.theirs] {
        side.members[0].stream.follow(&[(8, false)]).await;
    }
    pair.settle().await;
    let range = RangeRequest { key, range_end, ..Default::default() };
    pair.ask(&Step { at: 2, request: Request::Range(range) }).await;
}
