//! The `schedule` generator: nodes that exist only as objects, and pods that need a place.
//!
//! Pods are created as fast as the clients can, or before there are nodes (`--backlog`), so that
//! the scheduler alone is measured. What counts is what a watch shows: the time until every pod
//! names its node.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Method;
use kontiki_base::{
    CancellationToken,
    tasks::{TaskKind, Tasks},
};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::{
    api::{create, remove, tell},
    connection::Connection,
    latency::Latencies,
    load::{Clients, Outcome},
    objects,
    process::{Meter, Process},
    report::Report,
    target::Target,
    watch::Watch,
};

/// Without progress for this long the run has failed.
const STALL_MAX: Duration = Duration::from_secs(60);

/// What to do and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct ScheduleArgs {
    /// Nodes
    #[arg(long, default_value_t = 500)]
    pub nodes: usize,
    /// Pods
    #[arg(long, default_value_t = 5_000)]
    pub pods: usize,
    /// Clients that create them
    #[arg(long, default_value_t = 32)]
    pub clients: usize,
    /// What is asked of the scheduler
    #[arg(long, value_enum, default_value = "plain")]
    pub shape: Shape,
    /// Create all pods before the first node, so that only scheduling is measured
    #[arg(long)]
    pub backlog: bool,
    /// `schedulerName` of the pods
    #[arg(long, default_value = "default-scheduler")]
    pub scheduler: String,
    /// Time between two heartbeats of a node
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub heartbeat: Duration,
    /// Process whose CPU time and memory are read, NAME=PID; repeatable
    #[arg(long = "pid", value_name = "NAME=PID")]
    pub pids: Vec<Process>,
}

/// What pods ask for besides room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// CPU and memory.
    Plain,
    /// Even spread over zones, as a condition.
    Spread,
    /// No two of a group on one node.
    AntiAffinity,
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| format!("{text:?} is no number of seconds"))
}

/// Runs it in a namespace of its own and removes everything.
pub async fn run(target: &Target, args: &ScheduleArgs, run: &str, tasks: &Tasks) -> Result<Report> {
    let clients = Clients::connect(target, args.clients, tasks).await?;
    let mut one = clients.one()?;
    one.create("/api/v1/namespaces", &objects::namespace(run)).await?.success()?;
    let stop = CancellationToken::new();
    let measured = measure(target, args, run, &clients, tasks, &stop).await;
    stop.cancel();
    let pods = format!("/api/v1/namespaces/{run}/pods");
    remove(&clients, &pods, args.pods, pod_name).await;
    remove(&clients, "/api/v1/nodes", args.nodes, |i| objects::node_name(run, i)).await;
    remove(&clients, LEASES, args.nodes, |i| objects::node_name(run, i)).await;
    one.call(Method::DELETE, &format!("/api/v1/namespaces/{run}"), None).await?;
    measured
}

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

fn pod_name(index: usize) -> String {
    format!("group{:03}-{index}", index / 100)
}

