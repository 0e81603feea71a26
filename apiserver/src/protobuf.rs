//! Objects in Kubernetes' protobuf encoding, transcoded to JSON.
//!
//! One table (`protobuf/fields.tsv`) says for every message which number is which JSON field. From
//! there on the object is the same value that a JSON body would have made: nothing behind this
//! module knows in which form it came.
//!
//! Answers go the other way ([`encode`]), for clients that take no JSON.
//!
//! Protobuf writes the zero value of every field that is not a pointer in Go. Those mean "not
//! set", as in JSON, and are left out; fields marked `?` are pointers and keep their zero.

pub mod encode;
pub mod message;

use std::{collections::HashMap, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use kontiki_api::meta;
use serde_json::{Map, Value};

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8] = b"k8s\0";
const TABLE: &str = include_str!("protobuf/fields.tsv");
/// Messages within messages; real objects need about a dozen.
const DEPTH_MAX: usize = 64;

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not start as every such body does.
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    Prefix,
    /// It ends in the middle of something, or contradicts itself.
    #[error("unexpected EOF or malformed field")]
    Malformed,
    /// Its kind is not in the table.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind {
        /// As the body says.
        api_version: String,
        /// As the body says.
        kind: String,
    },
}

#[derive(Clone, Copy, Debug)]
enum Type {
    Text,
    Bool,
    Integer,
    Double,
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    Raw,
    Message(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    One,
    Pointer,
    List,
    Map,
}

struct Field {
    number: u64,
    /// The JSON name; `>` puts the message's fields in its place, `*` stands for the whole.
    name: &'static str,
    shape: Shape,
    of: Type,
}

static MESSAGES: LazyLock<HashMap<&'static str, Vec<Field>>> = LazyLock::new(|| {
    let mut messages: HashMap<&'static str, Vec<Field>> = HashMap::new();
    for line in TABLE.lines().skip(1) {
        let columns: Vec<&'static str> = line.split('\t').collect();
        let [message, number, name, of] = columns[..] else { continue };
        let (shape, of) = match (of.strip_prefix('?'), of.split_once(':')) {
            (Some(of), _) => (Shape::Pointer, of),
            (_, Some(("list", of))) => (Shape::List, of),
            (_, Some(("map", of))) => (Shape::Map, of),
            _ => (Shape::One, of),
        };
        let number = number.parse().expect("the table holds numbers");
        let field = Field { number, name, shape, of: type_of(of) };
        messages.entry(message).or_default().push(field);
    }
    messages
});

fn type_of(text: &'static str) -> Type {
    match text {
        "string" => Type::Text,
        "bool" => Type::Bool,
        "int32" | "int64" | "uint32" | "uint64" => Type::Integer,
        "double" => Type::Double,
        "bytes" => Type::Bytes,
        "time" => Type::Time,
        "microTime" => Type::MicroTime,
        "quantity" => Type::Quantity,
        "intOrString" => Type::IntOrString,
        "raw" => Type::Raw,
        message => Type::Message(message),
    }
}

/// Reads an object.
pub fn to_json(body: &[u8]) -> Result<Value, Error> {
    let body = body.strip_prefix(MAGIC).ok_or(Error::Prefix)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    each(body, |number, wire| {
        match (number, wire) {
            (1, Wire::Bytes(type_meta)) => each(type_meta, |number, wire| {
                match (number, wire) {
                    (1, Wire::Bytes(text)) => api_version = string(text)?,
                    (2, Wire::Bytes(text)) => kind = string(text)?,
                    _ => {}
                }
                Ok(())
            })?,
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
        Ok(())
    })?;
    let message = message_name(&api_version, &kind);
    if !MESSAGES.contains_key(message.as_str()) {
        return Err(Error::UnknownKind { api_version, kind });
    }
    let Value::Object(fields) = decode(&message, raw, 0)? else { return Err(Error::Malformed) };
    let mut object = Map::new();
    object.insert("kind".to_owned(), kind.into());
    object.insert("apiVersion".to_owned(), api_version.into());
    object.extend(fields);
    Ok(Value::Object(object))
}

/// `apps/v1` and `Deployment` are `apps.v1.Deployment`, `rbac.authorization.k8s.io/v1` is `rbac.v1`.
fn message_name(api_version: &str, kind: &str) -> String {
    if matches!(kind, "DeleteOptions" | "Status") {
        return format!("meta.v1.{kind}");
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    let group = group.split('.').next().unwrap_or_default();
    format!("{group}.{version}.{kind}")
}

#[derive(Clone, Copy)]
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Walks the fields of a message.
fn each<'a>(
    mut bytes: &'a [u8],
    mut field: impl FnMut(u64, Wire<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let wire = match tag & 7 {
            0 => Wire::Number(varint(&mut bytes)?),
            1 => Wire::Number(u64::from_le_bytes(fixed(&mut bytes)?)),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| Error::Malformed)?;
                let (data, rest) = bytes.split_at_checked(length).ok_or(Error::Malformed)?;
                bytes = rest;
                Wire::Bytes(data)
            }
            5 => Wire::Number(u64::from(u32::from_le_bytes(fixed(&mut bytes)?))),
            _ => return Err(Error::Malformed),
        };
        field(tag >> 3, wire)?;
    }
    Ok(())
}

