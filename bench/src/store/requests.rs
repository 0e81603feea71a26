//! The requests that the rows are made of, and loading keys.

use anyhow::{Result, ensure};
use bytes::Bytes;

use super::{
    drive,
    grpc::Grpc,
    messages::{
        LeaseGrantRequest, LeaseGrantResponse, PutRequest, PutResponse, RangeRequest,
        RangeResponse, RequestOp, TxnRequest, TxnResponse, request_op,
    },
    random::{Random, Values},
};

/// Puts of one loading transaction: etcd takes up to 128 operations by default.
const BATCH: u64 = 100;
/// Loading transactions at once.
const LOADERS: usize = 16;

/// Keys numbered from 0 under one prefix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    /// Ends with `/`.
    pub(super) prefix: &'static str,
    /// How many.
    pub(super) count: u64,
    /// Size of each value.
    pub(super) bytes: usize,
}

impl Keys {
    /// The n-th key.
    pub(super) fn key(&self, number: u64) -> Bytes {
        Bytes::from(format!("{}{number:012}", self.prefix))
    }

    /// The first key behind all of them.
    pub(super) fn end(&self) -> Bytes {
        let mut end = self.prefix.as_bytes().to_vec();
        *end.last_mut().expect("a prefix ends with /") += 1;
        Bytes::from(end)
    }

    /// Writes the keys from number `from` on, in transactions of a hundred.
    pub(super) async fn load(
        &self,
        connections: &[Grpc],
        values: &Values,
        from: u64,
    ) -> Result<()> {
        let batches = (self.count - from).div_ceil(BATCH);
        drive::all(connections, LOADERS, batches, async |grpc, batch| {
            let first = from + batch * BATCH;
            put_batch(grpc, self, values, first..(first + BATCH).min(self.count)).await
        })
        .await
    }
}

/// Writes keys in one transaction.
pub(super) async fn put_batch(
    grpc: &Grpc,
    keys: &Keys,
    values: &Values,
    numbers: impl Iterator<Item = u64>,
) -> Result<()> {
    let puts = numbers.map(|number| {
        let value = values.cut(keys.bytes, &mut Random::of(usize::MAX, number));
        let put = PutRequest { key: keys.key(number), value, ..PutRequest::default() };
        RequestOp { request: Some(request_op::Request::RequestPut(put)) }
    });
    let txn = TxnRequest { success: puts.collect(), ..TxnRequest::default() };
    let answer: TxnResponse = grpc.call("/etcdserverpb.KV/Txn", &txn).await?;
    ensure!(answer.succeeded, "a transaction without conditions did not succeed");
    Ok(())
}

/// Writes one key.
pub(super) async fn put(grpc: &Grpc, key: Bytes, value: Bytes) -> Result<PutResponse> {
    let put = PutRequest { key, value, ..PutRequest::default() };
    grpc.call("/etcdserverpb.KV/Put", &put).await
}

/// Overwrites a random one of the keys.
pub(super) async fn put_any(
    grpc: &Grpc,
    keys: &Keys,
    values: &Values,
    mut random: Random,
) -> Result<()> {
    let key = keys.key(random.below(keys.count));
    put(grpc, key, values.cut(keys.bytes, &mut random)).await?;
    Ok(())
}

/// Reads a random one of the keys.
pub(super) async fn get_any(
    grpc: &Grpc,
    keys: &Keys,
    serializable: bool,
    mut random: Random,
) -> Result<()> {
    let key = keys.key(random.below(keys.count));
    let range = RangeRequest { key, serializable, ..RangeRequest::default() };
    let answer: RangeResponse = grpc.call("/etcdserverpb.KV/Range", &range).await?;
    ensure!(answer.kvs.len() == 1, "a loaded key is missing");
    Ok(())
}

/// Reads all the keys at once, linearizably.
pub(super) async fn range_all(grpc: &Grpc, keys: &Keys) -> Result<()> {
    let range = RangeRequest {
        key: Bytes::from_static(keys.prefix.as_bytes()),
        range_end: keys.end(),
        ..RangeRequest::default()
    };
    let answer: RangeResponse = grpc.call("/etcdserverpb.KV/Range", &range).await?;
    let (read, count) = (answer.kvs.len(), keys.count);
    ensure!(u64::try_from(read)? == count, "{read} of {count} keys were read");
    Ok(())
}

/// Grants a lease that outlives the run.
pub(super) async fn grant(grpc: &Grpc) -> Result<()> {
    let grant = LeaseGrantRequest { ttl: 3_600, ..LeaseGrantRequest::default() };
    let answer: LeaseGrantResponse = grpc.call("/etcdserverpb.Lease/LeaseGrant", &grant).await?;
    ensure!(answer.error.is_empty(), "{}", answer.error);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lie_between_prefix_and_end() {
        let keys = Keys { prefix: "bench/a/", count: 2, bytes: 1 };
        assert_eq!(keys.key(1), "bench/a/000000000001");
        assert_eq!(keys.end(), "bench/a0");
        assert!(keys.key(u64::MAX) < keys.end());
    }
}
