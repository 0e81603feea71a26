//! ImageLocality: a node that already holds the images starts the pod sooner.

use super::{Normalize, Plugin, PreScore, SCORE_MAX, ScorePlugin};
use crate::{node::NodeInfo, pod::PodInfo, snapshot::Snapshot};

const MEBIBYTE: i64 = 1024 * 1024;
/// Less than this is not worth a detour.
const WORTH_MIN: i64 = 23 * MEBIBYTE;
/// More than this, per container, is worth no more.
const WORTH_MAX_PER_CONTAINER: i64 = 1000 * MEBIBYTE;

/// The plugin.
pub(super) struct ImageLocality;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }
}

impl ScorePlugin for ImageLocality {
    fn score<'a>(&'a self, pod: &'a PodInfo, cluster: &'a Snapshot, _: &[usize]) -> PreScore<'a> {
        let names = pod.images.iter().map(|image| normalized(image));
        let held: Vec<(String, i64)> = names
            .map(|name| {
                let nodes = cluster.nodes_with_image(&name);
                (name, i64::try_from(nodes).unwrap_or(i64::MAX))
            })
            .filter(|(_, nodes)| *nodes > 0)
            .collect();
        if held.is_empty() {
            return PreScore::Skip;
        }
        let all = i64::try_from(cluster.node_count()).unwrap_or(i64::MAX).max(1);
        let containers = i64::try_from(pod.images.len()).unwrap_or(i64::MAX);
        PreScore::Each(
            Box::new(move |node: &NodeInfo| {
                let images = &node.offer().images;
                let local = held.iter().filter_map(|(name, nodes)| {
                    // An image that few nodes have weighs less, or they would be overrun.
                    images.get(name.as_str()).map(|size| size * nodes / all)
                });
                worth(local.sum(), containers)
            }),
            Normalize::None,
        )
    }
}

fn worth(bytes: i64, containers: i64) -> i64 {
    let most = WORTH_MAX_PER_CONTAINER * containers;
    SCORE_MAX * (bytes.clamp(WORTH_MIN, most) - WORTH_MIN) / (most - WORTH_MIN)
}

/// A name with the tag that the runtime would add.
fn normalized(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}
