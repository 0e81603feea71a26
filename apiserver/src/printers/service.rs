//! Services.

use jiff::Timestamp;
use kontiki_api::meta;
use serde_json::Value;

use super::{Printer, age_of, column, wide, workload};

/// How long the list of load-balancer addresses may be without `-o wide`.
const ADDRESSES_MAX: usize = 16;

pub(super) const PRINTER: Printer = Printer {
    columns: &[
        column("Name"),
        column("Type"),
        column("Cluster-IP"),
        column("External-IP"),
        column("Port(s)"),
        column("Age"),
        wide("Selector"),
    ],
    cells,
};

fn cells(service: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &service["spec"];
    let text = |field: &str| spec[field].as_str().unwrap_or_default();
    let address = Some(text("clusterIP")).filter(|address| !address.is_empty());
    vec![
        meta::name(service).into(),
        text("type").into(),
        address.unwrap_or("<none>").into(),
        external(service).into(),
        ports(spec).into(),
        age_of(service, now),
        workload::labels(&spec["selector"]),
    ]
}

/// The addresses of a load balancer, as many as fit.
pub(super) fn balancer(balancer: &Value) -> String {
    let ingress = balancer["ingress"].as_array();
    let mut given: Vec<String> = ingress
        .into_iter()
        .flatten()
        .filter_map(|one| one["ip"].as_str().or(one["hostname"].as_str()))
        .map(str::to_owned)
        .collect();
    given.sort();
    let mut shown = given.join(",");
    if shown.len() > ADDRESSES_MAX {
        shown = format!("{}...", &shown[..ADDRESSES_MAX - 3]);
    }
    shown
}

fn external(service: &Value) -> String {
    let spec = &service["spec"];
    let named = strings(&spec["externalIPs"]);
    match spec["type"].as_str().unwrap_or_default() {
        "ExternalName" => spec["externalName"].as_str().unwrap_or_default().to_owned(),
        "LoadBalancer" => {
            let shown = balancer(&service["status"]["loadBalancer"]);
            match (shown.is_empty(), named.is_empty()) {
                (true, true) => "<pending>".to_owned(),
                (true, false) => named.join(","),
                (false, true) => shown,
                (false, false) => format!("{shown},{}", named.join(",")),
            }
        }
        _ if named.is_empty() => "<none>".to_owned(),
        _ => named.join(","),
    }
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one.as_str().map(str::to_owned))
        .collect()
}

fn ports(spec: &Value) -> String {
    let pieces: Vec<String> = spec["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| {
            let protocol = port["protocol"].as_str().unwrap_or_default();
            match port["nodePort"].as_i64().filter(|number| *number > 0) {
                Some(number) => format!("{}:{number}/{protocol}", port["port"]),
                None => format!("{}/{protocol}", port["port"]),
            }
        })
        .collect();
    if pieces.is_empty() { "<none>".to_owned() } else { pieces.join(",") }
}
