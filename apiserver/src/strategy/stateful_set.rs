//! StatefulSets: pods with names, an order and volumes of their own.

use kontiki_api::names;
use serde_json::Value;

use super::{
    check::{Check, as_value},
    declared::{Declared, WANTED},
    persistent_volume_claim,
    place::Place,
    replica_set, template, value,
};

/// What an update may change.
const UPDATABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// The strategy of `statefulsets`.
pub(super) static STRATEGY: Declared = Declared {
    defaults,
    check,
    check_update: |check, new, old| {
        let rest = |place: &Place<'_>| {
            let mut spec = place.at("spec").value.clone();
            UPDATABLE.iter().for_each(|field| value::unset(&mut spec, field));
            spec
        };
        if rest(new) != rest(old) {
            let detail = "updates to statefulset spec for fields other than 'replicas', \
                          'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', \
                          'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are \
                          forbidden";
            check.forbidden(&new.at("spec").path, detail);
        }
    },
    check_status,
    ..WANTED
};

fn defaults(object: &mut Value) {
    let spec = value::child_or_new(object, "spec");
    value::default(spec, "podManagementPolicy", "OrderedReady");
    let strategy = value::child_or_new(spec, "updateStrategy");
    value::default(strategy, "type", "RollingUpdate");
    if value::text(strategy, "type") == "RollingUpdate" {
        value::default(value::child_or_new(strategy, "rollingUpdate"), "partition", 0);
    }
    let retention = value::child_or_new(spec, "persistentVolumeClaimRetentionPolicy");
    value::default(retention, "whenDeleted", "Retain");
    value::default(retention, "whenScaled", "Retain");
    value::default(spec, "replicas", 1);
    value::default(spec, "revisionHistoryLimit", 10);
    if spec.get("serviceName").is_none() {
        value::set(spec, "serviceName", "");
    }
    for claim in value::items(spec, "volumeClaimTemplates") {
        value::default(claim, "apiVersion", "v1");
        value::default(claim, "kind", "PersistentVolumeClaim");
        persistent_volume_claim::defaults(claim);
    }
    replica_set::template_defaults(spec);
}

fn check(check: &mut Check, set: &Place<'_>) {
    let spec = set.at("spec");
    word(check, &spec.at("podManagementPolicy"), ["OrderedReady", "Parallel"]);
    let strategy = spec.at("updateStrategy");
    let (kind, rolling) = (strategy.at("type"), strategy.at("rollingUpdate"));
    match kind.text() {
        "OnDelete" if rolling.is_set() => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            check.invalid(&rolling.path, rolling.value.clone(), detail);
        }
        "RollingUpdate" => {
            check.counts(&rolling, &["partition"]);
            check.share(&rolling.at("maxUnavailable"));
            check.not_above_all(&rolling.at("maxUnavailable"));
        }
        _ => word(check, &kind, ["RollingUpdate", "OnDelete"]),
    }
    let retention = spec.at("persistentVolumeClaimRetentionPolicy");
    for field in ["whenDeleted", "whenScaled"] {
        check.chosen_if_set(&retention.at(field), &["Delete", "Retain"]);
    }
    check.counts(&spec, &["replicas", "minReadySeconds"]);
    check.counts(&spec.at("ordinals"), &["start"]);
    check.counts(&spec, &["revisionHistoryLimit"]);
    let service = spec.at("serviceName");
    check.optional_named(&service.path, Some(service.text()), names::dns1123_subdomain);
    template::selected(check, &spec, "statefulset");
}

/// One of two words.
fn word(check: &mut Check, place: &Place<'_>, [one, other]: [&str; 2]) {
    match place.text() {
        "" => check.required(&place.path, ""),
        text if text == one || text == other => {}
        text => check.invalid(&place.path, text, &format!("must be '{one}' or '{other}'")),
    }
}

fn check_status(check: &mut Check, new: &Place<'_>, _: &Place<'_>) {
    let status = new.at("status");
    check.counts(
        &status,
        &[
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
            "collisionCount",
        ],
    );
    let count = |field: &str| status.at(field).number().unwrap_or_default();
    let bounds = [
        ("readyReplicas", "replicas"),
        ("currentReplicas", "replicas"),
        ("updatedReplicas", "replicas"),
        ("availableReplicas", "replicas"),
        ("availableReplicas", "readyReplicas"),
    ];
    for (field, bound) in bounds {
        if count(field) > count(bound) {
            let detail = format!("cannot be greater than status.{bound}");
            check.invalid(&status.at(field).path, as_value(&count(field)), &detail);
        }
    }
}
