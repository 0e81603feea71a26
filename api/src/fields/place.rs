//! What the schema says about one place in an object: whether it is a leaf, a map or a list, and
//! how list items are told apart.

use serde_json::{Map, Value};

use super::element::Element;
use crate::schema::{Field, ListType, Schema, Semantics, Shape, Type, TypeId};

static ANY: Shape = Shape::Any;

/// A place: the shape of what stands there, and how it merges.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub(super) schema: &'a Schema,
    pub(super) shape: Shaped<'a>,
    semantics: Option<&'a Semantics>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Shaped<'a> {
    Root(TypeId),
    By(&'a Shape),
}

/// What kind of value a place holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Atom<'a> {
    /// One field, whatever it is.
    Scalar,
    /// An object whose entries are fields of their own.
    Map(Entries<'a>),
    /// An object that is one field.
    AtomicMap,
    /// A list whose items are fields of their own.
    List(Items<'a>),
    /// A list that is one field.
    AtomicList,
}

/// The entries of a map.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entries<'a> {
    Struct(&'a Schema, &'a Type),
    Values(&'a Schema, &'a Shape),
}

/// The items of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Items<'a> {
    place: Place<'a>,
    semantics: &'a Semantics,
}

impl<'a> Place<'a> {
    /// The place of a whole object.
    pub fn root(schema: &'a Schema, type_id: TypeId) -> Place<'a> {
        Place { schema, shape: Shaped::Root(type_id), semantics: None }
    }

    fn of(schema: &'a Schema, shape: &'a Shape) -> Place<'a> {
        Place { schema, shape: Shaped::By(shape), semantics: None }
    }

    /// What it holds, given a value that stands there; where the schema leaves that open, the
    /// value decides: maps are open, lists are one field.
    pub(super) fn atom(self, value: &Value) -> Atom<'a> {
        let id = match self.shape {
            Shaped::Root(id) => id,
            Shaped::By(Shape::Struct(id)) => *id,
            Shaped::By(Shape::Map(_)) if self.is_atomic_map() => return Atom::AtomicMap,
            Shaped::By(Shape::Map(inner)) => return Atom::Map(Entries::Values(self.schema, inner)),
            Shaped::By(Shape::List(inner)) => return self.list(inner),
            Shaped::By(Shape::Any) => {
                return match value {
                    Value::Object(_) => Atom::Map(Entries::Values(self.schema, &ANY)),
                    Value::Array(_) => Atom::AtomicList,
                    _ => Atom::Scalar,
                };
            }
            Shaped::By(_) => return Atom::Scalar,
        };
        let known = self.schema.get(id);
        if known.atomic || self.is_atomic_map() {
            Atom::AtomicMap
        } else {
            Atom::Map(Entries::Struct(self.schema, known))
        }
    }

    fn is_atomic_map(self) -> bool {
        self.semantics.is_some_and(|semantics| semantics.atomic_map)
    }

    fn list(self, inner: &'a Shape) -> Atom<'a> {
        match self.semantics {
            Some(semantics @ Semantics { list_type: Some(ListType::Set | ListType::Map), .. }) => {
                Atom::List(Items { place: Place::of(self.schema, inner), semantics })
            }
            _ => Atom::AtomicList,
        }
    }

    pub(super) fn is_any(self) -> bool {
        matches!(self.shape, Shaped::By(Shape::Any))
    }
}

impl<'a> Entries<'a> {
    /// A field that the schema names.
    pub(super) fn named(self, key: &str) -> Option<&'a Field> {
        match self {
            Entries::Struct(_, known) => known.field(key),
            Entries::Values(..) => None,
        }
    }

    /// The place of an entry; a field that is not known may hold anything.
    pub(super) fn place(self, key: &str) -> Place<'a> {
        match self {
            Entries::Struct(schema, known) => match known.field(key) {
                Some(field) => Place {
                    schema,
                    shape: Shaped::By(&field.shape),
                    semantics: Some(&field.semantics),
                },
                None => Place::of(schema, &ANY),
            },
            Entries::Values(schema, shape) => Place::of(schema, shape),
        }
    }
}

impl<'a> Items<'a> {
    /// The place of an item.
    pub(super) fn place(self) -> Place<'a> {
        self.place
    }

    /// How an item is told apart from the others.
    pub(super) fn element(self, item: &Value) -> Result<Element, String> {
        if self.semantics.list_type == Some(ListType::Map) {
            return self.keyed(item);
        }
        let what = match item {
            Value::Object(_) => "associative list without keys has an element that's a map type",
            Value::Array(_) => "not supported: associative list with lists as elements",
            Value::Null => "associative list without keys has an element that's an explicit null",
            plain => return Ok(Element::Value(plain.clone())),
        };
        Err(what.to_owned())
    }

    fn keyed(self, item: &Value) -> Result<Element, String> {
        let map: &Map<String, Value> = match item {
            Value::Object(map) => map,
            Value::Null => {
                return Err("associative list with keys may not have a null element".to_owned());
            }
            _ => return Err("associative list with keys may not have non-map elements".to_owned()),
        };
        let mut keys = Vec::with_capacity(self.semantics.map_keys.len());
        for key in &self.semantics.map_keys {
            let value = map.get(key).or_else(|| self.semantics.key_default(key));
            keys.extend(value.map(|value| (key.clone(), value.clone())));
        }
        if keys.is_empty() {
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and \
                 doesn't have default values for any key fields)",
                self.semantics
                    .map_keys
                    .iter()
                    .map(|key| format!("{key:?}"))
                    .collect::<Vec<_>>()
                    .join(" ")
            ));
        }
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Element::Key(keys))
    }
}
