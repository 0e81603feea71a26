//! Resource quotas: what an object uses, which quotas count it, and whether it still fits.
//!
//! Admission charges a new object to the quotas of its namespace, the controller counts again what
//! is there; both must count alike, so both count here. Everything works on JSON values, by group
//! and resource: what has no rule of its own is counted as `count/RESOURCE.GROUP`.

mod charge;
mod demand;
mod pods;
mod storage;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::quantity::Quantity;

pub use charge::{counted, settle};
pub use demand::Demand;

/// Amounts by the names that quotas give them.
pub type Usage = BTreeMap<String, Quantity>;

/// Resources of the core group that quotas may also name without `count/`.
const PLAIN: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];

/// The kind of an object as quotas tell kinds apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted<'a> {
    /// API group.
    pub group: &'a str,
    /// Plural resource name.
    pub resource: &'a str,
}

impl Counted<'_> {
    fn is_core(self, resource: &str) -> bool {
        self.group.is_empty() && self.resource == resource
    }

    /// `count/RESOURCE` or `count/RESOURCE.GROUP`.
    fn count_name(self) -> String {
        if self.group.is_empty() {
            format!("count/{}", self.resource)
        } else {
            format!("count/{}.{}", self.resource, self.group)
        }
    }

    /// Whether a quota's name for something is about this kind.
    pub fn concerns(self, name: &str) -> bool {
        if name == self.count_name() {
            return true;
        }
        match (self.group, self.resource) {
            ("", "pods") => pods::concerns(name),
            ("", "services") => {
                matches!(name, "services" | "services.nodeports" | "services.loadbalancers")
            }
            ("", "persistentvolumeclaims") => storage::concerns(name),
            ("", resource) => PLAIN.contains(&resource) && name == resource,
            _ => false,
        }
    }

    /// What one object of this kind uses.
    pub fn usage(self, object: &Value, now: Timestamp) -> Usage {
        let mut usage = Usage::from([(self.count_name(), Quantity::from_units(1))]);
        match (self.group, self.resource) {
            ("", "pods") => pods::add_usage(object, now, &mut usage),
            ("", "services") => services(object, &mut usage),
            ("", "persistentvolumeclaims") => storage::add_usage(object, &mut usage),
            ("", resource) if PLAIN.contains(&resource) => {
                usage.insert(resource.to_owned(), Quantity::from_units(1));
            }
            _ => {}
        }
        usage
    }
}

fn services(service: &Value, usage: &mut Usage) {
    let ports = service["spec"]["ports"].as_array().map_or(0, Vec::len);
    let count = |number: usize| Quantity::from_units(i64::try_from(number).unwrap_or(i64::MAX));
    let (mut node_ports, mut balancers) = (0, 0);
    match service["spec"]["type"].as_str() {
        Some("NodePort") => node_ports = ports,
        Some("LoadBalancer") => {
            balancers = 1;
            node_ports = ports;
            if service["spec"]["allocateLoadBalancerNodePorts"] == false {
                let all = service["spec"]["ports"].as_array().into_iter().flatten();
                node_ports = all.filter(|port| port["nodePort"].as_i64().unwrap_or(0) != 0).count();
            }
        }
        _ => {}
    }
    usage.insert("services".to_owned(), count(1));
    usage.insert("services.nodeports".to_owned(), count(node_ports));
    usage.insert("services.loadbalancers".to_owned(), count(balancers));
}

/// Whether a name is of a resource that only some nodes have, such as `example.com/gpu`.
pub fn is_extended(name: &str) -> bool {
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    !native && !name.starts_with("requests.")
}

/// Reads a list of quantities; what is no quantity is left out.
pub fn read(list: &Value) -> Usage {
    let entries = list.as_object().into_iter().flatten();
    entries
        .filter_map(|(name, text)| Some((name.clone(), Quantity::parse(text.as_str()?).ok()?)))
        .collect()
}

/// Writes a list of quantities.
pub fn write(usage: &Usage) -> Value {
    let entries = usage.iter().map(|(name, amount)| (name.clone(), amount.to_string().into()));
    Value::Object(entries.collect::<Map<String, Value>>())
}

/// Whether a quota counts an object: it names something of the kind, and all its scopes hold.
pub fn matches(quota: &Value, kind: Counted<'_>, object: &Value) -> bool {
    let hard = quota["status"]["hard"].as_object();
    let names = hard.into_iter().flatten().map(|(name, _)| name);
    names.into_iter().any(|name| kind.concerns(name)) && in_scope(quota, kind, object)
}

/// Whether all scopes of a quota hold for an object.
pub fn in_scope(quota: &Value, kind: Counted<'_>, object: &Value) -> bool {
    let spec = &quota["spec"];
    let plain = spec["scopes"].as_array().into_iter().flatten();
    let selected = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
    let holds = |scope: &Value, expression: &Value| {
        kind.is_core("pods")
            && pods::in_scope(object, scope.as_str().unwrap_or_default(), expression)
    };
    let exists = serde_json::json!({"operator": "Exists"});
    plain.into_iter().all(|scope| holds(scope, &exists))
        && selected.into_iter().all(|expression| holds(&expression["scopeName"], expression))
}

#[cfg(test)]
mod tests;
