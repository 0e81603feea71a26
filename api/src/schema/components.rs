//! From JSON schemas to the graph.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{
    Field, Schema, Shape, Type, TypeId,
    kinds::Roots,
    lists::{self, Semantics},
};

const REFERENCE: &str = "#/components/schemas/";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
/// Types whose fields are the user's business.
const OPEN: [&str; 4] = [
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch",
    "io.k8s.apimachinery.pkg.runtime.RawExtension",
];

/// Struct fields, by type, that upstream's types hold by value although they are optional.
const EMBEDDED: &[(&str, &str)] = &[
    ("CronJobSpec", "jobTemplate"),
    ("DaemonSetSpec", "template"),
    ("DaemonSetSpec", "updateStrategy"),
    ("DeploymentSpec", "strategy"),
    ("DeploymentSpec", "template"),
    ("Event", "involvedObject"),
    ("Event", "source"),
    ("IngressStatus", "loadBalancer"),
    ("JobSpec", "template"),
    ("JobTemplateSpec", "metadata"),
    ("JobTemplateSpec", "spec"),
    ("NodeDaemonEndpoints", "kubeletEndpoint"),
    ("NodeStatus", "daemonEndpoints"),
    ("NodeStatus", "nodeInfo"),
    ("PersistentVolumeClaimSpec", "resources"),
    ("PodTemplate", "template"),
    ("PodTemplateSpec", "metadata"),
    ("PodTemplateSpec", "spec"),
    ("ReplicaSetSpec", "template"),
    ("ServiceStatus", "loadBalancer"),
    ("StatefulSetSpec", "template"),
    ("StatefulSetSpec", "updateStrategy"),
];

/// Builds the graph of everything that the roots reach.
pub(super) fn graph(roots: Roots) -> Schema {
    let Roots { kinds, definitions } = roots;
    let names: Vec<&String> = definitions
        .iter()
        .filter(|(name, schema)| is_struct(name, schema))
        .map(|(n, _)| n)
        .collect();
    let by_name: HashMap<String, TypeId> =
        names.iter().enumerate().map(|(at, name)| ((*name).clone(), TypeId(at))).collect();
    let mut semantics: HashMap<(&str, &str), Semantics> = HashMap::new();
    for (type_name, field, row) in lists::rows() {
        semantics.insert((type_name, field), row);
    }
    let of_kinds = kinds.iter().map(|kind| kind.3.as_str()).collect();
    let builder = Builder {
        definitions: &definitions,
        by_name: &by_name,
        semantics: &semantics,
        kinds: of_kinds,
    };
    let types = names.iter().map(|name| builder.build(name)).collect();
    let mut by_kind: Vec<_> = kinds
        .into_iter()
        .map(|(group, version, kind, name)| {
            (group.to_owned(), version.to_owned(), kind.to_owned(), by_name[&name])
        })
        .collect();
    by_kind.sort_unstable_by(|a, b| (&a.0, &a.1, &a.2).cmp(&(&b.0, &b.1, &b.2)));
    Schema { types, by_name, by_kind }
}

fn is_struct(name: &str, schema: &Value) -> bool {
    schema["type"] == "object" && !OPEN.contains(&name)
}

struct Builder<'a> {
    definitions: &'a Map<String, Value>,
    by_name: &'a HashMap<String, TypeId>,
    semantics: &'a HashMap<(&'a str, &'a str), Semantics>,
    /// Names of the types that are kinds.
    kinds: HashSet<&'a str>,
}

impl Builder<'_> {
    fn build(&self, name: &str) -> Type {
        let schema = &self.definitions[name];
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = schema["properties"].as_object().into_iter().flatten();
        let mut fields: Vec<Field> = properties
            .map(|(field, property)| Field {
                name: field.clone(),
                shape: self.shape(property),
                required: required.contains(&field.as_str()),
                semantics: self.semantics.get(&(name, field)).cloned().unwrap_or_default(),
                embedded: self.is_embedded(name, field, property),
            })
            .collect();
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        let atomic = self.semantics.get(&(name, ".")).is_some_and(|own| own.atomic_map);
        Type { name: name.to_owned(), fields, atomic }
    }

    /// A kind's `spec` and `status` are structs within its struct, and so are a few others, which
    /// the schemas do not tell apart from pointers.
    fn is_embedded(&self, name: &str, field: &str, property: &Value) -> bool {
        if !matches!(self.shape(property), Shape::Struct(_)) {
            return false;
        }
        let own = name.rsplit('.').next().unwrap_or(name);
        let of_a_kind = self.kinds.contains(name) && matches!(field, "spec" | "status");
        of_a_kind || EMBEDDED.contains(&(own, field))
    }

    fn shape(&self, schema: &Value) -> Shape {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.strip_prefix(REFERENCE).expect("schemas refer to components");
            return self.named(name);
        }
        let format = schema["format"].as_str().unwrap_or_default();
        match (schema["type"].as_str().unwrap_or_default(), format) {
            ("string", "byte") => Shape::Bytes,
            ("string", _) => Shape::Text,
            ("integer", "int32") => Shape::Int32,
            ("integer", _) => Shape::Int64,
            ("number", _) => Shape::Float,
            ("boolean", _) => Shape::Bool,
            ("array", _) => Shape::List(Box::new(self.shape(&schema["items"]))),
            ("object", _) if schema["additionalProperties"].is_object() => {
                Shape::Map(Box::new(self.shape(&schema["additionalProperties"])))
            }
            _ => Shape::Any,
        }
    }

    fn named(&self, name: &str) -> Shape {
        if let Some(id) = self.by_name.get(name) {
            return Shape::Struct(*id);
        }
        let schema = &self.definitions[name];
        if name == QUANTITY {
            Shape::Quantity
        } else if schema["x-kubernetes-int-or-string"] == true {
            Shape::IntOrString
        } else if name == MICRO_TIME {
            Shape::MicroTime
        } else if schema["format"] == "date-time" {
            Shape::Time
        } else if OPEN.contains(&name) {
            Shape::Any
        } else {
            self.shape(schema)
        }
    }
}
