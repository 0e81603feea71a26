//! Paths: every endpoint of the catalogue with its verbs and parameters.

use kontiki_api::{
    Catalogue,
    catalogue::{GroupVersion, Row, Subresource},
};
use serde_json::{Map, Value, json};

use super::{Spec, prefix, schemas};

const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
const PATCH: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
const DELETE: &[&str] = &["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"];
const LIST: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];
const PATCH_TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// The type of each parameter, and what it is for.
fn parameter(name: &str) -> (&'static str, &'static str) {
    match name {
        "allowWatchBookmarks" => ("boolean", "Whether a watch may get bookmark events."),
        "continue" => ("string", "Where the next page of a list begins."),
        "dryRun" => ("string", "`All` processes the request without persisting anything."),
        "fieldManager" => ("string", "The name of the actor that is making these changes."),
        "fieldSelector" => ("string", "Restricts the objects by their fields."),
        "fieldValidation" => (
            "string",
            "What happens to unknown and duplicate fields: `Ignore`, `Warn` or `Strict`.",
        ),
        "force" => ("boolean", "Whether an apply takes over fields of other managers."),
        "gracePeriodSeconds" => ("integer", "How long the object may take to end."),
        "labelSelector" => ("string", "Restricts the objects by their labels."),
        "limit" => ("integer", "How many objects a page of a list may have."),
        "orphanDependents" => ("boolean", "Deprecated in favour of propagationPolicy."),
        "pretty" => ("string", "Whether the output is indented."),
        "propagationPolicy" => ("string", "How dependents are deleted."),
        "resourceVersion" => ("string", "How recent the answer must be."),
        "resourceVersionMatch" => ("string", "How resourceVersion is applied to lists."),
        "sendInitialEvents" => ("boolean", "Whether a watch begins with what is there."),
        "timeoutSeconds" => ("integer", "How long the call may last."),
        "watch" => ("boolean", "Whether to send changes as they happen."),
        _ => ("string", ""),
    }
}

/// All paths of a group and version, or of all.
pub(super) fn of(catalogue: &Catalogue, only: Option<&GroupVersion>, spec: Spec) -> Value {
    let mut paths = Map::new();
    for row in catalogue.rows() {
        if only.is_none_or(|only| *only == row.group_version()) {
            endpoints(row, spec, &mut paths);
        }
    }
    paths.sort_keys();
    Value::Object(paths)
}

fn endpoints(row: &Row, spec: Spec, paths: &mut Map<String, Value>) {
    let base = format!("/{}", prefix(&row.group_version()));
    let own = Endpoint::of_row(row, spec);
    let all = format!("{base}/{}", row.resource);
    let scoped = if row.namespaced() {
        paths.insert(all, own.path(&[], &[("get", "list")]));
        format!("{base}/namespaces/{{namespace}}/{}", row.resource)
    } else {
        all
    };
    let in_scope: &[&str] = if row.namespaced() { &["namespace"] } else { &[] };
    let methods = [("get", "list"), ("post", "create"), ("delete", "deletecollection")];
    paths.insert(scoped.clone(), own.path(in_scope, &methods));
    let named: Vec<&str> = in_scope.iter().copied().chain(["name"]).collect();
    let methods = [("get", "get"), ("put", "update"), ("patch", "patch"), ("delete", "delete")];
    paths.insert(format!("{scoped}/{{name}}"), own.path(&named, &methods));
    for subresource in &row.subresources {
        let path = format!("{scoped}/{{name}}/{}", subresource.name);
        let methods = [("get", "get"), ("post", "create"), ("put", "update"), ("patch", "patch")];
        let endpoint = Endpoint::of_subresource(row, subresource, spec);
        paths.insert(path, endpoint.path(&named, &methods));
    }
}

/// What the operations of one endpoint have in common.
struct Endpoint<'a> {
    row: &'a Row,
    subresource: Option<&'a Subresource>,
    group_version: GroupVersion,
    kind: &'a str,
    spec: Spec,
}

impl<'a> Endpoint<'a> {
    fn of_row(row: &'a Row, spec: Spec) -> Endpoint<'a> {
        let group_version = row.group_version();
        Endpoint { row, subresource: None, group_version, kind: &row.kind, spec }
    }

    fn of_subresource(row: &'a Row, subresource: &'a Subresource, spec: Spec) -> Endpoint<'a> {
        let group_version = subresource.kind_in.clone().unwrap_or_else(|| row.group_version());
        Endpoint {
            row,
            subresource: Some(subresource),
            group_version,
            kind: &subresource.kind,
            spec,
        }
    }

    /// The item of a path, with those of the methods that the catalogue supports.
    fn path(&self, in_path: &[&str], methods: &[(&str, &str)]) -> Value {
        let mut item = Map::new();
        for (method, verb) in methods {
            let name = self.subresource.map(|subresource| subresource.name.as_ref());
            if self.row.supports(name, verb) {
                item.insert((*method).to_owned(), self.operation(verb));
            }
        }
        let mut parameters: Vec<Value> = in_path.iter().map(|name| self.in_path(name)).collect();
        parameters.push(self.in_query("pretty"));
        item.insert("parameters".to_owned(), parameters.into());
        Value::Object(item)
    }