fn fixed<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Error> {
    let (data, rest) = bytes.split_first_chunk::<N>().ok_or(Error::Malformed)?;
    *bytes = rest;
    Ok(*data)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Error> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(Error::Malformed)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Error::Malformed)
}

fn string(bytes: &[u8]) -> Result<String, Error> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Error::Malformed)
}

fn decode(message: &str, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    if depth > DEPTH_MAX {
        return Err(Error::Malformed);
    }
    let fields = MESSAGES.get(message).ok_or(Error::Malformed)?;
    let mut map = Map::new();
    let mut whole = None;
    each(bytes, |number, wire| {
        let Some(field) = fields.iter().find(|field| field.number == number) else {
            return Ok(());
        };
        if field.shape == Shape::Map {
            return entry(&mut map, field, wire, depth);
        }
        let Some(value) = value(field, wire, depth)? else { return Ok(()) };
        match (field.name, field.shape) {
            (">", _) => {
                if let Value::Object(inner) = value {
                    map.extend(inner);
                }
            }
            ("*", _) => push(whole.get_or_insert_with(|| Value::Array(Vec::new())), value),
            (name, Shape::List) => {
                let list = map.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                push(list, value);
            }
            (name, _) => {
                map.insert(name.to_owned(), value);
            }
        }
        Ok(())
    })?;
    Ok(whole.unwrap_or(Value::Object(map)))
}

fn push(list: &mut Value, value: Value) {
    if let Value::Array(items) = list {
        items.push(value);
    }
}

fn entry(
    map: &mut Map<String, Value>,
    field: &Field,
    wire: Wire<'_>,
    depth: usize,
) -> Result<(), Error> {
    let Wire::Bytes(bytes) = wire else { return Err(Error::Malformed) };
    let (mut key, mut found) = (String::new(), None);
    let inner = Field { number: 2, name: "", shape: Shape::Pointer, of: field.of };
    each(bytes, |number, wire| {
        match (number, wire) {
            (1, Wire::Bytes(text)) => key = string(text)?,
            (2, wire) => found = value(&inner, wire, depth)?,
            _ => {}
        }
        Ok(())
    })?;
    let entries = map.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(entries) = entries {
        entries.insert(key, found.unwrap_or_else(|| Value::String(String::new())));
    }
    Ok(())
}

/// One value; `None` if it only says that nothing is set.
fn value(field: &Field, wire: Wire<'_>, depth: usize) -> Result<Option<Value>, Error> {
    let keeps_zero = field.shape != Shape::One;
    let value = match (field.of, wire) {
        (Type::Bool, Wire::Number(number)) => {
            (number != 0 || keeps_zero).then(|| (number != 0).into())
        }
        (Type::Integer, Wire::Number(number)) => {
            (number != 0 || keeps_zero).then(|| number.cast_signed().into())
        }
        (Type::Double, Wire::Number(number)) => Some(f64::from_bits(number).into()),
        (Type::Text, Wire::Bytes(bytes)) => {
            (!bytes.is_empty() || keeps_zero).then(|| string(bytes)).transpose()?.map(Value::from)
        }
        (Type::Bytes, Wire::Bytes(bytes)) => Some(STANDARD.encode(bytes).into()),
        (Type::Time, Wire::Bytes(bytes)) => time(bytes)?.map(|at| meta::time(at).into()),
        (Type::MicroTime, Wire::Bytes(bytes)) => time(bytes)?.map(|at| meta::micro_time(at).into()),
        (Type::Quantity, Wire::Bytes(bytes)) => text_in(bytes, 1)?.map(Value::from),
        (Type::IntOrString, Wire::Bytes(bytes)) => Some(int_or_string(bytes)?),
        (Type::Raw, Wire::Bytes(bytes)) => raw(bytes)?,
        (Type::Message(name), Wire::Bytes(bytes)) => Some(decode(name, bytes, depth + 1)?),
        _ => return Err(Error::Malformed),
    };
    Ok(value)
}

