//! Events: what happened to which object. They expire.

use std::time::Duration;

use kontiki_api::{
    field::{Errors, Path},
    k8s_openapi::api::core::v1::Event,
    names,
};
use serde_json::Value;

use super::check::{self, Check};
use crate::registry::Strategy;

/// How long upstream keeps Events by default.
pub(super) const TIME_TO_LIVE: Duration = Duration::from_secs(60 * 60);

/// The strategy of `events`.
pub(super) struct Events;

impl Strategy for Events {
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

    fn time_to_live(&self) -> Option<Duration> {
        Some(TIME_TO_LIVE)
    }
}

fn validate(event: &Event, check: &mut Check) {
    let at = Path::new("involvedObject").child("namespace");
    let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
    let involved = event.involved_object.namespace.as_deref().unwrap_or_default();
    // Cluster-scoped objects are reported in `default`.
    let fits = if involved.is_empty() {
        matches!(namespace, "" | "default" | "kube-system")
    } else {
        namespace == involved
    };
    if !fits {
        check.invalid(&at, involved, "does not match event.namespace");
    }
}
