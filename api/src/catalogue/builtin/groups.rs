//! The built-in rows outside core, by group.

use super::dsl::{EDIT, GroupVersionName, row};
use crate::catalogue::{
    Row,
    Scope::{Cluster, Namespaced},
};

const APPS: GroupVersionName = ("apps", "v1");
const AUTOSCALING_V1: GroupVersionName = ("autoscaling", "v1");
const AUTOSCALING_V2: GroupVersionName = ("autoscaling", "v2");
const BATCH: GroupVersionName = ("batch", "v1");
const CERTIFICATES: GroupVersionName = ("certificates.k8s.io", "v1");
const COORDINATION: GroupVersionName = ("coordination.k8s.io", "v1");
const DISCOVERY: GroupVersionName = ("discovery.k8s.io", "v1");
const EVENTS: GroupVersionName = ("events.k8s.io", "v1");
const FLOW_CONTROL: GroupVersionName = ("flowcontrol.apiserver.k8s.io", "v1");
const NETWORKING: GroupVersionName = ("networking.k8s.io", "v1");
const NODE: GroupVersionName = ("node.k8s.io", "v1");
const POLICY: GroupVersionName = ("policy", "v1");
const RBAC: GroupVersionName = ("rbac.authorization.k8s.io", "v1");
const SCHEDULING: GroupVersionName = ("scheduling.k8s.io", "v1");
const STORAGE: GroupVersionName = ("storage.k8s.io", "v1");

/// The rows.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = workloads();
    rows.extend(cluster());
    rows.extend(networking());
    rows.extend(storage());
    rows
}

fn workloads() -> Vec<Row> {
    let scaler = |version| {
        row(version, "HorizontalPodAutoscaler", "horizontalpodautoscalers", Namespaced)
            .short("hpa")
            .category("all")
            .status()
    };
    vec![
        row(APPS, "ControllerRevision", "controllerrevisions", Namespaced),
        row(APPS, "DaemonSet", "daemonsets", Namespaced).short("ds").category("all").status(),
        row(APPS, "Deployment", "deployments", Namespaced)
            .short("deploy")
            .category("all")
            .scale()
            .status(),
        row(APPS, "ReplicaSet", "replicasets", Namespaced)
            .short("rs")
            .category("all")
            .scale()
            .status()
            .count("status.replicas"),
        row(APPS, "StatefulSet", "statefulsets", Namespaced)
            .short("sts")
            .category("all")
            .scale()
            .status(),
        scaler(AUTOSCALING_V2),
        scaler(AUTOSCALING_V1).stored_as(AUTOSCALING_V2),
        row(BATCH, "CronJob", "cronjobs", Namespaced).short("cj").category("all").status(),
        row(BATCH, "Job", "jobs", Namespaced).category("all").status().at(
            "status.successful",
            "status.succeeded",
            "0",
        ),
        row(POLICY, "PodDisruptionBudget", "poddisruptionbudgets", Namespaced)
            .short("pdb")
            .status(),
    ]
}

fn cluster() -> Vec<Row> {
    vec![
        row(CERTIFICATES, "CertificateSigningRequest", "certificatesigningrequests", Cluster)
            .short("csr")
            .sub("approval", "CertificateSigningRequest", EDIT)
            .status()
            .field("spec.signerName"),
        row(COORDINATION, "Lease", "leases", Namespaced),
        row(EVENTS, "Event", "events", Namespaced)
            .short("ev")
            .stored_as(("", "v1"))
            .field("regarding.kind")
            .field("regarding.namespace")
            .field("regarding.name")
            .field("regarding.uid")
            .field("regarding.apiVersion")
            .field("regarding.resourceVersion")
            .field("regarding.fieldPath")
            .field("reason")
            .either("reportingController", &["reportingController", "deprecatedSource.component"])
            .field("type"),
        row(FLOW_CONTROL, "FlowSchema", "flowschemas", Cluster).status(),
        row(FLOW_CONTROL, "PriorityLevelConfiguration", "prioritylevelconfigurations", Cluster)
            .status(),
        row(NODE, "RuntimeClass", "runtimeclasses", Cluster),
        row(RBAC, "ClusterRoleBinding", "clusterrolebindings", Cluster),
        row(RBAC, "ClusterRole", "clusterroles", Cluster),
        row(RBAC, "RoleBinding", "rolebindings", Namespaced),
        row(RBAC, "Role", "roles", Namespaced),
        row(SCHEDULING, "PriorityClass", "priorityclasses", Cluster).short("pc"),
    ]
}

fn networking() -> Vec<Row> {
    vec![
        row(DISCOVERY, "EndpointSlice", "endpointslices", Namespaced),
        row(NETWORKING, "IngressClass", "ingressclasses", Cluster),
        row(NETWORKING, "Ingress", "ingresses", Namespaced).short("ing").status(),
        row(NETWORKING, "IPAddress", "ipaddresses", Cluster).short("ip"),
        row(NETWORKING, "NetworkPolicy", "networkpolicies", Namespaced).short("netpol"),
        row(NETWORKING, "ServiceCIDR", "servicecidrs", Cluster).status(),
    ]
}

fn storage() -> Vec<Row> {
    vec![
        row(STORAGE, "CSIDriver", "csidrivers", Cluster),
        row(STORAGE, "CSINode", "csinodes", Cluster),
        row(STORAGE, "CSIStorageCapacity", "csistoragecapacities", Namespaced),
        row(STORAGE, "StorageClass", "storageclasses", Cluster).short("sc"),
        row(STORAGE, "VolumeAttachment", "volumeattachments", Cluster).status(),
        row(STORAGE, "VolumeAttributesClass", "volumeattributesclasses", Cluster).short("vac"),
    ]
}
