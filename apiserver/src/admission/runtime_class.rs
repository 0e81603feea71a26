//! A pod of a runtime class gets what the class says: its overhead, and the nodes that have it.

use async_trait::async_trait;
use kontiki_api::Status;
use serde_json::{Value, json};

use super::{Attempt, Operation, Step};
use crate::core::Core;

pub(super) struct RuntimeClass;

#[async_trait]
impl Step for RuntimeClass {
    async fn mutate(&self, core: &Core, attempt: &mut Attempt<'_>) -> Result<(), Status> {
        if !attempt.is(Operation::Create, "", "pods") {
            return Ok(());
        }
        let Some(class) = class_of(core, attempt)? else { return Ok(()) };
        let mut spec = attempt.object["spec"].take();
        let applied = apply(&mut spec, &class);
        attempt.object["spec"] = spec;
        applied.map_err(|why| attempt.forbidden(&why))
    }

    async fn validate(&self, core: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
        if !attempt.is(Operation::Create, "", "pods") {
            return Ok(());
        }
        let class = class_of(core, attempt)?;
        let promised = class.as_ref().map_or(&Value::Null, |class| &class["overhead"]["podFixed"]);
        let overhead = &attempt.object["spec"]["overhead"];
        if is_empty(overhead) || overhead == promised {
            return Ok(());
        }
        Err(attempt.forbidden(if is_empty(promised) {
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
        } else {
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
        }))
    }
}

fn is_empty(list: &Value) -> bool {
    list.as_object().is_none_or(serde_json::Map::is_empty)
}

fn class_of(core: &Core, attempt: &Attempt<'_>) -> Result<Option<Value>, Status> {
    let name = attempt.object["spec"]["runtimeClassName"].as_str().unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let class = core.look_up("node.k8s.io", "runtimeclasses", "", name);
    let class = class.ok_or_else(|| {
        attempt.forbidden(&format!("pod rejected: RuntimeClass {name:?} not found"))
    })?;
    Ok(Some(class.value()))
}

/// Puts what the class says into the pod's spec. Pure.
fn apply(spec: &mut Value, class: &Value) -> Result<(), String> {
    let overhead = &class["overhead"]["podFixed"];
    if !is_empty(overhead) {
        if !is_empty(&spec["overhead"]) && spec["overhead"] != *overhead {
            return Err(
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
                    .to_owned(),
            );
        }
        spec["overhead"] = overhead.clone();
    }
    let scheduling = &class["scheduling"];
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        if !spec["nodeSelector"].is_object() {
            spec["nodeSelector"] = json!({});
        }
        let own = &mut spec["nodeSelector"][key];
        if !own.is_null() && own != value {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; \
                 pod.spec.nodeSelector[{key}] = {}",
                text(value),
                text(own)
            ));
        }
        *own = value.clone();
    }
    for toleration in scheduling["tolerations"].as_array().into_iter().flatten() {
        if !spec["tolerations"].is_array() {
            spec["tolerations"] = json!([]);
        }
        if let Some(own) = spec["tolerations"].as_array_mut()
            && !own.contains(toleration)
        {
            own.push(toleration.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_says_where_a_pod_may_go_and_what_it_costs() {
        let class = json!({
            "overhead": {"podFixed": {"cpu": "10m"}},
            "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k"}]},
        });
        let mut spec = json!({"nodeSelector": {"c": "d"}});
        apply(&mut spec, &class).unwrap();
        assert_eq!(
            spec,
            json!({
                "nodeSelector": {"c": "d", "a": "b"}, "overhead": {"cpu": "10m"},
                "tolerations": [{"key": "k"}],
            })
        );
        assert_eq!(
            apply(&mut json!({"nodeSelector": {"a": "x"}}), &class).unwrap_err(),
            "conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = x"
        );
        assert_eq!(
            apply(&mut json!({"overhead": {"cpu": "1"}}), &class).unwrap_err(),
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
        );
    }
}
