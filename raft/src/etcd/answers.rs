//! What the store said, in etcd's words. Pure; keys and values are passed on, not copied.

use super::proto::{
    etcdserverpb::{
        DeleteRangeResponse, PutResponse, RangeResponse, ResponseHeader, ResponseOp, TxnResponse,
        response_op::Response,
    },
    mvccpb,
};
use crate::types::{KeyValue, OpResult, RangeReply, Revision, TxnReply};

/// Revisions, versions and counts are signed on the wire, and far from that border.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// One key.
pub(super) fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: signed(kv.create_revision.0),
        mod_revision: signed(kv.mod_revision.0),
        version: signed(kv.version),
        value: kv.value,
        lease: kv.lease.0,
    }
}

/// Of a read.
pub(super) fn range(header: Option<ResponseHeader>, reply: RangeReply) -> RangeResponse {
    RangeResponse {
        header,
        kvs: reply.kvs.into_iter().map(key_value).collect(),
        more: reply.more,
        count: signed(reply.count),
    }
}

/// Of a put.
pub(super) fn put(header: Option<ResponseHeader>, previous: Option<KeyValue>) -> PutResponse {
    PutResponse { header, prev_kv: previous.map(key_value) }
}

/// Of a delete.
pub(super) fn delete(
    header: Option<ResponseHeader>,
    deleted: u64,
    previous: Vec<KeyValue>,
) -> DeleteRangeResponse {
    DeleteRangeResponse {
        header,
        deleted: signed(deleted),
        prev_kvs: previous.into_iter().map(key_value).collect(),
    }
}

/// Of a transaction. Within it, answers tell of their revision only: the transaction's from its
/// first write on.
pub(super) fn txn(header: Option<ResponseHeader>, reply: TxnReply) -> TxnResponse {
    let own = reply.revision;
    let wrote = reply.results.iter().any(writes);
    let mut now = if wrote { Revision(own.0.saturating_sub(1)) } else { own };
    results(header, reply, own, &mut now)
}

fn writes(result: &OpResult) -> bool {
    match result {
        OpResult::Put { .. } => true,
        OpResult::Delete { deleted, .. } => *deleted > 0,
        OpResult::Range(_) => false,
        OpResult::Txn(reply) => reply.results.iter().any(writes),
    }
}

fn results(
    header: Option<ResponseHeader>,
    reply: TxnReply,
    own: Revision,
    now: &mut Revision,
) -> TxnResponse {
    let mut result = |result| ResponseOp { response: Some(operation(result, own, now)) };
    TxnResponse {
        header,
        succeeded: reply.succeeded,
        responses: reply.results.into_iter().map(&mut result).collect(),
    }
}

fn operation(result: OpResult, own: Revision, now: &mut Revision) -> Response {
    if !matches!(result, OpResult::Txn(_)) && writes(&result) {
        *now = own;
    }
    let at = |revision: Revision| {
        Some(ResponseHeader { revision: signed(revision.0), ..ResponseHeader::default() })
    };
    match result {
        OpResult::Put { previous } => Response::ResponsePut(put(at(*now), previous)),
        OpResult::Delete { deleted, previous } => {
            Response::ResponseDeleteRange(delete(at(*now), deleted, previous))
        }
        OpResult::Range(reply) => Response::ResponseRange(range(at(reply.revision), reply)),
        // Of a transaction within, etcd gives no revision.
        OpResult::Txn(reply) => {
            Response::ResponseTxn(results(Some(ResponseHeader::default()), reply, own, now))
        }
    }
}
