//! What is special about each resource: one file per strategy, and the table that finds it.
//!
//! A strategy sets defaults on the JSON value and validates the typed object. What several share
//! stands in [`pod_spec`] (pods and templates), [`rbac`] (roles and bindings), [`check`] and
//! [`value`].

mod check;
mod cluster_role;
mod config_map;
mod custom_resource_definition;
mod deployment;
mod endpoint_slice;
mod event;
mod lease;
mod namespace;
mod node;
mod pod;
mod pod_spec;
mod rbac;
mod replica_set;
mod role;
mod role_binding;
mod secret;
mod service;
mod service_account;
mod value;

use kontiki_api::k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};

use crate::registry::Strategy;

/// The table, alphabetical by group and resource.
static STRATEGIES: &[(&str, &str, &dyn Strategy)] = &[
    ("", "configmaps", &config_map::ConfigMaps),
    ("", "events", &event::Events),
    ("", "namespaces", &namespace::Namespaces),
    ("", "nodes", &node::Nodes),
    ("", "pods", &pod::Pods),
    ("", "secrets", &secret::Secrets),
    ("", "serviceaccounts", &service_account::ServiceAccounts),
    ("", "services", &service::Services),
    (
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        &custom_resource_definition::CustomResourceDefinitions,
    ),
    ("apps", "deployments", &deployment::Deployments),
    ("apps", "replicasets", &replica_set::ReplicaSets),
    ("coordination.k8s.io", "leases", &lease::Leases),
    ("discovery.k8s.io", "endpointslices", &endpoint_slice::EndpointSlices),
    (
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        &role_binding::Bindings::<ClusterRoleBinding>::new(),
    ),
    ("rbac.authorization.k8s.io", "clusterroles", &cluster_role::ClusterRoles),
    ("rbac.authorization.k8s.io", "rolebindings", &role_binding::Bindings::<RoleBinding>::new()),
    ("rbac.authorization.k8s.io", "roles", &role::Roles),
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
