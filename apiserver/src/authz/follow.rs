//! Keeps the access policy in step with the RBAC objects in the cache.

use std::{sync::Arc, time::Duration};

use kontiki_api::Object;
use kontiki_base::CancellationToken;

use super::{
    Authorizer,
    rbac::{Objects, Policy},
};
use crate::core::Core;

const GROUP: &str = "rbac.authorization.k8s.io";
/// Changes that come together are compiled together.
const GATHER: Duration = Duration::from_millis(5);

/// Compiles the policy anew whenever its objects change.
pub async fn run(core: Arc<Core>, shutdown: CancellationToken) {
    let subscribe = |resource: &str| core.builtin(GROUP, resource).cache.subscribe();
    let (mut a, mut b) = (subscribe("clusterroles"), subscribe("clusterrolebindings"));
    let (mut c, mut d) = (subscribe("roles"), subscribe("rolebindings"));
    loop {
        for changes in [&mut a, &mut b, &mut c, &mut d] {
            changes.mark_unchanged();
        }
        compile(&core);
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            _ = a.changed() => {}
            _ = b.changed() => {}
            _ = c.changed() => {}
            _ = d.changed() => {}
        }
        tokio::time::sleep(GATHER).await;
    }
}

/// Compiles the policy from what the cache has now.
pub fn compile(core: &Core) {
    let objects = Objects {
        cluster_roles: all(core, "clusterroles"),
        cluster_role_bindings: all(core, "clusterrolebindings"),
        roles: all(core, "roles"),
        role_bindings: all(core, "rolebindings"),
    };
    core.authorizer.store(Arc::new(Authorizer {
        modes: core.options.authorization_modes.clone(),
        rbac: Policy::compile(&objects),
    }));
    core.policy_compiled.send_modify(|times| *times += 1);
}

fn all<T: Object>(core: &Core, resource: &str) -> Vec<T> {
    let snapshot = core.builtin(GROUP, resource).cache.snapshot(core.caches.revision());
    let decoded = snapshot.index.walk("", "").filter_map(|object| match T::decode(&object.json) {
        Ok(decoded) => Some(decoded),
        Err(error) => {
            tracing::error!(resource, key = %object.key, "left out of the policy: {error}");
            None
        }
    });
    decoded.collect()
}
