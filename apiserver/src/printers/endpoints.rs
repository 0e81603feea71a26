//! Endpoints.

use kontiki_api::meta;
use serde_json::Value;

use super::{Printer, age_of, column};

const SHOWN_MAX: usize = 3;

pub(super) const PRINTER: Printer = Printer {
    columns: &[column("Name"), column("Endpoints"), column("Age")],
    cells: |endpoints, now| {
        vec![meta::name(endpoints).into(), addresses(endpoints).into(), age_of(endpoints, now)]
    },
};

fn addresses(endpoints: &Value) -> String {
    let list = |value: &'static str| move |subset: &Value| subset[value].as_array().cloned();
    let (addresses, ports) = (list("addresses"), list("ports"));
    let mut all = Vec::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        let ips: Vec<Value> = addresses(subset).unwrap_or_default();
        let ips: Vec<&str> = ips.iter().filter_map(|one| one["ip"].as_str()).collect();
        let ports = ports(subset).unwrap_or_default();
        if ports.is_empty() {
            all.extend(ips.iter().map(|ip| (*ip).to_owned()));
            continue;
        }
        for port in ports.iter().filter_map(|port| port["port"].as_i64()) {
            all.extend(ips.iter().map(|ip| join(ip, port)));
        }
    }
    if all.is_empty() {
        return "<none>".to_owned();
    }
    let more = all.len().saturating_sub(SHOWN_MAX);
    all.truncate(SHOWN_MAX);
    let shown = all.join(",");
    if more > 0 { format!("{shown} + {more} more...") } else { shown }
}

fn join(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}
