//! The slow path of stored objects: what an older release wrote is brought up to this one's schema
//! when it is read, once per cache.

use bytes::Bytes;
use kontiki_api::catalogue;
use serde_json::Value;

use super::{
    convert,
    envelope::{self, SCHEMA_EPOCH, Sealed},
};
use crate::{
    schema::{self, Expected},
    strategy,
};

/// A stored value that does not become an object.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not an envelope.
    #[error(transparent)]
    Envelope(#[from] envelope::Error),
    /// Its JSON is not that of an object.
    #[error("the stored JSON is not an object: {0}")]
    Json(#[from] serde_json::Error),
    /// It does not fit its kind.
    #[error("the stored object does not fit its kind: {0}")]
    Misfit(String),
}

/// Seals an object of a resource in the version that it is stored in.
pub fn seal(object: &Value, row: &catalogue::Row) -> Vec<u8> {
    let Some(stored) = &row.stored_as else { return envelope::seal(object) };
    let mut object = object.clone();
    convert::apply(&row.api_version(), &stored.to_string(), &mut object);
    strategy::of(&stored.group, &row.resource).set_defaults(&mut object);
    envelope::seal(&object)
}

/// Opens a stored value of a resource. Bytes of this version pass untouched.
pub fn open(value: &Bytes, row: &catalogue::Row) -> Result<Sealed, Error> {
    let sealed = envelope::open(value)?;
    if sealed.epoch == SCHEMA_EPOCH && sealed.group_version == row.api_version() {
        return Ok(sealed);
    }
    let mut object: Value = serde_json::from_slice(&sealed.json)?;
    let converted = convert::apply(&sealed.group_version, &row.api_version(), &mut object);
    if converted && sealed.epoch == SCHEMA_EPOCH {
        return Ok(envelope::open(&envelope::seal(&object).into())?);
    }
    object["apiVersion"] = row.api_version().into();
    let expected = Expected { group: &row.group, version: &row.version, kind: &row.kind };
    let mut object =
        schema::conform_stored(expected, object).map_err(|mismatch| Error::Misfit(mismatch.0))?;
    strategy::of(&row.group, &row.resource).set_defaults(&mut object);
    Ok(envelope::open(&envelope::seal(&object).into())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kontiki_api::Catalogue;
    use serde_json::json;

    #[test]
    fn an_older_epoch_gets_todays_defaults() {
        let catalogue = Catalogue::builtin();
        let row = catalogue.find("deployments").unwrap();
        let object = json!({
            "kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "a"},
            "spec": {"selector": {}, "template": {"spec": {"containers": []}}, "gone": 1},
        });
        let mut old = envelope::seal(&object);
        let untouched = open(&old.clone().into(), row).unwrap();
        assert!(!String::from_utf8_lossy(&untouched.json).contains("replicas"));
        old[5] = 0;
        let upgraded = open(&old.into(), row).unwrap();
        let value: Value = serde_json::from_slice(&upgraded.json).unwrap();
        assert_eq!(value["spec"]["replicas"], 1);
        assert_eq!(value["spec"].get("gone"), None);
    }
}
