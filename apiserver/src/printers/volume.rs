//! PersistentVolumes and the claims on them.

use kontiki_api::meta;
use serde_json::Value;

use super::{Printer, age_of, column, wide};

pub(super) const VOLUME: Printer = Printer {
    columns: &[
        column("Name"),
        column("Capacity"),
        column("Access Modes"),
        column("Reclaim Policy"),
        column("Status"),
        column("Claim"),
        column("StorageClass"),
        column("VolumeAttributesClass"),
        column("Reason"),
        column("Age"),
        wide("VolumeMode"),
    ],
    cells: |volume, now| {
        let (spec, status) = (&volume["spec"], &volume["status"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let claim = &spec["claimRef"];
        let claim = if claim.is_object() {
            format!("{}/{}", text(&claim["namespace"]), text(&claim["name"]))
        } else {
            String::new()
        };
        vec![
            meta::name(volume).into(),
            amount(&spec["capacity"]["storage"]).into(),
            modes(&spec["accessModes"]).into(),
            text(&spec["persistentVolumeReclaimPolicy"]).into(),
            phase(volume).into(),
            claim.into(),
            class(volume).into(),
            attributes(spec).into(),
            text(&status["reason"]).into(),
            age_of(volume, now),
            mode(spec).into(),
        ]
    },
};

pub(super) const CLAIM: Printer = Printer {
    columns: &[
        column("Name"),
        column("Status"),
        column("Volume"),
        column("Capacity"),
        column("Access Modes"),
        column("StorageClass"),
        column("VolumeAttributesClass"),
        column("Age"),
        wide("VolumeMode"),
    ],
    cells: |claim, now| {
        let (spec, status) = (&claim["spec"], &claim["status"]);
        let bound = spec["volumeName"].as_str().unwrap_or_default();
        let shown = |text: String| if bound.is_empty() { String::new() } else { text };
        vec![
            meta::name(claim).into(),
            phase(claim).into(),
            bound.into(),
            shown(amount(&status["capacity"]["storage"])).into(),
            shown(modes(&status["accessModes"])).into(),
            class(claim).into(),
            attributes(spec).into(),
            age_of(claim, now),
            mode(spec).into(),
        ]
    },
};

fn phase(object: &Value) -> String {
    if meta::is_deleting(object) {
        return "Terminating".to_owned();
    }
    object["status"]["phase"].as_str().unwrap_or_default().to_owned()
}

fn amount(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Access modes as short as people write them, each once.
fn modes(value: &Value) -> String {
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let modes: Vec<&str> =
        value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let shown = SHORT.iter().filter(|(long, _)| modes.contains(long)).map(|(_, short)| *short);
    shown.collect::<Vec<_>>().join(",")
}

/// The class, from where it was before it was a field too.
fn class(object: &Value) -> String {
    let old = meta::annotation(object, "volume.beta.kubernetes.io/storage-class");
    old.or_else(|| object["spec"]["storageClassName"].as_str()).unwrap_or_default().to_owned()
}

fn attributes(spec: &Value) -> String {
    spec["volumeAttributesClassName"].as_str().unwrap_or("<unset>").to_owned()
}

fn mode(spec: &Value) -> String {
    spec["volumeMode"].as_str().unwrap_or("<unset>").to_owned()
}
