//! What bounds and orders the objects of others (quotas, priorities, runtimes), and how components are.

use kontiki_api::meta;
use serde_json::Value;

use super::{Column, Printer, age_of, column, number};

pub(super) const QUOTA: Printer = Printer {
    columns: &[column("Name"), column("Request"), column("Limit"), column("Age")],
    cells: |quota, now| {
        let status = &quota["status"];
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        let mut names: Vec<&String> =
            status["hard"].as_object().into_iter().flatten().map(|(k, _)| k).collect();
        names.sort();
        for name in names {
            let shown = format!(
                "{name}: {}/{}",
                amount(&status["used"][name]),
                amount(&status["hard"][name])
            );
            if name.starts_with("limits") { limits.push(shown) } else { requests.push(shown) }
        }
        vec![
            meta::name(quota).into(),
            requests.join(", ").into(),
            limits.join(", ").into(),
            age_of(quota, now),
        ]
    },
};

fn amount(value: &Value) -> String {
    match value {
        Value::Null => "0".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(super) const PRIORITY: Printer = Printer {
    columns: &[
        column("Name"),
        number("Value"),
        Column { name: "Global-Default", kind: "boolean", priority: 0 },
        column("Age"),
        column("PreemptionPolicy"),
    ],
    cells: |class, now| {
        vec![
            meta::name(class).into(),
            class["value"].as_i64().unwrap_or_default().into(),
            (class["globalDefault"] == true).into(),
            age_of(class, now),
            class["preemptionPolicy"].as_str().unwrap_or_default().into(),
        ]
    },
};

pub(super) const RUNTIME: Printer = Printer {
    columns: &[column("Name"), column("Handler"), column("Age")],
    cells: |class, now| {
        let handler = class["handler"].as_str().unwrap_or_default();
        vec![meta::name(class).into(), handler.into(), age_of(class, now)]
    },
};

pub(super) const COMPONENT: Printer = Printer {
    columns: &[column("Name"), column("Status"), column("Message"), column("Error")],
    cells: |component, _| {
        let conditions = component["conditions"].as_array().into_iter().flatten();
        let healthy = conditions.clone().find(|one| one["type"] == "Healthy");
        let text = |field: &str| {
            healthy.and_then(|one| one[field].as_str()).unwrap_or_default().to_owned()
        };
        let status = match text("status").as_str() {
            "True" => "Healthy",
            "False" => "Unhealthy",
            _ => "Unknown",
        };
        vec![
            meta::name(component).into(),
            status.into(),
            text("message").into(),
            text("error").into(),
        ]
    },
};
