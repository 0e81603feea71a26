//! PersistentVolumes: pieces of storage.

use kontiki_api::{field::Error, names};
use serde_json::{Value, json};

use super::{
    check::Check,
    declared::{Declared, PLAIN},
    persistent_volume_claim,
    place::Place,
    value,
};

pub(super) const ACCESS_MODES: &[&str] =
    &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
pub(super) const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
const RECLAIM_POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];
/// Whatever else stands in a spec is where the storage is.
const NO_SOURCES: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

/// The strategy of `persistentvolumes`.
pub(super) static STRATEGY: Declared = Declared {
    defaults,
    create: |object, context| {
        let since = kontiki_api::meta::time(context.now);
        value::set(object, "status", json!({"phase": "Pending", "lastPhaseTransitionTime": since}));
    },
    check,
    check_update: |check, new, old| {
        let (spec, before) = (new.at("spec"), old.at("spec"));
        let sources = |spec: &Place<'_>| -> Vec<(String, Value)> {
            sources(spec).map(|(name, source)| (name.to_owned(), source.value.clone())).collect()
        };
        if sources(&spec) != sources(&before) {
            let path = spec.path.child("persistentvolumesource");
            let detail = "spec.persistentvolumesource is immutable after creation";
            check.forbidden(&path, detail);
        }
        check.fixed(&spec.at("volumeMode"), &before.at("volumeMode"));
        if before.at("nodeAffinity").is_set() {
            check.fixed(&spec.at("nodeAffinity"), &before.at("nodeAffinity"));
        }
    },
    has_status: true,
    ..PLAIN
};

fn defaults(object: &mut Value) {
    value::default(value::child_or_new(object, "status"), "phase", "Pending");
    let spec = value::child_or_new(object, "spec");
    value::default(spec, "persistentVolumeReclaimPolicy", "Retain");
    value::default(spec, "volumeMode", "Filesystem");
    if let Some(path) = value::child(spec, "hostPath").filter(|path| path.get("type").is_none()) {
        value::set(path, "type", "");
    }
    if let Some(claim) = value::child(spec, "claimRef") {
        value::default(claim, "kind", "PersistentVolumeClaim");
        value::default(claim, "apiVersion", "v1");
    }
}

fn sources<'a>(spec: &Place<'a>) -> impl Iterator<Item = (&'a str, Place<'a>)> + use<'a> {
    let path = spec.path.clone();
    spec.entries()
        .filter(|(name, _)| !NO_SOURCES.contains(name))
        .map(move |(name, source)| (name, Place { path: path.child(name), value: source.value }))
}

fn check(check: &mut Check, volume: &Place<'_>) {
    let spec = volume.at("spec");
    let modes = spec.at("accessModes");
    if modes.is_empty() {
        check.required(&modes.path, "");
    }
    persistent_volume_claim::access_modes(check, &modes);
    let capacity = spec.at("capacity");
    if capacity.is_empty() {
        check.required(&capacity.path, "");
    }
    if !capacity.at("storage").is_set() || capacity.len() > 1 {
        check.push(Error::not_supported(&capacity.path, capacity.value.clone(), &["storage"]));
    }
    check.amounts(&capacity);
    let policy = spec.at("persistentVolumeReclaimPolicy");
    if !policy.is_empty() {
        check.one_of(&policy.path, policy.text(), RECLAIM_POLICIES);
    }
    node_affinity(check, &spec);
    let mut count = 0;
    for (_, source) in sources(&spec) {
        count += 1;
        if count > 1 {
            check.forbidden(&source.path, "may not specify more than 1 volume type");
        }
    }
    if count == 0 {
        check.required(&spec.path, "must specify a volume type");
    }
    let path = spec.at("hostPath").at("path");
    if path.text() == "/" && policy.text() == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        check.forbidden(&policy.path, detail);
    }
    if spec.at("hostPath").is_set() {
        absolute(check, &path);
    }
    for (source, field) in
        [("local", "path"), ("nfs", "server"), ("nfs", "path"), ("csi", "driver")]
    {
        let source = spec.at(source);
        if source.is_set() && source.at(field).is_empty() {
            check.required(&source.at(field).path, "");
        }
    }
    if spec.at("csi").is_set() && spec.at("csi").at("volumeHandle").is_empty() {
        check.required(&spec.at("csi").at("volumeHandle").path, "");
    }
    let class = spec.at("storageClassName");
    check.optional_named(&class.path, Some(class.text()), names::dns1123_subdomain);
    check.chosen_if_set(&spec.at("volumeMode"), VOLUME_MODES);
}

fn absolute(check: &mut Check, path: &Place<'_>) {
    if path.is_empty() {
        check.required(&path.path, "");
    }
    if path.text().split('/').any(|part| part == "..") {
        check.invalid(&path.path, path.text(), "must not contain '..'");
    }
}

fn node_affinity(check: &mut Check, spec: &Place<'_>) {
    let affinity = spec.at("nodeAffinity");
    if spec.at("local").is_set() && !affinity.is_set() {
        check.required(&affinity.path, "Local volume requires node affinity");
    }
    if !affinity.is_set() {
        return;
    }
    let required = affinity.at("required");
    if !required.is_set() {
        check.required(&required.path, "must specify required node constraints");
    } else if required.at("nodeSelectorTerms").is_empty() {
        let path = required.at("nodeSelectorTerms").path;
        check.required(&path, "must have at least one node selector term");
    }
}
