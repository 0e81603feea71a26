//! LimitRanges: what containers, pods and claims get if they ask for nothing, and how much or
//! little each may ask for.

mod constraints;

use async_trait::async_trait;
use kontiki_api::{Status, meta, quantity::Quantity, quota::Demand};
use serde_json::{Map, Value, json};

use self::constraints::complaints;
use super::{Attempt, Operation, Step};
use crate::core::Core;

/// Where upstream writes down what it has set.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub(super) struct LimitRanger;

#[async_trait]
impl Step for LimitRanger {
    async fn mutate(&self, core: &Core, attempt: &mut Attempt<'_>) -> Result<(), Status> {
        if !attempt.is(Operation::Create, "", "pods") {
            return Ok(());
        }
        for range in core.in_namespace("", "limitranges", attempt.namespace) {
            set_defaults(attempt.object, &range.value());
        }
        Ok(())
    }

    async fn validate(&self, core: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
        let row = &attempt.resource.row;
        let pods = row.group.is_empty() && row.resource == "pods";
        let claims = row.group.is_empty() && row.resource == "persistentvolumeclaims";
        let applies = match attempt.operation {
            Operation::Create => (pods || claims) && attempt.subresource.is_empty(),
            // Containers cannot ask for more later, except through `resize`.
            Operation::Update => {
                pods && attempt.subresource == "resize" || claims && attempt.subresource.is_empty()
            }
            Operation::Delete => false,
        };
        if !applies {
            return Ok(());
        }
        for range in core.in_namespace("", "limitranges", attempt.namespace) {
            let found = judge(attempt.object, &range.value(), pods);
            match found.as_slice() {
                [] => {}
                [one] => return Err(attempt.forbidden(one)),
                all => return Err(attempt.forbidden(&format!("[{}]", all.join(", ")))),
            }
        }
        Ok(())
    }
}

fn limits(range: &Value) -> impl Iterator<Item = &Value> {
    range["spec"]["limits"].as_array().into_iter().flatten()
}

fn quantities(list: &Value) -> impl Iterator<Item = (&str, &str)> {
    let mut all: Vec<(&str, &str)> = list
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect();
    all.sort_unstable();
    all.into_iter()
}

/// Gives the containers of a pod the requests and limits they do not name, and notes it.
fn set_defaults(pod: &mut Value, range: &Value) {
    let (mut requests, mut wanted) = (Map::new(), Map::new());
    for limit in limits(range).filter(|limit| limit["type"] == "Container") {
        let copy = |from: &Value, to: &mut Map<String, Value>| {
            for (name, value) in from.as_object().into_iter().flatten() {
                to.insert(name.clone(), value.clone());
            }
        };
        copy(&limit["defaultRequest"], &mut requests);
        copy(&limit["default"], &mut wanted);
    }
    if requests.is_empty() && wanted.is_empty() {
        return;
    }
    let mut told = Vec::new();
    for (field, word) in [("initContainers", "init container"), ("containers", "container")] {
        let containers = pod["spec"].get_mut(field).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = meta_name(container);
            for (list, defaults, what) in
                [("requests", &requests, "request"), ("limits", &wanted, "limit")]
            {
                let set = fill(container, list, defaults);
                if !set.is_empty() {
                    told.push(format!("{} {what} for {word} {name}", set.join(", ")));
                }
            }
        }
    }
    if !told.is_empty() {
        let text = format!("LimitRanger plugin set: {}", told.join("; "));
        meta::set_annotation(pod, ANNOTATION, &text);
    }
}

fn meta_name(container: &Value) -> String {
    container["name"].as_str().unwrap_or_default().to_owned()
}

/// Sets what is not set; returns the names of it in order.
fn fill(container: &mut Value, list: &str, defaults: &Map<String, Value>) -> Vec<String> {
    let Some(container) = container.as_object_mut() else { return Vec::new() };
    let mut set = Vec::new();
    if defaults.is_empty() {
        return set;
    }
    let resources = container.entry("resources").or_insert_with(|| json!({}));
    let Some(resources) = resources.as_object_mut() else { return set };
    let amounts = resources.entry(list).or_insert_with(|| json!({}));
    let Some(amounts) = amounts.as_object_mut() else { return set };
    for (name, value) in defaults {
        if !amounts.contains_key(name) {
            amounts.insert(name.clone(), value.clone());
            set.push(name.clone());
        }
    }
    set.sort_unstable();
    set
}

/// Everything that an object asks for against a range.
fn judge(object: &Value, range: &Value, pod: bool) -> Vec<String> {
    let mut found = Vec::new();
    for limit in limits(range) {
        match limit["type"].as_str() {
            Some("Container") if pod => {
                for field in ["containers", "initContainers"] {
                    for container in object["spec"][field].as_array().into_iter().flatten() {
                        let asked = Demand::of(&container["resources"]);
                        found.extend(complaints("Container", limit, &asked));
                    }
                }
            }
            Some("Pod") if pod => {
                found.extend(complaints("Pod", limit, &Demand::of_containers(&object["spec"])));
            }
            Some("PersistentVolumeClaim") if !pod => {
                let asked = Demand::of(&object["spec"]["resources"]);
                found.extend(constraints::claim_complaints(limit, &asked));
            }
            _ => {}
        }
    }
    found
}

fn parsed(text: &str) -> Quantity {
    Quantity::parse(text).unwrap_or_default()
}

#[cfg(test)]
mod tests;
