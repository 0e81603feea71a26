//! Which groups, versions and resources there are, derived from the catalogue.
//!
//! Two forms: the documents per group and version that every client knows, and the aggregated ones
//! (`apidiscovery.k8s.io/v2`) that new clients ask for to save requests.

use http::{Response, StatusCode, header};
use kontiki_api::{
    Catalogue,
    catalogue::{GroupVersion, Row},
};
use serde_json::{Value, json};

use crate::{
    answer::{self, Body},
    core::Core,
    exchange::Exchange,
    reviews,
};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// What this server says it is.
pub fn version() -> Response<Body> {
    let version = json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": kontiki_api::GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, arch()),
    });
    answer::value(StatusCode::OK, &version)
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Answers `/`, `/api...` and `/apis...`, given the segments of the path.
pub fn serve(core: &Core, exchange: &Exchange, parts: &[&str]) -> Option<Response<Body>> {
    let catalogue = &core.catalogue;
    let aggregated = wants_aggregated(exchange.header(header::ACCEPT));
    let value = match parts {
        [] => paths(catalogue),
        ["api"] | ["apis"] if aggregated => {
            let list = aggregated_groups(catalogue, parts[0] == "api");
            return Some(answer::typed(StatusCode::OK, AGGREGATED, Body::full(list.to_string())));
        }
        ["api"] => json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{
                "clientCIDR": "0.0.0.0/0",
                "serverAddress": format!(
                    "{}:{}", core.options.advertise_address, core.options.advertise_port
                ),
            }],
        }),
        ["apis"] => {
            let groups: Vec<Value> =
                groups(catalogue).iter().map(|(name, versions)| group(name, versions)).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["api", version] => resources(catalogue, "", version)?,
        ["apis", name] => {
            let all = groups(catalogue);
            let (name, versions) = all.iter().find(|(known, _)| known == name)?;
            let mut group = group(name, versions);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        ["apis", group, version] => resources(catalogue, group, version)?,
        _ => return None,
    };
    Some(answer::value(StatusCode::OK, &value))
}

fn wants_aggregated(accept: &str) -> bool {
    accept.split(',').any(|offer| {
        let has = |parameter: &str| offer.split(';').any(|part| part.trim() == parameter);
        has("application/json")
            && has("g=apidiscovery.k8s.io")
            && has("v=v2")
            && has("as=APIGroupDiscoveryList")
    })
}

/// All groups but core with their versions, those of the questions included.
fn groups(catalogue: &Catalogue) -> Vec<(String, Vec<String>)> {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    let known = catalogue.group_versions();
    let known = known.iter().map(|GroupVersion { group, version }| (&**group, &**version));
    let asked = reviews::TABLE.iter().map(|review| (review.group, review.version));
    for (group, version) in known.chain(asked).filter(|(group, _)| !group.is_empty()) {
        match all.iter_mut().find(|(name, _)| name == group) {
            Some((_, versions)) if versions.iter().any(|own| own == version) => {}
            Some((_, versions)) => versions.push(version.to_owned()),
            None => all.push((group.to_owned(), vec![version.to_owned()])),
        }
    }
    all.sort();
    for (_, versions) in &mut all {
        // The preferred version comes first: `v2` before `v1`.
        versions.sort_by(|one, other| other.cmp(one));
    }
    all
}

fn group(name: &str, versions: &[String]) -> Value {
    let shown: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    json!({"name": name, "versions": shown, "preferredVersion": shown[0]})
}

/// What there is beside groups and versions.
const FIXED_PATHS: [&str; 9] = [
    "/.well-known/openid-configuration",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openid/v1/jwks",
    "/readyz",
    "/version",
];

fn paths(catalogue: &Catalogue) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (name, versions) in groups(catalogue) {
        paths.push(format!("/apis/{name}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{name}/{version}")));
    }
    paths.extend(FIXED_PATHS.map(str::to_owned));
    paths.sort();
    json!({"paths": paths})
}

