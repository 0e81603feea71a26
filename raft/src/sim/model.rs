//! The store as it should be: a map, one revision after the other.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::action::Action;
use crate::types::{
    KeyRange, KeyValue, LeaseId, OpResult, RangeReply, Revision, TxnReply, WatchEvent,
    WatchEventKind,
};

/// The keys at a revision.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) revision: Revision,
    pub(super) keys: BTreeMap<Bytes, KeyValue>,
}

impl Default for Model {
    /// As a new cluster begins.
    fn default() -> Model {
        Model { revision: Revision(1), keys: BTreeMap::new() }
    }
}

impl Model {
    /// What a read finds now.
    pub(super) fn read(&self, range: &KeyRange) -> RangeReply {
        let kvs: Vec<KeyValue> =
            self.keys.values().filter(|kv| range.contains(&kv.key)).cloned().collect();
        let count = kvs.len() as u64;
        RangeReply { revision: self.revision, kvs, more: false, count }
    }

    /// Does a transaction and says what it must reply; the events are those of its revision.
    pub(super) fn execute(&mut self, action: &Action) -> (TxnReply, Vec<WatchEvent>) {
        let at = Revision(self.revision.0 + 1);
        let mut events = Vec::new();
        let (mut results, mut succeeded) = (Vec::new(), true);
        match action {
            Action::Put { key, value, lease } => {
                results.push(self.put(key, value, *lease, at, &mut events));
            }
            Action::Swap { key, expected, value } => {
                let actual = self.keys.get(key).map_or(Revision(0), |kv| kv.mod_revision);
                succeeded = actual == *expected;
                results.push(if succeeded {
                    self.put(key, value, LeaseId(0), at, &mut events)
                } else {
                    OpResult::Range(self.read(&KeyRange::key(key.clone())))
                });
            }
            Action::Delete { key, mark, value } => {
                let previous: Vec<KeyValue> = self.keys.get(key).cloned().into_iter().collect();
                events.extend(self.delete(key, at));
                results.push(OpResult::Delete { deleted: previous.len() as u64, previous });
                results.push(self.put(mark, value, LeaseId(0), at, &mut events));
            }
            Action::Pair { keys, value } => {
                for key in keys {
                    results.push(OpResult::Range(self.read(&KeyRange::key(key.clone()))));
                }
                for key in keys {
                    results.push(self.put(key, value, LeaseId(0), at, &mut events));
                }
            }
            other => unreachable!("{other:?} is no transaction"),
        }
        if !events.is_empty() {
            self.revision = at;
        }
        (TxnReply { revision: self.revision, succeeded, results }, events)
    }

    fn put(
        &mut self,
        key: &Bytes,
        value: &Bytes,
        lease: LeaseId,
        at: Revision,
        events: &mut Vec<WatchEvent>,
    ) -> OpResult {
        let previous = self.keys.get(key).cloned();
        let kv = KeyValue {
            key: key.clone(),
            value: value.clone(),
            create_revision: previous.as_ref().map_or(at, |kv| kv.create_revision),
            mod_revision: at,
            version: previous.as_ref().map_or(1, |kv| kv.version + 1),
            lease,
        };
        self.keys.insert(key.clone(), kv.clone());
        let event = WatchEvent { kind: WatchEventKind::Put, kv, previous: previous.clone() };
        events.push(event);
        OpResult::Put { previous }
    }

    /// Deletes a key, as a transaction or the end of its lease does.
    pub(super) fn delete(&mut self, key: &Bytes, at: Revision) -> Option<WatchEvent> {
        let previous = self.keys.remove(key)?;
        let kv = KeyValue {
            key: key.clone(),
            value: Bytes::new(),
            create_revision: Revision(0),
            mod_revision: at,
            version: 0,
            lease: LeaseId(0),
        };
        Some(WatchEvent { kind: WatchEventKind::Delete, kv, previous: Some(previous) })
    }
}
