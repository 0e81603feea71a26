//! Roles: what may be done in a namespace.

use kontiki_api::{field::Errors, k8s_openapi::api::rbac::v1::Role, names};
use serde_json::Value;

use super::{check, rbac};
use crate::registry::Strategy;

/// The strategy of `roles`.
pub(super) struct Roles;

impl Strategy for Roles {
    fn validate(&self, object: &Value) -> Errors {
        check::typed(object, |role: &Role, check| {
            rbac::rules(check, role.rules.as_deref(), true);
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
