//! NetworkPolicies, and the addresses of Services.

use kontiki_api::meta;
use serde_json::Value;

use super::{Printer, age_of, column, workload};

pub(super) const POLICY: Printer = Printer {
    columns: &[column("Name"), column("Pod-Selector"), column("Age")],
    cells: |policy, now| {
        let selector = workload::selector(&policy["spec"]["podSelector"]);
        vec![meta::name(policy).into(), selector, age_of(policy, now)]
    },
};

pub(super) const RANGE: Printer = Printer {
    columns: &[column("Name"), column("CIDRs"), column("Age")],
    cells: |range, now| {
        let cidrs = range["spec"]["cidrs"].as_array().into_iter().flatten();
        let cidrs: Vec<&str> = cidrs.filter_map(Value::as_str).collect();
        vec![meta::name(range).into(), cidrs.join(",").into(), age_of(range, now)]
    },
};

pub(super) const ADDRESS: Printer = Printer {
    columns: &[column("Name"), column("ParentRef")],
    cells: |address, _| {
        let parent = &address["spec"]["parentRef"];
        let text = |field: &str| parent[field].as_str().unwrap_or_default();
        let resource = match text("group") {
            "" => text("resource").to_owned(),
            group => format!("{}.{group}", text("resource")),
        };
        let place = [resource.as_str(), text("namespace"), text("name")];
        let place: Vec<&str> = place.into_iter().filter(|part| !part.is_empty()).collect();
        vec![meta::name(address).into(), place.join("/").into()]
    },
};
