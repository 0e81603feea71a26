//! The components of a control node: each speaks to the API as itself, in this process, and acts
//! only while this member leads.

use kontiki_apiserver::{ApiServer, UserInfo};
use kontiki_base::{
    Fence,
    tasks::{TaskKind, Tasks},
};
use kontiki_client::Client;
use kontiki_raft::Store;
use tokio::sync::watch;

use super::bootstrap::Prepared;
use crate::config::{Component, Server};

const SCHEDULER: TaskKind = TaskKind::vital("scheduler");
const CONTROLLERS: TaskKind = TaskKind::vital("controllers");

/// Starts all that are not disabled.
pub(super) fn start(
    config: &Server,
    prepared: &Prepared,
    api: &ApiServer,
    store: &Store,
    tasks: &Tasks,
) {
    let fence = fence(store, tasks);
    let client = |user: &str| Client::in_process(api.in_process(UserInfo::new(user, &[])));
    if !config.disabled.contains(&Component::Scheduler) {
        let service = kontiki_scheduler::Service::new(
            kontiki_scheduler::Options::default(),
            client("system:kube-scheduler"),
            fence.clone(),
        );
        tasks.spawn_infallible(SCHEDULER, service.run(tasks.clone()));
    }
    if !config.disabled.contains(&Component::Controllers) {
        let service = kontiki_controllers::Service::new(
            controller_options(config, prepared),
            client("system:kube-controller-manager"),
            fence,
        );
        tasks.spawn_infallible(CONTROLLERS, service.run(tasks.clone()));
    }
}

fn controller_options(config: &Server, prepared: &Prepared) -> kontiki_controllers::Options {
    let cluster = &prepared.state.cluster;
    kontiki_controllers::Options {
        controllers: config.controllers.clone(),
        node_monitor_period: config.node_monitor_period,
        node_monitor_grace_period: config.node_monitor_grace_period,
        cluster_cidrs: cluster.cluster_cidr.clone(),
        service_cluster_ip_ranges: cluster.service_cidr.clone(),
        signer: Some(prepared.secrets.cluster.authority()),
        signing_duration: config.signing_duration,
        service_account_key: prepared.secrets.service_account_key.clone(),
        root_ca: prepared.secrets.cluster.roots().pem,
        ..kontiki_controllers::Options::default()
    }
}

/// The fence under which components act, out of all that the store tells about leadership.
fn fence(store: &Store, tasks: &Tasks) -> watch::Receiver<Option<Fence>> {
    let mut leadership = store.leadership();
    let (sender, receiver) = watch::channel(leadership.borrow().fence);
    let shutdown = tasks.shutdown();
    tasks.spawn_infallible(TaskKind::logged("fence"), async move {
        loop {
            tokio::select! { biased;
                () = shutdown.cancelled() => return,
                changed = leadership.changed() => if changed.is_err() { return },
            }
            let fence = leadership.borrow_and_update().fence;
            sender.send_if_modified(|current| std::mem::replace(current, fence) != fence);
        }
    });
    receiver
}
