//! Classes and drivers of storage.

use kontiki_api::meta;
use serde_json::Value;

use super::{Column, Printer, age_of, column, number};

const fn flag(name: &'static str) -> Column {
    Column { name, kind: "boolean", priority: 0 }
}

fn text(value: &Value) -> Value {
    value.as_str().unwrap_or_default().into()
}

fn truth(value: &Value, default: bool) -> Value {
    value.as_bool().unwrap_or(default).into()
}

pub(super) const CLASS: Printer = Printer {
    columns: &[
        column("Name"),
        column("Provisioner"),
        column("ReclaimPolicy"),
        column("VolumeBindingMode"),
        column("AllowVolumeExpansion"),
        column("Age"),
    ],
    cells: |class, now| {
        let is_default = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ]
        .iter()
        .any(|key| meta::annotation(class, key) == Some("true"));
        let name = meta::name(class);
        vec![
            if is_default { format!("{name} (default)") } else { name.to_owned() }.into(),
            text(&class["provisioner"]),
            class["reclaimPolicy"].as_str().unwrap_or("Delete").into(),
            class["volumeBindingMode"].as_str().unwrap_or("Immediate").into(),
            truth(&class["allowVolumeExpansion"], false),
            age_of(class, now),
        ]
    },
};

pub(super) const ATTRIBUTES: Printer = Printer {
    columns: &[column("Name"), column("DriverName"), column("Age")],
    cells: |class, now| {
        vec![meta::name(class).into(), text(&class["driverName"]), age_of(class, now)]
    },
};

pub(super) const ATTACHMENT: Printer = Printer {
    columns: &[
        column("Name"),
        column("Attacher"),
        column("PV"),
        column("Node"),
        flag("Attached"),
        column("Age"),
    ],
    cells: |attachment, now| {
        let spec = &attachment["spec"];
        vec![
            meta::name(attachment).into(),
            text(&spec["attacher"]),
            text(&spec["source"]["persistentVolumeName"]),
            text(&spec["nodeName"]),
            truth(&attachment["status"]["attached"], false),
            age_of(attachment, now),
        ]
    },
};

pub(super) const NODE: Printer = Printer {
    columns: &[column("Name"), number("Drivers"), column("Age")],
    cells: |node, now| {
        let drivers = node["spec"]["drivers"].as_array().map_or(0, Vec::len);
        vec![meta::name(node).into(), drivers.into(), age_of(node, now)]
    },
};

pub(super) const DRIVER: Printer = Printer {
    columns: &[
        column("Name"),
        flag("AttachRequired"),
        flag("PodInfoOnMount"),
        flag("StorageCapacity"),
        column("TokenRequests"),
        flag("RequiresRepublish"),
        column("Modes"),
        column("Age"),
    ],
    cells: |driver, now| {
        let spec = &driver["spec"];
        let words = |field: &str, key: Option<&str>| {
            let items = spec[field].as_array().into_iter().flatten();
            let words: Vec<&str> =
                items.filter_map(|item| key.map_or(item, |key| &item[key]).as_str()).collect();
            words.join(",")
        };
        let audiences = words("tokenRequests", Some("audience"));
        let modes = words("volumeLifecycleModes", None);
        let or = |text: String, none: &str| if text.is_empty() { none.to_owned() } else { text };
        vec![
            meta::name(driver).into(),
            truth(&spec["attachRequired"], true),
            truth(&spec["podInfoOnMount"], false),
            truth(&spec["storageCapacity"], false),
            or(audiences, "<unset>").into(),
            truth(&spec["requiresRepublish"], false),
            or(modes, "<none>").into(),
            age_of(driver, now),
        ]
    },
};

pub(super) const CAPACITY: Printer = Printer {
    columns: &[column("Name"), column("StorageClassName"), column("Capacity")],
    cells: |capacity, _| {
        let amount = match &capacity["capacity"] {
            Value::Null => "<unset>".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        vec![meta::name(capacity).into(), text(&capacity["storageClassName"]), amount.into()]
    },
};
