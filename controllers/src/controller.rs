//! What a controller is: which keys a change wakes, and what to do next for one key.
//!
//! A controller holds no state of its own and does no I/O. It is a row in [`builtin`].

use std::collections::BTreeSet;

use crate::{
    Options,
    action::{Context, Plan},
    deployment, endpointslice, garbagecollector, namespace, nodeipam, nodelifecycle, podgc,
    replicaset, serviceaccount,
    world::{Change, Key, World},
};

/// Keys to be planned again.
pub type Keys = BTreeSet<Key>;

/// One control loop.
pub trait Controller: Send + Sync + 'static {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Its work queue's name in metrics, as upstream has it.
    fn queue_name(&self) -> &'static str {
        self.name()
    }

    /// The component its Events come from.
    fn event_source(&self) -> &'static str {
        self.name()
    }

    /// How many keys are worked on at once.
    fn workers(&self) -> usize {
        5
    }

    /// The keys that a change concerns. Called with the world after the change.
    fn wake(&self, world: &World, change: &Change<'_>, keys: &mut Keys);

    /// All keys there are, for a fresh start.
    fn all(&self, world: &World, keys: &mut Keys);

    /// The namespace whose whole content must be looked up before this key can be planned.
    fn surveys(&self, _world: &World, _key: &Key) -> Option<String> {
        None
    }

    /// What to do next. Pure: equal worlds give equal plans.
    fn plan(&self, world: &World, key: &Key, context: Context<'_>) -> Plan;
}

/// All controllers, in alphabetical order of their names.
pub(crate) fn builtin(options: &Options) -> Vec<Box<dyn Controller>> {
    let all: Vec<Box<dyn Controller>> = vec![
        Box::new(deployment::DeploymentController),
        Box::new(endpointslice::EndpointSliceController),
        Box::new(garbagecollector::GarbageCollector),
        Box::new(namespace::NamespaceController),
        Box::new(nodeipam::NodeIpamController::new(options)),
        Box::new(nodelifecycle::NodeLifecycleController::new(options)),
        Box::new(podgc::PodGarbageCollector::new(options)),
        Box::new(replicaset::ReplicaSetController),
        Box::new(serviceaccount::RootCaPublisher::new(options)),
        Box::new(serviceaccount::ServiceAccountController),
        Box::new(nodelifecycle::TaintEvictionController),
    ];
    all.into_iter().filter(|controller| options.enables(controller.name())).collect()
}
