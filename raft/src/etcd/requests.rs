//! What clients send, checked as etcd checks it, in the store's words. Pure.

use bytes::Bytes;
use prost::Message;

use super::{
    errors::{self, Answer},
    proto::etcdserverpb::{
        Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        range_request::{SortOrder, SortTarget},
        request_op::Request,
    },
};
use crate::types::{
    self, Consistency, Delete, KeyRange, LeaseId, Op, Put, Range, Relation, Revision,
    RevisionBounds, Sort, Target, Txn,
};

/// Operations of a transaction, transactions within counted in.
const OPERATIONS_MAX: usize = 128;
/// Bytes of a request that writes: 1.5 MiB.
pub(super) const REQUEST_BYTES_MAX: usize = 3 << 19;

type Checked<T> = Result<T, Answer>;

/// Refuses what would be too large an entry of the log.
pub(super) fn check_size(request: &impl Message) -> Checked<()> {
    if request.encoded_len() > REQUEST_BYTES_MAX {
        return Err(errors::REQUEST_TOO_LARGE);
    }
    Ok(())
}

/// The keys that `key` and `range_end` name.
pub(super) fn key_range(key: Bytes, range_end: Bytes) -> KeyRange {
    match range_end.as_ref() {
        [] => KeyRange::key(key),
        [0] => KeyRange { start: key, end: None },
        _ => KeyRange { start: key, end: Some(range_end) },
    }
}

fn present(key: &Bytes) -> Checked<()> {
    if key.is_empty() { Err(errors::EMPTY_KEY) } else { Ok(()) }
}

/// A number that counts from 1; anything below is not given.
fn positive(number: i64) -> Option<u64> {
    u64::try_from(number).ok().filter(|number| *number > 0)
}

fn bounds(min: i64, max: i64) -> RevisionBounds {
    let bound = |revision| positive(revision).map(Revision);
    RevisionBounds { min: bound(min), max: bound(max) }
}

/// A read on its own.
pub(super) fn range(request: RangeRequest) -> Checked<types::RangeRequest> {
    let consistency =
        if request.serializable { Consistency::Serializable } else { Consistency::Linearizable };
    Ok(types::RangeRequest { query: query(request)?, consistency, counted: true })
}

fn query(request: RangeRequest) -> Checked<Range> {
    present(&request.key)?;
    let sort = sort(request.sort_order, request.sort_target)?;
    Ok(Range {
        revision: positive(request.revision).map(Revision),
        limit: positive(request.limit).unwrap_or(0),
        sort,
        keys_only: request.keys_only,
        count_only: request.count_only,
        mod_revisions: bounds(request.min_mod_revision, request.max_mod_revision),
        create_revisions: bounds(request.min_create_revision, request.max_create_revision),
        range: key_range(request.key, request.range_end),
    })
}

fn sort(order: i32, target: i32) -> Checked<Option<Sort>> {
    let order = SortOrder::try_from(order).map_err(|_| errors::INVALID_SORT)?;
    let target = SortTarget::try_from(target).map_err(|_| errors::INVALID_SORT)?;
    let order = match order {
        // Keys are in ascending order anyway; anything else ascends unless it is said otherwise.
        SortOrder::None | SortOrder::Ascend if target == SortTarget::Key => return Ok(None),
        SortOrder::None | SortOrder::Ascend => types::SortOrder::Ascending,
        SortOrder::Descend => types::SortOrder::Descending,
    };
    let target = match target {
        SortTarget::Key => types::SortTarget::Key,
        SortTarget::Version => types::SortTarget::Version,
        SortTarget::Create => types::SortTarget::CreateRevision,
        SortTarget::Mod => types::SortTarget::ModRevision,
        SortTarget::Value => types::SortTarget::Value,
    };
    Ok(Some(Sort { target, order }))
}

/// A put, alone or in a transaction.
pub(super) fn put(request: PutRequest) -> Checked<Put> {
    present(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(errors::VALUE_PROVIDED);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(errors::LEASE_PROVIDED);
    }
    Ok(Put {
        key: request.key,
        value: (!request.ignore_value).then_some(request.value),
        lease: (!request.ignore_lease).then_some(LeaseId(request.lease)),
        previous: request.prev_kv,
    })
}

