//! Ingresses and their classes.

use kontiki_api::meta;
use serde_json::Value;

use super::{Printer, age_of, column};

const HOSTS_MAX: usize = 3;

pub(super) const PRINTER: Printer = Printer {
    columns: &[
        column("Name"),
        column("Class"),
        column("Hosts"),
        column("Address"),
        column("Ports"),
        column("Age"),
    ],
    cells: |ingress, now| {
        let spec = &ingress["spec"];
        let encrypted = spec["tls"].as_array().is_some_and(|tls| !tls.is_empty());
        vec![
            meta::name(ingress).into(),
            spec["ingressClassName"].as_str().unwrap_or("<none>").into(),
            hosts(&spec["rules"]).into(),
            super::service::balancer(&ingress["status"]["loadBalancer"]).into(),
            if encrypted { "80, 443" } else { "80" }.into(),
            age_of(ingress, now),
        ]
    },
};

pub(super) const CLASS: Printer = Printer {
    columns: &[column("Name"), column("Controller"), column("Parameters"), column("Age")],
    cells: |class, now| {
        let spec = &class["spec"];
        let parameters = &spec["parameters"];
        let text = |field: &str| parameters[field].as_str().unwrap_or_default();
        let shown = if parameters.is_object() {
            let group = text("apiGroup");
            let kind = text("kind");
            let kind = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
            format!("{kind}/{}", text("name"))
        } else {
            "<none>".to_owned()
        };
        vec![
            meta::name(class).into(),
            spec["controller"].as_str().unwrap_or_default().into(),
            shown.into(),
            age_of(class, now),
        ]
    },
};

fn hosts(rules: &Value) -> String {
    let mut hosts: Vec<&str> = rules
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|rule| rule["host"].as_str())
        .filter(|host| !host.is_empty())
        .collect();
    if hosts.is_empty() {
        return "*".to_owned();
    }
    let more = hosts.len().saturating_sub(HOSTS_MAX);
    hosts.truncate(HOSTS_MAX);
    let shown = hosts.join(",");
    if more > 0 { format!("{shown} + {more} more...") } else { shown }
}
