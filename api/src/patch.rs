//! The three kinds of patch that clients send, applied to a JSON value.

mod json;
mod strategic;

use serde_json::Value;

pub use json::{COPIED_BYTES_MAX, JsonPatch, OPERATIONS_MAX};
pub use strategic::strategic_merge;

/// Why a patch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The patch itself makes no sense; the client's mistake whatever the object is.
    #[error("{0}")]
    Malformed(String),
    /// The patch is more than may be asked for at once.
    #[error("{0}")]
    TooLarge(String),
    /// The patch makes sense but does not fit this object.
    #[error("{0}")]
    DoesNotFit(String),
}

/// Applies an RFC 7396 merge patch.
pub fn merge(document: &mut Value, patch: &Value) {
    json_patch::merge(document, patch);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merge_patch_sets_removes_and_replaces() {
        let mut document = json!({"a": 1, "b": {"c": [1, 2], "d": "x"}});
        merge(&mut document, &json!({"a": null, "b": {"c": [3]}, "e": {"f": null, "g": 1}}));
        assert_eq!(document, json!({"b": {"c": [3], "d": "x"}, "e": {"g": 1}}));
    }
}