/// A delete, alone or in a transaction.
pub(super) fn delete(request: DeleteRangeRequest) -> Checked<Delete> {
    present(&request.key)?;
    Ok(Delete { range: key_range(request.key, request.range_end), previous: request.prev_kv })
}

/// A transaction.
pub(super) fn txn(request: TxnRequest) -> Checked<Txn> {
    bounded_txn(request, OPERATIONS_MAX)
}

fn bounded_txn(request: TxnRequest, left: usize) -> Checked<Txn> {
    let widest = request.compare.len().max(request.success.len()).max(request.failure.len());
    // Also what bounds the depth: a transaction within costs at least itself.
    let left = left.checked_sub(widest).ok_or(errors::TOO_MANY_OPERATIONS)?;
    let operations = |operations: Vec<RequestOp>| -> Checked<Vec<Op>> {
        operations.into_iter().map(|operation| self::operation(operation, left)).collect()
    };
    Ok(Txn {
        compares: request.compare.into_iter().map(compare).collect::<Checked<_>>()?,
        success: operations(request.success)?,
        failure: operations(request.failure)?,
        fence: None,
    })
}

fn operation(operation: RequestOp, left: usize) -> Checked<Op> {
    Ok(match operation.request.ok_or(errors::KEY_NOT_FOUND)? {
        Request::RequestRange(request) => Op::Range(query(request)?),
        Request::RequestPut(request) => Op::Put(put(request)?),
        Request::RequestDeleteRange(request) => Op::Delete(delete(request)?),
        Request::RequestTxn(request) => Op::Txn(Box::new(bounded_txn(request, left)?)),
    })
}

fn compare(request: Compare) -> Checked<types::Compare> {
    present(&request.key)?;
    let relation = match request.result() {
        CompareResult::Equal => Relation::Equal,
        CompareResult::NotEqual => Relation::NotEqual,
        CompareResult::Less => Relation::Less,
        CompareResult::Greater => Relation::Greater,
    };
    // The target decides what is compared; a quantity of another kind counts as not given.
    let kind = request.target();
    let negative = is_negative(kind, request.target_union.as_ref());
    let target = match (kind, request.target_union) {
        (CompareTarget::Version, Some(TargetUnion::Version(version))) => {
            Target::Version(unsigned(version))
        }
        (CompareTarget::Version, _) => Target::Version(0),
        (CompareTarget::Create, Some(TargetUnion::CreateRevision(revision))) => {
            Target::CreateRevision(Revision(unsigned(revision)))
        }
        (CompareTarget::Create, _) => Target::CreateRevision(Revision(0)),
        (CompareTarget::Mod, Some(TargetUnion::ModRevision(revision))) => {
            Target::ModRevision(Revision(unsigned(revision)))
        }
        (CompareTarget::Mod, _) => Target::ModRevision(Revision(0)),
        (CompareTarget::Value, Some(TargetUnion::Value(value))) => Target::Value(value),
        (CompareTarget::Value, _) => Target::Value(Bytes::new()),
        (CompareTarget::Lease, Some(TargetUnion::Lease(lease))) => Target::Lease(LeaseId(lease)),
        (CompareTarget::Lease, _) => Target::Lease(LeaseId(0)),
    };
    // Quantities of keys are never negative: what is compared with one that is, is greater.
    let (relation, target) = match relation {
        _ if !negative => (relation, target),
        Relation::Equal | Relation::Less => (Relation::Less, Target::Version(0)),
        Relation::NotEqual | Relation::Greater => (Relation::NotEqual, Target::Version(u64::MAX)),
    };
    Ok(types::Compare { range: key_range(request.key, request.range_end), relation, target })
}

fn is_negative(kind: CompareTarget, target: Option<&TargetUnion>) -> bool {
    match (kind, target) {
        (CompareTarget::Version, Some(TargetUnion::Version(number)))
        | (CompareTarget::Create, Some(TargetUnion::CreateRevision(number)))
        | (CompareTarget::Mod, Some(TargetUnion::ModRevision(number))) => *number < 0,
        _ => false,
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
