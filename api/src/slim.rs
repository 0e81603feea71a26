//! Pods as control loops read them: the few fields that scheduler and controllers look at.
//!
//! A cluster has more pods than anything else, and every control node holds all of them. A whole
//! one takes some ten kilobytes as a struct, most of it for what no control loop looks at; one of
//! these takes about a tenth of that, and what it leaves out is passed over instead of decoded.
//!
//! Names and types are those of `k8s_openapi`, so code reads the same with either. Conditions stand
//! whole, because control loops write them back.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Affinity, ContainerPort, PersistentVolumeClaimVolumeSource, PodCondition, PodIP,
        PodSchedulingGate, Toleration, TopologySpreadConstraint,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, OwnerReference, Time},
    },
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::typed::{DecodeError, Object};

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Pod {
    /// Metadata without the owners of fields.
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// Spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<PodSpec>,
    /// Status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<PodStatus>,
}

macro_rules! slim {
    ($($(#[$doc:meta])* $name:ident {
        $($(#[$how:meta])* $field:ident: $type:ty,)*
    })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $(
                $(#[$how])*
                #[serde(deserialize_with = "or_nothing", skip_serializing_if = "is_nothing")]
                /// As in the API.
                pub $field: $type,
            )*
        }
    )*};
}

slim! {
    /// What a pod should be.
    PodSpec {
        affinity: Option<Box<Affinity>>,
        containers: Vec<Container>,
        host_network: Option<bool>,
        hostname: Option<String>,
        init_containers: Option<Vec<Container>>,
        node_name: Option<String>,
        node_selector: Option<BTreeMap<String, String>>,
        overhead: Option<BTreeMap<String, Quantity>>,
        preemption_policy: Option<String>,
        priority: Option<i32>,
        resources: Option<Requests>,
        scheduler_name: Option<String>,
        scheduling_gates: Option<Vec<PodSchedulingGate>>,
        subdomain: Option<String>,
        tolerations: Option<Vec<Toleration>>,
        topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
        volumes: Option<Vec<Volume>>,
    }
    /// One of its containers.
    Container {
        image: Option<String>,
        name: String,
        ports: Option<Vec<ContainerPort>>,
        resources: Option<Requests>,
        restart_policy: Option<String>,
    }
    /// What is asked for.
    Requests {
        requests: Option<BTreeMap<String, Quantity>>,
    }
    /// A volume, as far as it is a claim on storage.
    Volume {
        ephemeral: Option<Ephemeral>,
        name: String,
        persistent_volume_claim: Option<PersistentVolumeClaimVolumeSource>,
    }
    /// That a volume has a claim of its own.
    Ephemeral {}
    /// What a pod is.
    PodStatus {
        conditions: Option<Vec<PodCondition>>,
        container_statuses: Option<Vec<ContainerStatus>>,
        nominated_node_name: Option<String>,
        phase: Option<String>,
        #[serde(rename = "podIP")]
        pod_ip: Option<String>,
        #[serde(rename = "podIPs")]
        pod_ips: Option<Vec<PodIP>>,
    }
    /// What one of its containers is.
    ContainerStatus {
        name: String,
        restart_count: i32,
    }
}

/// Metadata without the owners of fields, which nobody here asks for and which are large.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    generate_name: Option<String>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    name: Option<String>,
    namespace: Option<String>,
    owner_references: Option<Vec<OwnerReference>>,
    resource_version: Option<String>,
    uid: Option<String>,
}

/// Reads metadata and passes over the owners of fields.
pub(crate) fn metadata<'de, D: Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    let read = Metadata::deserialize(from)?;
    Ok(ObjectMeta {
        annotations: read.annotations,
        creation_timestamp: read.creation_timestamp,
        deletion_grace_period_seconds: read.deletion_grace_period_seconds,
        deletion_timestamp: read.deletion_timestamp,
        finalizers: read.finalizers,
        generate_name: read.generate_name,
        generation: read.generation,
        labels: read.labels,
        managed_fields: None,
        name: read.name,
        namespace: read.namespace,
        owner_references: read.owner_references,
        resource_version: read.resource_version,
        self_link: None,
        uid: read.uid,
    })
}

/// What is null is as good as absent.
fn or_nothing<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn is_nothing<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Object for Pod {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Pod";
    const RESOURCE: &'static str = "pods";
    const NAMESPACED: bool = true;

    fn decode(json: &[u8]) -> Result<Pod, DecodeError> {
        serde_json::from_slice(json).map_err(|error| unreadable(&error))
    }
    fn encode(&self) -> Vec<u8> {
        self.to_value().to_string().into_bytes()
    }
    fn read(value: &Value) -> Result<Pod, DecodeError> {
        Pod::deserialize(value).map_err(|error| unreadable(&error))
    }
    fn to_value(&self) -> Value {
        let mut object = serde_json::to_value(self).expect("pods serialise to JSON");
        object["apiVersion"] = Self::api_version().into();
        object["kind"] = Self::KIND.into();
        object
    }
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

fn unreadable(error: &serde_json::Error) -> DecodeError {
    DecodeError { kind: "Pod", reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_kept_of_a_pod_is_what_the_whole_one_says() {
        let object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "a", "namespace": "b", "labels": {"x": "y"}, "uid": "u",
                "creationTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "7",
                "managedFields": [{"manager": "m", "fieldsV1": {"f:x": {}}}],
                "ownerReferences": [{
                    "apiVersion": "v1", "kind": "K", "name": "n", "uid": "o", "controller": true,
                }],
            },
            "spec": {
                "containers": [{
                    "name": "c", "image": "i", "env": [{"name": "A", "value": "1"}],
                    "ports": [{"name": "p", "containerPort": 80, "protocol": "TCP"}],
                    "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}},
                }],
                "initContainers": null,
                "nodeName": "w", "priority": 3,
                "affinity": {"nodeAffinity": {}},
                "tolerations": [{"operator": "Exists"}],
                "volumes": [
                    {"name": "t", "projected": {"sources": []}},
                    {"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
                    {"name": "d", "persistentVolumeClaim": {"claimName": "d"}},
                ],
            },
            "status": {
                "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
                "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}],
                "containerStatuses": [{"name": "c", "restartCount": 2, "ready": true}],
            },
        });
        let whole = v1::Pod::read(&object).unwrap();
        let slim = Pod::decode(object.to_string().as_bytes()).unwrap();
        assert_eq!(slim, Pod::read(&object).unwrap());
        assert_eq!(slim.metadata, ObjectMeta { managed_fields: None, ..whole.metadata });
        // Everything that is kept is what stands in the object.
        fn within(part: &Value, whole: &Value, path: &str) {
            match (part, whole) {
                (Value::Object(part), Value::Object(whole)) => part
                    .iter()
                    .for_each(|(key, value)| within(value, &whole[key], &format!("{path}.{key}"))),
                (Value::Array(part), Value::Array(whole)) => {
                    assert_eq!(part.len(), whole.len(), "{path}");
                    part.iter().zip(whole).for_each(|(a, b)| within(a, b, path));
                }
                _ => assert_eq!(part, whole, "{path}"),
            }
        }
        let kept = slim.to_value();
        within(&kept, &object, "");
        assert_eq!(kept["spec"]["containers"][0]["resources"], json!({"requests": {"cpu": "1"}}));
        assert_eq!(kept["spec"]["volumes"][1], json!({"name": "e", "ephemeral": {}}));
        assert_eq!(kept["status"]["podIPs"], json!([{"ip": "10.0.0.1"}]));
        assert_eq!(kept["status"]["conditions"], object["status"]["conditions"]);
        assert!(size_of::<Pod>() < 1_200);
    }
}
