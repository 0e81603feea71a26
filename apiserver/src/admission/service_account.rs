//! Every pod runs as a service account, and finds that account's credentials where clients look.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use kontiki_api::{Status, meta};
use serde_json::{Value, json};

use super::{Attempt, Operation, Step};
use crate::{
    cache::object::Object, core::Core, storage::relative, verbs::metadata::generated_name,
};

const MIRROR: &str = "kubernetes.io/config.mirror";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// An hour, and what kubelets use to tell these tokens from others.
const TOKEN_SECONDS: i64 = 3607;
/// How long a pod waits for its namespace's accounts to be made.
const WAIT_MAX: Duration = Duration::from_secs(2);

pub(super) struct ServiceAccount;

#[async_trait]
impl Step for ServiceAccount {
    async fn mutate(&self, core: &Core, attempt: &mut Attempt<'_>) -> Result<(), Status> {
        if !attempt.is(Operation::Create, "", "pods")
            || meta::annotation(attempt.object, MIRROR).is_some()
            || !attempt.object["spec"].is_object()
        {
            return Ok(());
        }
        let spec = &mut attempt.object["spec"];
        let name = [&spec["serviceAccountName"], &spec["serviceAccount"]]
            .iter()
            .find_map(|value| value.as_str().filter(|name| !name.is_empty()))
            .unwrap_or("default")
            .to_owned();
        spec["serviceAccountName"] = name.as_str().into();
        spec["serviceAccount"] = name.as_str().into();
        let Some(account) = wait_for(core, attempt.namespace, &name).await? else {
            let at = format!("{}/{name}", attempt.namespace);
            return Err(attempt.forbidden(&format!(
                "error looking up service account {at}: serviceaccount {name:?} not found"
            )));
        };
        let suffix = generated_name("kube-api-access-", |bound| rand::random_range(0..bound));
        apply(&mut attempt.object["spec"], &account.value(), &suffix);
        Ok(())
    }
}

/// The account; a controller makes those of a new namespace a moment after it.
async fn wait_for(core: &Core, namespace: &str, name: &str) -> Result<Option<Arc<Object>>, Status> {
    if let Some(account) = core.find("", "serviceaccounts", namespace, name).await? {
        return Ok(Some(account));
    }
    let cache = &core.builtin("", "serviceaccounts").cache;
    let mut changed = cache.subscribe();
    let arrival = async {
        loop {
            if let Some(account) = cache.get(&relative(namespace, name)) {
                return Some(account);
            }
            changed.changed().await.ok()?;
        }
    };
    Ok(tokio::time::timeout(WAIT_MAX, arrival).await.unwrap_or_default())
}

fn apply(spec: &mut Value, account: &Value, volume: &str) {
    if spec["imagePullSecrets"].as_array().is_none_or(Vec::is_empty)
        && account["imagePullSecrets"].is_array()
    {
        spec["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
    let automount =
        [&spec["automountServiceAccountToken"], &account["automountServiceAccountToken"]]
            .iter()
            .find_map(|value| value.as_bool())
            .unwrap_or(true);
    if automount {
        mount_token(spec, volume);
    }
}

fn mount_token(spec: &mut Value, volume: &str) {
    let mut mounted = false;
    for field in ["initContainers", "containers"] {
        let containers = spec.get_mut(field).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if !mounts.iter().any(|mount| mount["mountPath"] == MOUNT_PATH) {
                mounts.push(json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}));
                mounted = true;
            }
        }
    }
    if !mounted {
        return;
    }
    let Some(spec) = spec.as_object_mut() else { return };
    let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
    if let Some(volumes) = volumes.as_array_mut() {
        volumes.push(json!({"name": volume, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {
                "name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}],
            }},
            {"downwardAPI": {"items": [{
                "path": "namespace",
                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
            }]}},
        ]}}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_gets_its_token_unless_it_declines() {
        let pod = || json!({"containers": [{"name": "c"}]});
        let mut wanted = pod();
        apply(&mut wanted, &json!({}), "kube-api-access-x");
        assert_eq!(wanted["volumes"][0]["name"], "kube-api-access-x");
        assert_eq!(wanted["containers"][0]["volumeMounts"][0]["mountPath"], MOUNT_PATH);
        let mut declined = pod();
        declined["automountServiceAccountToken"] = false.into();
        apply(&mut declined, &json!({"automountServiceAccountToken": true}), "x");
        assert!(declined["volumes"].is_null());
        let mut by_account = pod();
        apply(&mut by_account, &json!({"automountServiceAccountToken": false}), "x");
        assert!(by_account["volumes"].is_null());
    }
}
