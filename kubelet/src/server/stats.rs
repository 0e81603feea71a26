//! `/stats/summary`: what pods use, as far as the runtime tells.

use std::collections::BTreeMap;

use http::{Response, StatusCode};
use jiff::Timestamp;
use k8s_cri::v1 as cri;
use serde_json::{Map, Value, json};

use super::{Body, json_text, text};
use crate::{node::context::Context, pod::labels};

pub(super) async fn answer(context: &Context) -> Response<Body> {
    let request = cri::ListContainerStatsRequest { filter: None };
    match context.runtime.list_container_stats(request).await {
        Ok(reply) => {
            let summary = summary(&context.options.node_name, &reply.stats);
            json_text(summary.to_string())
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.message().to_owned()),
    }
}

/// The summary of a node. Pure.
fn summary(node: &str, stats: &[cri::ContainerStats]) -> Value {
    let mut pods: BTreeMap<String, Value> = BTreeMap::new();
    let (mut nanocores, mut working_set) = (0, 0);
    for one in stats {
        let attributes = one.attributes.clone().unwrap_or_default();
        let label = |key: &str| attributes.labels.get(key).cloned().unwrap_or_default();
        let value = |value: Option<cri::UInt64Value>| value.map(|value| value.value);
        let (cpu, memory) = (one.cpu.unwrap_or_default(), one.memory.unwrap_or_default());
        nanocores += value(cpu.usage_nano_cores).unwrap_or(0);
        working_set += value(memory.working_set_bytes).unwrap_or(0);
        let container = json!({
            "name": label(labels::CONTAINER_NAME),
            "cpu": fields(cpu.timestamp, &[
                ("usageNanoCores", value(cpu.usage_nano_cores)),
                ("usageCoreNanoSeconds", value(cpu.usage_core_nano_seconds)),
            ]),
            "memory": fields(memory.timestamp, &[
                ("availableBytes", value(memory.available_bytes)),
                ("usageBytes", value(memory.usage_bytes)),
                ("workingSetBytes", value(memory.working_set_bytes)),
                ("rssBytes", value(memory.rss_bytes)),
            ]),
        });
        let pod = pods.entry(label(labels::POD_UID)).or_insert_with(|| {
            json!({
                "podRef": {
                    "name": label(labels::POD_NAME),
                    "namespace": label(labels::POD_NAMESPACE),
                    "uid": label(labels::POD_UID),
                },
                "containers": [],
            })
        });
        if let Some(containers) = pod["containers"].as_array_mut() {
            containers.push(container);
        }
    }
    json!({
        "node": {
            "nodeName": node,
            "cpu": { "usageNanoCores": nanocores },
            "memory": { "workingSetBytes": working_set },
        },
        "pods": pods.into_values().collect::<Vec<_>>(),
    })
}

/// Known numbers, with the time they were taken.
fn fields(nanoseconds: i64, values: &[(&str, Option<u64>)]) -> Value {
    let mut map = Map::new();
    if let Ok(time) = Timestamp::from_nanosecond(i128::from(nanoseconds)) {
        map.insert("time".to_owned(), json!(time.to_string()));
    }
    for (name, value) in values {
        if let Some(value) = value {
            map.insert((*name).to_owned(), json!(value));
        }
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_grouped_by_pod() {
        let stats = |uid: &str, name: &str, bytes| cri::ContainerStats {
            attributes: Some(cri::ContainerAttributes {
                labels: [(labels::POD_UID, uid), (labels::CONTAINER_NAME, name)]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
                ..cri::ContainerAttributes::default()
            }),
            memory: Some(cri::MemoryUsage {
                working_set_bytes: Some(cri::UInt64Value { value: bytes }),
                ..cri::MemoryUsage::default()
            }),
            ..cri::ContainerStats::default()
        };
        let summary = summary("n1", &[stats("a", "x", 1), stats("b", "y", 2), stats("a", "z", 4)]);
        assert_eq!(summary["node"]["memory"]["workingSetBytes"], 7);
        let sizes: Vec<usize> = summary["pods"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pod| pod["containers"].as_array().unwrap().len())
            .collect();
        assert_eq!(sizes, [2, 1]);
    }
}
