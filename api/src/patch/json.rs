//! JSON patch (RFC 6902).

use json_patch::PatchOperation;
use serde_json::Value;

use super::Error;

/// How many operations one patch may hold.
pub const OPERATIONS_MAX: usize = 10_000;

/// How many bytes all copies of one patch may add, as upstream: what a request's body may have.
/// Otherwise a copy of a copy of a copy fills the memory.
pub const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// A parsed JSON patch.
#[derive(Clone, Debug)]
pub struct JsonPatch(json_patch::Patch);

impl JsonPatch {
    /// Reads a patch.
    pub fn parse(text: &[u8]) -> Result<JsonPatch, Error> {
        let operations = serde_json::from_slice(text).map_err(malformed)?;
        JsonPatch::read(operations)
    }

    /// The patch that a list of operations is.
    pub fn read(operations: Value) -> Result<JsonPatch, Error> {
        let patch: json_patch::Patch = serde_json::from_value(operations).map_err(malformed)?;
        if patch.0.len() > OPERATIONS_MAX {
            return Err(Error::TooLarge(format!(
                "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
                patch.0.len()
            )));
        }
        Ok(JsonPatch(patch))
    }

    /// Applies it; the document is unchanged if that fails.
    pub fn apply(&self, document: &mut Value) -> Result<(), Error> {
        // On a copy: the library's own way back panics where an operation moved a value into itself.
        let (mut next, mut copied) = (document.clone(), 0);
        for (index, operation) in self.0.0.iter().enumerate() {
            if let PatchOperation::Copy(copy) = operation {
                copied += next.pointer(copy.from.as_str()).map_or(0, encoded_length);
                if copied > COPIED_BYTES_MAX {
                    return Err(Error::DoesNotFit(format!(
                        "Unable to complete the copy, the accumulated size increase of copy is \
                         {copied}, exceeding the limit {COPIED_BYTES_MAX}"
                    )));
                }
            }
            json_patch::patch(&mut next, std::slice::from_ref(operation)).map_err(
                |mut error| {
                    error.operation = index;
                    Error::DoesNotFit(error.to_string())
                },
            )?;
        }
        *document = next;
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn malformed(error: serde_json::Error) -> Error {
    Error::Malformed(format!("error decoding patch: {error}"))
}

/// How long a value is as JSON.
fn encoded_length(value: &Value) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // Counting cannot fail.
    let _ = serde_json::to_writer(&mut counter, value);
    counter.0
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

    #[test]
    fn copies_of_copies_do_not_fill_the_memory() {
        let double = json!({"op": "copy", "from": "", "path": "/a"}).to_string();
        let check = |times: usize, expected: &str| {
            let patch = format!("[{}]", vec![double.clone(); times].join(","));
            let mut document = json!({"text": "x".repeat(100)});
            let before = document.clone();
            let outcome = JsonPatch::parse(patch.as_bytes()).expect("valid").apply(&mut document);
            let error = outcome.expect_err("it does not fit").to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(document, before);
        };
        check(10_000, "exceeding the limit 3145728");
        let patch = br#"[{"op":"copy","from":"/text","path":"/b"},{"op":"remove","path":"/none"}]"#;
        let mut document = json!({"text": "x"});
        let error = JsonPatch::parse(patch).expect("valid").apply(&mut document);
        assert!(error.expect_err("fails").to_string().contains("operation '/1'"));
    }

    #[test]
    fn a_value_that_is_moved_into_itself_changes_nothing() {
        let patch = br#"[{"op":"remove","path":"/a/b"},{"op":"move","from":"/a","path":"/a/c"}]"#;
        let mut document = json!({"a": {"b": 1}});
        let outcome = JsonPatch::parse(patch).expect("valid").apply(&mut document);
        assert!(outcome.expect_err("it cannot be").to_string().contains("inside itself"));
        assert_eq!(document, json!({"a": {"b": 1}}));
    }
}
