//! Objects of which controllers look at a few fields only: those are kept as JSON.
//!
//! A typed struct costs every build seconds and holds what nobody reads. A kind here is a row: how
//! it is addressed, and the fields that are kept of it.

use std::{fmt::Debug, marker::PhantomData};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kontiki_api::{
    Object,
    typed::{self, DecodeError},
};
use serde_json::{Map, Value, json};

/// What is to be known of such a kind.
pub trait LooseKind: Clone + Debug + Send + Sync + 'static {
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
    /// Paths of the fields that are kept, with dots between names.
    const KEPT: &'static [&'static str];
}

/// One object.
#[derive(Clone, Debug)]
pub struct Loose<K> {
    metadata: ObjectMeta,
    fields: Value,
    kind: PhantomData<K>,
}

impl<K: LooseKind> Loose<K> {
    /// A new object.
    pub fn new(metadata: ObjectMeta, fields: Value) -> Loose<K> {
        Loose { metadata, fields, kind: PhantomData }
    }

    /// Its spec; null if nothing of it is kept.
    pub fn spec(&self) -> &Value {
        &self.fields["spec"]
    }

    /// Its status; null if it has none.
    pub fn status(&self) -> &Value {
        &self.fields["status"]
    }

    /// Any field that is kept.
    pub fn field(&self, name: &str) -> &Value {
        &self.fields[name]
    }

    /// Any field, to be changed.
    pub fn field_mut(&mut self, name: &str) -> &mut Value {
        &mut self.fields[name]
    }

    /// Takes a field away.
    pub fn remove_field(&mut self, name: &str) {
        if let Some(fields) = self.fields.as_object_mut() {
            fields.remove(name);
        }
    }

    fn parse(value: &Value) -> Result<Loose<K>, DecodeError> {
        let mut metadata = typed::metadata(value)?;
        metadata.managed_fields = None;
        if let Some(annotations) = &mut metadata.annotations {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
        let mut fields = json!({});
        for path in K::KEPT {
            keep(value, &mut fields, path);
        }
        Ok(Loose::new(metadata, fields))
    }
}

/// Copies what stands at a path, if something does.
fn keep(from: &Value, to: &mut Value, path: &str) {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let Some(found) = from.get(name).filter(|found| !found.is_null()) else { return };
    if rest.is_empty() {
        to[name] = found.clone();
    } else {
        keep(found, &mut to[name], rest);
    }
}

impl<K: LooseKind> Object for Loose<K> {
    const GROUP: &'static str = K::GROUP;
    const VERSION: &'static str = K::VERSION;
    const KIND: &'static str = K::KIND;
    const RESOURCE: &'static str = K::RESOURCE;
    const NAMESPACED: bool = K::NAMESPACED;

    fn decode(json: &[u8]) -> Result<Self, DecodeError> {
        let value: Value = serde_json::from_slice(json)
            .map_err(|error| DecodeError { kind: K::KIND, reason: error.to_string() })?;
        Loose::parse(&value)
    }
    fn encode(&self) -> Vec<u8> {
        self.to_value().to_string().into_bytes()
    }
    fn read(value: &Value) -> Result<Self, DecodeError> {
        Loose::parse(value)
    }
    fn to_value(&self) -> Value {
        let mut object = self.fields.as_object().cloned().unwrap_or_else(Map::new);
        object.insert("apiVersion".to_owned(), Self::api_version().into());
        object.insert("kind".to_owned(), K::KIND.into());
        object.insert("metadata".to_owned(), typed::metadata_value(&self.metadata));
        Value::Object(object)
    }
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

macro_rules! loose {
    ($($(#[$doc:meta])* $kind:ident $marker:ident $group:literal $version:literal
        $resource:literal $namespaced:literal [$($kept:literal)*];)*) => {$(
        #[doc = concat!("The row of ", stringify!($kind), ".")]
        #[derive(Clone, Copy, Debug)]
        pub struct $marker;

        impl LooseKind for $marker {
            const GROUP: &'static str = $group;
            const VERSION: &'static str = $version;
            const KIND: &'static str = stringify!($kind);
            const RESOURCE: &'static str = $resource;
            const NAMESPACED: bool = $namespaced;
            const KEPT: &'static [&'static str] = &[$($kept),*];
        }

        $(#[$doc])*
        pub type $kind = Loose<$marker>;
    )*};
}

loose! {
    /// A request for a certificate.
    CertificateSigningRequest CertificateSigningRequestRow "certificates.k8s.io" "v1"
        "certificatesigningrequests" false ["spec" "status"];
    /// A role for the whole cluster.
    ClusterRole ClusterRoleRow "rbac.authorization.k8s.io" "v1"
        "clusterroles" false ["rules" "aggregationRule"];
    /// Addresses of a Service, as clients read them that do not know EndpointSlices.
    Endpoints EndpointsRow "" "v1" "endpoints" true ["subsets"];
    /// One address of the range of Services that is taken.
    IPAddress IpAddressRow "networking.k8s.io" "v1" "ipaddresses" false ["spec"];
    /// A Job: only how it ended.
    Job JobRow "batch" "v1" "jobs" true
        ["spec.ttlSecondsAfterFinished" "status.conditions" "status.completionTime"];
    /// A volume.
    PersistentVolume PersistentVolumeRow "" "v1" "persistentvolumes" false
        ["spec.claimRef" "spec.volumeAttributesClassName" "status.phase"];
    /// A claim on a volume.
    PersistentVolumeClaim PersistentVolumeClaimRow "" "v1" "persistentvolumeclaims" true
        ["spec.volumeName" "spec.volumeAttributesClassName" "status"];
    /// How many of some pods must stay.
    PodDisruptionBudget PodDisruptionBudgetRow "policy" "v1" "poddisruptionbudgets" true
        ["spec" "status"];
    /// What ReplicaSets were called first: only how many pods it wants.
    ReplicationController ReplicationControllerRow "" "v1" "replicationcontrollers" true
        ["spec.replicas"];
    /// A Secret; the feed keeps of a bootstrap token when it ends, all of a service account's, and
    /// nothing of any other.
    Secret SecretRow "" "v1" "secrets" true ["type" "data"];
    /// A range of addresses for Services.
    ServiceCIDR ServiceCidrRow "networking.k8s.io" "v1" "servicecidrs" false ["spec" "status"];
    /// What volumes can be told to be like while they are in use.
    VolumeAttributesClass VolumeAttributesClassRow "storage.k8s.io" "v1"
        "volumeattributesclasses" false [];
    /// A StatefulSet: only how many pods it wants.
    StatefulSet StatefulSetRow "apps" "v1" "statefulsets" true ["spec.replicas"];
}