fn time(bytes: &[u8]) -> Result<Option<Timestamp>, Error> {
    let (mut seconds, mut nanos) = (0, 0);
    each(bytes, |number, wire| {
        match (number, wire) {
            (1, Wire::Number(value)) => seconds = value.cast_signed(),
            (2, Wire::Number(value)) => nanos = value.cast_signed(),
            _ => {}
        }
        Ok(())
    })?;
    if seconds == 0 && nanos == 0 {
        return Ok(None);
    }
    let nanos = i32::try_from(nanos).map_err(|_| Error::Malformed)?;
    Timestamp::new(seconds, nanos).map(Some).map_err(|_| Error::Malformed)
}

fn text_in(bytes: &[u8], wanted: u64) -> Result<Option<String>, Error> {
    let mut found = None;
    each(bytes, |number, wire| {
        if let (true, Wire::Bytes(text)) = (number == wanted, wire) {
            found = Some(string(text)?);
        }
        Ok(())
    })?;
    Ok(found)
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Error> {
    let (mut is_text, mut integer, mut text) = (false, 0, String::new());
    each(bytes, |number, wire| {
        match (number, wire) {
            (1, Wire::Number(kind)) => is_text = kind == 1,
            (2, Wire::Number(value)) => integer = value.cast_signed(),
            (3, Wire::Bytes(bytes)) => text = string(bytes)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(if is_text { text.into() } else { integer.into() })
}

fn raw(bytes: &[u8]) -> Result<Option<Value>, Error> {
    let mut found = None;
    each(bytes, |number, wire| {
        if let (1, Wire::Bytes(json)) = (number, wire) {
            found = Some(serde_json::from_slice(json).map_err(|_| Error::Malformed)?);
        }
        Ok(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Text to a message: `3:"text"`, `2:5`, `1:{...}`.
    fn field(number: u64, data: &[u8]) -> Vec<u8> {
        let mut out = message::Message::default();
        out.bytes(number, data);
        out.0
    }

    fn number(number: u64, value: u64) -> Vec<u8> {
        let mut out = message::Message::default();
        out.number(number, value);
        out.0
    }

    fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC, &field(1, &meta), &field(2, raw)].concat()
    }

    #[test]
    fn a_deployment_reads_as_its_json_would() {
        let label = [field(1, b"app"), field(2, b"web")].concat();
        let metadata = [field(1, b"web"), field(8, b""), field(11, &label)].concat();
        let surge = [number(1, 1), number(2, 0), field(3, b"25%")].concat();
        let strategy = field(2, &field(2, &surge));
        let spec = [number(1, 0), number(5, 0), field(4, &strategy)].concat();
        let deployment = [field(1, &metadata), field(2, &spec)].concat();
        assert_eq!(
            to_json(&body("apps/v1", "Deployment", &deployment)).unwrap(),
            json!({
                "kind": "Deployment",
                "apiVersion": "apps/v1",
                "metadata": {"name": "web", "labels": {"app": "web"}},
                "spec": {"replicas": 0, "strategy": {"rollingUpdate": {"maxSurge": "25%"}}},
            })
        );
    }

    #[test]
    fn embedded_structs_stand_in_their_place() {
        let selector = [field(1, &field(1, b"cfg")), field(2, b"key")].concat();
        let source = field(3, &selector);
        let env = [field(1, b"A"), field(3, &source)].concat();
        let pod = field(2, &field(2, &field(7, &env)));
        assert_eq!(
            to_json(&body("v1", "Pod", &pod)).unwrap()["spec"]["containers"][0]["env"][0],
            json!({"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cfg", "key": "key"}}})
        );
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(to_json(b"{}"), Err(Error::Prefix));
        assert_eq!(to_json(b"k8s\0\xff"), Err(Error::Malformed));
        assert!(matches!(to_json(&body("v1", "Nix", b"")), Err(Error::UnknownKind { .. })));
    }

    #[test]
    fn every_message_of_the_table_is_described() {
        for (message, fields) in MESSAGES.iter() {
            for field in fields {
                if let Type::Message(inner) = field.of {
                    // Messages without fields have no line.
                    let empty = inner.ends_with("FieldsV1");
                    assert!(empty || MESSAGES.contains_key(inner), "{message} -> {inner}");
                }
            }
        }
    }
}
