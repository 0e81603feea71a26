//! Pods tolerate a lost node for a while unless they say otherwise; then they are replaced.

use std::time::Duration;

use async_trait::async_trait;
use kontiki_api::Status;
use serde_json::{Value, json};

use super::{Attempt, Operation, Step};
use crate::core::Core;

pub(super) struct DefaultTolerationSeconds;

#[async_trait]
impl Step for DefaultTolerationSeconds {
    async fn mutate(&self, core: &Core, attempt: &mut Attempt<'_>) -> Result<(), Status> {
        let bare = attempt.subresource.is_empty();
        let pods = attempt.resource.row.resource == "pods" && attempt.resource.row.group.is_empty();
        if !bare || !pods || attempt.operation == Operation::Delete {
            return Ok(());
        }
        let options = &core.options;
        tolerate(
            attempt.object,
            "node.kubernetes.io/not-ready",
            options.default_not_ready_toleration,
        );
        tolerate(
            attempt.object,
            "node.kubernetes.io/unreachable",
            options.default_unreachable_toleration,
        );
        Ok(())
    }
}

fn tolerate(pod: &mut Value, key: &str, period: Duration) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let list = spec.entry("tolerations").or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else { return };
    let covered = list.iter().any(|toleration| {
        let own = toleration["key"].as_str().unwrap_or_default();
        let effect = toleration["effect"].as_str().unwrap_or_default();
        (own == key || own.is_empty()) && matches!(effect, "NoExecute" | "")
    });
    if !covered {
        list.push(json!({
            "key": key, "operator": "Exists", "effect": "NoExecute",
            "tolerationSeconds": period.as_secs(),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explicit_tolerations_are_honoured() {
        let tolerations = |pod: Value| {
            let mut pod = pod;
            tolerate(&mut pod, "a", Duration::from_secs(5));
            pod["spec"]["tolerations"].as_array().unwrap().len()
        };
        assert_eq!(tolerations(json!({"spec": {}})), 1);
        assert_eq!(tolerations(json!({"spec": {"tolerations": [{"operator": "Exists"}]}})), 1);
        let other = json!({"key": "a", "operator": "Exists", "effect": "NoSchedule"});
        assert_eq!(tolerations(json!({"spec": {"tolerations": [other]}})), 2);
    }
}
