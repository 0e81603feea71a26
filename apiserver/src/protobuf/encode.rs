//! From JSON to protobuf, by the same table as the other way.
//!
//! What the table does not know and what has another type than it says is left out: it could not be
//! read by anybody. Fields without a value are not written; readers take them for zero, as Go's do.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Error, Field, MAGIC, MESSAGES, Shape, Type, message::Message, message_name};

/// Whether objects of a kind can be written.
pub fn knows(api_version: &str, kind: &str) -> bool {
    MESSAGES.contains_key(message_name(api_version, kind).as_str())
}

/// Writes an object with its `apiVersion` and `kind`.
///
/// # Errors
/// If its kind is not in the table.
pub fn from_json(object: &Value) -> Result<Vec<u8>, Error> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let raw = match item_kind(api_version, kind) {
        Some(item) => {
            let mut list = list_head(&object["metadata"]);
            for one in object["items"].as_array().into_iter().flatten() {
                list.message(2, &write(&item, one)?);
            }
            list
        }
        None => write(&message_name(api_version, kind), object)?,
    };
    let mut out = envelope(api_version, kind, raw.0.len());
    out.0.extend_from_slice(&raw.0);
    finish(&mut out);
    Ok(out.0)
}

/// The message of a list's items, if it is a list of something.
fn item_kind(api_version: &str, kind: &str) -> Option<String> {
    let item = message_name(api_version, kind.strip_suffix("List")?);
    let itself = message_name(api_version, kind);
    (MESSAGES.contains_key(item.as_str()) && !MESSAGES.contains_key(itself.as_str()))
        .then_some(item)
}

/// What stands before the raw bytes of an object, `raw` in number; [`finish`] goes behind them.
pub fn envelope(api_version: &str, kind: &str, raw: usize) -> Message {
    let mut meta = Message::default();
    meta.bytes(1, api_version.as_bytes());
    meta.bytes(2, kind.as_bytes());
    let mut out = Message(MAGIC.to_vec());
    out.message(1, &meta);
    out.head(2, raw);
    out
}

/// Ends an object: how it is encoded and what it is have no name, as upstream writes them.
pub fn finish(out: &mut Message) {
    out.bytes(3, &[]);
    out.bytes(4, &[]);
}

/// The raw bytes of a list before its items.
pub fn list_head(metadata: &Value) -> Message {
    let mut list = Message::default();
    let metadata = write("meta.v1.ListMeta", metadata).unwrap_or_default();
    list.message(1, &metadata);
    list
}

/// An item of a list, as a field of the list's raw bytes.
///
/// # Errors
/// If its kind is not in the table.
pub fn list_item(api_version: &str, kind: &str, object: &Value) -> Result<Vec<u8>, Error> {
    let mut item = Message::default();
    item.message(2, &write(&message_name(api_version, kind), object)?);
    Ok(item.0)
}

/// One frame of a watch: its length, what happened, and the object in its own envelope.
///
/// # Errors
/// If the object's kind is not in the table.
pub fn frame(event: &str, object: &Value) -> Result<Vec<u8>, Error> {
    let mut raw = Message::default();
    raw.bytes(1, &from_json(object)?);
    let mut out = Message::default();
    out.bytes(1, event.as_bytes());
    out.message(2, &raw);
    let length = u32::try_from(out.0.len()).map_err(|_| Error::Malformed)?;
    Ok([&length.to_be_bytes()[..], &out.0].concat())
}

fn write(message: &str, value: &Value) -> Result<Message, Error> {
    let fields = MESSAGES.get(message).ok_or_else(|| Error::UnknownKind {
        api_version: String::new(),
        kind: message.to_owned(),
    })?;
    let mut out = Message::default();
    for field in fields {
        match field.name {
            // The whole is the list that this field holds.
            "*" => write_field(&mut out, field, value)?,
            // Its fields stand among ours; it is there if any of them is.
            ">" => {
                if let Type::Message(inner) = field.of {
                    let inner = write(inner, value)?;
                    if !inner.0.is_empty() {
                        out.message(field.number, &inner);
                    }
                }
            }
            name => {
                if let Some(value) = value.get(name).filter(|value| !value.is_null()) {
                    write_field(&mut out, field, value)?;
                }
            }
        }
    }
    Ok(out)
}

fn write_field(out: &mut Message, field: &Field, value: &Value) -> Result<(), Error> {
    match (field.shape, value) {
        (Shape::List, Value::Array(items)) => {
            items.iter().try_for_each(|item| write_one(out, field.number, field.of, item))
        }
        (Shape::Map, Value::Object(entries)) => write_map(out, field, entries),
        (Shape::List | Shape::Map, _) => Ok(()),
        _ => write_one(out, field.number, field.of, value),
    }
}

fn write_map(out: &mut Message, field: &Field, entries: &Map<String, Value>) -> Result<(), Error> {
    for (key, value) in entries {
        let mut entry = Message::default();
        entry.bytes(1, key.as_bytes());
        write_one(&mut entry, 2, field.of, value)?;
        out.message(field.number, &entry);
    }
    Ok(())
}

