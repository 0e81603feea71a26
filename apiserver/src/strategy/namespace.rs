//! Namespaces: the finalizer that holds them until they are empty, and their phase.

use kontiki_api::{
    field::{Errors, Path},
    k8s_openapi::api::core::v1::Namespace,
    meta, names,
};
use serde_json::{Value, json};

use super::{check, value};
use crate::registry::{self, Context, Strategy};

const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Finalizers that are not somebody's own.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// The strategy of `namespaces`.
pub(super) struct Namespaces;

impl Strategy for Namespaces {
    fn set_defaults(&self, object: &mut Value) {
        let name = meta::name(object).to_owned();
        if !name.is_empty() {
            meta::set_label(object, NAME_LABEL, &name);
        }
    }

    fn prepare_for_create(&self, object: &mut Value, _: &Context<'_>) {
        value::set(object, "status", json!({"phase": "Active"}));
        let spec = value::child_or_new(object, "spec");
        let Some(spec) = spec.as_object_mut() else { return };
        let finalizers = spec.entry("finalizers").or_insert_with(|| json!([]));
        if let Value::Array(finalizers) = finalizers
            && !finalizers.iter().any(|known| known == "kubernetes")
        {
            finalizers.push("kubernetes".into());
        }
        self.set_defaults(object);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, _: &Context<'_>) {
        // Only `/finalize` changes the one, only `/status` the other.
        registry::restore(object, old, "spec");
        registry::restore(object, old, "status");
    }

    fn validate(&self, object: &Value) -> Errors {
        check::typed(object, |namespace: &Namespace, check| {
            let finalizers =
                namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten());
            let at = Path::new("spec").child("finalizers");
            for (index, finalizer) in finalizers.enumerate() {
                let at = at.index(index);
                check.errors.invalid_each(&at, finalizer, names::qualified_name(finalizer));
                if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer.as_str()) {
                    let why = "name is neither a standard finalizer name nor is it fully qualified";
                    check.invalid(&at, finalizer.as_str(), why);
                }
            }
        })
    }

    fn validate_part_update(&self, _: &str, object: &Value, _: &Value) -> Errors {
        self.validate(object)
    }

    fn validate_status_update(&self, object: &Value, _: &Value) -> Errors {
        let mut check = check::Check::default();
        let phase = object["status"]["phase"].as_str().unwrap_or_default();
        let wanted = if meta::is_deleting(object) { "Terminating" } else { "Active" };
        if phase != wanted {
            let detail = format!(
                "may only be '{wanted}' if `deletionTimestamp` is {}",
                if wanted == "Active" { "empty" } else { "not empty" }
            );
            check.invalid(&Path::new("status").child("Phase"), phase, &detail);
        }
        check.errors
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        check::name_with(names::dns1123_label, name, prefix)
    }

    fn holds_deletion(&self, object: &Value) -> bool {
        object["spec"]["finalizers"].as_array().is_some_and(|held| !held.is_empty())
    }

    fn begin_deletion(&self, object: &mut Value, _: &Context<'_>) {
        value::set(value::child_or_new(object, "status"), "phase", "Terminating");
    }

    fn has_generation(&self) -> bool {
        false
    }
}
