//! Pods that the API binds to this node.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kontiki_api::Object;
use kontiki_client::Change;

use super::{remove, upsert};
use crate::{
    node::context::Context,
    pod::spec::{PodExt, mirror_of},
};

/// Follows the API's pods: workers come and go with them.
pub fn follow(context: &Arc<Context>) {
    let (target, pods) = (context.clone(), context.pods.clone());
    pods.on_change(move |change: &Change<Pod>| {
        let context = &target;
        let old = change.old.as_ref().filter(|old| !old.is_mirror());
        let new = change.new.as_ref().filter(|new| !new.is_mirror());
        // Another pod may have taken the name while the watch was away.
        let replaced = match (old, new) {
            (Some(old), Some(new)) => old.uid() != new.uid(),
            (Some(_), None) => true,
            _ => false,
        };
        if let Some(old) = old.filter(|_| replaced) {
            remove(context, old.uid(), Some(old.clone()));
        }
        if let Some(new) = new {
            upsert(context, new.clone());
        }
        // A mirror pod is written to by the worker of its static pod.
        let mirror = change.new.as_ref().and_then(|new| mirror_of(new));
        if let Some(inbox) = mirror.and_then(|uid| context.inbox(uid)) {
            inbox.wake();
        }
    });
}
