//! The walk over value and schema.

use std::fmt::Write;

use base64::{Engine, prelude::BASE64_STANDARD};
use kontiki_api::{
    meta,
    quantity::Quantity,
    schema::{Field, Schema, Shape, TypeId},
};
use serde_json::{Map, Value};

/// Why a value does not conform, in the words of upstream's decoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Mismatch(pub String);

/// Brings a value into conformance; also says which fields were unknown.
pub(super) fn conform(
    schema: &Schema,
    type_id: TypeId,
    value: Value,
) -> Result<(Value, Vec<String>), Mismatch> {
    let mut walk = Walk { schema, path: String::new(), fields: Vec::new(), unknown: Vec::new() };
    let Value::Object(map) = value else {
        return Err(walk.wrong(&value, &Shape::Struct(type_id), None));
    };
    let mut object = walk.structure(map, type_id)?;
    // As people expect to read it, whatever the alphabet says.
    for key in ["metadata", "apiVersion", "kind"] {
        if let Some(value) = object.shift_remove(key) {
            object.shift_insert(0, key.to_owned(), value);
        }
    }
    Ok((Value::Object(object), walk.unknown))
}

struct Walk<'a> {
    schema: &'a Schema,
    /// With list indices, for complaints about fields.
    path: String,
    /// Field names only, for complaints about types.
    fields: Vec<&'a str>,
    unknown: Vec<String>,
}

impl<'a> Walk<'a> {
    fn structure(
        &mut self,
        map: Map<String, Value>,
        id: TypeId,
    ) -> Result<Map<String, Value>, Mismatch> {
        let known = self.schema.get(id);
        // What is there is looked up in the schema, which knows a lot more than is ever there.
        let mut fields = Vec::with_capacity(map.len());
        let mut unknown = Vec::new();
        for (key, value) in map {
            match known.place_of(&key) {
                Some(at) => fields.push((at, key, value)),
                None => unknown.push(key),
            }
        }
        fields.sort_unstable_by_key(|(at, ..)| *at);
        let mut taken = Map::with_capacity(fields.len());
        for (at, key, value) in fields {
            if value.is_null() {
                continue;
            }
            let field = &known.fields[at];
            let length = self.descend(&key);
            self.fields.push(&field.name);
            let value = self.value(value, &field.shape, Some(id))?;
            self.fields.pop();
            self.path.truncate(length);
            if !is_omitted(&value, field) {
                taken.insert(key, value);
            }
        }
        for key in unknown {
            let length = self.descend(&key);
            self.unknown.push(super::parse::unknown(&self.path));
            self.path.truncate(length);
        }
        Ok(taken)
    }

    /// Extends the path by a name and tells its former length.
    fn descend(&mut self, name: &str) -> usize {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        length
    }

    fn value(
        &mut self,
        value: Value,
        shape: &'a Shape,
        inside: Option<TypeId>,
    ) -> Result<Value, Mismatch> {
        match (shape, value) {
            (Shape::Any, value) => Ok(value),
            (shape, Value::Null) => Ok(zero(shape)),
            (Shape::Struct(id), Value::Object(map)) => self.structure(map, *id).map(Value::Object),
            (Shape::Map(inner), Value::Object(map)) => self.map(map, inner, inside),
            (Shape::List(inner), Value::Array(items)) => self.list(items, inner, inside),
            (Shape::Text, Value::String(text)) => Ok(Value::String(text)),
            (Shape::Bool, Value::Bool(flag)) => Ok(Value::Bool(flag)),
            (Shape::Float, Value::Number(number)) => Ok(Value::Number(number)),
            (Shape::Bytes, Value::String(text)) => bytes(text),
            (Shape::Time, Value::String(text)) => time(&text, meta::time),
            (Shape::MicroTime, Value::String(text)) => time(&text, meta::micro_time),
            (Shape::Quantity, value @ (Value::String(_) | Value::Number(_))) => quantity(&value),
            (Shape::IntOrString, Value::String(text)) => Ok(Value::String(text)),
            (Shape::Int64, value) if value.is_i64() => Ok(value),
            (Shape::Int32 | Shape::IntOrString, value) if is_int32(&value) => Ok(value),
            (shape, value) => Err(self.wrong(&value, shape, inside)),
        }
    }

