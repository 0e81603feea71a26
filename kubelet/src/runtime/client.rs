//! The container runtime interface, v1, over containerd's socket.
//!
//! Every call has a deadline on our side: containerd's own time-out of ExecSync, for one, does not
//! end when a child of the command holds its output open.

use std::{collections::HashMap, path::Path, time::Duration};

use hyper_util::rt::TokioIo;
use k8s_cri::v1::{
    self as cri, image_service_client::ImageServiceClient,
    runtime_service_client::RuntimeServiceClient,
};
use tokio::net::UnixStream;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Uri},
};

use crate::pod::labels;

/// Upstream's `runtimeRequestTimeout`.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// A pull without any end in sight is given up.
const PULL_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// What a stop or an exec may take beyond its own time limit.
const SLACK: Duration = Duration::from_secs(30);
/// A machine full of pods lists more than tonic's default of 4 MiB.
const MESSAGE_SIZE_MAX: usize = 16 << 20;

/// A call to the runtime that failed.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {}", status.message())]
pub struct Error {
    /// The CRI call.
    pub call: &'static str,
    /// What the runtime said.
    pub status: Status,
}

impl Error {
    /// The runtime's own words.
    pub fn message(&self) -> &str {
        self.status.message()
    }

    /// Whether the object asked for is not there.
    pub fn is_not_found(&self) -> bool {
        self.status.code() == Code::NotFound
    }

    /// Whether the runtime could not be reached at all.
    pub fn is_unreachable(&self) -> bool {
        self.status.code() == Code::Unavailable
    }
}

/// What a command run in a container answered.
#[derive(Clone, Debug)]
pub struct ExecOutput {
    /// Exit code.
    pub exit_code: i32,
    /// stdout, then stderr.
    pub output: String,
}

/// A connection to the runtime. Cheap to clone; reconnects by itself.
#[derive(Clone)]
pub struct Runtime {
    channel: Channel,
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident = $service:ident . $method:ident($request:ident) -> $reply:ident within $timeout:expr;)*) => {
        impl Runtime {$(
            $(#[$doc])*
            pub async fn $name(&self, request: cri::$request) -> Result<cri::$reply, Error> {
                let mut service = self.$service.clone();
                within(stringify!($method), $timeout, Box::pin(service.$method(request))).await
            }
        )*}
    };
}

calls! {
    /// Name and versions of the runtime.
    version = runtime.version(VersionRequest) -> VersionResponse within Duration::from_secs(5);
    /// Whether runtime and network are ready.
    status = runtime.status(StatusRequest) -> StatusResponse within Duration::from_secs(10);
    /// Makes and starts a sandbox.
    run_pod_sandbox = runtime.run_pod_sandbox(RunPodSandboxRequest) -> RunPodSandboxResponse within CALL_TIMEOUT * 2;
    /// Makes a container in a sandbox.
    create_container = runtime.create_container(CreateContainerRequest) -> CreateContainerResponse within CALL_TIMEOUT;
    /// Statistics of all containers.
    list_container_stats = runtime.list_container_stats(ListContainerStatsRequest) -> ListContainerStatsResponse within CALL_TIMEOUT;
    /// Where a command can be run and talked to.
    exec_url = runtime.exec(ExecRequest) -> ExecResponse within CALL_TIMEOUT;
    /// Where a container's own streams are.
    attach_url = runtime.attach(AttachRequest) -> AttachResponse within CALL_TIMEOUT;
    /// Where a sandbox's ports can be reached.
    port_forward_url = runtime.port_forward(PortForwardRequest) -> PortForwardResponse within CALL_TIMEOUT;
    /// All images.
    list_images = images.list_images(ListImagesRequest) -> ListImagesResponse within CALL_TIMEOUT;
    /// One image, if it is there.
    image_status = images.image_status(ImageStatusRequest) -> ImageStatusResponse within CALL_TIMEOUT;
    /// Fetches an image.
    pull_image = images.pull_image(PullImageRequest) -> PullImageResponse within PULL_TIMEOUT;
    /// Removes an image.
    remove_image = images.remove_image(RemoveImageRequest) -> RemoveImageResponse within CALL_TIMEOUT;
    /// What the images' file system holds.
    image_fs_info = images.image_fs_info(ImageFsInfoRequest) -> ImageFsInfoResponse within CALL_TIMEOUT;
}

async fn within<T>(
    call: &'static str,
    timeout: Duration,
    future: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(timeout, future).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(Error { call, status }),
        Err(_) => {
            let message = format!("no answer within {} s", timeout.as_secs());
            Err(Error { call, status: Status::deadline_exceeded(message) })
        }
    }
}