async fn measure(
    target: &Target,
    args: &ScheduleArgs,
    run: &str,
    clients: &Clients,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> Result<Report> {
    let pods = format!("/api/v1/namespaces/{run}/pods");
    let mut report = Report::new("schedule");
    report.add_count("nodes", args.nodes);
    let mut connection = Connection::open(target.server(0), &target.tls, tasks).await?;
    let list = connection.call(Method::GET, &format!("{pods}?limit=1"), None).await?;
    let list = list.success()?.json()?;
    let from = list["metadata"]["resourceVersion"].as_str().context("a list has a version")?;
    let watch = Watch::open(&mut connection, &pods, from).await?;
    if !args.backlog {
        add_nodes(args, run, clients).await?;
    }
    heartbeats(target, args, run, tasks, stop).await?;

    let (start, meter) = (Instant::now(), Meter::start(&args.pids)?);
    let created: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let creating = clients.run(args.pods, |connection, i| {
        let name = pod_name(i);
        let mut object = objects::pod(run, &name, &args.scheduler, "100m", "128Mi");
        shape(&mut object, args.shape);
        let (created, pods) = (created.clone(), pods.clone());
        async move {
            let start = Instant::now();
            create(connection, &pods, object).await?;
            created.lock().await.insert(name, start);
            Ok(())
        }
    });
    // The watch is read from the start: a server cuts off who falls behind.
    let watching = until_bound(watch, args.pods);
    let making = async {
        let made = creating.await;
        tell(&mut report, "create", &made, &meter)?;
        let began = Instant::now();
        let meter = Meter::start(&args.pids)?;
        if args.backlog {
            add_nodes(args, run, clients).await?;
        }
        Ok::<_, anyhow::Error>((began, meter))
    };
    let (made, bound) = tokio::join!(making, watching);
    let ((began, backlog_meter), bound) = (made?, bound?);
    let meter = if args.backlog { backlog_meter } else { meter };
    report.add("schedule_cpu", meter.cpu_seconds()?, "s");
    drop(connection);
    let created = created.lock().await;
    let began = if args.backlog { began } else { start };
    add_figures(&mut report, &bound, &created, began, args.backlog);
    Ok(report)
}

fn add_figures(
    report: &mut Report,
    bound: &HashMap<String, (Instant, String)>,
    created: &HashMap<String, Instant>,
    began: Instant,
    backlog: bool,
) {
    let last = bound.values().map(|(when, _)| *when).max().unwrap_or(began);
    let mut latencies = Latencies::default();
    let mut per_node: HashMap<&str, usize> = HashMap::new();
    for (name, (when, node)) in bound {
        let start = if backlog { Some(&began) } else { created.get(name) };
        if let Some(start) = start {
            latencies.record(when.saturating_duration_since(*start));
        }
        *per_node.entry(node).or_default() += 1;
    }
    let outcome = Outcome { latencies, elapsed: last - began, ..Outcome::default() };
    report.add_count("scheduled", bound.len());
    report.add("scheduled_pod_rate", outcome.rate(), "/s");
    report.add_ms("scheduled_p50", outcome.latencies.percentile(50));
    report.add_ms("scheduled_p99", outcome.latencies.percentile(99));
    report.add_count("fullest_node_pods", per_node.values().copied().max().unwrap_or_default());
}

async fn add_nodes(args: &ScheduleArgs, run: &str, clients: &Clients) -> Result<()> {
    let now = timestamp();
    let outcome = clients
        .run(args.nodes, |connection, i| {
            let (node, name) = (objects::node(run, i), objects::node_name(run, i));
            let (lease, status) = (objects::lease(&name, &now), objects::node_status(&now));
            async move {
                let mut patching = connection.clone();
                create(connection.clone(), LEASES, lease).await?;
                create(connection, "/api/v1/nodes", node).await?;
                let uri = format!("/api/v1/nodes/{name}/status");
                let body = Bytes::from(serde_json::to_vec(&status)?);
                let content = Some(("application/strategic-merge-patch+json", body));
                patching.call(Method::PATCH, &uri, content).await?.success()?;
                Ok(())
            }
        })
        .await;
    match outcome.first_error {
        Some(error) => bail!("{} of the nodes were not made: {error}", outcome.errors),
        None => Ok(()),
    }
}

/// Renews the Leases as kubelets would, on a connection of their own.
async fn heartbeats(
    target: &Target,
    args: &ScheduleArgs,
    run: &str,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> Result<()> {
    let mut connection = Connection::open(target.server(0), &target.tls, tasks).await?;
    let names: Vec<String> = (0..args.nodes).map(|i| objects::node_name(run, i)).collect();
    let (stop, pause) = (stop.clone(), args.heartbeat);
    tasks.spawn_infallible(TaskKind::logged("heartbeats"), async move {
        let beat = async {
            loop {
                tokio::time::sleep(pause).await;
                for name in &names {
                    let uri = format!("{LEASES}/{name}");
                    let body = serde_json::json!({ "spec": { "renewTime": timestamp() } });
                    let body = Bytes::from(body.to_string());
                    let content = Some(("application/merge-patch+json", body));
                    let _ = connection.call(Method::PATCH, &uri, content).await;
                }
            }
        };
        tokio::select! { biased;
            () = stop.cancelled() => {}
            () = beat => {}
        }
    });
    Ok(())
}

/// Waits until so many pods name their node: when each did, and which.
async fn until_bound(mut watch: Watch, pods: usize) -> Result<HashMap<String, (Instant, String)>> {
    let mut bound: HashMap<String, (Instant, String)> = HashMap::with_capacity(pods);
    while bound.len() < pods {
        let next = tokio::time::timeout(STALL_MAX, watch.next_json());
        let Ok(event) = next.await else {
            bail!("no pod was scheduled for {STALL_MAX:?}: {} of {pods} are", bound.len())
        };
        let Some((when, event)) = event? else { bail!("the watch ended at {}", bound.len()) };
        if event["type"] == "ERROR" {
            bail!("the watch failed: {}", event["object"]);
        }
        let object = &event["object"];
        let (name, node) = (&object["metadata"]["name"], &object["spec"]["nodeName"]);
        if let (Some(name), Some(node)) = (name.as_str(), node.as_str()) {
            bound.entry(name.to_owned()).or_insert_with(|| (when, node.to_owned()));
        }
    }
    Ok(bound)
}

fn shape(pod: &mut Value, shape: Shape) {
    let selector =
        serde_json::json!({ "matchLabels": { "app": pod["metadata"]["labels"]["app"] } });
    match shape {
        Shape::Plain => {}
        Shape::Spread => {
            pod["spec"]["topologySpreadConstraints"] = serde_json::json!([{
                "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector,
            }]);
        }
        Shape::AntiAffinity => {
            pod["spec"]["affinity"]["podAntiAffinity"] = serde_json::json!({
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    { "topologyKey": "kubernetes.io/hostname", "labelSelector": selector },
                ],
            });
        }
    }
}

fn timestamp() -> String {
    kontiki_api::k8s_openapi::jiff::Timestamp::now().to_string()
}