fn write_one(out: &mut Message, number: u64, of: Type, value: &Value) -> Result<(), Error> {
    match (of, value) {
        (Type::Message(inner), Value::Object(_) | Value::Array(_)) => {
            out.message(number, &write(inner, value)?);
        }
        (Type::Bool, Value::Bool(flag)) => out.number(number, u64::from(*flag)),
        (Type::Integer, Value::Number(value)) => {
            let integer = value.as_i64().map(i64::cast_unsigned).or_else(|| value.as_u64());
            integer.into_iter().for_each(|integer| out.number(number, integer));
        }
        (Type::Double, Value::Number(value)) => {
            value.as_f64().into_iter().for_each(|float| out.double(number, float));
        }
        (Type::Text, Value::String(text)) => out.bytes(number, text.as_bytes()),
        (Type::Bytes, Value::String(text)) => {
            let decoded = STANDARD.decode(text).ok();
            decoded.iter().for_each(|bytes| out.bytes(number, bytes));
        }
        (Type::Time | Type::MicroTime, Value::String(text)) => {
            let at = text.parse().ok();
            at.into_iter().for_each(|at| out.message(number, &time(at)));
        }
        (Type::Quantity, Value::String(text)) => out.message(number, &wrapped(text.as_bytes())),
        (Type::Quantity, Value::Number(plain)) => {
            out.message(number, &wrapped(plain.to_string().as_bytes()));
        }
        (Type::Raw, value) => out.message(number, &wrapped(value.to_string().as_bytes())),
        (Type::IntOrString, value) => out.message(number, &int_or_string(value)),
        _ => {}
    }
    Ok(())
}

fn wrapped(bytes: &[u8]) -> Message {
    let mut out = Message::default();
    out.bytes(1, bytes);
    out
}

fn time(at: Timestamp) -> Message {
    let mut out = Message::default();
    // Both parts count forward, also before 1970.
    let nanos = at.subsec_nanosecond();
    let (seconds, nanos) = if nanos < 0 {
        (at.as_second() - 1, nanos + 1_000_000_000)
    } else {
        (at.as_second(), nanos)
    };
    out.number(1, seconds.cast_unsigned());
    out.number(2, i64::from(nanos).cast_unsigned());
    out
}

fn int_or_string(value: &Value) -> Message {
    let mut out = Message::default();
    let text = value.as_str();
    out.number(1, u64::from(text.is_some()));
    out.number(2, value.as_i64().unwrap_or_default().cast_unsigned());
    out.bytes(3, text.unwrap_or_default().as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::to_json, *};

    /// What is written reads back as it was.
    #[track_caller]
    fn check(object: &Value) {
        let bytes = from_json(object).unwrap();
        assert_eq!(to_json(&bytes).unwrap(), *object);
    }

    #[test]
    fn objects_read_back_as_they_were() {
        check(&json!({
            "kind": "Deployment", "apiVersion": "apps/v1",
            "metadata": {
                "name": "web", "labels": {"app": "web"},
                "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 3,
                "managedFields": [{
                    "manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {}},
                }],
            },
            "spec": {
                "replicas": 0,
                "strategy": {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": "25%"}},
                "template": {"spec": {
                    "containers": [{
                        "name": "c",
                        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                        "env": [{
                            "name": "A",
                            "valueFrom": {"configMapKeyRef": {"name": "cfg", "key": "key"}},
                        }],
                        "livenessProbe": {"httpGet": {"path": "/", "port": 80}},
                    }],
                    "volumes": [{"name": "v", "configMap": {"name": "m", "optional": false}}],
                }},
            },
        }));
        check(&json!({
            "kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"},
            "data": {"a": "AAEC"}, "type": "Opaque",
        }));
        check(&json!({
            "kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "l"},
            "spec": {"renewTime": "2026-01-01T00:00:00.000001Z", "leaseTransitions": -1},
        }));
        check(&json!({
            "kind": "CertificateSigningRequest", "apiVersion": "certificates.k8s.io/v1",
            "metadata": {"name": "r"},
            "spec": {"username": "jane", "extra": {"a": ["b", "c"]}},
        }));
        check(&json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {"resourceVersion": "5"},
            "status": "Failure", "message": "no", "reason": "NotFound",
            "details": {"name": "x", "causes": [{"reason": "r", "message": "m", "field": "f"}]},
            "code": 404,
        }));
    }

    #[test]
    fn an_envelope_is_upstreams() {
        let bytes = from_json(&json!({
            "kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "nonsense": 1,
        }));
        let expected: &[u8] = &[
            b'k', b'8', b's', 0, 0x0a, 15, 0x0a, 2, b'v', b'1', 0x12, 9, b'C', b'o', b'n', b'f',
            b'i', b'g', b'M', b'a', b'p', 0x12, 5, 0x0a, 3, 0x0a, 1, b'a', 0x1a, 0, 0x22, 0,
        ];
        assert_eq!(bytes.unwrap(), expected);
        assert!(from_json(&json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1"})).is_err());
    }

    #[test]
    fn a_list_written_at_once_and_in_pieces_is_the_same() {
        let items = [json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": "b"}})];
        let metadata = json!({"resourceVersion": "7", "remainingItemCount": 0});
        let whole = json!({
            "kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items,
        });
        let mut raw = list_head(&metadata).0;
        for item in &items {
            raw.extend(list_item("v1", "Pod", item).unwrap());
        }
        let mut pieces = envelope("v1", "PodList", raw.len());
        pieces.0.extend(raw);
        finish(&mut pieces);
        assert_eq!(from_json(&whole).unwrap(), pieces.0);
    }

    #[test]
    fn a_frame_says_its_length() {
        let frame = frame("ADDED", &json!({"kind": "ConfigMap", "apiVersion": "v1"})).unwrap();
        let length = u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize;
        assert_eq!(length, frame.len() - 4);
        assert_eq!(frame[4..11], [0x0a, 5, b'A', b'D', b'D', b'E', b'D']);
    }
}
