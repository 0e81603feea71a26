//! JSON patch (RFC 6902).

use serde_json::Value;

use super::Error;

/// How many operations one patch may hold.
pub const OPERATIONS_MAX: usize = 10_000;

/// A parsed JSON patch.
#[derive(Clone, Debug)]
pub struct JsonPatch(json_patch::Patch);

impl JsonPatch {
    /// Reads a patch.
    pub fn parse(text: &[u8]) -> Result<JsonPatch, Error> {
        let patch: json_patch::Patch = serde_json::from_slice(text)
            .map_err(|e| Error::Malformed(format!("error decoding patch: {e}")))?;
        if patch.0.len() > OPERATIONS_MAX {
            return Err(Error::Malformed(format!(
                "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
                patch.0.len()
            )));
        }
        Ok(JsonPatch(patch))
    }

    /// Applies it; the document is unchanged if that fails.
    pub fn apply(&self, document: &mut Value) -> Result<(), Error> {
        json_patch::patch(document, &self.0).map_err(|e| Error::DoesNotFit(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_apply_in_order_or_not_at_all() {
        let mut document = json!({"a": [1], "b": 2});
        let patch = br#"[{"op":"add","path":"/a/-","value":2},{"op":"remove","path":"/b"}]"#;
        JsonPatch::parse(patch).expect("valid").apply(&mut document).expect("fits");
        assert_eq!(document, json!({"a": [1, 2]}));

        let patch = br#"[{"op":"add","path":"/c","value":1},{"op":"test","path":"/a","value":0}]"#;
        let failed = JsonPatch::parse(patch).expect("valid").apply(&mut document);
        assert!(matches!(failed, Err(Error::DoesNotFit(_))));
        assert_eq!(document, json!({"a": [1, 2]}));
        assert!(matches!(JsonPatch::parse(b"{}"), Err(Error::Malformed(_))));
    }
}
