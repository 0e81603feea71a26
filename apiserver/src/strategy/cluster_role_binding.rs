//! ClusterRoleBindings: who has which role anywhere in the cluster.

use kontiki_api::{field::Errors, k8s_openapi::api::rbac::v1::ClusterRoleBinding, names};
use serde_json::Value;

use super::{
    check::{self, Check},
    rbac,
};
use crate::registry::Strategy;

/// The strategy of `clusterrolebindings`.
pub(super) struct ClusterRoleBindings;

impl Strategy for ClusterRoleBindings {
    fn set_defaults(&self, object: &mut Value) {
        rbac::default_binding(object);
    }

    fn validate(&self, object: &Value) -> Errors {
        check::typed(object, validate)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        check::typed_pair(
            object,
            old,
            |new: &ClusterRoleBinding, old: &ClusterRoleBinding, check| {
                validate(new, check);
                rbac::role_stays(check, &new.role_ref, &old.role_ref);
            },
        )
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        check::name_with(names::path_segment, name, prefix)
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn validate(binding: &ClusterRoleBinding, check: &mut Check) {
    rbac::binding(check, &binding.role_ref, binding.subjects.as_deref(), &["ClusterRole"]);
}
