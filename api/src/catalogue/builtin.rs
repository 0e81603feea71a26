//! The built-in rows, alphabetical within their group. A new kind is one more entry here.

use super::{GroupVersion, Name, Row, Scope, SelectableField, Subresource};

const ALL: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const ALL_BUT_COLLECTION: &[&str] =
    &["create", "delete", "get", "list", "patch", "update", "watch"];
const READ: &[&str] = &["get", "list", "watch"];
const EDIT: &[&str] = &["get", "patch", "update"];
const CONNECT: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

const CORE: (&str, &str) = ("", "v1");
const API_EXTENSIONS: (&str, &str) = ("apiextensions.k8s.io", "v1");
const APPS: (&str, &str) = ("apps", "v1");
const COORDINATION: (&str, &str) = ("coordination.k8s.io", "v1");
const DISCOVERY: (&str, &str) = ("discovery.k8s.io", "v1");
const RBAC: (&str, &str) = ("rbac.authorization.k8s.io", "v1");

/// All built-in rows.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = core();
    rows.push(
        // Nothing creates these yet; clients list them before they say that a kind is unknown.
        row(
            API_EXTENSIONS,
            "CustomResourceDefinition",
            "customresourcedefinitions",
            Scope::Cluster,
        )
        .short("crd")
        .short("crds")
        .category("api-extensions")
        .verbs(READ),
    );
    rows.extend(apps());
    rows.push(row(COORDINATION, "Lease", "leases", Scope::Namespaced));
    rows.push(row(DISCOVERY, "EndpointSlice", "endpointslices", Scope::Namespaced));
    rows.push(row(RBAC, "ClusterRoleBinding", "clusterrolebindings", Scope::Cluster));
    rows.push(row(RBAC, "ClusterRole", "clusterroles", Scope::Cluster));
    rows.push(row(RBAC, "RoleBinding", "rolebindings", Scope::Namespaced));
    rows.push(row(RBAC, "Role", "roles", Scope::Namespaced));
    rows
}

fn core() -> Vec<Row> {
    vec![
        row(CORE, "ConfigMap", "configmaps", Scope::Namespaced).short("cm"),
        event(),
        row(CORE, "Namespace", "namespaces", Scope::Cluster)
            .short("ns")
            .verbs(ALL_BUT_COLLECTION)
            .sub("finalize", "Namespace", &["update"])
            .sub("status", "Namespace", EDIT)
            .field("status.phase"),
        row(CORE, "Node", "nodes", Scope::Cluster)
            .short("no")
            .sub("proxy", "NodeProxyOptions", PROXY)
            .sub("status", "Node", EDIT)
            .flag("spec.unschedulable"),
        pod(),
        row(CORE, "Secret", "secrets", Scope::Namespaced).field("type"),
        row(CORE, "ServiceAccount", "serviceaccounts", Scope::Namespaced).short("sa").sub_in(
            "token",
            ("authentication.k8s.io", "v1"),
            "TokenRequest",
            &["create"],
        ),
        row(CORE, "Service", "services", Scope::Namespaced)
            .short("svc")
            .category("all")
            .sub("proxy", "ServiceProxyOptions", PROXY)
            .sub("status", "Service", EDIT)
            .field("spec.clusterIP")
            .field("spec.type"),
    ]
}

fn apps() -> Vec<Row> {
    ["Deployment", "ReplicaSet"]
        .map(|kind| {
            let (resource, short) = match kind {
                "Deployment" => ("deployments", "deploy"),
                _ => ("replicasets", "rs"),
            };
            row(APPS, kind, resource, Scope::Namespaced)
                .short(short)
                .category("all")
                .sub_in("scale", ("autoscaling", "v1"), "Scale", EDIT)
                .sub("status", kind, EDIT)
        })
        .into()
}

fn event() -> Row {
    row(CORE, "Event", "events", Scope::Namespaced)
        .short("ev")
        .field("involvedObject.kind")
        .field("involvedObject.namespace")
        .field("involvedObject.name")
        .field("involvedObject.uid")
        .field("involvedObject.apiVersion")
        .field("involvedObject.resourceVersion")
        .field("involvedObject.fieldPath")
        .field("reason")
        .either("reportingComponent", &["reportingComponent", "source.component"])
        .either("source", &["source.component", "reportingComponent"])
        .field("type")
}

fn pod() -> Row {
    row(CORE, "Pod", "pods", Scope::Namespaced)
        .short("po")
        .category("all")
        .sub("attach", "PodAttachOptions", CONNECT)
        .sub("binding", "Binding", &["create"])
        .sub("ephemeralcontainers", "Pod", EDIT)
        .sub_in("eviction", ("policy", "v1"), "Eviction", &["create"])
        .sub("exec", "PodExecOptions", CONNECT)
        .sub("log", "Pod", &["get"])
        .sub("portforward", "PodPortForwardOptions", CONNECT)
        .sub("proxy", "PodProxyOptions", PROXY)
        .sub("resize", "Pod", EDIT)
        .sub("status", "Pod", EDIT)
        .field("spec.nodeName")
        .field("spec.restartPolicy")
        .field("spec.schedulerName")
        .field("spec.serviceAccountName")
        .flag("spec.hostNetwork")
        .field("status.phase")
        .field("status.podIP")
        .field("status.nominatedNodeName")
}

fn row(
    (group, version): (&'static str, &'static str),
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
    }
}

fn names(words: &[&'static str]) -> Vec<Name> {
    words.iter().map(|word| Name::from(*word)).collect()
}

fn path(dotted: &'static str) -> Vec<Name> {
    dotted.split('.').map(Name::from).collect()
}

impl Row {
    fn short(mut self, name: &'static str) -> Row {
        self.short_names.push(name.into());
        self
    }

    fn category(mut self, name: &'static str) -> Row {
        self.categories.push(name.into());
        self
    }

    fn verbs(mut self, verbs: &[&'static str]) -> Row {
        self.verbs = names(verbs);
        self
    }

    fn sub(mut self, name: &'static str, kind: &'static str, verbs: &[&'static str]) -> Row {
        self.subresources.push(Subresource {
            name: name.into(),
            kind: kind.into(),
            kind_in: None,
            verbs: names(verbs),
        });
        self
    }

    fn sub_in(
        mut self,
        name: &'static str,
        (group, version): (&'static str, &'static str),
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

    fn field(self, label: &'static str) -> Row {
        self.either(label, &[label])
    }

    fn flag(mut self, label: &'static str) -> Row {
        self.selectable_fields.push(SelectableField {
            label: label.into(),
            paths: vec![path(label)],
            absent: "false".into(),
        });
        self
    }

    fn either(mut self, label: &'static str, paths: &[&'static str]) -> Row {
        self.selectable_fields.push(SelectableField {
            label: label.into(),
            paths: paths.iter().map(|dotted| path(dotted)).collect(),
            absent: "".into(),
        });
        self
    }
}
