//! EndpointSlices.

use kontiki_api::meta;
use serde_json::Value;

use super::{Printer, age_of, column};

/// How many items a cell lists before it says how many more there are.
const SHOWN_MAX: usize = 3;

pub(super) const PRINTER: Printer = Printer {
    columns: &[
        column("Name"),
        column("AddressType"),
        column("Ports"),
        column("Endpoints"),
        column("Age"),
    ],
    cells: |slice, now| {
        vec![
            meta::name(slice).into(),
            slice["addressType"].as_str().unwrap_or_default().into(),
            ports(slice),
            endpoints(slice),
            age_of(slice, now),
        ]
    },
};

fn ports(slice: &Value) -> Value {
    let all: Vec<String> = slice["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| match (port["port"].as_i64(), port["name"].as_str()) {
            (Some(number), _) => number.to_string(),
            (None, Some(name)) if !name.is_empty() => name.to_owned(),
            _ => "*".to_owned(),
        })
        .collect();
    list(&all, "<unset>")
}

fn endpoints(slice: &Value) -> Value {
    let all: Vec<String> = slice["endpoints"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten())
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect();
    list(&all, "<unset>")
}

fn list(all: &[String], none: &str) -> Value {
    match all.len() {
        0 => none.into(),
        count if count > SHOWN_MAX => {
            let shown = all[..SHOWN_MAX].join(",");
            format!("{shown} + {} more...", count - SHOWN_MAX).into()
        }
        _ => all.join(",").into(),
    }
}
