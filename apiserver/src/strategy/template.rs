//! What every kind with a template of pods checks of it.

use kontiki_api::{k8s_openapi::api::core::v1::PodTemplateSpec, typed};
use serde_json::Value;

use super::{check::Check, place::Place, pod_spec, replica_set};

/// A template as a struct, if it is one.
pub(super) fn read(check: &mut Check, place: &Place<'_>) -> Option<PodTemplateSpec> {
    match typed::pod_template(place.value) {
        Ok(template) => Some(template),
        Err(error) => {
            check.invalid(&place.path, Value::Null, &error.to_string());
            None
        }
    }
}

/// Checks a template by itself.
pub(super) fn check(check: &mut Check, place: &Place<'_>) {
    if let Some(template) = read(check, place) {
        pod_spec::validate_template(check, &place.path, &template);
    }
}

/// Checks `selector` and `template` below a spec, of pods that always run.
pub(super) fn selected(check: &mut Check, spec: &Place<'_>, kind: &str) {
    let selector = match typed::label_selector(spec.at("selector").value) {
        Ok(selector) => selector,
        Err(error) => {
            return check.invalid(&spec.at("selector").path, Value::Null, &error.to_string());
        }
    };
    if let Some(template) = read(check, &spec.at("template")) {
        replica_set::selected_template(check, &spec.path, &selector, &template, kind);
    }
}
