//! The whole scheduler against a small API server in memory.

mod fake_api;

use kontiki_base::Fence;
use tokio::sync::watch;

use super::*;
use fake_api::{FakeApi, pod_path};

const FIRST: Fence = Fence { term: 1, member: 1 };
const SECOND: Fence = Fence { term: 2, member: 2 };

/// A running scheduler and the switch of its leadership.
struct Running {
    tasks: Tasks,
    leadership: watch::Sender<Option<Fence>>,
}

fn start(api: &FakeApi, fence: Option<Fence>) -> Running {
    let (leadership, receiver) = watch::channel(fence);
    let tasks = Tasks::new();
    let service = Service::new(Options::default(), api.client(), receiver);
    let group = tasks.clone();
    tasks.spawn_infallible(TaskKind::vital("scheduler"), async move { service.run(group).await });
    Running { tasks, leadership }
}

#[tokio::test]
async fn a_pod_is_bound_and_an_event_says_where() {
    let api = FakeApi::new();
    api.set_leader(FIRST);
    api.add_node("small", "1");
    api.add_node("large", "8");
    api.add_pod("web", "2");
    let running = start(&api, Some(FIRST));
    assert_eq!(api.node_of("web").await, "large");
    assert_eq!(api.event("Scheduled").await, "Successfully assigned default/web to large");
    running.tasks.stop().await;
}

#[tokio::test]
async fn a_full_cluster_is_explained_and_a_new_node_wakes_the_pod() {
    let api = FakeApi::new();
    api.add_node("small", "1");
    api.add_pod("web", "2");
    let running = start(&api, Some(FIRST));
    let object = api.until(&pod_path("web"), |pod| pod["status"]["conditions"].is_array()).await;
    let condition = &object["status"]["conditions"][0];
    assert_eq!(
        (condition["type"].as_str(), condition["reason"].as_str()),
        (Some("PodScheduled"), Some("Unschedulable"))
    );
    let message = api.event("FailedScheduling").await;
    assert!(message.starts_with("0/1 nodes are available: 1 Insufficient cpu."), "{message}");
    api.add_node("large", "8");
    assert_eq!(api.node_of("web").await, "large");
    running.tasks.stop().await;
}

#[tokio::test]
async fn room_of_a_deleted_pod_is_given_to_the_next() {
    let api = FakeApi::new();
    api.add_node("only", "2");
    api.add_pod("first", "2");
    let running = start(&api, Some(FIRST));
    api.node_of("first").await;
    api.add_pod("second", "2");
    api.event("FailedScheduling").await;
    api.delete_pod("first");
    assert_eq!(api.node_of("second").await, "only");
    running.tasks.stop().await;
}

#[tokio::test]
async fn a_failed_binding_is_tried_again_and_room_is_not_counted_twice() {
    let api = FakeApi::new();
    api.add_node("only", "2");
    api.fail_bindings(1);
    api.add_pod("web", "2");
    let running = start(&api, Some(FIRST));
    assert_eq!(api.node_of("web").await, "only");
    assert_eq!(api.bindings().len(), 1);
    running.tasks.stop().await;
}

#[tokio::test]
async fn a_new_leader_goes_on_and_a_deposed_one_binds_nothing() {
    let api = FakeApi::new();
    api.set_leader(FIRST);
    api.add_node("only", "8");
    let (old, new) = (start(&api, Some(FIRST)), start(&api, None));
    api.add_pod("before", "1");
    api.node_of("before").await;
    // The old one has not heard of it yet: its writes are refused all the same.
    api.set_leader(SECOND);
    api.add_pod("after", "1");
    new.leadership.send_replace(Some(SECOND));
    api.node_of("after").await;
    old.leadership.send_replace(None);
    let expected = [("before".to_owned(), Some(FIRST)), ("after".to_owned(), Some(SECOND))];
    assert_eq!(api.bindings(), expected);
    old.tasks.stop().await;
    new.tasks.stop().await;
}

#[tokio::test]
async fn an_important_pod_displaces_the_least_important_and_takes_its_place() {
    let api = FakeApi::new();
    api.add_node("only", "4");
    api.add_important_pod("batch", "2", 1);
    api.add_important_pod("web", "2", 5);
    let running = start(&api, Some(FIRST));
    api.node_of("batch").await;
    api.node_of("web").await;
    api.add_important_pod("payments", "2", 9);
    assert_eq!(api.node_of("payments").await, "only");
    assert_eq!(api.event("Preempted").await, "Preempted by pod payments on node only");
    api.node_of("web").await;
    running.tasks.stop().await;
}

#[tokio::test]
async fn many_pods_fill_nodes_exactly() {
    let api = FakeApi::new();
    for node in 0..10 {
        api.add_node(&format!("n{node}"), "10");
    }
    for pod in 0..101 {
        api.add_pod(&format!("p{pod:03}"), "1");
    }
    let running = start(&api, Some(FIRST));
    let message = api.event("FailedScheduling").await;
    assert!(message.starts_with("0/10 nodes are available: 10 Insufficient cpu."), "{message}");
    let mut moved = 0;
    while moved < 100 {
        tokio::task::yield_now().await;
        moved = api.bindings().len();
    }
    assert_eq!(moved, 100);
    running.tasks.stop().await;
}
