//! One cached object: its bytes as they go out, and the few fields that selectors need.

mod packed;
mod peek;

use std::sync::Arc;

use bytes::Bytes;
use kontiki_api::catalogue;
use kontiki_raft::types::Revision;
use serde_json::Value;

use crate::storage::{envelope, upgrade};
pub use packed::{Packed, Pairs};

/// An object as of one revision.
#[derive(Debug)]
pub struct Object {
    /// `NAMESPACE/NAME`, or `NAME` where not namespaced.
    pub key: Box<str>,
    /// JSON as clients get it.
    pub json: Bytes,
    /// The revision that wrote it: its resourceVersion.
    pub revision: Revision,
    /// Offset of the resourceVersion member in `json`.
    slot: usize,
    /// Labels.
    pub labels: Pairs,
    /// Values of the fields that field selectors may name, in the row's order, beyond name and
    /// namespace.
    fields: Packed,
    /// Of which resource it is.
    row: Arc<catalogue::Row>,
}

impl Object {
    /// Opens a stored value.
    pub fn open(
        key: &str,
        value: &Bytes,
        revision: Revision,
        row: &Arc<catalogue::Row>,
    ) -> Result<Object, upgrade::Error> {
        let sealed = upgrade::open(value, row)?;
        let (labels, fields) = peek::peek(&sealed.json, &row.selectable_fields)?;
        Ok(Object {
            key: key.into(),
            json: sealed.with_revision(revision),
            revision,
            slot: sealed.slot,
            labels,
            fields,
            row: row.clone(),
        })
    }

    /// The same object with a later resourceVersion: how a deletion is announced.
    #[must_use]
    pub fn at_revision(&self, revision: Revision) -> Object {
        let member = format!("\"resourceVersion\":\"{}\",", self.revision).len();
        let mut bare = self.json[..self.slot].to_vec();
        bare.extend_from_slice(&self.json[self.slot + member..]);
        Object {
            key: self.key.clone(),
            json: envelope::splice(&bare, self.slot, revision),
            revision,
            slot: self.slot,
            labels: self.labels.clone(),
            fields: self.fields.clone(),
            row: self.row.clone(),
        }
    }

    /// The object as a value.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).expect("cached bytes are JSON")
    }

    /// Its namespace; empty if it has none.
    pub fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.key.split_once('/').map_or(&self.key, |(_, name)| name)
    }

    /// The value of a field that selectors may name.
    pub fn field(&self, path: &str) -> Option<&str> {
        match path {
            "metadata.name" => Some(self.name()),
            "metadata.namespace" => Some(self.namespace()),
            _ => {
                let mut names = self.row.selectable_fields.iter();
                self.fields.get(names.position(|field| field.label == path)?)
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests(key: &str, revision: u64) -> Object {
        Object::pod_for_tests(key, revision, "", None)
    }

    /// A pod on a node, with a label.
    #[cfg(test)]
    pub(crate) fn pod_for_tests(
        key: &str,
        revision: u64,
        node: &str,
        label: Option<(&str, &str)>,
    ) -> Object {
        static POD: std::sync::LazyLock<Arc<catalogue::Row>> = std::sync::LazyLock::new(|| {
            let rows = kontiki_api::Catalogue::builtin();
            rows.rows().iter().find(|row| row.resource == "pods").expect("a row").clone()
        });
        let on = |field: &catalogue::SelectableField| field.label == "spec.nodeName";
        let fields = POD.selectable_fields.iter().map(|field| if on(field) { node } else { "" });
        Object {
            key: key.into(),
            json: format!("{{\"metadata\":{{\"resourceVersion\":\"{revision}\",\"name\":\"x\"}}}}")
                .into(),
            revision: Revision(revision),
            slot: 13,
            labels: Pairs::of(label.into_iter()),
            fields: Packed::of(fields),
            row: POD.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_carries_its_own_revision() {
        let object = Object::for_tests("a/x", 7).at_revision(Revision(1234));
        assert_eq!(object.json, r#"{"metadata":{"resourceVersion":"1234","name":"x"}}"#);
        assert_eq!(object.at_revision(Revision(8)).json.len(), object.json.len() - 3);
    }
}
