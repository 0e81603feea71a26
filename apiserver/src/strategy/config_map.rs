//! ConfigMaps: keys, size, and what `immutable` freezes.

use kontiki_api::{
    field::{Error, Errors, Path},
    k8s_openapi::api::core::v1::ConfigMap,
    names,
};
use serde_json::Value;

use super::check::{self, Check};
use crate::registry::Strategy;

/// The most bytes that the values of a ConfigMap or Secret may have together.
pub(super) const BYTES_MAX: usize = 1 << 20;
/// What a change of frozen content is told.
pub(super) const FROZEN: &str = "field is immutable when `immutable` is set";

/// The strategy of `configmaps`.
pub(super) struct ConfigMaps;

impl Strategy for ConfigMaps {
    fn validate(&self, object: &Value) -> Errors {
        check::typed(object, validate)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        check::typed_pair(object, old, |new: &ConfigMap, old: &ConfigMap, check| {
            validate(new, check);
            if old.immutable == Some(true) {
                if new.immutable != Some(true) {
                    check.forbidden(&Path::new("immutable"), FROZEN);
                }
                if new.data != old.data {
                    check.forbidden(&Path::new("data"), FROZEN);
                }
                if new.binary_data != old.binary_data {
                    check.forbidden(&Path::new("binaryData"), FROZEN);
                }
            }
        })
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        check::name_with(names::dns1123_subdomain, name, prefix)
    }

    fn has_generation(&self) -> bool {
        false
    }
}

fn validate(map: &ConfigMap, check: &mut Check) {
    let mut total = 0;
    for (key, value) in map.data.iter().flatten() {
        let at = Path::new("data").key(key);
        check.errors.invalid_each(&at, key, names::config_key(key));
        if map.binary_data.as_ref().is_some_and(|binary| binary.contains_key(key)) {
            check.invalid(&at, key.as_str(), "duplicate of key present in binaryData");
        }
        total += value.len();
    }
    for (key, value) in map.binary_data.iter().flatten() {
        let at = Path::new("binaryData").key(key);
        check.errors.invalid_each(&at, key, names::config_key(key));
        total += value.0.len();
    }
    if total > BYTES_MAX {
        check.push(Error::too_long(&Path::root(), BYTES_MAX));
    }
}
