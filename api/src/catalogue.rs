//! Which resources exist: the one table that routing, discovery, RBAC names, columns and OpenAPI
//! derive from.
//!
//! A [`Catalogue`] is an immutable snapshot. The server swaps whole snapshots; whoever holds one
//! sees a consistent set of rows for as long as it likes. The built-in rows stand in [`builtin`];
//! rows of custom resources are made at run time, so names are `Cow`s.

mod builtin;

use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc};

use serde_json::Value;

/// A name that is either compiled in or came with a custom resource.
pub type Name = Cow<'static, str>;

/// Whether objects live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Names are unique in the cluster.
    Cluster,
    /// Names are unique in a namespace.
    Namespaced,
}

/// A group and a version; the group of core is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersion {
    /// API group.
    pub group: Name,
    /// API version.
    pub version: Name,
}

impl GroupVersion {
    /// Reads `v1` or `apps/v1`.
    pub fn parse(api_version: &str) -> GroupVersion {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        GroupVersion { group: group.to_owned().into(), version: version.to_owned().into() }
    }
}

impl fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.version)
        } else {
            write!(f, "{}/{}", self.group, self.version)
        }
    }
}

/// An endpoint below an object, such as `pods/NAME/log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// The last path segment.
    pub name: Name,
    /// The kind that it takes or answers.
    pub kind: Name,
    /// The group and version of that kind, where they are not the row's own.
    pub kind_in: Option<GroupVersion>,
    /// What can be done with it, alphabetically.
    pub verbs: Vec<Name>,
}

/// A field that `fieldSelector` may name, apart from `metadata.name` and `metadata.namespace`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectableField {
    /// As written in the selector.
    pub label: Name,
    /// Where the value stands in the object; the first path that holds something counts.
    pub paths: Vec<Vec<Name>>,
    /// The value of an object without that field.
    pub absent: Name,
}

impl SelectableField {
    /// The field's value in an object.
    pub fn value_in(&self, object: &Value) -> String {
        for path in &self.paths {
            let found = path.iter().try_fold(object, |value, name| value.get(name.as_ref()));
            match found {
                Some(Value::String(text)) if !text.is_empty() => return text.clone(),
                Some(Value::Bool(flag)) => return flag.to_string(),
                Some(Value::Number(number)) => return number.to_string(),
                _ => {}
            }
        }
        self.absent.to_string()
    }
}

/// What kind of key a resource's objects are stored under, beside its plural name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// API group; empty for core.
    pub group: Name,
    /// API version.
    pub version: Name,
    /// Plural name, as in paths.
    pub resource: Name,
    /// Singular name.
    pub singular: Name,
    /// Kind of the objects.
    pub kind: Name,
    /// Kind of their lists.
    pub list_kind: Name,
    /// Whether they live in namespaces.
    pub scope: Scope,
    /// What `kubectl` users type.
    pub short_names: Vec<Name>,
    /// Groups such as `all`.
    pub categories: Vec<Name>,
    /// What can be done with the objects, alphabetically.
    pub verbs: Vec<Name>,
    /// Endpoints below an object.
    pub subresources: Vec<Subresource>,
    /// Whether the API server keeps all objects in its watch cache.
    pub cached: bool,
    /// What field selectors may name beside the metadata.
    pub selectable_fields: Vec<SelectableField>,
    /// Where the replicas are that the `scale` subresource shows and sets.
    pub scale: Option<Scale>,
    /// The group and version that its objects are stored in, where that is not the row's own:
    /// another row serves the same objects.
    pub stored_as: Option<GroupVersion>,
    /// What whoever uses it is told, if it is not meant to be used any more.
    pub deprecated: Option<Name>,
}

/// What a Scale is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// The replicas that are wanted.
    pub replicas: Vec<Name>,
    /// The replicas that there are.
    pub current: Vec<Name>,
    /// Whom they are selected by: a label selector, a map of labels, or text.
    pub selector: Option<Vec<Name>>,
}

