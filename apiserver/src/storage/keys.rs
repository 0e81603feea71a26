//! Where objects are in the store: etcd's layout below one configurable prefix.

use kontiki_api::catalogue;

/// The layout.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// A layout below `prefix`, such as `/registry`.
    pub fn new(prefix: &str) -> Keys {
        Keys { prefix: prefix.trim_end_matches('/').to_owned() }
    }

    /// What all keys of a resource start with; ends with a slash.
    pub fn resource(&self, row: &catalogue::Row) -> String {
        let path = match (row.group.as_ref(), row.resource.as_ref()) {
            ("", "nodes") => "minions",
            ("", "services") => "services/specs",
            ("", "endpoints") => "services/endpoints",
            ("", "replicationcontrollers") => "controllers",
            ("networking.k8s.io", "ingresses") => "ingress",
            (_, resource) => resource,
        };
        format!("{}/{path}/", self.prefix)
    }

    /// The key of a claim.
    pub fn claim(&self, claim: &str) -> String {
        format!("{}{claim}", self.claims())
    }

    /// What all keys of claims start with.
    pub fn claims(&self) -> String {
        format!("{}/kontiki/claims/", self.prefix)
    }

    /// What the keys start with that say which API servers live.
    pub fn servers(&self) -> String {
        format!("{}/masterleases/", self.prefix)
    }
}

/// An object's key behind its resource's prefix: `NAMESPACE/NAME` or `NAME`.
pub fn relative(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kontiki_api::Catalogue;

    #[test]
    fn keys_are_where_etcd_tools_look() {
        let catalogue = Catalogue::builtin();
        let keys = Keys::new("/registry/");
        for (word, expected) in [
            ("pods", "/registry/pods/"),
            ("services", "/registry/services/specs/"),
            ("nodes", "/registry/minions/"),
            ("deployments", "/registry/deployments/"),
            ("ingresses", "/registry/ingress/"),
            ("events.events.k8s.io", "/registry/events/"),
        ] {
            assert_eq!(keys.resource(catalogue.find(word).unwrap()), expected);
        }
        assert_eq!(keys.claim("nodeports/tcp/1"), "/registry/kontiki/claims/nodeports/tcp/1");
    }
}
