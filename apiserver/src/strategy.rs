//! What is special about each resource: one file per strategy, and the table that finds it.
//!
//! A strategy sets defaults on the JSON value and validates the typed object. What several share
//! stands in [`pod_spec`] (pods and templates), [`rbac`] (roles and bindings), [`check`] and
//! [`value`]. Most kinds are a row of functions over JSON ([`declared`], [`place`]) instead of a type
//! of their own: their structs are read nowhere, and need not be compiled.

mod addresses;
mod certificate_signing_request;
mod check;
mod cluster_role;
mod config_map;
mod controller_revision;
mod cron_job;
mod csi;
mod custom_resource_definition;
mod daemon_set;
mod declared;
mod deployment;
mod endpoint_slice;
mod endpoints;
mod event;
mod flow_control;
mod horizontal_pod_autoscaler;
mod ingress;
mod ingress_class;
mod job;
mod lease;
mod limit_range;
mod namespace;
mod network_policy;
mod new_event;
mod node;
mod not_stored;
mod persistent_volume;
mod persistent_volume_claim;
mod place;
mod pod;
mod pod_disruption_budget;
mod pod_spec;
mod pod_template;
pub(crate) mod priority_class;
mod rbac;
mod replica_set;
mod replication_controller;
mod resource_quota;
mod role;
mod role_binding;
mod runtime_class;
mod secret;
mod service;
mod service_account;
mod stateful_set;
mod storage_class;
mod template;
mod value;

use kontiki_api::k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};

use crate::registry::Strategy;

/// The table, alphabetical by group and resource.
static STRATEGIES: &[(&str, &str, &dyn Strategy)] = &[
    ("", "bindings", &not_stored::STRATEGY),
    ("", "componentstatuses", &not_stored::STRATEGY),
    ("", "configmaps", &config_map::ConfigMaps),
    ("", "endpoints", &endpoints::STRATEGY),
    ("", "events", &event::Events),
    ("", "limitranges", &limit_range::STRATEGY),
    ("", "namespaces", &namespace::Namespaces),
    ("", "nodes", &node::Nodes),
    ("", "persistentvolumeclaims", &persistent_volume_claim::STRATEGY),
    ("", "persistentvolumes", &persistent_volume::STRATEGY),
    ("", "pods", &pod::Pods),
    ("", "podtemplates", &pod_template::STRATEGY),
    ("", "replicationcontrollers", &replication_controller::STRATEGY),
    ("", "resourcequotas", &resource_quota::STRATEGY),
    ("", "secrets", &secret::Secrets),
    ("", "serviceaccounts", &service_account::ServiceAccounts),
    ("", "services", &service::Services),
    (
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        &custom_resource_definition::CustomResourceDefinitions,
    ),
    ("apps", "controllerrevisions", &controller_revision::STRATEGY),
    ("apps", "daemonsets", &daemon_set::STRATEGY),
    ("apps", "deployments", &deployment::Deployments),
    ("apps", "replicasets", &replica_set::ReplicaSets),
    ("apps", "statefulsets", &stateful_set::STRATEGY),
    ("autoscaling", "horizontalpodautoscalers", &horizontal_pod_autoscaler::STRATEGY),
    ("batch", "cronjobs", &cron_job::STRATEGY),
    ("batch", "jobs", &job::STRATEGY),
    (
        "certificates.k8s.io",
        "certificatesigningrequests",
        &certificate_signing_request::CertificateSigningRequests,
    ),
    ("coordination.k8s.io", "leases", &lease::Leases),
    ("discovery.k8s.io", "endpointslices", &endpoint_slice::EndpointSlices),
    ("events.k8s.io", "events", &new_event::NewEvents),
    ("flowcontrol.apiserver.k8s.io", "flowschemas", &flow_control::SCHEMAS),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", &flow_control::LEVELS),
    ("networking.k8s.io", "ingressclasses", &ingress_class::STRATEGY),
    ("networking.k8s.io", "ingresses", &ingress::STRATEGY),
    ("networking.k8s.io", "ipaddresses", &addresses::ADDRESSES),
    ("networking.k8s.io", "networkpolicies", &network_policy::STRATEGY),
    ("networking.k8s.io", "servicecidrs", &addresses::RANGES),
    ("node.k8s.io", "runtimeclasses", &runtime_class::STRATEGY),
    ("policy", "poddisruptionbudgets", &pod_disruption_budget::STRATEGY),
    (
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        &role_binding::Bindings::<ClusterRoleBinding>::new(),
    ),
    ("rbac.authorization.k8s.io", "clusterroles", &cluster_role::ClusterRoles),
    ("rbac.authorization.k8s.io", "rolebindings", &role_binding::Bindings::<RoleBinding>::new()),
    ("rbac.authorization.k8s.io", "roles", &role::Roles),
    ("scheduling.k8s.io", "priorityclasses", &priority_class::STRATEGY),
    ("storage.k8s.io", "csidrivers", &csi::DRIVERS),
    ("storage.k8s.io", "csinodes", &csi::NODES),
    ("storage.k8s.io", "csistoragecapacities", &csi::CAPACITIES),
    ("storage.k8s.io", "storageclasses", &storage_class::STRATEGY),
    ("storage.k8s.io", "volumeattachments", &csi::ATTACHMENTS),
    ("storage.k8s.io", "volumeattributesclasses", &csi::ATTRIBUTES),
];

/// A resource without anything special.
struct Plain;

impl Strategy for Plain {
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        check::name_with(kontiki_api::names::dns1123_subdomain, name, prefix)
    }
}

/// The strategy of a resource.
pub fn of(group: &str, resource: &str) -> &'static dyn Strategy {
    find(group, resource).unwrap_or(&Plain)
}

fn find(group: &str, resource: &str) -> Option<&'static dyn Strategy> {
    let found = STRATEGIES.iter().find(|(g, r, _)| (*g, *r) == (group, resource));
    found.map(|(_, _, strategy)| *strategy)
}

#[cfg(test)]
mod tests;