impl Row {
    /// `apiVersion` on the wire.
    pub fn api_version(&self) -> String {
        self.group_version().to_string()
    }

    /// Group and version.
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion { group: self.group.clone(), version: self.version.clone() }
    }

    /// The group and version that objects are stored in.
    pub fn storage_version(&self) -> GroupVersion {
        self.stored_as.clone().unwrap_or_else(|| self.group_version())
    }

    /// Whether objects live in a namespace.
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// A subresource by name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// Whether the object's main endpoint, or a subresource's, supports a verb.
    pub fn supports(&self, subresource: Option<&str>, verb: &str) -> bool {
        let verbs = match subresource {
            None => Some(&self.verbs),
            Some(name) => self.subresource(name).map(|found| &found.verbs),
        };
        verbs.is_some_and(|verbs| verbs.iter().any(|known| known == verb))
    }

    /// Whether status is a subresource, and so untouched by writes to the object itself.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// `pods`, or `deployments.apps`: what error messages and RBAC call the resource.
    pub fn qualified_resource(&self) -> String {
        qualified(&self.resource, &self.group)
    }

    /// `Pod`, or `Deployment.apps`.
    pub fn qualified_kind(&self) -> String {
        qualified(&self.kind, &self.group)
    }

    /// The value of a field that selectors may name; `None` if they may not.
    pub fn field_value(&self, label: &str, object: &Value) -> Option<String> {
        let metadata = |name: &str| {
            let value = object.get("metadata").and_then(|metadata| metadata.get(name));
            value.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        match label {
            "metadata.name" => Some(metadata("name")),
            "metadata.namespace" => Some(metadata("namespace")),
            _ => {
                let field = self.selectable_fields.iter().find(|field| field.label == label)?;
                Some(field.value_in(object))
            }
        }
    }

    /// Whether a field selector may name this field.
    pub fn selects_by(&self, label: &str) -> bool {
        matches!(label, "metadata.name" | "metadata.namespace")
            || self.selectable_fields.iter().any(|field| field.label == label)
    }

    /// What the server answers to a field selector that names an unknown field.
    pub fn unknown_field_message(&self, label: &str) -> String {
        if self.selectable_fields.is_empty() {
            format!(
                "{label:?} is not a known field selector: only \"metadata.name\", \
                 \"metadata.namespace\""
            )
        } else {
            format!("field label not supported: {label}")
        }
    }
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// An immutable snapshot of all rows, with the look-ups that everyone needs.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    rows: Vec<Arc<Row>>,
    by_resource: HashMap<(Name, Name, Name), usize>,
    by_kind: HashMap<(Name, Name, Name), usize>,
    by_word: HashMap<String, Vec<usize>>,
}

impl Catalogue {
    /// The rows that are compiled in.
    pub fn builtin() -> Catalogue {
        Catalogue::new(builtin::rows())
    }

