//! Every pod has a priority: that of its class, or 0.

use async_trait::async_trait;
use kontiki_api::Status;
use serde_json::json;

use super::{Attempt, Operation, Step};
use crate::core::Core;

/// Classes that every cluster has.
const BUILT_IN: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

pub(super) struct Priority;

#[async_trait]
impl Step for Priority {
    async fn mutate(&self, _: &Core, attempt: &mut Attempt<'_>) -> Result<(), Status> {
        if !attempt.is(Operation::Create, "", "pods") {
            return Ok(());
        }
        let class = attempt.object["spec"]["priorityClassName"].as_str().unwrap_or_default();
        let priority = match BUILT_IN.iter().find(|(name, _)| *name == class) {
            Some((_, priority)) => *priority,
            None if class.is_empty() => 0,
            None => {
                let why = format!("no PriorityClass with name {class} was found");
                return Err(attempt.forbidden(&why));
            }
        };
        let asked = attempt.object["spec"]["priority"].as_i64();
        if asked.is_some_and(|asked| asked != priority) {
            let why = "the integer value of priority must not be provided in pod spec; priority \
                       admission controller computed \
                       "
            .to_owned()
                + &format!("{priority} from the given PriorityClass name");
            return Err(attempt.forbidden(&why));
        }
        let spec = &mut attempt.object["spec"];
        spec["priority"] = priority.into();
        if spec["preemptionPolicy"].is_null() {
            spec["preemptionPolicy"] = json!("PreemptLowerPriority");
        }
        Ok(())
    }
}
