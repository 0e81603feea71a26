//! Lists: selection, pages, tables, revisions.

use std::io::Read;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use kontiki_raft::types::Revision;
use serde_json::{Value, json};

use crate::support::{CONFIG_MAPS, Caller, Cluster, config_map};

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_select_and_page() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for n in 0..7 {
        let parity = if n % 2 == 0 { "even" } else { "odd" };
        let object = json!({"metadata": {"name": format!("c{n}"), "labels": {"parity": parity}}});
        admin.create(CONFIG_MAPS, &object).await.ok();
    }
    let all = admin.get(CONFIG_MAPS).await.ok();
    assert_eq!(names(&all), ["c0", "c1", "c2", "c3", "c4", "c5", "c6"]);
    assert_eq!(all["kind"], "ConfigMapList");
    let odd = admin.get(&format!("{CONFIG_MAPS}?labelSelector=parity%3Dodd")).await.ok();
    assert_eq!(names(&odd), ["c1", "c3", "c5"]);
    let one = admin.get(&format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Dc4")).await.ok();
    assert_eq!(names(&one), ["c4"]);
    let bad = admin.get(&format!("{CONFIG_MAPS}?fieldSelector=data.a%3Db")).await;
    assert_eq!(bad.code, 400);
    let first = admin.get(&format!("{CONFIG_MAPS}?limit=3")).await.ok();
    assert_eq!(names(&first), ["c0", "c1", "c2"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 4);
    // The next pages show the cluster as it was at the first.
    admin.delete(&format!("{CONFIG_MAPS}/c4")).await.ok();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = admin.get(&format!("{CONFIG_MAPS}?limit=3&continue={token}")).await.ok();
    assert_eq!(names(&second), ["c3", "c4", "c5"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(second["metadata"]["remainingItemCount"], 1);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = admin.get(&format!("{CONFIG_MAPS}?limit=3&continue={token}")).await.ok();
    assert_eq!(names(&third), ["c6"]);
    assert_eq!(third["metadata"].get("continue"), None);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_keep_to_the_revision_asked_for() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let first = admin.create(CONFIG_MAPS, &json!({"metadata": {"name": "a"}})).await;
    let second = admin.create(CONFIG_MAPS, &json!({"metadata": {"name": "b"}})).await;
    let at = |query: String| {
        let admin = admin.clone();
        async move { admin.get(&format!("{CONFIG_MAPS}?{query}")).await }
    };
    let exact = format!("resourceVersion={}&resourceVersionMatch=Exact", first.revision);
    assert_eq!(names(&at(exact).await.ok()), ["a"]);
    let fresh = format!("resourceVersion={}&resourceVersionMatch=NotOlderThan", second.revision);
    assert_eq!(names(&at(fresh).await.ok()), ["a", "b"]);
    let future = at("resourceVersion=999999".to_owned()).await;
    assert!(
        future.refusal().starts_with("504 Timeout: Timeout: Too large resource version: 999999")
    );
    assert_eq!(at("resourceVersionMatch=Exact".to_owned()).await.code, 422);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_and_metadata_on_request() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let shaped = async |accept: &str| {
        let request = Request::get("/api/v1/namespaces")
            .header("accept", accept)
            .body(Full::default())
            .unwrap();
        let response = admin.send(request).await;
        let code = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice::<Value>(&bytes).unwrap_or_default())
    };
    let (_, table) = shaped("application/json;as=Table;v=v1;g=meta.k8s.io,application/json").await;
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["rows"][0]["cells"][0], "default");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let (_, list) = shaped(accept).await;
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0].get("spec"), None);
    let (_, older) = shaped("application/json;as=Table;v=v1beta1;g=meta.k8s.io").await;
    assert_eq!(older["apiVersion"], "meta.k8s.io/v1beta1");
    assert_eq!(older["rows"][0]["object"]["apiVersion"], "meta.k8s.io/v1beta1");
    let (code, _) = shaped("text/html").await;
    assert_eq!(code, 406);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_took_too_long_are_refused() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for name in ["a", "b", "c"] {
        admin.create(CONFIG_MAPS, &json!({"metadata": {"name": name}})).await.ok();
    }
    let first = admin.get(&format!("{CONFIG_MAPS}?limit=1")).await.ok();
    let last = admin.delete(&format!("{CONFIG_MAPS}/a")).await.revision;
    cluster.store.compact(Revision(last)).await.unwrap();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let late = admin.get(&format!("{CONFIG_MAPS}?limit=1&continue={token}")).await;
    assert!(late.refusal().starts_with("410 Expired: The provided continue parameter is too old"));
    // With the token of the refusal it goes on, from the same key, with what there is now.
    admin.create(CONFIG_MAPS, &json!({"metadata": {"name": "bb"}})).await.ok();
    let token = late.value["metadata"]["continue"].as_str().unwrap();
    let second = admin.get(&format!("{CONFIG_MAPS}?limit=1&continue={token}")).await.ok();
    assert_eq!(names(&second), ["b"]);
    assert_ne!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(second["metadata"]["remainingItemCount"], 2);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let rest = admin.get(&format!("{CONFIG_MAPS}?continue={token}")).await.ok();
    assert_eq!(names(&rest), ["bb", "c"]);
    assert_eq!(rest["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
    let exact = format!("{CONFIG_MAPS}?resourceVersion=1&resourceVersionMatch=Exact");
    assert_eq!(
        admin.get(&exact).await.refusal(),
        "410 Expired: The resourceVersion for the provided list is too old."
    );
    let both = format!("{CONFIG_MAPS}?continue={token}&resourceVersion=1");
    assert_eq!(
        admin.get(&both).await.refusal(),
        "400 BadRequest: specifying resource version is not allowed when using continue"
    );
    cluster.stop().await;
}

/// What a client gets that sends these headers: code, content type, content encoding and bytes.
async fn raw(admin: &Caller, uri: &str, headers: &[(&str, &str)]) -> (u16, String, String, Bytes) {
    let request = headers
        .iter()
        .fold(Request::get(uri), |request, (name, value)| request.header(*name, *value));
    let response = admin.send(request.body(Full::default()).unwrap()).await;
    let header = |name: &str| {
        let value = response.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let (media_type, coding) = (header("content-type"), header("content-encoding"));
    let code = response.status().as_u16();
    (code, media_type, coding, response.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_are_compressed_for_those_who_ask() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let text = "some text that repeats itself, and repeats itself. ".repeat(1000);
    for n in 0..6 {
        let object = json!({"metadata": {"name": format!("c{n}")}, "data": {"text": text}});
        admin.create(CONFIG_MAPS, &object).await.ok();
    }
    let gzip = [("accept-encoding", "gzip")];
    let (_, media_type, coding, packed) = raw(&admin, CONFIG_MAPS, &gzip).await;
    assert_eq!((media_type.as_str(), coding.as_str()), ("application/json", "gzip"));
    assert!(packed.len() < 60_000, "{}", packed.len());
    let mut out = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut out).unwrap();
    let list: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(names(&list), ["c0", "c1", "c2", "c3", "c4", "c5"]);
    let (_, _, coding, plain) = raw(&admin, CONFIG_MAPS, &[]).await;
    assert_eq!((coding.as_str(), plain.len()), ("", out.len()));
    let (_, _, coding, _) = raw(&admin, &format!("{CONFIG_MAPS}/c1"), &gzip).await;
    assert_eq!(coding, "");
    let table = [gzip[0], ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let whole = format!("{CONFIG_MAPS}?includeObject=Object");
    assert_eq!(raw(&admin, &whole, &table).await.2, "gzip");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protobuf_is_for_those_who_take_nothing_else() {
    use kontiki_apiserver::protobuf::to_json;

    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let version = admin.create(CONFIG_MAPS, &config_map("one")).await.revision;
    let only = [("accept", PROTOBUF)];
    let one = format!("{CONFIG_MAPS}/one");
    let (_, media_type, _, bytes) = raw(&admin, &one, &only).await;
    assert_eq!(media_type, PROTOBUF);
    assert_eq!(to_json(&bytes).unwrap(), admin.get(&one).await.ok());
    let either = [("accept", "application/vnd.kubernetes.protobuf,application/json")];
    assert_eq!(raw(&admin, &one, &either).await.1, "application/json");
    let (code, media_type, _, bytes) = raw(&admin, &format!("{CONFIG_MAPS}/no"), &only).await;
    assert_eq!((code, media_type.as_str()), (404, PROTOBUF));
    assert_eq!(to_json(&bytes).unwrap()["message"], "configmaps \"no\" not found");
    let (_, media_type, _, bytes) = raw(&admin, CONFIG_MAPS, &only).await;
    assert_eq!(media_type, PROTOBUF);
    // kind, then the items' names: what the table knows of lists is how they are written.
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("k8s\0") && text.contains("ConfigMapList") && text.contains("one"));
    let metadata = format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    let (_, _, _, bytes) = raw(&admin, &one, &[("accept", &metadata)]).await;
    let partial = to_json(&bytes).unwrap();
    assert_eq!(partial["kind"], "PartialObjectMetadata");
    assert_eq!((&partial["metadata"]["name"], partial.get("data")), (&json!("one"), None));
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(raw(&admin, crds, &only).await.0, 406);

    let watch = format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1&resourceVersion={}", version - 1);
    let stream = [("accept", "application/vnd.kubernetes.protobuf;stream=watch")];
    let (_, media_type, _, frames) = raw(&admin, &watch, &stream).await;
    assert_eq!(media_type, "application/vnd.kubernetes.protobuf;stream=watch");
    let length = u32::from_be_bytes(frames[..4].try_into().unwrap()) as usize;
    let at = frames.windows(4).position(|four| four == b"k8s\0").unwrap();
    assert_eq!(to_json(&frames[at..4 + length]).unwrap()["metadata"]["name"], "one");
    let yaml = [("accept", "application/yaml")];
    assert_eq!(raw(&admin, &watch, &yaml).await.0, 406);
    cluster.stop().await;
}
