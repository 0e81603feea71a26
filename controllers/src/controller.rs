//! What a controller is: which keys a change wakes, and what to do next for one key.
//!
//! A controller holds no state of its own and does no I/O. It is a row in [`builtin`].

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    Options,
    action::{Context, Plan},
    certificates, clusterroleaggregation, deployment, disruption, endpoints, endpointslice,
    garbagecollector,
    namespace::{self, content::Content},
    nodeipam, nodelifecycle, podgc, protection, replicaset, serviceaccount, serviceaddresses,
    tokencleaner, ttlafterfinished,
    world::{Change, Key, World},
};

/// Keys to be planned again.
pub type Keys = BTreeSet<Key>;

/// What no cache tells, and the API server is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// What a namespace contains.
    Content(String),
    /// Whether somebody may do something: the specs of SubjectAccessReviews.
    Access(Vec<Value>),
}

/// What the API server answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// What the namespace contains.
    pub content: Option<Content>,
    /// Whether each of the reviews allowed what it was about.
    pub allowed: Vec<bool>,
}

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

    /// What must be asked before this key can be planned.
    fn asks(&self, _world: &World, _key: &Key) -> Option<Question> {
        None
    }

    /// What to do next. Pure: equal worlds give equal plans.
    fn plan(&self, world: &World, key: &Key, context: Context<'_>) -> Plan;
}

/// All controllers, in alphabetical order of their names.
pub(crate) fn builtin(options: &Options) -> Vec<Box<dyn Controller>> {
    let all: Vec<Box<dyn Controller>> = vec![
        Box::new(certificates::Approver),
        Box::new(certificates::Cleaner),
        Box::new(certificates::SigningController::new(options)),
        Box::new(clusterroleaggregation::ClusterRoleAggregation),
        Box::new(deployment::DeploymentController),
        Box::new(disruption::DisruptionController),
        Box::new(endpoints::EndpointsController),
        Box::new(endpointslice::EndpointSliceController),
        Box::new(endpoints::EndpointSliceMirroring),
        Box::new(garbagecollector::GarbageCollector),
        Box::new(namespace::NamespaceController),
        Box::new(nodeipam::NodeIpamController::new(options)),
        Box::new(nodelifecycle::NodeLifecycleController::new(options)),
        Box::new(protection::VolumeProtection),
        Box::new(protection::ClaimProtection),
        Box::new(podgc::PodGarbageCollector::new(options)),
        Box::new(replicaset::ReplicaSetController),
        Box::new(serviceaccount::RootCaPublisher::new(options)),
        Box::new(serviceaddresses::ServiceCidrController),
        Box::new(serviceaddresses::AddressController),
        Box::new(serviceaccount::ServiceAccountController),
        Box::new(serviceaccount::TokensController::new(options)),
        Box::new(nodelifecycle::TaintEvictionController),
        Box::new(tokencleaner::TokenCleaner),
        Box::new(ttlafterfinished::TtlAfterFinished),
        Box::new(protection::AttributesClassProtection),
    ];
    all.into_iter().filter(|controller| options.enables(controller.name())).collect()
}
