//! What stays of a pod's status when somebody writes it who does not know it: older kubelets drop the
//! quality of service and the generations that were observed.

use serde_json::Value;

use crate::strategy::value;

const GENERATION: &str = "observedGeneration";

/// Puts back what was left out.
pub(super) fn keep(pod: &mut Value, old: &Value) {
    let old = &old["status"];
    let status = value::child_or_new(pod, "status");
    if value::is_unset(status, "qosClass")
        && let Some(class) = old.get("qosClass")
    {
        value::set(status, "qosClass", class.clone());
    }
    keep_generation(status, old);
    // Several conditions may have one type; they are matched in their order.
    let mut before: Vec<&Value> = old["conditions"].as_array().into_iter().flatten().collect();
    for condition in value::items(status, "conditions") {
        if let Some(at) = before.iter().position(|one| one["type"] == condition["type"]) {
            keep_generation(condition, before.remove(at));
        }
    }
}

fn keep_generation(new: &mut Value, old: &Value) {
    let left_out = new[GENERATION].as_i64().unwrap_or_default() == 0;
    if left_out && let Some(generation) = old.get(GENERATION) {
        value::set(new, GENERATION, generation.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_observed_is_not_forgotten() {
        let old = json!({"status": {
            "qosClass": "Burstable", "observedGeneration": 3,
            "conditions": [
                {"type": "Ready", "observedGeneration": 3},
                {"type": "x.io/a", "observedGeneration": 1},
                {"type": "x.io/a", "observedGeneration": 2},
            ],
        }});
        let mut pod = json!({"status": {"conditions": [
            {"type": "x.io/a"}, {"type": "x.io/a", "observedGeneration": 5}, {"type": "Ready"},
            {"type": "New"},
        ]}});
        keep(&mut pod, &old);
        assert_eq!(
            pod["status"],
            json!({
                "qosClass": "Burstable", "observedGeneration": 3,
                "conditions": [
                    {"type": "x.io/a", "observedGeneration": 1},
                    {"type": "x.io/a", "observedGeneration": 5},
                    {"type": "Ready", "observedGeneration": 3},
                    {"type": "New"},
                ],
            })
        );
        let mut emptied = json!({});
        keep(&mut emptied, &json!({}));
        assert_eq!(emptied, json!({"status": {}}));
    }
}
