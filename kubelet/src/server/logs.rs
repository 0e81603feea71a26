//! `/containerLogs/NAMESPACE/POD/CONTAINER`.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use http::{Response, StatusCode};
use jiff::Timestamp;
use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::Pod;
use kontiki_api::Object;
use kontiki_base::tasks::{TaskKind, Tasks};
use tokio::sync::mpsc;

use super::{Body, query, streaming, text};
use crate::{
    logs::read,
    node::context::Context,
    pod::{labels, spec::PodExt},
};

/// Pieces of a log waiting for a slow reader.
const PIECES_MAX: usize = 64;

type Refusal = (StatusCode, String);

pub(super) async fn answer(
    context: &Arc<Context>,
    tasks: &Tasks,
    (namespace, pod, container): (&str, &str, &str),
    query: &str,
) -> Response<Body> {
    let found = async {
        let (options, previous) = query::log_options(query, Timestamp::now())
            .map_err(|problem| (StatusCode::BAD_REQUEST, problem))?;
        let status = find(context, namespace, pod, container, previous).await?;
        Ok::<_, Refusal>((options, status))
    };
    let (options, status) = match found.await {
        Ok(found) => found,
        Err((status, problem)) => return text(status, problem),
    };
    let (sender, receiver) = mpsc::channel::<Bytes>(PIECES_MAX);
    let (context, shutdown) = (context.clone(), tasks.shutdown());
    tasks.spawn_infallible(TaskKind::logged("log stream"), async move {
        let id = status.id.clone();
        let is_alive = || {
            let (context, id) = (context.clone(), id.clone());
            async move {
                let status = context.runtime.container_status(&id).await.ok().flatten();
                let running = cri::ContainerState::ContainerRunning;
                status.is_some_and(|status| status.state() == running)
            }
        };
        let path = PathBuf::from(&status.log_path);
        tokio::select! { biased;
            () = shutdown.cancelled() => {}
            outcome = read::read(path, options, sender, is_alive) => {
                if let Err(error) = outcome {
                    tracing::debug!("cannot read {}: {error}", status.log_path);
                }
            }
        }
    });
    streaming(receiver)
}

/// The pod of this name that runs here; the younger one where an older still ends.
pub(super) fn newest_pod(context: &Context, namespace: &str, name: &str) -> Option<Arc<Pod>> {
    let workers = context.workers.lock();
    let pods = workers.values().filter_map(|inbox| inbox.latest());
    pods.filter(|pod| pod.namespace() == namespace && pod.name() == name)
        .max_by_key(|pod| pod.metadata.creation_timestamp.clone())
}

/// The container whose log is meant.
async fn find(
    context: &Context,
    namespace: &str,
    name: &str,
    container: &str,
    previous: bool,
) -> Result<cri::ContainerStatus, Refusal> {
    let pod = newest_pod(context, namespace, name)
        .ok_or_else(|| (StatusCode::NOT_FOUND, format!("pod {name:?} does not exist")))?;
    if pod.container(container).is_none() {
        let problem = format!("container {container:?} not found in pod {name:?}");
        return Err((StatusCode::NOT_FOUND, problem));
    }
    let failed = |error: crate::runtime::Error| {
        (StatusCode::INTERNAL_SERVER_ERROR, error.message().to_owned())
    };
    let mut known = context.runtime.containers(Some(pod.uid())).await.map_err(failed)?;
    known.retain(|c| c.labels.get(labels::CONTAINER_NAME).is_some_and(|name| name == container));
    known.sort_by_key(|container| std::cmp::Reverse(container.created_at));
    let chosen = known.get(usize::from(previous));
    let status = match chosen {
        Some(chosen) => context.runtime.container_status(&chosen.id).await.map_err(failed)?,
        None => None,
    };
    status.ok_or_else(|| {
        let problem = if previous {
            format!("previous terminated container {container:?} in pod {name:?} not found")
        } else {
            format!(
                "container {container:?} in pod {name:?} is waiting to start: ContainerCreating"
            )
        };
        (StatusCode::BAD_REQUEST, problem)
    })
}
