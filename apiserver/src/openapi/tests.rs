use serde_json::json;

use super::*;

fn get(path: &[&str]) -> Value {
    let response = serve(&Catalogue::builtin(), path, "").expect("a document");
    let bytes = response.into_body().as_full().expect("bytes").clone();
    serde_json::from_slice(&bytes).expect("JSON")
}

fn check_references(value: &Value, document: &Value, prefix: &str) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                let name = name.strip_prefix(prefix).expect("a reference in this document");
                let home = if prefix.starts_with("#/c") {
                    &document["components"]["schemas"]
                } else {
                    &document["definitions"]
                };
                assert!(home[name].is_object(), "dangling reference to {name}");
            }
            map.values().for_each(|inner| check_references(inner, document, prefix));
        }
        Value::Array(items) => {
            items.iter().for_each(|inner| check_references(inner, document, prefix));
        }
        _ => {}
    }
}

#[test]
fn every_group_and_version_has_a_document_without_dangling_references() {
    let index = get(&["v3"]);
    for group_version in Catalogue::builtin().group_versions() {
        let path = prefix(&group_version);
        let url = index["paths"][&path]["serverRelativeURL"].as_str().expect("an address");
        assert!(url.starts_with(&format!("/openapi/v3/{path}?hash=")), "{url}");
        let parts: Vec<&str> = std::iter::once("v3").chain(path.split('/')).collect();
        let document = get(&parts);
        check_references(&document, &document, "#/components/schemas/");
    }
    let two = get(&["v2"]);
    check_references(&two, &two, "#/definitions/");
    assert!(serve(&Catalogue::builtin(), &["v3", "apis", "nope"], "").is_none());
}

#[test]
fn patches_of_every_kind_take_field_validation() {
    let document = get(&["v3", "apis", "apps", "v1"]);
    let item = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    let names: Vec<&str> = item["patch"]["parameters"]
        .as_array()
        .expect("parameters")
        .iter()
        .filter_map(|parameter| parameter["name"].as_str())
        .collect();
    assert!(names.contains(&"fieldValidation"), "{names:?}");
    assert_eq!(
        item["patch"]["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
}

#[test]
fn components_tell_how_lists_merge() {
    let document = get(&["v3", "api", "v1"]);
    let spec = &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"];
    assert_eq!(spec["containers"]["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(spec["volumes"]["x-kubernetes-patch-strategy"], "merge,retainKeys");
    let pod = &document["components"]["schemas"]["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        pod["x-kubernetes-group-version-kind"],
        json!([{"group": "", "version": "v1", "kind": "Pod"}])
    );
    assert_eq!(
        pod["properties"]["spec"]["allOf"][0]["$ref"],
        "#/components/schemas/io.k8s.api.core.v1.PodSpec"
    );
    let two = get(&["v2"]);
    let pod = &two["definitions"]["io.k8s.api.core.v1.Pod"];
    assert_eq!(pod["properties"]["spec"]["$ref"], "#/definitions/io.k8s.api.core.v1.PodSpec");
}

#[test]
fn clients_that_want_protobuf_get_it() {
    let response = serve(&Catalogue::builtin(), &["v2"], PROTOBUF_ASKED).expect("an answer");
    assert_eq!(response.headers()["content-type"], PROTOBUF);
    let bytes = response.into_body().as_full().expect("bytes").clone();
    // Field 1, three bytes: the version of the specification.
    assert!(bytes.starts_with(b"\x0a\x032.0"), "{:?}", &bytes[..8]);
}

#[test]
fn every_row_has_a_schema_and_paths() {
    let catalogue = Catalogue::builtin();
    let components = kontiki_api::schema::components();
    for group_version in catalogue.group_versions() {
        let paths = paths::of(&catalogue, Some(&group_version), Spec::Three);
        let schemas = schemas::reachable(&components, &catalogue, Some(&group_version));
        for row in catalogue.rows().iter().filter(|row| row.group_version() == group_version) {
            let name = schemas::name_of(&row.group, &row.version, &row.kind);
            let name = name.unwrap_or_else(|| panic!("no type for {}", row.kind));
            let schema = &schemas[&name];
            let kinds = schema["x-kubernetes-group-version-kind"].as_array().expect(&name);
            let own =
                serde_json::json!({"group": row.group, "version": row.version, "kind": row.kind});
            assert!(kinds.contains(&own), "{name} does not say that it is {own}");
            let required = schema["required"].as_array().into_iter().flatten();
            assert!(!required.into_iter().any(|field| field == "metadata"), "{name}");
            let scope = if row.namespaced() { "/namespaces/{namespace}" } else { "" };
            let place = format!("/{}{scope}/{}", prefix(&group_version), row.resource);
            assert!(paths.get(&place).is_some(), "no path {place}");
        }
    }
}
