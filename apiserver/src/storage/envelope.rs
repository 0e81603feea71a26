//! The stored form of an object: a small header and canonical JSON without its resourceVersion.
//!
//! ```text
//! magic "ktk" | format u8 | schema epoch u16 | key id u32 | slot u32 | gv length u8 | gv | JSON
//! ```
//!
//! The revision of a write is known only when it is applied, so the JSON is stored with a slot
//! instead of a resourceVersion: the offset, right behind `"metadata":{`, where
//! `"resourceVersion":"N",` belongs. [`Sealed::with_revision`] splices it in; nothing parses.
//! Integers are big-endian.

use bytes::Bytes;
use kontiki_raft::types::Revision;
use serde_json::{Map, Value};

const MAGIC: &[u8; 3] = b"ktk";
const FORMAT: u8 = 1;
const FIXED: usize = 15;

/// Version of the defaults and conversions that stored objects went through. Raised when stored
/// bytes may no longer go out untouched.
pub const SCHEMA_EPOCH: u16 = 1;

/// A value that is not an envelope this version can open.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The value does not start as an envelope does.
    #[error("not an object of this API server")]
    Foreign,
    /// Written by a later version.
    #[error("stored in format {0}, this server reads up to {FORMAT}")]
    Format(u8),
    /// Encrypted with a key this server does not have.
    #[error("encrypted with key {0}, which this server does not have")]
    Key(u32),
    /// The header contradicts the length.
    #[error("truncated or damaged envelope")]
    Damaged,
}

/// An opened envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Group and version of the JSON, `apps/v1`.
    pub group_version: String,
    /// Its schema epoch.
    pub epoch: u16,
    /// Offset of the resourceVersion slot in `json`.
    pub slot: usize,
    /// The object without resourceVersion.
    pub json: Bytes,
}

/// Seals an object. `metadata.resourceVersion` is dropped.
///
/// The object must have a `metadata` with at least one other field, which every stored object has.
pub fn seal(object: &Value) -> Vec<u8> {
    let empty = Map::new();
    let map = object.as_object().unwrap_or(&empty);
    let api_version = map.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(MAGIC);
    out.push(FORMAT);
    out.extend_from_slice(&SCHEMA_EPOCH.to_be_bytes());
    out.extend_from_slice(&0u32.to_be_bytes());
    out.extend_from_slice(&0u32.to_be_bytes());
    out.push(u8::try_from(api_version.len()).expect("a group and version are short"));
    out.extend_from_slice(api_version.as_bytes());
    let start = out.len();
    out.push(b'{');
    for field in ["kind", "apiVersion"] {
        if let Some(value) = map.get(field) {
            member(&mut out, field, value);
            out.push(b',');
        }
    }
    out.extend_from_slice(b"\"metadata\":{");
    let slot = u32::try_from(out.len() - start).expect("kind and apiVersion are short");
    out[10..14].copy_from_slice(&slot.to_be_bytes());
    let metadata = map.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    let fields = metadata.iter().filter(|(field, _)| *field != "resourceVersion");
    for (index, (field, value)) in fields.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        member(&mut out, field, value);
    }
    out.push(b'}');
    let head = ["kind", "apiVersion", "metadata"];
    for (field, value) in map.iter().filter(|(field, _)| !head.contains(&field.as_str())) {
        out.push(b',');
        member(&mut out, field, value);
    }
    out.push(b'}');
    out
}

fn member(out: &mut Vec<u8>, field: &str, value: &Value) {
    serde_json::to_writer(&mut *out, field).expect("writing to memory");
    out.push(b':');
    serde_json::to_writer(out, value).expect("writing to memory");
}

/// Opens a stored value. The JSON shares the value's memory.
pub fn open(value: &Bytes) -> Result<Sealed, Error> {
    if value.len() < FIXED || &value[..3] != MAGIC {
        return Err(Error::Foreign);
    }
    if value[3] != FORMAT {
        return Err(Error::Format(value[3]));
    }
    let number =
        |at: usize| u32::from_be_bytes([value[at], value[at + 1], value[at + 2], value[at + 3]]);
    let epoch = u16::from_be_bytes([value[4], value[5]]);
    let key = number(6);
    if key != 0 {
        return Err(Error::Key(key));
    }
    let slot = number(10) as usize;
    let start = FIXED + usize::from(value[14]);
    if value.len() < start + slot || slot == 0 {
        return Err(Error::Damaged);
    }
    let group_version = std::str::from_utf8(&value[FIXED..start]).map_err(|_| Error::Damaged)?;
    Ok(Sealed { group_version: group_version.to_owned(), epoch, slot, json: value.slice(start..) })
}

impl Sealed {
    /// The object's JSON with its resourceVersion.
    pub fn with_revision(&self, revision: Revision) -> Bytes {
        splice(&self.json, self.slot, revision)
    }
}

/// Writes `"resourceVersion":"N",` into `json` at `slot`.
pub fn splice(json: &[u8], slot: usize, revision: Revision) -> Bytes {
    let text = format!("\"resourceVersion\":\"{revision}\",");
    let mut out = Vec::with_capacity(json.len() + text.len());
    out.extend_from_slice(&json[..slot]);
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(&json[slot..]);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "spec": {"containers": []},
            "metadata": {"name": "a", "resourceVersion": "3", "labels": {"x": "\"y"}},
        })
    }

    #[test]
    fn a_sealed_object_comes_back_with_another_revision() {
        let sealed = open(&Bytes::from(seal(&pod()))).unwrap();
        assert_eq!(sealed.group_version, "v1");
        let text = sealed.with_revision(Revision(42));
        let back: Value = serde_json::from_slice(&text).unwrap();
        let mut expected = pod();
        expected["metadata"]["resourceVersion"] = json!("42");
        assert_eq!(back, expected);
        assert!(text.starts_with(
            br#"{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"42","name":"a""#
        ));
    }

    #[test]
    fn equal_objects_seal_to_equal_bytes_whatever_their_revision() {
        let mut other = pod();
        other["metadata"]["resourceVersion"] = json!("99");
        assert_eq!(seal(&pod()), seal(&other));
    }

    #[test]
    fn what_is_not_an_envelope_is_refused() {
        let good = seal(&pod());
        let mut later = good.clone();
        later[3] = 9;
        let mut encrypted = good.clone();
        encrypted[9] = 7;
        for (bytes, error) in [
            (b"k8s\0\n\x0c".to_vec(), Error::Foreign),
            (later, Error::Format(9)),
            (encrypted, Error::Key(7)),
            (good[..20].to_vec(), Error::Damaged),
        ] {
            assert_eq!(open(&bytes.into()).unwrap_err(), error);
        }
    }
}
