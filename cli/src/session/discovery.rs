//! What the server can do: its resources with their short names, from discovery.

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use serde::Deserialize;

use super::{Accept, Session};

/// One resource of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    /// Empty for core.
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    /// Plural name, as in paths.
    pub(crate) name: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
}

#[derive(Deserialize)]
struct GroupList {
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    preferred_version: GroupVersion,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupVersion {
    group_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceList {
    group_version: String,
    resources: Vec<ApiResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiResource {
    name: String,
    #[serde(default)]
    singular_name: String,
    namespaced: bool,
    kind: String,
    #[serde(default)]
    short_names: Vec<String>,
    #[serde(default)]
    categories: Vec<String>,
}

impl Resource {
    /// Path of all objects, or of those in a namespace if the resource has namespaces.
    pub(crate) fn collection(&self, namespace: Option<&str>) -> String {
        let root = match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        match namespace {
            Some(namespace) if self.namespaced => {
                format!("{root}/namespaces/{namespace}/{}", self.name)
            }
            _ => format!("{root}/{}", self.name),
        }
    }

    /// Path of one object.
    pub(crate) fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.collection(Some(namespace)))
    }

    /// `apiVersion` of its objects.
    pub(crate) fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// `deployment.apps`, as `-o name` has it.
    pub(crate) fn qualified_singular(&self) -> String {
        match self.group.as_str() {
            "" => self.singular.clone(),
            group => format!("{}.{group}", self.singular),
        }
    }

    /// `deployments.apps`.
    pub(crate) fn qualified(&self) -> String {
        match self.group.as_str() {
            "" => self.name.clone(),
            group => format!("{}.{group}", self.name),
        }
    }

    fn is_called(&self, name: &str) -> bool {
        let (name, group) = match name.split_once('.') {
            Some((name, group)) => (name, Some(group)),
            None => (name, None),
        };
        let group_fits = group.is_none_or(|group| {
            group == self.group || group == format!("{}.{}", self.version, self.group)
        });
        group_fits
            && (self.name == name
                || self.singular == name
                || self.kind.to_lowercase() == name
                || self.short_names.iter().any(|short| short == name))
    }
}

/// All resources, in the order of their groups: core first.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    resources: Vec<Resource>,
}

impl Catalogue {
    /// Asks the server. Two rounds: which groups, then all their resources at once.
    pub(super) async fn discover(session: &Session) -> Result<Catalogue> {
        let groups: GroupList =
            serde_json::from_value(session.get("/apis", Accept::Json).await?).context("/apis")?;
        let mut paths = vec!["/api/v1".to_owned()];
        paths.extend(
            groups
                .groups
                .into_iter()
                .map(|g| format!("/apis/{}", g.preferred_version.group_version)),
        );
        let lists = paths.iter().map(|path| session.get(path, Accept::Json));
        let mut resources = Vec::new();
        for list in try_join_all(lists).await? {
            let list: ResourceList = serde_json::from_value(list).context("a resource list")?;
            resources.extend(of_list(list));
        }
        Ok(Catalogue { resources })
    }

    /// The resources called so by a person: plural, singular, kind, short name or category.
    pub(crate) fn named(&self, name: &str) -> Result<Vec<&Resource>> {
        let lower = name.to_lowercase();
        if let Some(resource) = self.resources.iter().find(|r| r.is_called(&lower)) {
            return Ok(vec![resource]);
        }
        let of_category: Vec<&Resource> =
            self.resources.iter().filter(|r| r.categories.contains(&lower)).collect();
        if of_category.is_empty() {
            bail!("the server doesn't have a resource type \"{name}\"");
        }
        Ok(of_category)
    }

    /// The resource of a manifest.
    pub(crate) fn of_manifest(&self, api_version: &str, kind: &str) -> Result<&Resource> {
        self.resources
            .iter()
            .find(|r| r.kind == kind && r.api_version() == api_version)
            .with_context(|| format!("no matches for kind \"{kind}\" in version \"{api_version}\""))
    }
}

fn of_list(list: ResourceList) -> impl Iterator<Item = Resource> {
    let (group, version) = match list.group_version.split_once('/') {
        Some((group, version)) => (group.to_owned(), version.to_owned()),
        None => (String::new(), list.group_version),
    };
    list.resources.into_iter().filter(|r| !r.name.contains('/')).map(move |r| Resource {
        group: group.clone(),
        version: version.clone(),
        singular: if r.singular_name.is_empty() { r.kind.to_lowercase() } else { r.singular_name },
        kind: r.kind,
        name: r.name,
        short_names: r.short_names,
        categories: r.categories,
        namespaced: r.namespaced,
    })
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    /// A small server.
    pub(crate) fn catalogue() -> Catalogue {
        let resource = |group: &str, kind: &str, name: &str, short: &[&str], namespaced| Resource {
            group: group.to_owned(),
            version: "v1".to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            singular: kind.to_lowercase(),
            short_names: short.iter().map(|s| (*s).to_owned()).collect(),
            categories: if kind == "Node" { vec![] } else { vec!["all".to_owned()] },
            namespaced,
        };
        Catalogue {
            resources: vec![
                resource("", "Node", "nodes", &["no"], false),
                resource("", "Pod", "pods", &["po"], true),
                resource("", "Service", "services", &["svc"], true),
                resource("apps", "Deployment", "deployments", &["deploy"], true),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_have_many_names_for_a_resource() {
        let catalogue = samples::catalogue();
        for name in
            ["deploy", "deployment", "Deployments", "deployments.apps", "deployment.v1.apps"]
        {
            let found = catalogue.named(name).unwrap();
            assert_eq!(found[0].qualified(), "deployments.apps", "{name}");
        }
        assert_eq!(catalogue.named("all").unwrap().len(), 3);
        assert_eq!(
            catalogue.named("wombats").unwrap_err().to_string(),
            "the server doesn't have a resource type \"wombats\""
        );
    }

    #[test]
    fn paths_follow_scope() {
        let catalogue = samples::catalogue();
        let path = |name: &str| catalogue.named(name).unwrap()[0].object("shop", "x");
        assert_eq!(path("no"), "/api/v1/nodes/x");
        assert_eq!(path("deploy"), "/apis/apps/v1/namespaces/shop/deployments/x");
    }
}
