//! One cached object: its bytes as they go out, and the few fields that selectors need.

use std::collections::BTreeMap;

use bytes::Bytes;
use kontiki_api::catalogue;
use kontiki_raft::types::Revision;
use serde::Deserialize;
use serde_json::Value;

use crate::storage::{envelope, upgrade};

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
    pub labels: BTreeMap<String, String>,
    /// Fields that field selectors may name, beyond name and namespace.
    pub fields: Box<[(catalogue::Name, Box<str>)]>,
}

#[derive(Deserialize)]
struct Labelled {
    metadata: Labels,
}

#[derive(Deserialize)]
struct Labels {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Object {
    /// Opens a stored value.
    pub fn open(
        key: &str,
        value: &Bytes,
        revision: Revision,
        row: &catalogue::Row,
    ) -> Result<Object, upgrade::Error> {
        let sealed = upgrade::open(value, row)?;
        let labels = serde_json::from_slice::<Labelled>(&sealed.json)?.metadata.labels;
        let mut fields = Vec::new();
        if !row.selectable_fields.is_empty() {
            let value: Value = serde_json::from_slice(&sealed.json)?;
            let all = row.selectable_fields.iter();
            fields.extend(all.map(|field| (field.label.clone(), field.value_in(&value).into())));
        }
        Ok(Object {
            key: key.into(),
            json: sealed.with_revision(revision),
            revision,
            slot: sealed.slot,
            labels: labels.unwrap_or_default(),
            fields: fields.into(),
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
                self.fields.iter().find(|(name, _)| *name == path).map(|(_, value)| value.as_ref())
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests(key: &str, revision: u64) -> Object {
        Object {
            key: key.into(),
            json: format!("{{\"metadata\":{{\"resourceVersion\":\"{revision}\",\"name\":\"x\"}}}}")
                .into(),
            revision: Revision(revision),
            slot: 13,
            labels: BTreeMap::new(),
            fields: Box::default(),
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
