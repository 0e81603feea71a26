//! How rows are written down.

use crate::catalogue::{GroupVersion, Name, Row, Scale, Scope, SelectableField, Subresource};

/// A group and a version as they stand in the tables.
pub(super) type GroupVersionName = (&'static str, &'static str);

const ALL: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
pub(super) const ALL_BUT_COLLECTION: &[&str] =
    &["create", "delete", "get", "list", "patch", "update", "watch"];
pub(super) const READ: &[&str] = &["get", "list", "watch"];
pub(super) const EDIT: &[&str] = &["get", "patch", "update"];
pub(super) const CONNECT: &[&str] = &["create", "get"];
pub(super) const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

pub(super) fn row(
    (group, version): GroupVersionName,
    kind: &'static str,
    resource: &'static str,
    scope: Scope,
) -> Row {
    Row {
        group: group.into(),
        version: version.into(),
        resource: resource.into(),
        singular: kind.to_ascii_lowercase().into(),
        kind: kind.into(),
        list_kind: format!("{kind}List").into(),
        scope,
        short_names: Vec::new(),
        categories: Vec::new(),
        verbs: names(ALL),
        subresources: Vec::new(),
        cached: true,
        selectable_fields: Vec::new(),
        scale: None,
        stored_as: None,
        deprecated: None,
    }
}

fn names(words: &[&'static str]) -> Vec<Name> {
    words.iter().map(|word| Name::from(*word)).collect()
}

fn path(dotted: &'static str) -> Vec<Name> {
    dotted.split('.').map(Name::from).collect()
}

impl Row {
    pub(super) fn short(mut self, name: &'static str) -> Row {
        self.short_names.push(name.into());
        self
    }

    pub(super) fn category(mut self, name: &'static str) -> Row {
        self.categories.push(name.into());
        self
    }

    pub(super) fn verbs(mut self, verbs: &[&'static str]) -> Row {
        self.verbs = names(verbs);
        self
    }

    /// The subresource `status`, of the row's own kind.
    pub(super) fn status(self) -> Row {
        let kind = self.kind.clone();
        self.named_sub("status", kind, EDIT)
    }

    /// The subresource `scale`, over the fields that all built-in kinds have alike.
    pub(super) fn scale(mut self) -> Row {
        self.scale = Some(Scale {
            replicas: path("spec.replicas"),
            current: path("status.replicas"),
            selector: Some(path("spec.selector")),
        });
        self.sub_in("scale", ("autoscaling", "v1"), "Scale", EDIT)
    }

    /// Another row serves the same objects, and they are stored as that one has them.
    pub(super) fn stored_as(mut self, (group, version): GroupVersionName) -> Row {
        self.stored_as = Some(GroupVersion { group: group.into(), version: version.into() });
        self
    }

    /// It is not meant to be used any more; clients are warned.
    pub(super) fn deprecated(mut self, warning: &'static str) -> Row {
        self.deprecated = Some(warning.into());
        self
    }

    fn named_sub(mut self, name: &'static str, kind: Name, verbs: &[&'static str]) -> Row {
        self.subresources.push(Subresource {
            name: name.into(),
            kind,
            kind_in: None,
            verbs: names(verbs),
        });
        self
    }

    pub(super) fn sub(self, name: &'static str, kind: &'static str, verbs: &[&'static str]) -> Row {
        self.named_sub(name, kind.into(), verbs)
    }

    pub(super) fn sub_in(
        mut self,
        name: &'static str,
        (group, version): GroupVersionName,
        kind: &'static str,
        verbs: &[&'static str],
    ) -> Row {
        let kind_in = Some(GroupVersion { group: group.into(), version: version.into() });
        self.subresources.push(Subresource {
            name: name.into(),
            kind: kind.into(),
            kind_in,
            verbs: names(verbs),
        });
        self
    }

    pub(super) fn field(self, label: &'static str) -> Row {
        self.either(label, &[label])
    }

    pub(super) fn flag(self, label: &'static str) -> Row {
        self.or(label, "false")
    }

    pub(super) fn count(self, label: &'static str) -> Row {
        self.or(label, "0")
    }

    fn or(self, label: &'static str, absent: &'static str) -> Row {
        self.at(label, label, absent)
    }

    /// A field that selectors call otherwise than it is called.
    pub(super) fn at(
        mut self,
        label: &'static str,
        dotted: &'static str,
        absent: &'static str,
    ) -> Row {
        self.selectable_fields.push(SelectableField {
            label: label.into(),
            paths: vec![path(dotted)],
            absent: absent.into(),
        });
        self
    }

    pub(super) fn either(mut self, label: &'static str, paths: &[&'static str]) -> Row {
        self.selectable_fields.push(SelectableField {
            label: label.into(),
            paths: paths.iter().map(|dotted| path(dotted)).collect(),
            absent: "".into(),
        });
        self
    }
}
