//! Field paths and field errors, worded as `kubectl` users know them.
//!
//! A validator gathers all errors of an object in an [`Errors`]; nothing stops at the first.

use std::fmt;

use serde_json::Value;

/// Where in an object something is wrong, e.g. `spec.containers[0].ports[1].name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A path of one name.
    pub fn new(name: &str) -> Path {
        Path(name.to_owned())
    }

    /// The path of the whole object.
    pub fn root() -> Path {
        Path::default()
    }

    /// One name deeper.
    #[must_use]
    pub fn child(&self, name: &str) -> Path {
        if self.0.is_empty() { Path::new(name) } else { Path(format!("{}.{name}", self.0)) }
    }

    /// One list element deeper.
    #[must_use]
    pub fn index(&self, index: usize) -> Path {
        Path(format!("{}[{index}]", self.0))
    }

    /// One map entry deeper.
    #[must_use]
    pub fn key(&self, key: &str) -> Path {
        Path(format!("{}[{key}]", self.0))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a nil path prints in upstream, and what people search for.
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// What kind of mistake a field error reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// Something referred to does not exist.
    NotFound,
    /// A field must be set.
    Required,
    /// A value must be unique and is not.
    Duplicate,
    /// A value is malformed or out of bounds.
    Invalid,
    /// A value is none of the known ones.
    NotSupported,
    /// A value is well formed but not permitted here.
    Forbidden,
    /// A value is too long.
    TooLong,
    /// A list has too many items.
    TooMany,
    /// The server failed while it validated.
    Internal,
}

impl ErrorType {
    /// The machine-readable reason in a Status cause.
    pub fn reason(self) -> &'static str {
        match self {
            ErrorType::NotFound => "FieldValueNotFound",
            ErrorType::Required => "FieldValueRequired",
            ErrorType::Duplicate => "FieldValueDuplicate",
            ErrorType::Invalid => "FieldValueInvalid",
            ErrorType::NotSupported => "FieldValueNotSupported",
            ErrorType::Forbidden => "FieldValueForbidden",
            ErrorType::TooLong => "FieldValueTooLong",
            ErrorType::TooMany => "FieldValueTooMany",
            ErrorType::Internal => "InternalError",
        }
    }

    fn words(self) -> &'static str {
        match self {
            ErrorType::NotFound => "Not found",
            ErrorType::Required => "Required value",
            ErrorType::Duplicate => "Duplicate value",
            ErrorType::Invalid => "Invalid value",
            ErrorType::NotSupported => "Unsupported value",
            ErrorType::Forbidden => "Forbidden",
            ErrorType::TooLong => "Too long",
            ErrorType::TooMany => "Too many",
            ErrorType::Internal => "Internal error",
        }
    }

    fn shows_value(self) -> bool {
        !matches!(
            self,
            ErrorType::Required | ErrorType::Forbidden | ErrorType::TooLong | ErrorType::Internal
        )
    }
}

/// One mistake in one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// What kind of mistake.
    pub kind: ErrorType,
    /// Where.
    pub field: Path,
    /// The value found there.
    pub value: Value,
    /// What would have been right.
    pub detail: String,
}

/// The detail of every immutable-field error.
pub const IMMUTABLE: &str = "field is immutable";

impl Error {
    fn new(kind: ErrorType, field: &Path, value: Value, detail: impl Into<String>) -> Error {
        Error { kind, field: field.clone(), value, detail: detail.into() }
    }

    /// Something referred to does not exist.
    pub fn not_found(field: &Path, value: impl Into<Value>) -> Error {
        Error::new(ErrorType::NotFound, field, value.into(), "")
    }

    /// A field must be set.
    pub fn required(field: &Path, detail: impl Into<String>) -> Error {
        Error::new(ErrorType::Required, field, Value::Null, detail)
    }

    /// A value must be unique and is not.
    pub fn duplicate(field: &Path, value: impl Into<Value>) -> Error {
        Error::new(ErrorType::Duplicate, field, value.into(), "")
    }

