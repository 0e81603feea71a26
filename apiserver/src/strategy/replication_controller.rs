//! ReplicationControllers: what ReplicaSets were before they selected by more than equality.

use kontiki_api::{field::Error, typed};
use serde_json::{Value, json};

use super::{
    check::Check,
    declared::{Declared, WANTED},
    place::Place,
    pod_spec, replica_set, value,
};

/// The strategy of `replicationcontrollers`.
pub(super) static STRATEGY: Declared = Declared {
    defaults,
    create: |object, _| value::set(object, "status", json!({"replicas": 0})),
    check,
    check_status: |check, new, _| {
        let counts = ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
        check.counts(&new.at("status"), &counts);
        check.counts(&new.at("status"), &["observedGeneration"]);
    },
    ..WANTED
};

fn defaults(object: &mut Value) {
    let spec = value::child_or_new(object, "spec");
    value::default(spec, "replicas", 1);
    replica_set::template_defaults(spec);
    let labels = spec["template"]["metadata"]["labels"].clone();
    let Some(labels) = labels.as_object().filter(|labels| !labels.is_empty()) else { return };
    if spec["selector"].as_object().is_none_or(|selector| selector.is_empty()) {
        value::set(spec, "selector", labels.clone());
    }
    let metadata = value::child_or_new(object, "metadata");
    if metadata["labels"].as_object().is_none_or(|own| own.is_empty()) {
        value::set(metadata, "labels", labels.clone());
    }
}

fn check(check: &mut Check, controller: &Place<'_>) {
    let spec = controller.at("spec");
    check.counts(&spec, &["minReadySeconds"]);
    let selector = spec.at("selector");
    if selector.is_empty() {
        check.required(&selector.path, "");
    }
    check.counts(&spec, &["replicas"]);
    let place = spec.at("template");
    let template = match typed::pod_template(place.value) {
        Ok(template) => template,
        Err(error) => return check.invalid(&place.path, Value::Null, &error.to_string()),
    };
    let labels = place.at("metadata").at("labels");
    let selects = selector.entries().all(|(key, wanted)| labels.at(key).value == wanted.value);
    if !selector.is_empty() && !selects {
        let detail = "`selector` does not match template `labels`";
        check.invalid(&labels.path, labels.value.clone(), detail);
    }
    pod_spec::validate_template(check, &place.path, &template);
    let pod = place.at("spec");
    let restart = pod.at("restartPolicy");
    if !restart.is_empty() && restart.text() != "Always" {
        check.push(Error::not_supported(&restart.path, restart.text(), &["Always"]));
    }
    if pod.at("activeDeadlineSeconds").is_set() {
        let detail = "activeDeadlineSeconds in ReplicationController is not Supported";
        check.forbidden(&pod.at("activeDeadlineSeconds").path, detail);
    }
}