/// The document of one group and version.
fn resources(catalogue: &Catalogue, group: &str, version: &str) -> Option<Value> {
    let mut list = Vec::new();
    for row in catalogue.in_group_version(group, version) {
        list.push(main_resource(row));
        for sub in &row.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", row.resource, sub.name),
                "singularName": "",
                "namespaced": row.namespaced(),
                "kind": sub.kind,
                "verbs": sub.verbs,
            });
            if let Some(other) = &sub.kind_in {
                entry["group"] = other.group.as_ref().into();
                entry["version"] = other.version.as_ref().into();
            }
            list.push(entry);
        }
    }
    for review in reviews::TABLE.iter().filter(|r| r.group == group && r.version == version) {
        list.push(json!({
            "name": review.resource,
            "singularName": review.kind.to_ascii_lowercase(),
            "namespaced": review.namespaced,
            "kind": review.kind,
            "verbs": ["create"],
        }));
    }
    if list.is_empty() {
        return None;
    }
    list.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let name = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": list,
    }))
}

fn main_resource(row: &Row) -> Value {
    let mut entry = json!({
        "name": row.resource,
        "singularName": row.singular,
        "namespaced": row.namespaced(),
        "kind": row.kind,
        "verbs": row.verbs,
    });
    if !row.short_names.is_empty() {
        entry["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        entry["categories"] = json!(row.categories);
    }
    entry
}

/// All groups in one document: core, or all others.
fn aggregated_groups(catalogue: &Catalogue, core: bool) -> Value {
    let groups =
        if core { vec![(String::new(), vec!["v1".to_owned()])] } else { groups(catalogue) };
    let items: Vec<Value> = groups
        .iter()
        .map(|(name, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    json!({
                        "version": version,
                        "freshness": "Current",
                        "resources": aggregated_resources(catalogue, name, version),
                    })
                })
                .collect();
            json!({"metadata": {"name": name, "creationTimestamp": null}, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": items,
    })
}

fn aggregated_resources(catalogue: &Catalogue, group: &str, version: &str) -> Vec<Value> {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let scope = |namespaced: bool| if namespaced { "Namespaced" } else { "Cluster" };
    let mut list: Vec<Value> = Vec::new();
    for row in catalogue.in_group_version(group, version) {
        let mut entry = json!({
            "resource": row.resource,
            "responseKind": kind(group, version, &row.kind),
            "scope": scope(row.namespaced()),
            "singularResource": row.singular,
            "verbs": row.verbs,
        });
        if !row.short_names.is_empty() {
            entry["shortNames"] = json!(row.short_names);
        }
        if !row.categories.is_empty() {
            entry["categories"] = json!(row.categories);
        }
        let subs: Vec<Value> = row
            .subresources
            .iter()
            .map(|sub| {
                let (group, version) = match &sub.kind_in {
                    Some(other) => (other.group.as_ref(), other.version.as_ref()),
                    None => (group, version),
                };
                json!({
                    "subresource": sub.name,
                    "responseKind": kind(group, version, &sub.kind),
                    "verbs": sub.verbs,
                })
            })
            .collect();
        if !subs.is_empty() {
            entry["subresources"] = subs.into();
        }
        list.push(entry);
    }
    for review in reviews::TABLE.iter().filter(|r| r.group == group && r.version == version) {
        list.push(json!({
            "resource": review.resource,
            "responseKind": kind(group, version, review.kind),
            "scope": scope(review.namespaced),
            "singularResource": review.kind.to_ascii_lowercase(),
            "verbs": ["create"],
        }));
    }
    list.sort_by(|a, b| a["resource"].as_str().cmp(&b["resource"].as_str()));
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_discovered_in_both_forms() {
        let catalogue = Catalogue::builtin();
        for row in catalogue.rows() {
            let list = resources(&catalogue, &row.group, &row.version).unwrap();
            let found = list["resources"].as_array().unwrap().iter();
            assert!(found.clone().any(|entry| entry["name"] == *row.resource), "{}", row.kind);
            let list = aggregated_resources(&catalogue, &row.group, &row.version);
            assert!(list.iter().any(|entry| entry["resource"] == *row.resource), "{}", row.kind);
        }
        let names: Vec<String> = groups(&catalogue).into_iter().map(|(name, _)| name).collect();
        assert!(names.contains(&"authorization.k8s.io".to_owned()));
    }
}
