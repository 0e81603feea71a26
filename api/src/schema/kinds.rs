//! The roots of the graph: every kind that a request body or an answer may carry.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        authentication::v1::{SelfSubjectReview, TokenRequest, TokenReview},
        authorization::v1::{
            LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview,
            SubjectAccessReview,
        },
        autoscaling::v1::Scale,
        coordination::v1::Lease,
        core::v1::{
            Binding, ConfigMap, Event, Namespace, Node, Pod, Secret, Service, ServiceAccount,
        },
        discovery::v1::EndpointSlice,
        policy::v1::Eviction,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::{DeleteOptions, ListMeta, Patch, Status},
};
use schemars::SchemaGenerator;
use serde_json::{Map, Value};

/// The kinds and the schemas that they reach.
pub(super) struct Roots {
    /// Group, version, kind and the schema's name.
    pub(super) kinds: Vec<(&'static str, &'static str, &'static str, String)>,
    /// All schemas by name.
    pub(super) definitions: Map<String, Value>,
}

macro_rules! roots {
    ($generator:ident; $($kind:ident $group:literal $version:literal;)*) => {
        vec![$(($group, $version, stringify!($kind), reference::<$kind>(&mut $generator)),)*]
    };
}

/// Generates the schemas of all roots.
pub(super) fn roots() -> Roots {
    let settings = schemars::generate::SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.definitions_path = "/components/schemas".into();
    });
    let mut generator = settings.into_generator();
    let kinds = roots! { generator;
        Binding                  ""                          "v1";
        ClusterRole              "rbac.authorization.k8s.io" "v1";
        ClusterRoleBinding       "rbac.authorization.k8s.io" "v1";
        ConfigMap                ""                          "v1";
        CustomResourceDefinition "apiextensions.k8s.io"      "v1";
        DeleteOptions            ""                          "v1";
        Deployment               "apps"                      "v1";
        EndpointSlice            "discovery.k8s.io"          "v1";
        Event                    ""                          "v1";
        Eviction                 "policy"                    "v1";
        Lease                    "coordination.k8s.io"       "v1";
        LocalSubjectAccessReview "authorization.k8s.io"      "v1";
        Namespace                ""                          "v1";
        Node                     ""                          "v1";
        Pod                      ""                          "v1";
        ReplicaSet               "apps"                      "v1";
        Role                     "rbac.authorization.k8s.io" "v1";
        RoleBinding              "rbac.authorization.k8s.io" "v1";
        Scale                    "autoscaling"               "v1";
        Secret                   ""                          "v1";
        SelfSubjectAccessReview  "authorization.k8s.io"      "v1";
        SelfSubjectReview        "authentication.k8s.io"     "v1";
        SelfSubjectRulesReview   "authorization.k8s.io"      "v1";
        Service                  ""                          "v1";
        ServiceAccount           ""                          "v1";
        Status                   ""                          "v1";
        SubjectAccessReview      "authorization.k8s.io"      "v1";
        TokenRequest             "authentication.k8s.io"     "v1";
        TokenReview              "authentication.k8s.io"     "v1";
    };
    reference::<ListMeta>(&mut generator);
    reference::<Patch>(&mut generator);
    let definitions = generator.take_definitions(true).into_iter().collect();
    Roots { kinds, definitions }
}

fn reference<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> String {
    generator.subschema_for::<T>();
    T::schema_name().into_owned()
}
