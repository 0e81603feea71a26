//! What a namespace contains, of all resources that the API server serves.

use kontiki_client::Error;
use serde::Deserialize;

use super::FinalizerCounts;
use crate::world::Resource;

/// Objects looked at per resource; if there are more, the next survey sees the rest.
const PAGE: u32 = 500;

/// Everything in one namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    /// Per resource that has objects.
    pub(crate) rows: Vec<Row>,
    /// Groups of which it is not known what they serve.
    pub(crate) failures: Vec<String>,
    /// Resources that could not be listed.
    pub(crate) unlisted: Vec<String>,
}

/// The objects of one resource.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub resource: Resource,
    /// Objects there are.
    pub remaining: usize,
    /// Those whose deletion was not requested yet.
    pub undeleted: usize,
    pub finalizers: FinalizerCounts,
}

impl Row {
    pub(crate) fn is_pods(&self) -> bool {
        self.resource.group.is_empty() && self.resource.plural == "pods"
    }
}

impl Content {
    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.iter().all(|row| row.remaining == 0)
    }

    /// Whether nothing is left, as far as everything could be looked at.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_empty() && self.failures.is_empty() && self.unlisted.is_empty()
    }

    /// What keeps us from knowing all resources.
    pub(crate) fn describe_failures(&self) -> Option<String> {
        let mut failures = self.failures.clone();
        failures.sort();
        (!failures.is_empty()).then(|| {
            format!(
                "Discovery failed for some groups, {} failing: unable to retrieve the complete \
                 list of server APIs: {}",
                failures.len(),
                failures.join(", ")
            )
        })
    }

    /// `pods. has 2 resource instances`, for all that remain.
    pub(crate) fn describe_remaining(&self) -> Option<String> {
        let mut parts: Vec<String> = self
            .rows
            .iter()
            .filter(|row| row.remaining > 0)
            .map(|row| {
                let (plural, group) = (&row.resource.plural, &row.resource.group);
                format!("{plural}.{group} has {} resource instances", row.remaining)
            })
            .collect();
        parts.sort();
        (!parts.is_empty()).then(|| format!("Some resources are remaining: {}", parts.join(", ")))
    }

    /// `example.com/wait in 1 resource instances`, for all finalizers.
    pub(crate) fn describe_finalizers(&self) -> Option<String> {
        let mut counts = FinalizerCounts::new();
        for (name, count) in self.rows.iter().flat_map(|row| &row.finalizers) {
            *counts.entry(name.clone()).or_default() += count;
        }
        let parts: Vec<String> = counts
            .iter()
            .map(|(name, count)| format!("{name} in {count} resource instances"))
            .collect();
        (!parts.is_empty()).then(|| {
            format!("Some content in the namespace has finalizers remaining: {}", parts.join(", "))
        })
    }
}

#[derive(Deserialize)]
struct GroupList {
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
struct ResourceList {
    resources: Vec<ResourceRow>,
}

#[derive(Deserialize)]
struct ResourceRow {
    name: String,
    namespaced: bool,
    kind: String,
    #[serde(default)]
    verbs: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    #[serde(default)]
    remaining_item_count: usize,
}

#[derive(Deserialize)]
struct ObjectList {
    #[serde(default)]
    metadata: ListMetadata,
    #[serde(default)]
    items: Option<Vec<ObjectRow>>,
}

#[derive(Deserialize)]
struct ObjectRow {
    metadata: ObjectMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectMetadata {
    #[serde(default)]
    deletion_timestamp: Option<String>,
    #[serde(default)]
    finalizers: Option<Vec<String>>,
}

/// Looks at everything in a namespace.
pub(crate) async fn survey(
    client: &kontiki_client::Client,
    namespace: &str,
) -> Result<Content, Error> {
    let mut content = Content::default();
    for resource in deletable(client, &mut content.failures).await? {
        let path = format!("{}?limit={PAGE}", resource.path(namespace, "", None));
        match get::<ObjectList>(client, &path).await {
            Ok(list) => content.rows.extend(row(resource, list)),
            // Its definition went away meanwhile, and its objects with it.
            Err(error) if error.is_not_found() => {}
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => content.unlisted.push(format!("{}: {error}", resource.plural)),
        }
    }
    Ok(content)
}

fn row(resource: Resource, list: ObjectList) -> Option<Row> {
    let items = list.items.filter(|items| !items.is_empty())?;
    let mut finalizers = FinalizerCounts::new();
    for name in items.iter().flat_map(|item| item.metadata.finalizers.iter().flatten()) {
        *finalizers.entry(name.clone()).or_default() += 1;
    }
    let undeleted = items.iter().filter(|item| item.metadata.deletion_timestamp.is_none()).count();
    let remaining = items.len() + list.metadata.remaining_item_count;
    Some(Row { resource, remaining, undeleted, finalizers })
}

/// All namespaced resources that can be listed and deleted.
async fn deletable(
    client: &kontiki_client::Client,
    failures: &mut Vec<String>,
) -> Result<Vec<Resource>, Error> {
    let groups: GroupList = get(client, "/apis").await?;
    let versions = groups.groups.into_iter().map(|group| group.preferred_version.group_version);
    let mut resources = Vec::new();
    for group_version in std::iter::once("v1".to_owned()).chain(versions) {
        let root = if group_version.contains('/') { "apis" } else { "api" };
        let list: ResourceList = match get(client, &format!("/{root}/{group_version}")).await {
            Ok(list) => list,
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                failures.push(format!("{group_version}: {error}"));
                continue;
            }
        };
        let (group, version) =
            group_version.split_once('/').unwrap_or(("", group_version.as_str()));
        let has = |row: &ResourceRow, verb: &str| row.verbs.iter().any(|known| known == verb);
        let rows = list.resources.into_iter().filter(|row| {
            row.namespaced && !row.name.contains('/') && has(row, "delete") && has(row, "list")
        });
        resources.extend(rows.map(|row| Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: row.name,
            kind: row.kind,
            namespaced: true,
        }));
    }
    Ok(resources)
}

async fn get<T: for<'a> Deserialize<'a>>(
    client: &kontiki_client::Client,
    path: &str,
) -> Result<T, Error> {
    let answer = client.call(http::Method::GET, path, None).await?;
    serde_json::from_slice(&answer.body)
        .map_err(|error| Error::InvalidRequest(format!("{path}: {error}")))
}