impl Runtime {
    /// A client of the containerd that listens on `socket`; it connects when first used.
    pub fn new(socket: &Path) -> Runtime {
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel =
            Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Runtime {
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_SIZE_MAX),
            images: ImageServiceClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_SIZE_MAX),
            channel,
        }
    }

    /// The channel, for containerd's own services on the same socket.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Starts a container that was made.
    pub async fn start_container(&self, id: &str) -> Result<(), Error> {
        let request = cri::StartContainerRequest { container_id: id.to_owned() };
        let mut service = self.runtime.clone();
        within("start_container", CALL_TIMEOUT, service.start_container(request)).await.map(drop)
    }

    /// Stops a container: its stop signal, and SIGKILL once `grace` has passed.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), Error> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = cri::StopContainerRequest { container_id: id.to_owned(), timeout };
        let mut service = self.runtime.clone();
        let call = service.stop_container(request);
        gone_is_fine(within("stop_container", grace + CALL_TIMEOUT, call).await)
    }

    /// Removes a container and its writable layer.
    pub async fn remove_container(&self, id: &str) -> Result<(), Error> {
        let request = cri::RemoveContainerRequest { container_id: id.to_owned() };
        let mut service = self.runtime.clone();
        let call = service.remove_container(request);
        gone_is_fine(within("remove_container", CALL_TIMEOUT, call).await)
    }

    /// Stops a sandbox and gives its address back.
    pub async fn stop_pod_sandbox(&self, id: &str) -> Result<(), Error> {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let mut service = self.runtime.clone();
        let call = service.stop_pod_sandbox(request);
        gone_is_fine(within("stop_pod_sandbox", CALL_TIMEOUT, call).await)
    }

    /// Removes a sandbox with all its containers.
    pub async fn remove_pod_sandbox(&self, id: &str) -> Result<(), Error> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let mut service = self.runtime.clone();
        let call = service.remove_pod_sandbox(request);
        gone_is_fine(within("remove_pod_sandbox", CALL_TIMEOUT, call).await)
    }

    /// Sandboxes, of one pod or of all.
    pub async fn sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<cri::PodSandbox>, Error> {
        let filter =
            cri::PodSandboxFilter { label_selector: selector(pod_uid), ..Default::default() };
        let request = cri::ListPodSandboxRequest { filter: Some(filter) };
        let mut service = self.runtime.clone();
        let call = service.list_pod_sandbox(request);
        within("list_pod_sandbox", CALL_TIMEOUT, call).await.map(|reply| reply.items)
    }

    /// Containers, of one pod or of all.
    pub async fn containers(&self, pod_uid: Option<&str>) -> Result<Vec<cri::Container>, Error> {
        let filter =
            cri::ContainerFilter { label_selector: selector(pod_uid), ..Default::default() };
        let request = cri::ListContainersRequest { filter: Some(filter) };
        let mut service = self.runtime.clone();
        let call = service.list_containers(request);
        within("list_containers", CALL_TIMEOUT, call).await.map(|reply| reply.containers)
    }

    /// A sandbox in detail; `None` if it is gone.
    pub async fn sandbox_status(&self, id: &str) -> Result<Option<cri::PodSandboxStatus>, Error> {
        let request =
            cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let mut service = self.runtime.clone();
        let reply = within("pod_sandbox_status", CALL_TIMEOUT, service.pod_sandbox_status(request));
        gone_is_none(reply.await.map(|reply| reply.status))
    }

    /// A container in detail; `None` if it is gone.
    pub async fn container_status(&self, id: &str) -> Result<Option<cri::ContainerStatus>, Error> {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let mut service = self.runtime.clone();
        let reply = within("container_status", CALL_TIMEOUT, service.container_status(request));
        gone_is_none(reply.await.map(|reply| reply.status))
    }

    /// Makes a container write to a new log file after the old one was renamed.
    pub async fn reopen_container_log(&self, id: &str) -> Result<(), Error> {
        let request = cri::ReopenContainerLogRequest { container_id: id.to_owned() };
        let mut service = self.runtime.clone();
        let call = service.reopen_container_log(request);
        within("reopen_container_log", CALL_TIMEOUT, call).await.map(drop)
    }

    /// Runs a command in a container and waits for it, `timeout` at most.
    pub async fn exec(
        &self,
        id: &str,
        command: &[String],
        timeout: Option<Duration>,
    ) -> Result<ExecOutput, Error> {
        let request = cri::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.to_vec(),
            timeout: timeout.map_or(0, |t| i64::try_from(t.as_secs()).unwrap_or(i64::MAX)),
        };
        let mut service = self.runtime.clone();
        let limit = timeout.map_or(CALL_TIMEOUT, |timeout| timeout + SLACK.min(timeout));
        let reply = within("exec_sync", limit, service.exec_sync(request)).await?;
        let mut output = String::from_utf8_lossy(&reply.stdout).into_owned();
        output.push_str(&String::from_utf8_lossy(&reply.stderr));
        Ok(ExecOutput { exit_code: reply.exit_code, output })
    }
}

fn selector(pod_uid: Option<&str>) -> HashMap<String, String> {
    pod_uid.map(|uid| (labels::POD_UID.to_owned(), uid.to_owned())).into_iter().collect()
}

fn gone_is_fine<T>(outcome: Result<T, Error>) -> Result<(), Error> {
    match outcome {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

fn gone_is_none<T>(outcome: Result<Option<T>, Error>) -> Result<Option<T>, Error> {
    match outcome {
        Err(error) if error.is_not_found() => Ok(None),
        outcome => outcome,
    }
}
