//! ClusterRoles: what may be done anywhere in the cluster.

use kontiki_api::{field::Errors, k8s_openapi::api::rbac::v1::ClusterRole, names};
use serde_json::Value;

use super::{check, rbac};
use crate::registry::Strategy;

/// The strategy of `clusterroles`.
pub(super) struct ClusterRoles;

impl Strategy for ClusterRoles {
    fn validate(&self, object: &Value) -> Errors {
        check::typed(object, |role: &ClusterRole, check| {
            rbac::rules(check, role.rules.as_deref(), false);
        })
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
