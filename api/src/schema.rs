//! What the fields of every kind are: the graph of types that decoding, pruning, patching and
//! OpenAPI work from.
//!
//! The graph is derived once per process from the types' own JSON schemas and the table
//! `schema/lists.tsv` (how lists merge). It is plain data: a [`Type`] has [`Field`]s, a field has
//! a [`Shape`], a shape may name another type by [`TypeId`]. Types may refer to themselves.

mod components;
mod kinds;
mod lists;

use std::{collections::HashMap, sync::OnceLock};

use serde_json::{Map, Value};

pub use lists::{ListType, Semantics};

/// A type in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeId(usize);

/// What a JSON value must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An object with known fields.
    Struct(TypeId),
    /// An object with any keys.
    Map(Box<Shape>),
    /// An array.
    List(Box<Shape>),
    /// A string.
    Text,
    /// A string of base64.
    Bytes,
    /// A string with a time, to the second.
    Time,
    /// A string with a time, to the microsecond.
    MicroTime,
    /// An integer of 32 bits.
    Int32,
    /// An integer of 64 bits.
    Int64,
    /// A number.
    Float,
    /// A boolean.
    Bool,
    /// An integer of 32 bits or a string.
    IntOrString,
    /// A string or number that is a quantity.
    Quantity,
    /// Anything at all.
    Any,
}

/// One field of a type.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its JSON name.
    pub name: String,
    /// What it holds.
    pub shape: Shape,
    /// Whether it is always written, even when empty.
    pub required: bool,
    /// How it merges, if it is a list or a map.
    pub semantics: Semantics,
    /// Whether upstream's struct holds it by value, so that its encoding always has it.
    pub embedded: bool,
}

impl Field {
    /// Whether upstream's encoding has the field even when it was never set. Ownership shows it:
    /// whoever creates an object does not come to own what was there before.
    pub fn is_always_written(&self) -> bool {
        self.required || self.embedded
    }
}

/// An object type with known fields.
#[derive(Clone, Debug)]
pub struct Type {
    /// As in OpenAPI, e.g. `io.k8s.api.core.v1.PodSpec`.
    pub name: String,
    /// Its fields, alphabetically.
    pub fields: Vec<Field>,
    /// Whether it is replaced as a whole by server-side apply.
    pub atomic: bool,
}

impl Type {
    /// A field by JSON name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.place_of(name).map(|at| &self.fields[at])
    }

    /// The place of a field among the fields, which are in the order of their names.
    pub fn place_of(&self, name: &str) -> Option<usize> {
        self.fields.binary_search_by(|field| field.name.as_str().cmp(name)).ok()
    }

    /// The name of the Go struct, which decoding errors mention: `PodSpec`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }
}

/// The graph of all types.
#[derive(Debug)]
pub struct Schema {
    types: Vec<Type>,
    by_name: HashMap<String, TypeId>,
    /// Group, version, kind and type, in order.
    by_kind: Vec<(String, String, String, TypeId)>,
}

/// The types' JSON schemas by OpenAPI name, referring to each other as
/// `#/components/schemas/NAME`, without extensions. Made anew at every call: with all their
/// descriptions they are large, and few ask.
pub fn components() -> Map<String, Value> {
    kinds::roots().definitions
}

impl Schema {
    /// The graph of the built-in types.
    pub fn builtin() -> &'static Schema {
        static BUILTIN: OnceLock<Schema> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            let roots = kinds::roots();
            components::graph(roots)
        })
    }

    /// A type's definition.
    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id.0]
    }

    /// A type by its OpenAPI name.
    pub fn named(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    /// The type of a kind's objects.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<TypeId> {
        let wanted = (group, version, kind);
        let found = self.by_kind.binary_search_by(|(group, version, kind, _)| {
            (group.as_str(), version.as_str(), kind.as_str()).cmp(&wanted)
        });
        found.ok().map(|at| self.by_kind[at].3)
    }

    /// All kinds that are known, as (group, version, kind, type).
    pub fn kinds(&self) -> impl Iterator<Item = (&str, &str, &str, TypeId)> {
        self.by_kind.iter().map(|(group, version, kind, id)| {
            (group.as_str(), version.as_str(), kind.as_str(), *id)
        })
    }

    /// All types.
    pub fn types(&self) -> &[Type] {
        &self.types
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalogue;

    #[test]
    fn every_row_of_the_catalogue_has_a_type() {
        let schema = Schema::builtin();
        for row in Catalogue::builtin().rows() {
            let id = schema.kind(&row.group, &row.version, &row.kind);
            let found = schema.get(id.unwrap_or_else(|| panic!("no type for {}", row.kind)));
            assert_eq!(found.short_name(), row.kind);
            assert!(found.field("metadata").is_some());
        }
    }

    #[test]
    fn the_graph_knows_shapes_and_list_semantics() {
        let schema = Schema::builtin();
        let type_of = |name: &str| schema.get(schema.named(name).expect(name));
        let pod_spec = type_of("io.k8s.api.core.v1.PodSpec");
        let containers = pod_spec.field("containers").expect("a field");
        assert_eq!(containers.semantics.merge_key.as_deref(), Some("name"));
        assert_eq!(containers.semantics.list_type, Some(ListType::Map));
        assert!(containers.required && containers.semantics.merge);
        assert!(pod_spec.field("volumes").expect("a field").semantics.retain_keys);
        let container = type_of("io.k8s.api.core.v1.ResourceRequirements");
        let limits = &container.field("limits").expect("a field").shape;
        assert_eq!(*limits, Shape::Map(Box::new(Shape::Quantity)));
        let secret = type_of("io.k8s.api.core.v1.Secret");
        let data = &secret.field("data").expect("a field").shape;
        assert_eq!(*data, Shape::Map(Box::new(Shape::Bytes)));
        let meta = type_of("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
        assert_eq!(meta.field("creationTimestamp").expect("a field").shape, Shape::Time);
        assert!(type_of("io.k8s.api.core.v1.NodeSelector").atomic);
    }

    #[test]
    fn every_row_of_the_list_table_that_is_reachable_names_a_field() {
        let schema = Schema::builtin();
        for (type_name, field, _) in lists::rows() {
            let Some(id) = schema.named(type_name) else { continue };
            let known = field == "." || schema.get(id).field(field).is_some();
            assert!(known, "{type_name} has no field {field}");
        }
    }
}