    fn map(
        &mut self,
        map: Map<String, Value>,
        inner: &'a Shape,
        inside: Option<TypeId>,
    ) -> Result<Value, Mismatch> {
        let mut entries: Vec<(String, Value)> = map.into_iter().collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let mut taken = Map::with_capacity(entries.len());
        for (key, value) in entries {
            let length = self.descend(&key);
            taken.insert(key, self.value(value, inner, inside)?);
            self.path.truncate(length);
        }
        Ok(Value::Object(taken))
    }

    fn list(
        &mut self,
        items: Vec<Value>,
        inner: &'a Shape,
        inside: Option<TypeId>,
    ) -> Result<Value, Mismatch> {
        let mut taken = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let length = self.path.len();
            let _ = write!(self.path, "[{index}]");
            taken.push(self.value(item, inner, inside)?);
            self.path.truncate(length);
        }
        Ok(Value::Array(taken))
    }

    fn wrong(&self, value: &Value, shape: &Shape, inside: Option<TypeId>) -> Mismatch {
        let found = match value {
            Value::String(_) => "string".to_owned(),
            Value::Number(number) => {
                let integer = matches!(shape, Shape::Int32 | Shape::Int64 | Shape::IntOrString);
                if integer { format!("number {number}") } else { "number".to_owned() }
            }
            Value::Bool(_) => "bool".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) | Value::Null => "object".to_owned(),
        };
        let wanted = self.go_type(shape);
        Mismatch(match inside {
            Some(id) => format!(
                "json: cannot unmarshal {found} into Go struct field {}.{} of type {wanted}",
                self.schema.get(id).short_name(),
                self.fields.join(".")
            ),
            None => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
        })
    }

    fn go_type(&self, shape: &Shape) -> String {
        match shape {
            Shape::Struct(id) => format!("v1.{}", self.schema.get(*id).short_name()),
            Shape::Map(inner) => format!("map[string]{}", self.go_type(inner)),
            Shape::List(inner) => format!("[]{}", self.go_type(inner)),
            Shape::Text | Shape::Time | Shape::MicroTime => "string".to_owned(),
            Shape::Bytes => "[]uint8".to_owned(),
            Shape::Int32 | Shape::IntOrString => "int32".to_owned(),
            Shape::Int64 => "int64".to_owned(),
            Shape::Float => "float64".to_owned(),
            Shape::Bool => "bool".to_owned(),
            Shape::Quantity => "resource.Quantity".to_owned(),
            Shape::Any => "interface {}".to_owned(),
        }
    }
}

/// Whether a value is not written at all, as an optional field that was never set.
fn is_omitted(value: &Value, field: &Field) -> bool {
    if field.required {
        return false;
    }
    match (&field.shape, value) {
        (Shape::Text | Shape::Bytes, Value::String(text)) => text.is_empty(),
        (Shape::List(_), Value::Array(items)) => items.is_empty(),
        (Shape::Map(_), Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

/// What a null in a list or map stands for.
fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::Struct(_) | Shape::Map(_) => Value::Object(Map::new()),
        Shape::List(_) => Value::Array(Vec::new()),
        Shape::Text | Shape::Bytes => "".into(),
        Shape::Quantity => "0".into(),
        Shape::Int32 | Shape::Int64 | Shape::Float | Shape::IntOrString => 0.into(),
        Shape::Bool => false.into(),
        Shape::Time | Shape::MicroTime | Shape::Any => Value::Null,
    }
}

fn is_int32(value: &Value) -> bool {
    value.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

fn quantity(value: &Value) -> Result<Value, Mismatch> {
    let canonical = match value {
        Value::String(text) if text.is_empty() => Ok("0".to_owned()),
        Value::String(text) => Quantity::canonical(text),
        other => Quantity::canonical(&other.to_string()),
    };
    canonical.map(Value::String).map_err(|error| Mismatch(error.to_string()))
}

fn time(text: &str, write: fn(jiff::Timestamp) -> String) -> Result<Value, Mismatch> {
    match meta::parse_time(text) {
        Some(at) => Ok(write(at).into()),
        None => Err(Mismatch(format!(
            "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \
             \"2006\""
        ))),
    }
}

fn bytes(text: String) -> Result<Value, Mismatch> {
    // Line breaks are allowed in, and gone afterwards.
    let text = if text.contains(['\r', '\n']) { text.replace(['\r', '\n'], "") } else { text };
    match BASE64_STANDARD.decode(&text) {
        Ok(_) => Ok(text.into()),
        Err(
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _),
        ) => Err(Mismatch(format!("illegal base64 data at input byte {at}"))),
        Err(_) => Err(Mismatch(format!("illegal base64 data at input byte {}", text.len()))),
    }
}
