//! NodeUnschedulable: cordoned nodes take only pods that tolerate being there.

use kontiki_api::k8s_openapi::api::core::v1::Taint;

use super::{FilterPlugin, Plugin, PreFilter, taint_toleration::tolerates};
use crate::{
    pod::PodInfo,
    snapshot::Snapshot,
    verdict::{Reason, Verdict},
};

/// The plugin.
pub(super) struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }
}

impl FilterPlugin for NodeUnschedulable {
    fn filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        if tolerates(&pod.tolerations, &taint) {
            return PreFilter::Skip;
        }
        PreFilter::Check(Box::new(|node| {
            if node.offer().unschedulable {
                Verdict::unresolvable(Reason::new("node(s) were unschedulable"))
            } else {
                Verdict::Fits
            }
        }))
    }
}
