//! A node's conditions, read and written on its behalf.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Node, NodeCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};

/// Conditions that a lost node can no longer vouch for.
const VOUCHED: &[&str] = &["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The status of the Ready condition; `None` if the kubelet never posted it.
pub(super) fn readiness(node: &Node) -> Option<&str> {
    status(node, "Ready")
}

/// The status of a condition.
pub(super) fn status<'a>(node: &'a Node, type_: &str) -> Option<&'a str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some(condition.status.as_str())
}

/// The node with everything it vouched for Unknown; `None` if it is so already.
pub(super) fn unknown(node: &Node, now: Timestamp) -> Option<Node> {
    let mut updated = node.clone();
    let created = node.metadata.creation_timestamp.clone();
    let conditions = updated.status.get_or_insert_default().conditions.get_or_insert_default();
    let mut changed = false;
    for type_ in VOUCHED {
        let Some(known) = conditions.iter_mut().find(|known| known.type_ == *type_) else {
            changed = true;
            conditions.push(NodeCondition {
                type_: (*type_).to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: created.clone(),
                last_transition_time: Some(Time(now)),
            });
            continue;
        };
        if known.status != "Unknown" {
            changed = true;
            known.status = "Unknown".to_owned();
            known.reason = Some("NodeStatusUnknown".to_owned());
            known.message = Some("Kubelet stopped posting node status.".to_owned());
            known.last_transition_time = Some(Time(now));
        }
    }
    changed.then_some(updated)
}
