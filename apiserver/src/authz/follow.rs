//! Keeps the access policy in step with the RBAC objects in the cache.
//!
//! A change compiles the part that it concerns: its namespace's, or the cluster's. What has changed
//! is seen by the number of objects and the sum of their revisions; as a new revision is above all
//! that were before, no change leaves both as they were.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use kontiki_api::Object;
use kontiki_base::CancellationToken;

use super::{Authorizer, rbac::Policy};
use crate::{cache::object::Object as Cached, core::Core};

const GROUP: &str = "rbac.authorization.k8s.io";
/// Changes that come together are compiled together.
const GATHER: Duration = Duration::from_millis(5);

/// What the policy was compiled from last.
#[derive(Default)]
pub struct Compiler {
    policy: Policy,
    cluster: Stamp,
    namespaces: HashMap<Arc<str>, Stamp>,
}

/// Which objects, and in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    objects: u64,
    revisions: u64,
}

/// Objects of the four resources.
#[derive(Default)]
struct Objects {
    stamp: Stamp,
    roles: Vec<Arc<Cached>>,
    bindings: Vec<Arc<Cached>>,
}

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
    // The lock also keeps an older policy from coming after a newer one.
    let mut compiler = core.policy_compiler.lock();
    let revision = core.caches.revision();
    let all =
        |resource: &str| core.builtin(GROUP, resource).cache.snapshot(revision).index.walk("", "");
    let mut cluster = Objects::default();
    all("clusterroles").for_each(|object| cluster.take(object, true));
    all("clusterrolebindings").for_each(|object| cluster.take(object, false));
    let mut namespaces: BTreeMap<String, Objects> = BTreeMap::new();
    for (resource, are_roles) in [("roles", true), ("rolebindings", false)] {
        for object in all(resource) {
            match namespaces.get_mut(object.namespace()) {
                Some(objects) => objects.take(object, are_roles),
                None => {
                    let namespace = object.namespace().to_owned();
                    namespaces.entry(namespace).or_default().take(object, are_roles);
                }
            }
        }
    }
    compiler.follow(&cluster, &namespaces);
    core.authorizer.store(Arc::new(Authorizer {
        modes: core.options.authorization_modes.clone(),
        rbac: compiler.policy.clone(),
    }));
    core.policy_compiled.send_modify(|times| *times += 1);
}

impl Objects {
    fn take(&mut self, object: Arc<Cached>, is_role: bool) {
        self.stamp.objects += 1;
        self.stamp.revisions += object.revision.0;
        if is_role { self.roles.push(object) } else { self.bindings.push(object) }
    }
}

impl Compiler {
    /// Compiles what has changed.
    fn follow(&mut self, cluster: &Objects, namespaces: &BTreeMap<String, Objects>) {
        if self.cluster != cluster.stamp {
            self.cluster = cluster.stamp;
            self.policy.set_cluster(&decoded(&cluster.roles), &decoded(&cluster.bindings));
        }
        let policy = &mut self.policy;
        self.namespaces.retain(|namespace, _| {
            let stays = namespaces.contains_key(&**namespace);
            if !stays {
                policy.set_namespace(namespace, &[], &[]);
            }
            stays
        });
        for (namespace, objects) in namespaces {
            if self.namespaces.get(namespace.as_str()) != Some(&objects.stamp) {
                self.namespaces.insert(namespace.as_str().into(), objects.stamp);
                let (roles, bindings) = (decoded(&objects.roles), decoded(&objects.bindings));
                policy.set_namespace(namespace, &roles, &bindings);
            }
        }
    }
}

fn decoded<T: Object>(objects: &[Arc<Cached>]) -> Vec<T> {
    let decoded = objects.iter().filter_map(|object| match T::decode(&object.json) {
        Ok(decoded) => Some(decoded),
        Err(error) => {
            tracing::error!(kind = T::KIND, key = %object.key, "left out of the policy: {error}");
            None
        }
    });
    decoded.collect()
}
