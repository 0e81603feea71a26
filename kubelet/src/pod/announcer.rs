//! Events about waiting: one when a back-off begins, not one per look.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use crate::{
    node::context::Context,
    pod::{lifecycle::PodPlan, memory::PodMemory, spec::PodExt},
};

/// Remembers what was told.
#[derive(Default)]
pub struct Announcer {
    /// Per container name: reason, and what tells one back-off from the next.
    told: BTreeMap<String, (&'static str, String)>,
}

impl Announcer {
    /// Tells of back-offs that were not told yet.
    pub fn back_offs(&mut self, context: &Context, pod: &Pod, memory: &PodMemory, plan: &PodPlan) {
        for (name, waiting) in &plan.waiting {
            let turn = match waiting.reason {
                "CrashLoopBackOff" => format!("{:?}", memory.backoffs.get(name)),
                "ImagePullBackOff" => format!("{:?}", memory.failures.get(name).map(|f| f.at)),
                _ => continue,
            };
            let told = (waiting.reason, turn);
            if self.told.get(name) == Some(&told) {
                continue;
            }
            if waiting.reason == "CrashLoopBackOff" {
                let pod_name = pod.log_name();
                let message =
                    format!("Back-off restarting failed container {name} in pod {pod_name}");
                context.warning(pod, Some(name), "BackOff", &message);
            } else {
                let container = pod.container(name);
                let image = container.as_ref().and_then(|container| container.image.as_deref());
                let message = format!("Back-off pulling image {:?}", image.unwrap_or_default());
                context.event(pod, Some(name), "BackOff", &message);
                context.warning(pod, Some(name), "Failed", "Error: ImagePullBackOff");
            }
            self.told.insert(name.clone(), told);
        }
    }
}
