//! The roots of the graph: every kind that a request body or an answer may carry.

use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet},
        authentication::v1::{SelfSubjectReview, TokenRequest, TokenReview},
        authorization::v1::{
            LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview,
            SubjectAccessReview,
        },
        autoscaling,
        autoscaling::v1::Scale,
        batch::v1::{CronJob, Job},
        certificates::v1::CertificateSigningRequest,
        coordination::v1::Lease,
        core::v1::{
            Binding, ComponentStatus, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node,
            PersistentVolume, PersistentVolumeClaim, Pod, PodTemplate, ReplicationController,
            ResourceQuota, Secret, Service, ServiceAccount,
        },
        discovery::v1::EndpointSlice,
        events,
        flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration},
        networking::v1::{IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR},
        node::v1::RuntimeClass,
        policy::v1::{Eviction, PodDisruptionBudget},
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
        scheduling::v1::PriorityClass,
        storage::v1::{
            CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment,
            VolumeAttributesClass,
        },
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::{DeleteOptions, ListMeta, Patch, Status},
};
use schemars::SchemaGenerator;
use serde_json::{Map, Value};

/// The kinds and the schemas that they reach.
pub(super) struct Roots {
    /// Group, version, kind and the schema's name.
    pub(super) kinds: Vec<Kind>,
    /// All schemas by name.
    pub(super) definitions: Map<String, Value>,
}

macro_rules! roots {
    ($generator:ident; $($kind:path, $group:literal $version:literal;)*) => {
        vec![$(($group, $version, last(stringify!($kind)), reference::<$kind>($generator)),)*]
    };
}

/// Generates the schemas of all roots.
pub(super) fn roots() -> Roots {
    let settings = schemars::generate::SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.definitions_path = "/components/schemas".into();
    });
    let mut generator = settings.into_generator();
    let kinds = kinds(&mut generator);
    reference::<ListMeta>(&mut generator);
    reference::<Patch>(&mut generator);
    let definitions = generator.take_definitions(true).into_iter().collect();
    Roots { kinds, definitions }
}

type Kind = (&'static str, &'static str, &'static str, String);

fn kinds(generator: &mut SchemaGenerator) -> Vec<Kind> {
    roots! { generator;
        Binding,                                    ""                             "v1";
        CSIDriver,                                  "storage.k8s.io"               "v1";
        CSINode,                                    "storage.k8s.io"               "v1";
        CSIStorageCapacity,                         "storage.k8s.io"               "v1";
        CertificateSigningRequest,                  "certificates.k8s.io"          "v1";
        ClusterRole,                                "rbac.authorization.k8s.io"    "v1";
        ClusterRoleBinding,                         "rbac.authorization.k8s.io"    "v1";
        ComponentStatus,                            ""                             "v1";
        ConfigMap,                                  ""                             "v1";
        ControllerRevision,                         "apps"                         "v1";
        CronJob,                                    "batch"                        "v1";
        CustomResourceDefinition,                   "apiextensions.k8s.io"         "v1";
        DaemonSet,                                  "apps"                         "v1";
        DeleteOptions,                              ""                             "v1";
        Deployment,                                 "apps"                         "v1";
        EndpointSlice,                              "discovery.k8s.io"             "v1";
        Endpoints,                                  ""                             "v1";
        Event,                                      ""                             "v1";
        events::v1::Event,                          "events.k8s.io"                "v1";
        Eviction,                                   "policy"                       "v1";
        FlowSchema,                                 "flowcontrol.apiserver.k8s.io" "v1";
        autoscaling::v1::HorizontalPodAutoscaler,   "autoscaling"                  "v1";
        autoscaling::v2::HorizontalPodAutoscaler,   "autoscaling"                  "v2";
        IPAddress,                                  "networking.k8s.io"            "v1";
        Ingress,                                    "networking.k8s.io"            "v1";
        IngressClass,                               "networking.k8s.io"            "v1";
        Job,                                        "batch"                        "v1";
        Lease,                                      "coordination.k8s.io"          "v1";
        LimitRange,                                 ""                             "v1";
        LocalSubjectAccessReview,                   "authorization.k8s.io"         "v1";
        Namespace,                                  ""                             "v1";
        NetworkPolicy,                              "networking.k8s.io"            "v1";
        Node,                                       ""                             "v1";
        PersistentVolume,                           ""                             "v1";
        PersistentVolumeClaim,                      ""                             "v1";
        Pod,                                        ""                             "v1";
        PodDisruptionBudget,                        "policy"                       "v1";
        PodTemplate,                                ""                             "v1";
        PriorityClass,                              "scheduling.k8s.io"            "v1";
        PriorityLevelConfiguration,                 "flowcontrol.apiserver.k8s.io" "v1";
        ReplicaSet,                                 "apps"                         "v1";
        ReplicationController,                      ""                             "v1";
        ResourceQuota,                              ""                             "v1";
        Role,                                       "rbac.authorization.k8s.io"    "v1";
        RoleBinding,                                "rbac.authorization.k8s.io"    "v1";
        RuntimeClass,                               "node.k8s.io"                  "v1";
        Scale,                                      "autoscaling"                  "v1";
        Secret,                                     ""                             "v1";
        SelfSubjectAccessReview,                    "authorization.k8s.io"         "v1";
        SelfSubjectReview,                          "authentication.k8s.io"        "v1";
        SelfSubjectRulesReview,                     "authorization.k8s.io"         "v1";
        Service,                                    ""                             "v1";
        ServiceAccount,                             ""                             "v1";
        ServiceCIDR,                                "networking.k8s.io"            "v1";
        StatefulSet,                                "apps"                         "v1";
        Status,                                     ""                             "v1";
        StorageClass,                               "storage.k8s.io"               "v1";
        SubjectAccessReview,                        "authorization.k8s.io"         "v1";
        TokenRequest,                               "authentication.k8s.io"        "v1";
        TokenReview,                                "authentication.k8s.io"        "v1";
        VolumeAttachment,                           "storage.k8s.io"               "v1";
        VolumeAttributesClass,                      "storage.k8s.io"               "v1";
    }
}

/// The kind of a type's path.
fn last(path: &'static str) -> &'static str {
    path.rsplit(':').next().unwrap_or(path).trim()
}

fn reference<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> String {
    generator.subschema_for::<T>();
    T::schema_name().into_owned()
}
