//! A place in an object: what stands there, and what messages call it.
//!
//! Validators of kinds that no other room reads as structs walk the JSON value itself; the schema
//! has made sure that its types are right.

use kontiki_api::field::Path;
use serde_json::Value;

static NOTHING: Value = Value::Null;

/// A value and its path.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    /// What messages call it.
    pub(super) path: Path,
    /// What stands there; null if nothing does.
    pub(super) value: &'a Value,
}

impl<'a> Place<'a> {
    /// A whole object.
    pub(super) fn root(object: &'a Value) -> Place<'a> {
        Place { path: Path::root(), value: object }
    }

    /// One name deeper.
    pub(super) fn at(&self, name: &str) -> Place<'a> {
        let value = self.value.get(name).unwrap_or(&NOTHING);
        Place { path: self.path.child(name), value }
    }

    /// The items of a list; none if it is none.
    pub(super) fn items(&self) -> impl Iterator<Item = Place<'a>> + use<'a> {
        let path = self.path.clone();
        let items = self.value.as_array().map_or(&[][..], Vec::as_slice);
        items.iter().enumerate().map(move |(index, value)| Place { path: path.index(index), value })
    }

    /// The entries of a map; none if it is none.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Place<'a>)> + use<'a> {
        let path = self.path.clone();
        let entries = self.value.as_object().into_iter().flatten();
        entries.map(move |(key, value)| (key.as_str(), Place { path: path.key(key), value }))
    }

    /// A text; empty if there is none.
    pub(super) fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    /// A number, if there is one.
    pub(super) fn number(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// A flag; false if there is none.
    pub(super) fn flag(&self) -> bool {
        self.value.as_bool().unwrap_or_default()
    }

    /// Whether anything stands here.
    pub(super) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// Whether nothing stands here, or nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        match self.value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            _ => false,
        }
    }

    /// How many items or entries there are.
    pub(super) fn len(&self) -> usize {
        match self.value {
            Value::Array(items) => items.len(),
            Value::Object(entries) => entries.len(),
            _ => 0,
        }
    }
}