    /// A snapshot of these rows, in this order.
    pub fn new(rows: impl IntoIterator<Item = Row>) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for row in rows {
            let at = catalogue.rows.len();
            let key = |name: &Name| (row.group.clone(), row.version.clone(), name.clone());
            let before = catalogue.by_resource.insert(key(&row.resource), at);
            assert!(before.is_none(), "two rows for {} {}", row.api_version(), row.resource);
            catalogue.by_kind.insert(key(&row.kind), at);
            for word in row.words() {
                catalogue.by_word.entry(word).or_default().push(at);
            }
            catalogue.rows.push(Arc::new(row));
        }
        catalogue
    }

    /// All rows.
    pub fn rows(&self) -> &[Arc<Row>] {
        &self.rows
    }

    /// The row behind `/apis/GROUP/VERSION/RESOURCE`.
    pub fn resource(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Row>> {
        self.by_resource.get(&borrowed(group, version, resource)).map(|at| &self.rows[*at])
    }

    /// The row of an object's `apiVersion` (split) and `kind`.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Row>> {
        self.by_kind.get(&borrowed(group, version, kind)).map(|at| &self.rows[*at])
    }

    /// The row of an object's `apiVersion` and `kind` as written.
    pub fn object(&self, api_version: &str, kind: &str) -> Option<&Arc<Row>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.kind(group, version, kind)
    }

    /// The row that a user means: plural, singular, short name or kind in any case, with or
    /// without `.GROUP`.
    pub fn find(&self, word: &str) -> Option<&Arc<Row>> {
        let word = word.to_ascii_lowercase();
        let found = self.by_word.get(&word).and_then(|rows| rows.first());
        found.map(|at| &self.rows[*at])
    }

    /// Rows of a category such as `all`.
    pub fn category(&self, category: &str) -> impl Iterator<Item = &Arc<Row>> {
        self.rows.iter().filter(move |row| row.categories.iter().any(|known| known == category))
    }

    /// All groups with their versions, core first, then by name.
    pub fn group_versions(&self) -> Vec<GroupVersion> {
        let mut all: Vec<GroupVersion> = self.rows.iter().map(|row| row.group_version()).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The rows of one group and version.
    pub fn in_group_version(&self, group: &str, version: &str) -> Vec<&Arc<Row>> {
        self.rows.iter().filter(|row| row.group == group && row.version == version).collect()
    }
}

fn borrowed(group: &str, version: &str, name: &str) -> (Name, Name, Name) {
    // `Cow` keys hash like their text, so a look-up costs three small allocations at most.
    (group.to_owned().into(), version.to_owned().into(), name.to_owned().into())
}

impl Row {
    fn words(&self) -> Vec<String> {
        let mut words = vec![self.resource.to_string(), self.singular.to_string()];
        words.extend(self.short_names.iter().map(Name::to_string));
        words.push(self.kind.to_ascii_lowercase());
        if !self.group.is_empty() {
            words.push(format!("{}.{}", self.resource, self.group));
            words.push(format!("{}.{}", self.singular, self.group));
            words.push(format!("{}.{}.{}", self.resource, self.version, self.group));
        }
        words.sort();
        words.dedup();
        words
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_found_by_every_name_users_type() {
        let catalogue = Catalogue::builtin();
        for word in ["deploy", "deployment", "Deployment", "deployments", "deployments.apps"] {
            assert_eq!(catalogue.find(word).map(|row| row.kind.as_ref()), Some("Deployment"));
        }
        assert_eq!(catalogue.find("po").map(|row| row.resource.as_ref()), Some("pods"));
        assert!(catalogue.find("nonsense").is_none());
        assert!(catalogue.resource("apps", "v1", "replicasets").is_some());
        assert!(catalogue.resource("", "v1", "replicasets").is_none());
        assert!(catalogue.object("apps/v1", "ReplicaSet").is_some());
    }

    #[test]
    fn every_row_is_complete() {
        for row in Catalogue::builtin().rows() {
            assert_eq!(row.list_kind, format!("{}List", row.kind));
            assert_eq!(row.singular, row.kind.to_ascii_lowercase(), "{}", row.kind);
            assert!(row.verbs.is_sorted(), "{}", row.kind);
            let begins = row.supports(None, "list") || row.supports(None, "create");
            assert!(begins && !row.supports(None, "fly"), "{}", row.kind);
            assert_eq!(row.scale.is_some(), row.subresource("scale").is_some(), "{}", row.kind);
        }
    }

    #[test]
    fn fields_are_read_by_selector_name() {
        let catalogue = Catalogue::builtin();
        let pods = catalogue.find("pods").expect("built in");
        let pod = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1"}});
        assert_eq!(pods.field_value("spec.nodeName", &pod).as_deref(), Some("n1"));
        assert_eq!(pods.field_value("spec.hostNetwork", &pod).as_deref(), Some("false"));
        assert_eq!(pods.field_value("metadata.name", &pod).as_deref(), Some("a"));
        assert_eq!(pods.field_value("spec.foo", &pod), None);
        assert_eq!(pods.unknown_field_message("x"), "field label not supported: x");
    }
}
