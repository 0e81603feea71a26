//! The one place where Kubernetes objects become Rust structs and go back.
//!
//! Every (format x type) deserialiser costs seconds of compile time wherever it is instantiated,
//! so it is instantiated here and nowhere else: other crates call [`Object::decode`] and
//! [`Object::encode`], which are not generic.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        coordination::v1::Lease,
        core::v1::{
            ConfigMap, Event, Namespace, Node, Pod, PodTemplateSpec, Secret, Service,
            ServiceAccount,
        },
        discovery::v1::EndpointSlice,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};

use crate::slim;

/// A typed Kubernetes object of a built-in kind.
pub trait Object: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// API group; empty for core.
    const GROUP: &'static str;
    /// API version.
    const VERSION: &'static str;
    /// Kind.
    const KIND: &'static str;
    /// Plural resource name.
    const RESOURCE: &'static str;
    /// Whether it lives in a namespace.
    const NAMESPACED: bool;

    /// Reads an object from JSON.
    fn decode(json: &[u8]) -> Result<Self, DecodeError>;
    /// Writes an object as JSON, with apiVersion and kind.
    fn encode(&self) -> Vec<u8>;
    /// Reads an object from a JSON value.
    fn from_value(value: serde_json::Value) -> Result<Self, DecodeError> {
        Self::read(&value)
    }
    /// Reads an object from a JSON value that somebody else keeps.
    fn read(value: &serde_json::Value) -> Result<Self, DecodeError>;
    /// The object as a JSON value, with apiVersion and kind.
    fn to_value(&self) -> serde_json::Value;
    /// Its metadata.
    fn metadata(&self) -> &ObjectMeta;
    /// Its metadata, to be changed.
    fn metadata_mut(&mut self) -> &mut ObjectMeta;

    /// Its name; empty while it has none.
    fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }
    /// Its namespace; empty if it has none.
    fn namespace(&self) -> &str {
        self.metadata().namespace.as_deref().unwrap_or_default()
    }
    /// Its uid; empty while it has none.
    fn uid(&self) -> &str {
        self.metadata().uid.as_deref().unwrap_or_default()
    }
    /// Whether deletion was requested.
    fn is_deleting(&self) -> bool {
        self.metadata().deletion_timestamp.is_some()
    }
    /// `apiVersion` on the wire.
    fn api_version() -> String {
        if Self::GROUP.is_empty() {
            Self::VERSION.to_owned()
        } else {
            format!("{}/{}", Self::GROUP, Self::VERSION)
        }
    }
}

/// JSON that is not an object of the expected kind.
#[derive(Debug, thiserror::Error)]
#[error("not a valid {kind}: {reason}")]
pub struct DecodeError {
    /// The expected kind.
    pub kind: &'static str,
    /// What the parser found, with its position or path.
    pub reason: String,
}

/// Reads a template of pods, which many kinds carry. Nothing is an empty one.
pub fn pod_template(value: &serde_json::Value) -> Result<PodTemplateSpec, DecodeError> {
    part("PodTemplateSpec", value)
}

/// Reads a label selector, which many kinds carry. Nothing is one that selects everything.
pub fn label_selector(value: &serde_json::Value) -> Result<LabelSelector, DecodeError> {
    part("LabelSelector", value)
}

/// Nothing of an object but its metadata, without the owners of fields.
#[derive(serde::Deserialize)]
struct Bare {
    #[serde(default, deserialize_with = "slim::metadata")]
    metadata: ObjectMeta,
}

fn bare(read: Result<Bare, serde_json::Error>) -> Result<ObjectMeta, DecodeError> {
    read.map(|bare| bare.metadata)
        .map_err(|error| DecodeError { kind: "ObjectMeta", reason: error.to_string() })
}

/// Reads the metadata that every object carries, without the owners of fields; the object may be
/// of any kind.
pub fn metadata(object: &serde_json::Value) -> Result<ObjectMeta, DecodeError> {
    bare(serde::Deserialize::deserialize(object))
}

/// Reads nothing of an object but its metadata, without the owners of fields.
pub fn decode_metadata(json: &[u8]) -> Result<ObjectMeta, DecodeError> {
    bare(serde_json::from_slice(json))
}

/// Metadata as a JSON value.
pub fn metadata_value(metadata: &ObjectMeta) -> serde_json::Value {
    serde_json::to_value(metadata).expect("Kubernetes types serialise to JSON")
}

fn part<T: serde::de::DeserializeOwned + Default>(
    kind: &'static str,
    value: &serde_json::Value,
) -> Result<T, DecodeError> {
    if value.is_null() {
        return Ok(T::default());
    }
    T::deserialize(value).map_err(|error| DecodeError { kind, reason: error.to_string() })
}

macro_rules! objects {
    ($($kind:ident $group:literal $version:literal $resource:literal $namespaced:literal;)*) => {$(
        impl Object for $kind {
            const GROUP: &'static str = $group;
            const VERSION: &'static str = $version;
            const KIND: &'static str = stringify!($kind);
            const RESOURCE: &'static str = $resource;
            const NAMESPACED: bool = $namespaced;

            fn decode(json: &[u8]) -> Result<Self, DecodeError> {
                serde_json::from_slice(json)
                    .map_err(|e| DecodeError { kind: stringify!($kind), reason: e.to_string() })
            }
            fn encode(&self) -> Vec<u8> {
                serde_json::to_vec(self).expect("Kubernetes types serialise to JSON")
            }
            fn read(value: &serde_json::Value) -> Result<Self, DecodeError> {
                serde::Deserialize::deserialize(value)
                    .map_err(|e: serde_json::Error| DecodeError { kind: stringify!($kind), reason: e.to_string() })
            }
            fn to_value(&self) -> serde_json::Value {
                serde_json::to_value(self).expect("Kubernetes types serialise to JSON")
            }
            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    )*};
}

objects! {
    ClusterRole         "rbac.authorization.k8s.io" "v1" "clusterroles"         false;
    ClusterRoleBinding  "rbac.authorization.k8s.io" "v1" "clusterrolebindings"  false;
    ConfigMap           ""                          "v1" "configmaps"           true;
    Deployment          "apps"                      "v1" "deployments"          true;
    EndpointSlice       "discovery.k8s.io"          "v1" "endpointslices"       true;
    Event               ""                          "v1" "events"               true;
    Lease               "coordination.k8s.io"       "v1" "leases"               true;
    Namespace           ""                          "v1" "namespaces"           false;
    Node                ""                          "v1" "nodes"                false;
    Pod                 ""                          "v1" "pods"                 true;
    ReplicaSet          "apps"                      "v1" "replicasets"          true;
    Role                "rbac.authorization.k8s.io" "v1" "roles"                true;
    RoleBinding         "rbac.authorization.k8s.io" "v1" "rolebindings"         true;
    Secret              ""                          "v1" "secrets"              true;
    Service             ""                          "v1" "services"             true;
    ServiceAccount      ""                          "v1" "serviceaccounts"      true;
}
