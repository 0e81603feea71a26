//! Compare-and-put by many clients on a few keys, as controllers do that want the same object.

use std::cell::RefCell;

use anyhow::{Context, Result};

use super::{
    grpc::Grpc,
    messages::{
        Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
        response_op::Response,
    },
    random::{Random, Values},
    requests::Keys,
};

/// What the clients know of the keys' last revisions. They share it, as if each had just read.
pub(super) struct Contention {
    keys: Keys,
    known: Vec<RefCell<i64>>,
    won: std::cell::Cell<u64>,
}

impl Contention {
    /// Nothing is known yet: the first attempts fail and tell.
    pub(super) fn new(keys: Keys) -> Contention {
        let known = (0..keys.count).map(|_| RefCell::new(0)).collect();
        Contention { keys, known, won: std::cell::Cell::new(0) }
    }

    /// How many attempts wrote.
    pub(super) fn won(&self) -> u64 {
        self.won.get()
    }

    /// One attempt: writes a key if it is still at the known revision, else reads it.
    pub(super) async fn attempt(
        &self,
        grpc: &Grpc,
        values: &Values,
        mut random: Random,
    ) -> Result<()> {
        let number = random.below(self.keys.count);
        let known = &self.known[usize::try_from(number)?];
        let expected = *known.borrow();
        let txn = self.transaction(number, expected, values, &mut random);
        let answer: TxnResponse = grpc.call("/etcdserverpb.KV/Txn", &txn).await?;
        let now = if answer.succeeded {
            self.won.set(self.won.get() + 1);
            answer.header.context("an answer has a header")?.revision
        } else {
            let first = answer.responses.into_iter().next().and_then(|r| r.response);
            let Some(Response::ResponseRange(range)) = first else {
                anyhow::bail!("a failed transaction did not read")
            };
            range.kvs.first().map_or(0, |kv| kv.mod_revision)
        };
        let mut known = known.borrow_mut();
        *known = now.max(*known);
        Ok(())
    }

    fn transaction(
        &self,
        number: u64,
        expected: i64,
        values: &Values,
        random: &mut Random,
    ) -> TxnRequest {
        let key = self.keys.key(number);
        let value = values.cut(self.keys.bytes, random);
        let put = PutRequest { key: key.clone(), value, ..PutRequest::default() };
        let range = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let compare = Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key,
            target_union: Some(TargetUnion::ModRevision(expected)),
            ..Compare::default()
        };
        TxnRequest {
            compare: vec![compare],
            success: vec![RequestOp { request: Some(Request::RequestPut(put)) }],
            failure: vec![RequestOp { request: Some(Request::RequestRange(range)) }],
        }
    }
}
