//! Watches: nothing missed, nothing twice, nothing out of order.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use kontiki_base::fence::PromptBookmarks;
use serde_json::json;

use crate::support::{CONFIG_MAPS, Cluster, config_map};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_everything_from_its_revision_on() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let first = admin.create(CONFIG_MAPS, &config_map("a")).await.revision;
    let second = admin.merge(&format!("{CONFIG_MAPS}/a"), &json!({"data": {"x": "y"}})).await;
    let third = admin.delete(&format!("{CONFIG_MAPS}/a")).await.revision;
    let mut past = admin.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={first}")).await;
    assert_eq!(past.event().await, format!("MODIFIED a @{}", second.revision));
    assert_eq!(past.event().await, format!("DELETED a @{third}"));
    let fourth = admin.create(CONFIG_MAPS, &config_map("b")).await.revision;
    assert_eq!(past.event().await, format!("ADDED b @{fourth}"));
    let mut fresh = admin.watch(&format!("{CONFIG_MAPS}?watch=true")).await;
    assert_eq!(fresh.event().await, format!("ADDED b @{fourth}"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selection_sees_objects_come_and_go() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let uri = format!("{CONFIG_MAPS}?watch=true&labelSelector=on");
    let mut watch = admin.watch(&uri).await;
    let one = format!("{CONFIG_MAPS}/a");
    admin.create(CONFIG_MAPS, &config_map("a")).await.ok();
    let on = admin.merge(&one, &json!({"metadata": {"labels": {"on": "1"}}})).await.revision;
    assert_eq!(watch.event().await, format!("ADDED a @{on}"));
    let off = admin.merge(&one, &json!({"metadata": {"labels": null}})).await.revision;
    assert_eq!(watch.event().await, format!("DELETED a @{off}"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn initial_events_end_with_a_bookmark() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let made = admin.create(CONFIG_MAPS, &config_map("a")).await.revision;
    let uri = format!(
        "{CONFIG_MAPS}?watch=true&sendInitialEvents=true&allowWatchBookmarks=true\
         &resourceVersionMatch=NotOlderThan"
    );
    let mut watch = admin.watch(&uri).await;
    assert_eq!(watch.event().await, format!("ADDED a @{made}"));
    let end = watch.next().await.unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let bad = admin.get(&format!("{CONFIG_MAPS}?watch=true&sendInitialEvents=true")).await;
    assert_eq!(bad.code, 422);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prompt_bookmarks_follow_writes_of_other_kinds() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut request = Request::get("/api/v1/pods?watch=true&allowWatchBookmarks=true")
        .body(Full::new(Bytes::new()))
        .unwrap();
    request.extensions_mut().insert(PromptBookmarks { every: std::time::Duration::ZERO });
    let mut watch = admin.watch_request(request).await;
    let written = admin.create(CONFIG_MAPS, &config_map("a")).await.revision;
    loop {
        let event = watch.event().await;
        let revision: u64 =
            event.strip_prefix("BOOKMARK - @").expect("a bookmark").parse().unwrap();
        if revision >= written {
            break;
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_ends_when_its_time_is_up() {
    let cluster = Cluster::start().await;
    let mut watch = cluster.admin().watch("/api/v1/pods?watch=true&timeoutSeconds=1").await;
    assert_eq!(watch.event().await, "end");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_where_it_was_on_another_server() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let first = admin.create(CONFIG_MAPS, &config_map("a")).await.revision;
    let second = admin.delete(&format!("{CONFIG_MAPS}/a")).await.revision;
    // Opened later than both, on the same store.
    let other = cluster.another().await;
    let mut watch = other.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={first}")).await;
    assert_eq!(watch.event().await, format!("DELETED a @{second}"));
    let third = admin.create(CONFIG_MAPS, &config_map("b")).await.revision;
    assert_eq!(watch.event().await, format!("ADDED b @{third}"));
    cluster.stop().await;
}
