//! Answers as text: what means the same reads the same.

use std::fmt::Debug;

use kontiki_tests::etcd::proto::{
    etcdserverpb::{ResponseHeader, ResponseOp, TxnResponse, WatchResponse, response_op::Response},
    mvccpb::{Event, KeyValue},
};
use tonic::Status;

/// Whose cluster, which member and term is each side's own; the revision is not.
pub(crate) fn plain(header: &mut Option<ResponseHeader>) {
    if let Some(header) = header {
        *header = ResponseHeader { revision: header.revision, ..ResponseHeader::default() };
    }
}

/// Of a transaction.
pub(crate) fn plain_txn(txn: &mut TxnResponse) {
    plain(&mut txn.header);
    for ResponseOp { response } in &mut txn.responses {
        match response {
            Some(Response::ResponseRange(range)) => plain(&mut range.header),
            Some(Response::ResponsePut(put)) => plain(&mut put.header),
            Some(Response::ResponseDeleteRange(delete)) => plain(&mut delete.header),
            Some(Response::ResponseTxn(txn)) => plain_txn(txn),
            None => {}
        }
    }
}

/// An answer, or the code and text of a refusal.
pub(crate) fn text<T: Debug>(
    answer: Result<tonic::Response<T>, Status>,
    plain: impl FnOnce(&mut T),
) -> String {
    match answer {
        Ok(answer) => {
            let mut answer = answer.into_inner();
            plain(&mut answer);
            format!("{answer:?}")
        }
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}

/// A response without events: what it says about its watch.
pub(crate) fn notice(frame: &WatchResponse) -> String {
    let mut frame = WatchResponse { events: Vec::new(), ..frame.clone() };
    plain(&mut frame.header);
    format!("{frame:?}")
}

fn key_value(kv: &KeyValue) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
    let (key, value) = (text(&kv.key), text(&kv.value));
    let KeyValue { create_revision, mod_revision, version, lease, .. } = kv;
    format!("{key}={value}({create_revision},{mod_revision},{version},{lease})")
}

/// One event.
pub(crate) fn event(event: &Event) -> String {
    let kv = event.kv.as_ref().map(key_value).unwrap_or_default();
    let previous = event.prev_kv.as_ref().map(|kv| format!(" was {}", key_value(kv)));
    format!("{:?} {kv}{}", event.r#type(), previous.unwrap_or_default())
}
