//! What reaches a pod's worker from outside. Bounded by being merged: a later pod replaces an
//! earlier one, wakes are one bit.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::pod::spec::ProbeKind;

/// The inbox of one pod's worker.
#[derive(Default)]
pub struct Inbox {
    wake: Notify,
    mail: Mutex<Mail>,
    latest: Mutex<Option<Arc<Pod>>>,
}

/// What came in since the last look.
#[derive(Default)]
pub struct Mail {
    /// The pod as now known.
    pub pod: Option<Arc<Pod>>,
    /// The pod's object is gone.
    pub removed: bool,
    /// Something in its volumes changed.
    pub refresh_volumes: bool,
    /// Containers that ended, by id; the runtime may not say so yet.
    pub exited: BTreeSet<String>,
    /// What probes found: container id, kind, passed.
    pub verdicts: Vec<(String, ProbeKind, bool)>,
}

impl Inbox {
    fn put(&self, change: impl FnOnce(&mut Mail)) {
        change(&mut self.mail.lock());
        self.wake.notify_one();
    }

    /// The pod as last known, for a worker that has to begin anew.
    pub fn latest(&self) -> Option<Arc<Pod>> {
        self.latest.lock().clone()
    }

    /// The pod is now this.
    pub fn pod(&self, pod: Arc<Pod>) {
        *self.latest.lock() = Some(pod.clone());
        self.put(|mail| mail.pod = Some(pod));
    }

    /// The pod's object is gone; its last state may say how long it has.
    pub fn removed(&self, last: Option<Arc<Pod>>) {
        self.put(|mail| {
            mail.pod = last.or(mail.pod.take());
            mail.removed = true;
        });
    }

    /// Look again.
    pub fn wake(&self) {
        self.put(|_| {});
    }

    /// Something in its volumes changed.
    pub fn refresh_volumes(&self) {
        self.put(|mail| mail.refresh_volumes = true);
    }

    /// A container (or sandbox) ended.
    pub fn exited(&self, id: &str) {
        self.put(|mail| {
            mail.exited.insert(id.to_owned());
        });
    }

    /// A probe changed its mind. Probes report changes only, so that the list stays short.
    pub fn verdict(&self, container_id: &str, kind: ProbeKind, passed: bool) {
        self.put(|mail| mail.verdicts.push((container_id.to_owned(), kind, passed)));
    }

    /// Takes everything out.
    pub fn take(&self) -> Mail {
        std::mem::take(&mut self.mail.lock())
    }

    /// Waits until there is something to take.
    pub async fn notified(&self) {
        self.wake.notified().await;
    }
}
