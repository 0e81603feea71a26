//! What all pods' workers share. Built once; cheap to hand around in an `Arc`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Pod, Service};
use kontiki_api::Object;
use kontiki_base::tasks::Tasks;
use kontiki_client::{Client, EventRecorder, EventType, ObjectKey, Regarding, Store};
use parking_lot::Mutex;

use crate::{
    images::Images,
    node::machine::Machine,
    options::Options,
    pod::{
        inbox::Inbox,
        spec::{PodExt, mirror_of},
    },
    references::{OnChange, ReferencedObjects},
    runtime::Runtime,
    tokens::Tokens,
};

/// What all pods' workers share.
pub struct Context {
    /// The kubelet's options.
    pub options: Options,
    /// The machine.
    pub machine: Machine,
    /// containerd.
    pub runtime: Runtime,
    /// The API.
    pub client: Client,
    /// Events.
    pub recorder: EventRecorder,
    /// Images.
    pub images: Images,
    /// ConfigMaps and Secrets.
    pub references: ReferencedObjects,
    /// Service account tokens.
    pub tokens: Tokens,
    /// Services, for environments.
    pub services: Store<Service>,
    /// Pods of this node in the API, mirror pods among them.
    pub pods: Store<Pod>,
    /// Tasks of this kubelet.
    pub tasks: Tasks,
    /// The running workers' inboxes by pod uid.
    pub workers: Mutex<BTreeMap<String, Arc<Inbox>>>,
    /// Containers and sandboxes by id.
    pub owners: Mutex<BTreeMap<String, Owned>>,
}

/// A container or sandbox of a pod of this node.
pub struct Owned {
    /// The pod's uid.
    pub pod: String,
    /// Whether the kernel killed a process of it for memory.
    pub out_of_memory: bool,
}

impl Owned {
    /// One of a pod's.
    pub fn by(uid: &str) -> Owned {
        Owned { pod: uid.to_owned(), out_of_memory: false }
    }
}

impl Context {
    /// The inbox of a pod's worker.
    pub fn inbox(&self, uid: &str) -> Option<Arc<Inbox>> {
        self.workers.lock().get(uid).cloned()
    }

    /// Whether the kernel killed a process of a container for memory.
    pub fn was_out_of_memory(&self, container: &str) -> bool {
        self.owners.lock().get(container).is_some_and(|owned| owned.out_of_memory)
    }

    /// The pod in the API that stands for a static pod.
    pub fn mirror(&self, pod: &Pod) -> Option<Arc<Pod>> {
        let mirror = self.pods.get(&ObjectKey::of(pod))?;
        (mirror_of(&mirror) == Some(pod.uid())).then_some(mirror)
    }

    /// Wakes all workers.
    pub fn wake_all(&self) {
        for inbox in self.workers.lock().values() {
            inbox.wake();
        }
    }

    /// What is called when objects that pods refer to have changed.
    pub fn on_reference_change(self: &Arc<Context>) -> OnChange {
        let context = Arc::downgrade(self);
        Arc::new(move |uids: &BTreeSet<String>| {
            let Some(context) = context.upgrade() else { return };
            for inbox in uids.iter().filter_map(|uid| context.inbox(uid)) {
                inbox.refresh_volumes();
            }
        })
    }

    /// Records a Normal Event about a pod or one of its containers.
    pub fn event(&self, pod: &Pod, container: Option<&str>, reason: &str, message: &str) {
        self.recorder.record(regarding(pod, container), EventType::Normal, reason, message);
    }

    /// Records a Warning about a pod or one of its containers.
    pub fn warning(&self, pod: &Pod, container: Option<&str>, reason: &str, message: &str) {
        self.recorder.record(regarding(pod, container), EventType::Warning, reason, message);
    }
}

fn regarding(pod: &Pod, container: Option<&str>) -> Regarding {
    let Some(name) = container else { return Regarding::object(pod) };
    let list = if pod.init_containers().iter().any(|init| init.name == name) {
        "initContainers"
    } else if pod.ephemeral_containers().iter().any(|put_in| put_in.name == name) {
        "ephemeralContainers"
    } else {
        "containers"
    };
    Regarding::field(pod, &format!("spec.{list}{{{name}}}"))
}
