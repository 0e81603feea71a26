//! What every namespace must have for pods to start: the `default` ServiceAccount, and the
//! ConfigMap with the certificates that pods trust the API server by; and tokens for those who
//! write a Secret for one ([`tokens`]).

mod tokens;

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{ConfigMap, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kontiki_api::Object;

use crate::{
    Options,
    action::{Action, Context, Plan},
    controller::{Controller, Keys},
    world::{Change, Key, Kind, World},
};

pub(crate) use self::tokens::{TokensController, is_account_token};

const DEFAULT: &str = "default";
/// The ConfigMap with the cluster's certificates.
pub(crate) const ROOT_CA: &str = "kube-root-ca.crt";
const ROOT_CA_DESCRIPTION: &str = "kubernetes.io/description";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver \
                           when using internal endpoints such as the internal service IP or \
                           kubernetes.default.svc. No other usage is guaranteed across \
                           distributions of Kubernetes clusters.";

/// Creates the default ServiceAccount.
pub(crate) struct ServiceAccountController;

impl Controller for ServiceAccountController {
    fn name(&self) -> &'static str {
        "serviceaccount-controller"
    }

    fn queue_name(&self) -> &'static str {
        "serviceaccount"
    }

    fn wake(&self, _world: &World, change: &Change<'_>, keys: &mut Keys) {
        wake(change, Kind::ServiceAccount, DEFAULT, keys);
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        keys.extend(world.namespaces.keys().cloned());
    }

    fn plan(&self, world: &World, key: &Key, _context: Context<'_>) -> Plan {
        plan_account(world, key)
    }
}

/// Publishes the cluster's certificates.
pub(crate) struct RootCaPublisher {
    root_ca: String,
}

impl RootCaPublisher {
    pub(crate) fn new(options: &Options) -> RootCaPublisher {
        RootCaPublisher { root_ca: options.root_ca.clone() }
    }
}

impl Controller for RootCaPublisher {
    fn name(&self) -> &'static str {
        "root-ca-certificate-publisher-controller"
    }

    fn queue_name(&self) -> &'static str {
        "root_ca_cert_publisher"
    }

    fn wake(&self, _world: &World, change: &Change<'_>, keys: &mut Keys) {
        wake(change, Kind::ConfigMap, ROOT_CA, keys);
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        keys.extend(world.namespaces.keys().cloned());
    }

    fn plan(&self, world: &World, key: &Key, _context: Context<'_>) -> Plan {
        plan_root_ca(&self.root_ca, world, key)
    }
}

/// Namespaces that changed, and those whose object of interest did.
fn wake(change: &Change<'_>, kind: Kind, name: &str, keys: &mut Keys) {
    if change.kind() != kind && change.kind() != Kind::Namespace {
        return;
    }
    for metadata in change.metadata().sides() {
        let own_name = metadata.name.as_deref().unwrap_or_default();
        if change.kind() == Kind::Namespace {
            keys.insert(Key::new("", own_name));
        } else if own_name == name {
            keys.insert(Key::new("", metadata.namespace.as_deref().unwrap_or_default()));
        }
    }
}

/// Whether objects can be created in a namespace.
fn is_open(world: &World, namespace: &Key) -> bool {
    world.namespaces.get(namespace).is_some_and(|namespace| !namespace.is_deleting())
}

/// Decides whether a namespace needs its default ServiceAccount.
pub(crate) fn plan_account(world: &World, namespace: &Key) -> Plan {
    if !is_open(world, namespace) {
        return Plan::nothing("the namespace is going or gone");
    }
    let key = Key::new(namespace.name.as_str(), DEFAULT);
    if world.graph.get(Kind::ServiceAccount, &key).is_some() {
        return Plan::nothing("it is there");
    }
    let mut plan = Plan::default();
    plan.then([Action::create(&ServiceAccount {
        metadata: ObjectMeta {
            name: Some(DEFAULT.to_owned()),
            namespace: Some(namespace.name.clone()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    })]);
    plan
}

/// Decides whether a namespace needs the certificates, or newer ones.
pub(crate) fn plan_root_ca(root_ca: &str, world: &World, namespace: &Key) -> Plan {
    if root_ca.is_empty() {
        return Plan::nothing("there are no certificates to publish");
    }
    if !is_open(world, namespace) {
        return Plan::nothing("the namespace is going or gone");
    }
    let data = BTreeMap::from([("ca.crt".to_owned(), root_ca.to_owned())]);
    let mut plan = Plan::default();
    let key = Key::new(namespace.name.as_str(), ROOT_CA);
    let Some(known) = world.config_maps.get(&key) else {
        let description = (ROOT_CA_DESCRIPTION.to_owned(), DESCRIPTION.to_owned());
        plan.then([Action::create(&ConfigMap {
            metadata: ObjectMeta {
                name: Some(ROOT_CA.to_owned()),
                namespace: Some(namespace.name.clone()),
                annotations: Some(BTreeMap::from([description])),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..ConfigMap::default()
        })]);
        return plan;
    };
    let mut updated = (**known).clone();
    updated.data = Some(data);
    plan.then(Action::update(&**known, &updated));
    plan
}

#[cfg(test)]
mod tests;
