//! From the bytes of a request to an object that conforms to its kind's schema.
//!
//! One engine for all kinds, driven by the type graph of `kontiki_api::schema`: it reports unknown
//! and repeated fields by path as `fieldValidation` asks, refuses values of the wrong type in the
//! words of upstream's decoder, drops what is unknown, null or empty, and writes quantities and
//! times canonically. What it returns has its fields in a fixed order, so equal objects have equal
//! bytes.

mod conform;
mod parse;

use kontiki_api::{
    Status,
    catalogue::GroupVersion,
    field,
    schema::{Schema, TypeId},
};
use serde_json::Value;

pub use conform::Mismatch;

/// How many complaints about fields are gathered.
const COMPLAINTS_MAX: usize = 100;
/// How much of a body that cannot be read is shown.
const SUMMARY_BYTES: usize = 30;

/// What happens to unknown and repeated fields; they are dropped in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Nobody is told.
    Ignore,
    /// The client is warned.
    #[default]
    Warn,
    /// The request is refused.
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter, one of the named options; absent means `Warn`.
    pub fn parse(text: &str, options: &str) -> Result<FieldValidation, Status> {
        match text {
            "" | "Warn" => Ok(FieldValidation::Warn),
            "Ignore" => Ok(FieldValidation::Ignore),
            "Strict" => Ok(FieldValidation::Strict),
            other => {
                let mut errors = field::Errors::new();
                errors.push(field::Error::not_supported(
                    &field::Path::new("fieldValidation"),
                    other,
                    &["", "Ignore", "Strict", "Warn"],
                ));
                Err(Status::invalid("meta.k8s.io", options, "", &errors))
            }
        }
    }
}

/// An object that conforms, and what its author should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object.
    pub object: Value,
    /// For the `Warning` header.
    pub warnings: Vec<String>,
}

/// The kind that an endpoint takes.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// API group.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Kind.
    pub kind: &'a str,
}

impl Expected<'_> {
    fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    fn type_id(&self) -> Result<TypeId, Status> {
        let found = Schema::builtin().kind(self.group, self.version, self.kind);
        found.ok_or_else(|| Status::internal_error(&format!("no schema for {}", self.kind)))
    }
}

/// Reads a request's body as an object of the expected kind. An absent `apiVersion` or `kind` is
/// filled in, a different one refused.
pub fn decode(
    expected: Expected<'_>,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let parsed = parse::parse(body).map_err(|error| unrecognised(expected, body, &error))?;
    let mut object = parsed.value;
    let Value::Object(map) = &mut object else {
        return Err(unrecognised(expected, body, &no_object(&object)));
    };
    let written = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, api_version) = (written("kind"), written("apiVersion"));
    check_kind(expected, &kind, &api_version)?;
    map.insert("kind".to_owned(), expected.kind.into());
    map.insert("apiVersion".to_owned(), expected.api_version().into());
    let conformed = conform::conform(Schema::builtin(), expected.type_id()?, object);
    let (object, unknown) = conformed.map_err(|mismatch| cannot_handle(expected, &mismatch.0))?;
    let mut complaints: Vec<String> = parsed.duplicates.into_iter().chain(unknown).collect();
    if complaints.len() > 1 && validation != FieldValidation::Ignore {
        complaints = parse::in_order(body, complaints);
    }
    finish(object, complaints, validation).map_err(|strict| cannot_handle(expected, &strict))
}

/// Parses one JSON document; also says which fields were given more than once.
pub fn parse_json(body: &[u8]) -> Result<(Value, Vec<String>), String> {
    parse::parse(body).map(|parsed| (parsed.value, parsed.duplicates))
}

/// Brings a value that a patch has made into conformance. `complaints` are those about the patch
/// itself.
pub fn conform_patched(
    expected: Expected<'_>,
    patched: Value,
    patch: &Value,
    complaints: &[String],
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let conformed = conform::conform(Schema::builtin(), expected.type_id()?, patched);
    let (object, unknown) = conformed.map_err(|mismatch| {
        let path = field::Path::new("patch");
        let error = field::Error::invalid(&path, patch.clone(), mismatch.0);
        Status::invalid("", "", "", &error.into())
    })?;
    let complaints = complaints.iter().cloned().chain(unknown).collect();
    finish(object, complaints, validation).map_err(Status::bad_request)
}

/// Brings a stored value into conformance, silently: an older release may have written it.
pub fn conform_stored(expected: Expected<'_>, stored: Value) -> Result<Value, Mismatch> {
    match expected.type_id() {
        Ok(type_id) => conform::conform(Schema::builtin(), type_id, stored).map(|(value, _)| value),
        Err(_) => Ok(stored),
    }
}

fn finish(
    object: Value,
    mut complaints: Vec<String>,
    validation: FieldValidation,
) -> Result<Decoded, String> {
    complaints.truncate(COMPLAINTS_MAX);
    match validation {
        FieldValidation::Strict if !complaints.is_empty() => {
            Err(format!("strict decoding error: {}", complaints.join(", ")))
        }
        FieldValidation::Warn => Ok(Decoded { object, warnings: complaints }),
        _ => Ok(Decoded { object, warnings: Vec::new() }),
    }
}

fn check_kind(expected: Expected<'_>, kind: &str, api_version: &str) -> Result<(), Status> {
    let wanted = expected.api_version();
    if !kind.is_empty() && kind != expected.kind {
        let known = GroupVersion::parse(if api_version.is_empty() { &wanted } else { api_version });
        let what = if Schema::builtin().kind(&known.group, &known.version, kind).is_some() {
            format!(
                "converting ({}.{kind}) to ({}.{}): unknown conversion",
                known.version, expected.version, expected.kind
            )
        } else {
            format!("no kind {kind:?} is registered for version {:?}", known.to_string())
        };
        return Err(Status::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {}: {what}",
            known.version, expected.kind
        )));
    }
    if !api_version.is_empty() && api_version != wanted {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version \
             ({wanted})"
        )));
    }
    Ok(())
}

fn cannot_handle(expected: Expected<'_>, what: &str) -> Status {
    Status::bad_request(format!(
        "{} in version {:?} cannot be handled as a {}: {what}",
        expected.kind, expected.version, expected.kind
    ))
}

/// What upstream's decoder says of a document that is no object.
fn no_object(document: &Value) -> String {
    let what = match document {
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        Value::Null | Value::Object(_) => "null",
    };
    format!(
        "json: cannot unmarshal {what} into Go value of type struct {{ APIVersion string \
         \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
    )
}

fn unrecognised(expected: Expected<'_>, body: &[u8], error: &str) -> Status {
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json \
         parse error: {error} ({})",
        expected.kind,
        summary(body)
    ))
}

/// The beginning of a body: as it is if it looks like JSON, else in hexadecimal, as upstream shows
/// it.
fn summary(body: &[u8]) -> String {
    let start = &body[..body.len().min(SUMMARY_BYTES)];
    let mut shown = match start.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(start).into_owned(),
        Some(_) => start.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if start.len() < body.len() {
        shown.push_str(" ...");
    }
    shown
}

#[cfg(test)]
mod tests;
