//! A new node carries the not-ready taint until somebody has seen that it is ready.

use async_trait::async_trait;
use kontiki_api::Status;
use serde_json::json;

use super::{Attempt, Operation, Step};
use crate::core::Core;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(super) struct TaintNodesByCondition;

#[async_trait]
impl Step for TaintNodesByCondition {
    async fn mutate(&self, _: &Core, attempt: &mut Attempt<'_>) -> Result<(), Status> {
        if !attempt.is(Operation::Create, "", "nodes") {
            return Ok(());
        }
        if !attempt.object["spec"].is_object() {
            attempt.object["spec"] = json!({});
        }
        let taints = &mut attempt.object["spec"]["taints"];
        if !taints.is_array() {
            *taints = json!([]);
        }
        if let Some(taints) = taints.as_array_mut()
            && !taints.iter().any(|t| t["key"] == NOT_READY && t["effect"] == "NoSchedule")
        {
            taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
        }
        Ok(())
    }
}
