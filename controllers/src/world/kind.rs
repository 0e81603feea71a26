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
    ClusterRole         "rbac.authorization.k8s.io" "v1" "clusterroles"         false;
    ClusterRoleBinding  "rbac.authorization.k8s.io" "v1" "clusterrolebindings"  false;
    ConfigMap           ""                          "v1" "configmaps"           true;
    Deployment          "apps"                      "v1" "deployments"          true;
    EndpointSlice       "discovery.k8s.io"          "v1" "endpointslices"       true;
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