    /// A value is malformed or out of bounds.
    pub fn invalid(field: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Error {
        Error::new(ErrorType::Invalid, field, value.into(), detail)
    }

    /// A value changed that may not.
    pub fn immutable(field: &Path, value: impl Into<Value>) -> Error {
        Error::invalid(field, value, IMMUTABLE)
    }

    /// A value is none of the known ones.
    pub fn not_supported(field: &Path, value: impl Into<Value>, known: &[&str]) -> Error {
        let detail = if known.is_empty() {
            String::new()
        } else {
            let quoted: Vec<String> = known.iter().map(|v| format!("{v:?}")).collect();
            format!("supported values: {}", quoted.join(", "))
        };
        Error::new(ErrorType::NotSupported, field, value.into(), detail)
    }

    /// A value is well formed but not permitted here.
    pub fn forbidden(field: &Path, detail: impl Into<String>) -> Error {
        Error::new(ErrorType::Forbidden, field, Value::Null, detail)
    }

    /// A value is too long.
    pub fn too_long(field: &Path, max: usize) -> Error {
        let detail = format!("may not be more than {max} bytes");
        Error::new(ErrorType::TooLong, field, Value::Null, detail)
    }

    /// A list has too many items.
    pub fn too_many(field: &Path, actual: usize, max: usize) -> Error {
        let detail = format!("must have at most {max} items");
        Error::new(ErrorType::TooMany, field, actual.into(), detail)
    }

    /// The error without its path: the message of a Status cause.
    pub fn body(&self) -> String {
        let mut body = self.kind.words().to_owned();
        if self.kind.shows_value() {
            body.push_str(": ");
            // Strings quoted, numbers bare, structures as JSON.
            body.push_str(&self.value.to_string());
        }
        if !self.detail.is_empty() {
            body.push_str(": ");
            body.push_str(&self.detail);
        }
        body
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for Error {}

/// All mistakes of one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Errors(Vec<Error>);

impl Errors {
    /// No mistakes yet.
    pub fn new() -> Errors {
        Errors::default()
    }

    /// Adds one.
    pub fn push(&mut self, error: Error) {
        self.0.push(error);
    }

    /// Adds an `Invalid` for each message about one value.
    pub fn invalid_each(&mut self, field: &Path, value: &str, messages: Vec<String>) {
        for message in messages {
            self.push(Error::invalid(field, value, message));
        }
    }

    /// Adds all of another list.
    pub fn extend(&mut self, other: Errors) {
        self.0.extend(other.0);
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The mistakes in the order they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Error> {
        self.0.iter()
    }

    /// All mistakes in one line: bare if there is one, in brackets if there are several.
    pub fn aggregate(&self) -> String {
        let mut messages: Vec<String> = Vec::new();
        for error in &self.0 {
            let message = error.to_string();
            if !messages.contains(&message) {
                messages.push(message);
            }
        }
        match messages.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        }
    }
}

impl From<Error> for Errors {
    fn from(error: Error) -> Errors {
        Errors(vec![error])
    }
}

impl FromIterator<Error> for Errors {
    fn from_iter<I: IntoIterator<Item = Error>>(errors: I) -> Errors {
        Errors(errors.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: &Error, expected: &str) {
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn errors_read_as_upstream() {
        let port = Path::new("spec").child("containers").index(0).child("ports").index(1);
        check(
            &Error::required(&port.child("containerPort"), ""),
            "spec.containers[0].ports[1].containerPort: Required value",
        );
        check(
            &Error::invalid(
                &port.child("containerPort"),
                70000,
                "must be between 1 and 65535, inclusive",
            ),
            "spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        );
        check(
            &Error::not_supported(&port.child("protocol"), "tcp", &["SCTP", "TCP", "UDP"]),
            r#"spec.containers[0].ports[1].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP""#,
        );
        check(
            &Error::duplicate(&port.child("name"), "web"),
            r#"spec.containers[0].ports[1].name: Duplicate value: "web""#,
        );
        check(
            &Error::immutable(
                &Path::new("spec").child("selector"),
                serde_json::json!({"matchLabels": {"app": "web"}}),
            ),
            r#"spec.selector: Invalid value: {"matchLabels":{"app":"web"}}: field is immutable"#,
        );
        check(
            &Error::too_long(&Path::new("metadata").child("annotations"), 262_144),
            "metadata.annotations: Too long: may not be more than 262144 bytes",
        );
    }

    #[test]
    fn several_errors_stand_in_brackets_without_repeats() {
        let mut errors = Errors::from(Error::required(&Path::new("a"), "x"));
        errors.push(Error::required(&Path::new("a"), "x"));
        assert_eq!(errors.aggregate(), "a: Required value: x");
        errors.push(Error::forbidden(&Path::new("b").key("k"), "no"));
        assert_eq!(errors.aggregate(), "[a: Required value: x, b[k]: Forbidden: no]");
    }
}
