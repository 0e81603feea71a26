//! The built-in rows, alphabetical within their group. A new kind is one more entry here, or in
//! [`groups`].

mod dsl;
mod groups;

use super::{Row, Scope};
use dsl::{ALL_BUT_COLLECTION, CONNECT, EDIT, GroupVersionName, PROXY, READ, row};

const CORE: GroupVersionName = ("", "v1");
const API_EXTENSIONS: GroupVersionName = ("apiextensions.k8s.io", "v1");

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
    rows.extend(groups::rows());
    rows
}

fn core() -> Vec<Row> {
    vec![
        row(CORE, "Binding", "bindings", Scope::Namespaced).verbs(&["create"]),
        row(CORE, "ComponentStatus", "componentstatuses", Scope::Cluster)
            .short("cs")
            .verbs(&["get", "list"])
            .deprecated("v1 ComponentStatus is deprecated in v1.19+"),
        row(CORE, "ConfigMap", "configmaps", Scope::Namespaced).short("cm"),
        row(CORE, "Endpoints", "endpoints", Scope::Namespaced).short("ep").deprecated(
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
        ),
        event(),
        row(CORE, "LimitRange", "limitranges", Scope::Namespaced).short("limits"),
        row(CORE, "Namespace", "namespaces", Scope::Cluster)
            .short("ns")
            .verbs(ALL_BUT_COLLECTION)
            .sub("finalize", "Namespace", &["update"])
            .status()
            .field("status.phase"),
        row(CORE, "Node", "nodes", Scope::Cluster)
            .short("no")
            .sub("proxy", "NodeProxyOptions", PROXY)
            .status()
            .flag("spec.unschedulable"),
        row(CORE, "PersistentVolumeClaim", "persistentvolumeclaims", Scope::Namespaced)
            .short("pvc")
            .status(),
        row(CORE, "PersistentVolume", "persistentvolumes", Scope::Cluster).short("pv").status(),
        pod(),
        row(CORE, "PodTemplate", "podtemplates", Scope::Namespaced),
        row(CORE, "ReplicationController", "replicationcontrollers", Scope::Namespaced)
            .short("rc")
            .category("all")
            .scale()
            .status()
            .count("status.replicas"),
        row(CORE, "ResourceQuota", "resourcequotas", Scope::Namespaced).short("quota").status(),
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
            .status()
            .field("spec.clusterIP")
            .field("spec.type"),
    ]
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
