//! TaintToleration: nodes repel pods that do not bear their taints, and are liked less for those
//! they would rather not have.

use kontiki_api::k8s_openapi::api::core::v1::{Taint, Toleration};

use super::{FilterPlugin, Normalize, Plugin, PreFilter, PreScore, ScorePlugin};
use crate::{node::NodeInfo, pod::PodInfo, snapshot::Snapshot, verdict::Verdict};

/// The plugin.
pub(super) struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }
}

impl FilterPlugin for TaintToleration {
    fn filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        PreFilter::Check(Box::new(move |node| match untolerated(&pod.tolerations, node) {
            None => Verdict::Fits,
            Some(taint) => {
                let value = taint.value.as_deref().unwrap_or_default();
                let text = format!("node(s) had untolerated taint {{{}: {value}}}", taint.key);
                Verdict::unresolvable(text.into())
            }
        }))
    }
}

impl ScorePlugin for TaintToleration {
    fn score<'a>(
        &'a self,
        pod: &'a PodInfo,
        cluster: &'a Snapshot,
        feasible: &[usize],
    ) -> PreScore<'a> {
        let discouraging = |taint: &&Taint| taint.effect == "PreferNoSchedule";
        let any = feasible
            .iter()
            .any(|slot| cluster.node(*slot).offer().taints.iter().any(|t| discouraging(&t)));
        if !any {
            return PreScore::Skip;
        }
        let count = move |node: &NodeInfo| {
            let taints = node.offer().taints.iter().filter(discouraging);
            let borne = |t: &&Taint| !tolerates(&pod.tolerations, t);
            i64::try_from(taints.filter(borne).count()).unwrap_or(i64::MAX)
        };
        PreScore::Each(Box::new(count), Normalize::HighestIsWorst)
    }
}

/// The first taint that keeps a pod with these tolerations from a node.
pub(crate) fn untolerated<'a>(tolerations: &[Toleration], node: &'a NodeInfo) -> Option<&'a Taint> {
    let hard = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    node.offer().taints.iter().filter(hard).find(|taint| !tolerates(tolerations, taint))
}

/// Whether some toleration bears a taint.
pub(super) fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| bears(toleration, taint))
}

fn bears(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    if !key.is_empty() && key != taint.key {
        return false;
    }
    let taint_value = taint.value.as_deref().unwrap_or_default();
    let value = toleration.value.as_deref().unwrap_or_default();
    let numbers = || Some((taint_value.parse::<i64>().ok()?, value.parse::<i64>().ok()?));
    match text(&toleration.operator).as_str() {
        "" | "Equal" => value == taint_value && !key.is_empty(),
        "Exists" => true,
        "Gt" => numbers().is_some_and(|(taint, bound)| taint > bound),
        "Lt" => numbers().is_some_and(|(taint, bound)| taint < bound),
        _ => false,
    }
}