    fn operation(&self, verb: &str) -> Value {
        let parameters: &[&str] = match verb {
            "list" => LIST,
            "create" | "update" => WRITE,
            "patch" => PATCH,
            "delete" | "deletecollection" => DELETE,
            _ => &[],
        };
        let mut parameters: Vec<Value> =
            parameters.iter().map(|name| self.in_query(name)).collect();
        let body = match verb {
            "create" | "update" => self.own_schema(),
            "patch" => Some(schemas::PATCH.to_owned()),
            "delete" | "deletecollection" => Some(schemas::DELETE_OPTIONS.to_owned()),
            _ => None,
        };
        let answer = match verb {
            "list" => schemas::list_name_of(self.row),
            "delete" | "deletecollection" => Some(schemas::STATUS.to_owned()),
            _ => self.own_schema(),
        };
        let mut operation = json!({
            "description": format!("{verb} {}", self.kind),
            "operationId": self.operation_id(verb),
            "tags": [self.tag()],
            "x-kubernetes-action": action(verb),
            "x-kubernetes-group-version-kind":
                schemas::gvk(&self.group_version.group, &self.group_version.version, self.kind),
        });
        self.body(&mut operation, &mut parameters, body, verb);
        self.answer(&mut operation, answer);
        operation["parameters"] = parameters.into();
        operation
    }

    fn own_schema(&self) -> Option<String> {
        schemas::name_of(&self.group_version.group, &self.group_version.version, self.kind)
    }

    fn body(
        &self,
        operation: &mut Value,
        parameters: &mut Vec<Value>,
        schema: Option<String>,
        verb: &str,
    ) {
        let Some(schema) = schema.map(|name| reference(&name)) else { return };
        let patch = verb == "patch";
        match self.spec {
            Spec::Two => {
                let required = !verb.starts_with("delete");
                parameters.push(
                    json!({"in": "body", "name": "body", "required": required, "schema": schema}),
                );
                let types = if patch { json!(PATCH_TYPES) } else { json!(["*/*"]) };
                operation["consumes"] = types;
            }
            Spec::Three => {
                let types: &[&str] = if patch { PATCH_TYPES } else { &["application/json"] };
                let content: Map<String, Value> = types
                    .iter()
                    .map(|media| ((*media).to_owned(), json!({"schema": schema})))
                    .collect();
                operation["requestBody"] = json!({ "content": content });
            }
        }
    }

    fn answer(&self, operation: &mut Value, schema: Option<String>) {
        let schema = schema.map_or_else(|| json!({"type": "string"}), |name| reference(&name));
        let ok = match self.spec {
            Spec::Two => {
                operation["produces"] = json!(["application/json"]);
                json!({"description": "OK", "schema": schema})
            }
            Spec::Three => {
                json!({"description": "OK", "content": {"application/json": {"schema": schema}}})
            }
        };
        operation["responses"] = json!({"200": ok, "401": {"description": "Unauthorized"}});
    }

    fn in_query(&self, name: &str) -> Value {
        let (kind, description) = parameter(name);
        let mut parameter = json!({"description": description, "in": "query", "name": name});
        self.typed(&mut parameter, kind);
        parameter
    }

    fn in_path(&self, name: &str) -> Value {
        let description = match name {
            "namespace" => "object name and auth scope, such as for teams and projects".to_owned(),
            _ => format!("name of the {}", self.row.kind),
        };
        let mut parameter =
            json!({"description": description, "in": "path", "name": name, "required": true});
        self.typed(&mut parameter, "string");
        parameter
    }

    fn typed(&self, parameter: &mut Value, kind: &str) {
        match self.spec {
            Spec::Two => {
                parameter["type"] = kind.into();
                parameter["uniqueItems"] = true.into();
            }
            Spec::Three => parameter["schema"] = json!({"type": kind, "uniqueItems": true}),
        }
    }

    /// `core_v1`, `apps_v1`.
    fn tag(&self) -> String {
        let group = if self.row.group.is_empty() { "core" } else { &self.row.group };
        format!("{}_{}", short(group), self.row.version)
    }

    fn operation_id(&self, verb: &str) -> String {
        let group = if self.row.group.is_empty() { "core" } else { &self.row.group };
        let (group, version) = (capital(short(group)), capital(&self.row.version));
        let scope = if self.row.namespaced() { "Namespaced" } else { "" };
        let sub = self.subresource.map(|sub| capital(&sub.name)).unwrap_or_default();
        let verb = match verb {
            "update" => "replace",
            "get" => "read",
            "deletecollection" => "deleteCollection",
            other => other,
        };
        format!("{verb}{group}{version}{scope}{}{sub}", self.row.kind)
    }
}

/// What upstream calls the verbs here.
fn action(verb: &str) -> &str {
    match verb {
        "create" => "post",
        "update" => "put",
        other => other,
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn short(group: &str) -> &str {
    group.split('.').next().unwrap_or(group)
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    first + letters.as_str()
}
