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

/// Of a transaction. Within it, answers tell of their revision only.
pub(super) fn txn(header: Option<ResponseHeader>, reply: TxnReply) -> TxnResponse {
    let revision = reply.revision;
    let result = |result| ResponseOp { response: Some(operation(revision, result)) };
    TxnResponse {
        header,
        succeeded: reply.succeeded,
        responses: reply.results.into_iter().map(result).collect(),
    }
}

fn operation(revision: Revision, result: OpResult) -> Response {
    let at = |revision: Revision| {
        Some(ResponseHeader { revision: signed(revision.0), ..ResponseHeader::default() })
    };
    match result {
        OpResult::Put { previous } => Response::ResponsePut(put(at(revision), previous)),
        OpResult::Delete { deleted, previous } => {
            Response::ResponseDeleteRange(delete(at(revision), deleted, previous))
        }
        OpResult::Range(reply) => Response::ResponseRange(range(at(reply.revision), reply)),
        OpResult::Txn(reply) => Response::ResponseTxn(txn(at(reply.revision), reply)),
    }
}
