//! Leases: who holds something, and for how long.

use kontiki_api::{
    field::{Errors, Path},
    k8s_openapi::api::coordination::v1::Lease,
    names,
};
use serde_json::Value;

use super::check::{self, Check};
use crate::registry::Strategy;

/// The strategy of `leases`.
pub(super) struct Leases;

impl Strategy for Leases {
    fn validate(&self, object: &Value) -> Errors {
        check::typed(object, validate)
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        check::name_with(names::dns1123_subdomain, name, prefix)
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn validate(lease: &Lease, check: &mut Check) {
    let Some(spec) = &lease.spec else { return };
    let at = Path::new("spec");
    if let Some(seconds) = spec.lease_duration_seconds.filter(|seconds| *seconds <= 0) {
        check.invalid(&at.child("leaseDurationSeconds"), seconds, "must be greater than 0");
    }
    if let Some(count) = spec.lease_transitions.filter(|count| *count < 0) {
        check.invalid(&at.child("leaseTransitions"), count, names::NEGATIVE);
    }
    if let Some(strategy) = spec.strategy.as_deref() {
        check.errors.invalid_each(&at.child("strategy"), strategy, names::qualified_name(strategy));
    }
    if spec.preferred_holder.is_some() && spec.strategy.as_deref().unwrap_or_default().is_empty() {
        check.required(&at.child("strategy"), "must be specified when `preferredHolder` is set");
    }
}
