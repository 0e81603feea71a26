//! The kinds that controllers cache: one row each.

/// How a resource is addressed on the wire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// API group; empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural name.
    pub plural: String,
    /// Kind.
    pub kind: String,
    /// Whether it lives in namespaces.
    pub namespaced: bool,
}

impl Resource {
    /// `apiVersion` on the wire.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The path of the collection, or of one object if `name` is not empty.
    pub fn path(&self, namespace: &str, name: &str, subresource: Option<&str>) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if self.namespaced && !namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        let name = (!name.is_empty()).then_some(name);
        for part in [Some(self.plural.as_str()), name, subresource].into_iter().flatten() {
            path.push('/');
            path.push_str(part);
        }
        path
    }
}

macro_rules! kinds {
    ($($kind:ident $group:literal $version:literal $plural:literal $namespaced:literal;)*) => {
        /// A cached kind.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "the variants are the Kubernetes kinds themselves")]
        pub enum Kind { $($kind,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind,)*];

            /// How it is addressed.
            pub fn resource(self) -> Resource {
                let (group, version, plural, kind, namespaced) = match self {
                    $(Kind::$kind => ($group, $version, $plural, stringify!($kind), $namespaced),)*
                };
                Resource {
                    group: group.to_owned(),
                    version: version.to_owned(),
                    plural: plural.to_owned(),
                    kind: kind.to_owned(),
                    namespaced,
                }
            }

            /// The cached kind that an owner reference names, if it is one.
            pub fn from_reference(api_version: &str, kind: &str) -> Option<Kind> {
                let group = api_version.split_once('/').map_or("", |(group, _)| group);
                match (group, kind) {
                    $(($group, stringify!($kind)) => Some(Kind::$kind),)*
                    _ => None,
                }
            }

            /// Whether it lives in namespaces.
            pub fn namespaced(self) -> bool {
                match self { $(Kind::$kind => $namespaced,)* }
            }
        }
    };
}

kinds! {
    CertificateSigningRequest  "certificates.k8s.io"          "v1" "certificatesigningrequests"   false;
    ClusterRole                "rbac.authorization.k8s.io"    "v1" "clusterroles"                 false;
    ClusterRoleBinding         "rbac.authorization.k8s.io"    "v1" "clusterrolebindings"          false;
    ConfigMap                  ""                             "v1" "configmaps"                   true;
    ControllerRevision         "apps"                         "v1" "controllerrevisions"          true;
    CronJob                    "batch"                        "v1" "cronjobs"                     true;
    CSIDriver                  "storage.k8s.io"               "v1" "csidrivers"                   false;
    CSINode                    "storage.k8s.io"               "v1" "csinodes"                     false;
    CSIStorageCapacity         "storage.k8s.io"               "v1" "csistoragecapacities"         true;
    DaemonSet                  "apps"                         "v1" "daemonsets"                   true;
    Deployment                 "apps"                         "v1" "deployments"                  true;
    Endpoints                  ""                             "v1" "endpoints"                    true;
    EndpointSlice              "discovery.k8s.io"             "v1" "endpointslices"               true;
    FlowSchema                 "flowcontrol.apiserver.k8s.io" "v1" "flowschemas"                  false;
    HorizontalPodAutoscaler    "autoscaling"                  "v2" "horizontalpodautoscalers"     true;
    Ingress                    "networking.k8s.io"            "v1" "ingresses"                    true;
    IngressClass               "networking.k8s.io"            "v1" "ingressclasses"               false;
    IPAddress                  "networking.k8s.io"            "v1" "ipaddresses"                  false;
    Job                        "batch"                        "v1" "jobs"                         true;
    Lease                      "coordination.k8s.io"          "v1" "leases"                       true;
    LimitRange                 ""                             "v1" "limitranges"                  true;
    Namespace                  ""                             "v1" "namespaces"                   false;
    NetworkPolicy              "networking.k8s.io"            "v1" "networkpolicies"              true;
    Node                       ""                             "v1" "nodes"                        false;
    PersistentVolume           ""                             "v1" "persistentvolumes"            false;
    PersistentVolumeClaim      ""                             "v1" "persistentvolumeclaims"       true;
    Pod                        ""                             "v1" "pods"                         true;
    PodDisruptionBudget        "policy"                       "v1" "poddisruptionbudgets"         true;
    PodTemplate                ""                             "v1" "podtemplates"                 true;
    PriorityClass              "scheduling.k8s.io"            "v1" "priorityclasses"              false;
    PriorityLevelConfiguration "flowcontrol.apiserver.k8s.io" "v1" "prioritylevelconfigurations"  false;
    ReplicaSet                 "apps"                         "v1" "replicasets"                  true;
    ReplicationController      ""                             "v1" "replicationcontrollers"       true;
    ResourceQuota              ""                             "v1" "resourcequotas"               true;
    Role                       "rbac.authorization.k8s.io"    "v1" "roles"                        true;
    RoleBinding                "rbac.authorization.k8s.io"    "v1" "rolebindings"                 true;
    RuntimeClass               "node.k8s.io"                  "v1" "runtimeclasses"               false;
    Secret                     ""                             "v1" "secrets"                      true;
    Service                    ""                             "v1" "services"                     true;
    ServiceAccount             ""                             "v1" "serviceaccounts"              true;
    ServiceCIDR                "networking.k8s.io"            "v1" "servicecidrs"                 false;
    StatefulSet                "apps"                         "v1" "statefulsets"                 true;
    StorageClass               "storage.k8s.io"               "v1" "storageclasses"               false;
    VolumeAttachment           "storage.k8s.io"               "v1" "volumeattachments"            false;
    VolumeAttributesClass      "storage.k8s.io"               "v1" "volumeattributesclasses"      false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        let paths = [
            Kind::Pod.resource().path("default", "web", Some("status")),
            Kind::Node.resource().path("", "n1", None),
            Kind::Deployment.resource().path("default", "", None),
            Kind::EndpointSlice.resource().path("", "", None),
        ];
        expect_test::expect![[r#"
            /api/v1/namespaces/default/pods/web/status
            /api/v1/nodes/n1
            /apis/apps/v1/namespaces/default/deployments
            /apis/discovery.k8s.io/v1/endpointslices"#]]
        .assert_eq(&paths.join("\n"));
    }
}
