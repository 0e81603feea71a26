//! Which servers there are: asked for anew whenever that may have changed.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use http::Method;
use kontiki_api::k8s_openapi::api::discovery::v1::EndpointSlice;
use kontiki_base::{
    backoff::Backoff,
    tasks::{TaskKind, Tasks},
};
use kontiki_client::{Client, Informer, ListOptions};
use tokio::sync::Notify;

use crate::join::wire::{SERVERS_PATH, ServerListReply};

/// Servers publish themselves as endpoints of this Service; a change there is a reason to ask who
/// they are now.
const SELECTOR: &str = "kubernetes.io/service-name=kubernetes";

/// Tells `changed` the `host:port` of all servers, first now and then with every change, until the
/// tasks are stopped.
pub(crate) fn follow(
    client: Client,
    tasks: &Tasks,
    mut changed: impl FnMut(Vec<String>) -> Result<()> + Send + 'static,
) {
    let options = ListOptions::namespace("default").labels(SELECTOR);
    let slices = Informer::start::<EndpointSlice>(client.clone(), options, tasks);
    let news = Arc::new(Notify::new());
    let wake = news.clone();
    slices.on_change(move |_| wake.notify_one());
    news.notify_one();
    let shutdown = tasks.shutdown();
    tasks.spawn_infallible(TaskKind::logged("server list"), async move {
        let mut known = Vec::new();
        let follow = async {
            loop {
                news.notified().await;
                let servers = ask(&client).await;
                if servers.is_empty() || servers == known {
                    continue;
                }
                tracing::info!("servers are {}", servers.join(", "));
                known.clone_from(&servers);
                if let Err(error) = changed(servers) {
                    tracing::error!("cannot remember the servers: {error:#}");
                }
            }
        };
        tokio::select! { biased;
            () = shutdown.cancelled() => {}
            () = follow => {}
        }
        drop(slices);
    });
}

/// Asks until a server answers.
async fn ask(client: &Client) -> Vec<String> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        match list(client).await {
            Ok(servers) => return servers,
            Err(error) => {
                tracing::debug!("the list of servers is not refreshed: {error:#}");
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

async fn list(client: &Client) -> Result<Vec<String>> {
    let answer = client.call(Method::GET, SERVERS_PATH, None).await?;
    let reply: ServerListReply =
        serde_json::from_slice(&answer.body).context("the list of servers")?;
    Ok(reply.servers)
}
