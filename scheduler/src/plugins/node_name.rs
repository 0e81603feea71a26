//! NodeName: a pod that names its node runs nowhere else.

use super::{FilterPlugin, Plugin, PreFilter};
use crate::{
    pod::PodInfo,
    snapshot::Snapshot,
    verdict::{Reason, Verdict},
};

/// The plugin.
pub(super) struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }
}

impl FilterPlugin for NodeName {
    fn filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        let Some(wanted) = &pod.node_name else { return PreFilter::Skip };
        PreFilter::Check(Box::new(move |node| {
            if node.name == *wanted {
                Verdict::Fits
            } else {
                Verdict::unresolvable(Reason::new("node(s) didn't match the requested node name"))
            }
        }))
    }
}
