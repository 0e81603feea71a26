//! Small steps that are off unless somebody asks for them by name.

use async_trait::async_trait;
use kontiki_api::Status;
use serde_json::{Value, json};

use super::{Attempt, Operation, Step};
use crate::core::Core;

/// Every image is pulled anew, so that nobody runs a private one without its credentials.
pub(super) struct AlwaysPullImages;

#[async_trait]
impl Step for AlwaysPullImages {
    async fn mutate(&self, _: &Core, attempt: &mut Attempt<'_>) -> Result<(), Status> {
        let pods = attempt.resource.row.resource == "pods" && attempt.resource.row.group.is_empty();
        let applies = pods
            && attempt.subresource.is_empty()
            && matches!(attempt.operation, Operation::Create | Operation::Update);
        if applies {
            pull_always(attempt.object);
        }
        Ok(())
    }
}

fn pull_always(pod: &mut Value) {
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        let containers = pod["spec"].get_mut(field).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            container["imagePullPolicy"] = "Always".into();
        }
    }
}

/// Services name no addresses outside of the cluster that they did not name before.
pub(super) struct DenyServiceExternalIps;

#[async_trait]
impl Step for DenyServiceExternalIps {
    async fn validate(&self, _: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
        let services =
            attempt.resource.row.resource == "services" && attempt.resource.row.group.is_empty();
        if !services || !attempt.subresource.is_empty() || attempt.operation == Operation::Delete {
            return Ok(());
        }
        let list = |object: &Value| -> Vec<Value> {
            object["spec"]["externalIPs"].as_array().cloned().unwrap_or_default()
        };
        let old = attempt.old.map(list).unwrap_or_default();
        if list(attempt.object).iter().all(|address| old.contains(address)) {
            return Ok(());
        }
        Err(attempt.forbidden("Use of external IPs is denied by admission control."))
    }
}

/// A pod tolerates the nodes that are kept for the devices it asks for.
pub(super) struct ExtendedResourceToleration;

#[async_trait]
impl Step for ExtendedResourceToleration {
    async fn mutate(&self, _: &Core, attempt: &mut Attempt<'_>) -> Result<(), Status> {
        if attempt.is(Operation::Create, "", "pods") {
            tolerate_devices(attempt.object);
        }
        Ok(())
    }
}

fn tolerate_devices(pod: &mut Value) {
    let mut devices = std::collections::BTreeSet::new();
    for field in ["initContainers", "containers"] {
        for container in pod["spec"][field].as_array().into_iter().flatten() {
            let requests = container["resources"]["requests"].as_object();
            let names = requests.into_iter().flatten().map(|(name, _)| name);
            devices.extend(names.filter(|name| kontiki_api::quota::is_extended(name)).cloned());
        }
    }
    for device in devices {
        if !pod["spec"]["tolerations"].is_array() {
            pod["spec"]["tolerations"] = json!([]);
        }
        let Some(all) = pod["spec"]["tolerations"].as_array_mut() else { return };
        if !all.iter().any(|own| own["key"] == device && own["operator"] == "Exists") {
            all.push(json!({"key": device, "operator": "Exists"}));
        }
    }
}

/// Refuses everything; for tests of what happens then.
pub(super) struct AlwaysDeny;

#[async_trait]
impl Step for AlwaysDeny {
    async fn validate(&self, _: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
        Err(attempt.forbidden("admission control is denying all modifications"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_tolerated_once() {
        let mut pod = json!({"spec": {"containers": [
            {"name": "c", "resources": {"requests": {"cpu": "1", "example.com/gpu": "1"}}},
        ]}});
        for _ in 0..2 {
            tolerate_devices(&mut pod);
        }
        let expected = json!([{"key": "example.com/gpu", "operator": "Exists"}]);
        assert_eq!(pod["spec"]["tolerations"], expected);
        pull_always(&mut pod);
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], "Always");
    }
}
