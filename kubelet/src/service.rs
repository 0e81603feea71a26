//! The kubelet put together.

use std::{path::PathBuf, sync::Arc};

use k8s_openapi::api::core::v1::{Node, Pod, Service as ServiceObject};
use kontiki_base::{
    CancellationToken,
    tasks::{TaskKind, Tasks},
};
use kontiki_client::{Client, EventRecorder, Informer, ListOptions};

use crate::{
    images::Images,
    node::{context::Context, housekeeping, lease, machine::Machine, out_of_memory, registration},
    options::Options,
    references::ReferencedObjects,
    runtime::{
        Runtime,
        builtin::BUILTIN_IMAGES,
        containerd::{self, Containerd},
        import,
    },
    server,
    sources::{self, files::Files},
    tokens::Tokens,
};

/// Why a kubelet cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// containerd does not run.
    #[error("no container runtime")]
    Containerd(#[from] containerd::Error),
    /// The images that come with the binary could not be given to containerd.
    #[error("cannot import built-in images into containerd at {}: {}", socket.display(), status.message())]
    Import {
        /// containerd's socket.
        socket: PathBuf,
        /// What containerd said.
        status: tonic::Status,
    },
    /// The HTTPS server cannot listen.
    #[error(transparent)]
    Server(#[from] server::Error),
}

/// A kubelet.
pub struct Service {
    options: Options,
    client: Client,
}

impl Service {
    /// A kubelet with these options that speaks to the API through this client.
    pub fn new(options: Options, client: Client) -> Service {
        Service { options, client }
    }

    /// Runs until the tasks are told to stop. Containers, and a private containerd, go on.
    pub async fn run(self, tasks: &Tasks) -> Result<(), Error> {
        let shutdown = tasks.shutdown();
        let own = tasks.child();
        let socket = tokio::select! { biased;
            () = shutdown.cancelled() => return Ok(()),
            socket = start_containerd(&self.options, &own) => socket?,
        };
        let runtime = Runtime::new(&socket);
        let imported = import::import(runtime.channel(), BUILTIN_IMAGES)
            .await
            .map_err(|status| Error::Import { socket, status })?;
        if !imported.is_empty() {
            tracing::info!("imported {}", imported.join(", "));
        }
        let context = Arc::new(context(self.options, self.client, runtime, &own));
        server::start(&context, &own).await?;
        start_loops(&context, &own).await;
        shutdown.cancelled().await;
        own.stop().await;
        Ok(())
    }
}

/// containerd's socket, once it answers.
async fn start_containerd(options: &Options, tasks: &Tasks) -> Result<PathBuf, containerd::Error> {
    if let Some(endpoint) = &options.containerd_endpoint {
        return Ok(endpoint.clone());
    }
    let paths = options.paths();
    let containerd = Containerd::new(
        &options.containerd_program,
        paths.containerd(),
        &options.cni_bin_dir,
        paths.cni_conf(),
    );
    let socket = containerd.socket();
    let running = containerd.ensure().await?;
    let shutdown = tasks.shutdown();
    tasks.spawn_infallible(
        TaskKind::logged("containerd supervisor"),
        containerd.supervise(running, shutdown),
    );
    Ok(socket)
}

fn context(options: Options, client: Client, runtime: Runtime, tasks: &Tasks) -> Context {
    let recorder = EventRecorder::start(client.clone(), "kubelet", &options.node_name, tasks);
    let services = Informer::start::<ServiceObject>(client.clone(), ListOptions::default(), tasks);
    let own_pods = ListOptions::default().fields(&format!("spec.nodeName={}", options.node_name));
    let pods = Informer::start::<Pod>(client.clone(), own_pods, tasks);
    Context {
        machine: Machine::read(),
        images: Images::new(runtime.clone(), client.clone()),
        references: ReferencedObjects::new(client.clone(), tasks.child()),
        tokens: Tokens::new(client.clone()),
        services,
        pods,
        recorder,
        runtime,
        client,
        options,
        tasks: tasks.clone(),
        workers: parking_lot::Mutex::default(),
        owners: parking_lot::Mutex::default(),
    }
}

/// Starts everything that runs for as long as the kubelet.
async fn start_loops(context: &Arc<Context>, tasks: &Tasks) {
    let (client, name) = (&context.client, &context.options.node_name);
    let own_node = ListOptions::default().fields(&format!("metadata.name={name}"));
    let nodes = Informer::start::<Node>(client.clone(), own_node, tasks);
    // Known before anybody looks for leftovers.
    let static_pods = Files::open(context).await;
    sources::api::follow(context);
    let shutdown = tasks.shutdown();
    let run = |name: &'static str, work: futures::future::BoxFuture<'static, ()>| {
        tasks.spawn_infallible(TaskKind::logged(name), until(shutdown.clone(), work));
    };
    run("node status", Box::pin(registration::keep(context.clone(), nodes.clone())));
    run("node lease", Box::pin(lease::keep(context.clone(), nodes)));
    if let Some(files) = static_pods {
        run("static pods", Box::pin(files.keep()));
    }
    run("runtime events", Box::pin(housekeeping::pass_events_on(context.clone())));
    run("out of memory", Box::pin(out_of_memory::follow(context.clone())));
    run("pod housekeeping", Box::pin(housekeeping::look_after(context.clone())));
    run("log rotation", Box::pin(housekeeping::look_after_logs(context.clone())));
}

async fn until(shutdown: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! { biased;
        () = shutdown.cancelled() => {}
        () = work => {}
    }
}
