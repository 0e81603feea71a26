//! Probes: what to ask ([`target`]), how to ask ([`http`], [`grpc`], TCP, exec), what repeated answers mean
//! ([`verdict`], pure) and the loop of one probe of one container.

pub mod grpc;
pub mod http;
pub mod target;
pub mod verdict;

use std::{net::IpAddr, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use kontiki_base::{CancellationToken, backoff::Backoff, tasks::TaskKind};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    node::context::Context,
    pod::{
        inbox::Inbox,
        spec::{PodExt, ProbeKind},
    },
};
use verdict::{Answer, Thresholds, Verdict};

/// One probe of one running container.
pub struct ProbeTask {
    /// What all workers share.
    pub context: Arc<Context>,
    /// The pod.
    pub pod: Arc<Pod>,
    /// The container's name.
    pub container: String,
    /// The runtime's id of the container.
    pub container_id: String,
    /// Which of its probes.
    pub kind: ProbeKind,
    /// Where to reach the pod.
    pub address: IpAddr,
    /// How long the container already ran.
    pub age: Duration,
    /// What an earlier life of this probe found.
    pub known: Option<bool>,
    /// Who is told.
    pub inbox: Arc<Inbox>,
}

/// A container that just started is asked again soon, whatever the period: the first of these
/// waits, doubled each time. Only answers at the period's pace count as failures.
const EARLY: Duration = Duration::from_millis(25);

impl ProbeTask {
    /// Starts asking, until the token is cancelled.
    pub fn spawn(self, stop: CancellationToken) {
        let context = self.context.clone();
        context.tasks.spawn_infallible(TaskKind::logged("probe"), async move {
            tokio::select! { biased;
                () = stop.cancelled() => {}
                () = self.run() => {}
            }
        });
    }

    async fn run(self) {
        let pod = self.pod.clone();
        let Some(container) = pod.container(&self.container) else { return };
        let Some(probe) = self.kind.of(&container) else { return };
        let seconds = |value: Option<i32>, least: i32| {
            Duration::from_secs(value.unwrap_or(least).max(least).unsigned_abs().into())
        };
        let initial = seconds(probe.initial_delay_seconds, 0).saturating_sub(self.age);
        let period = match probe.period_seconds {
            Some(period) if period > 0 => seconds(Some(period), 1),
            _ => Duration::from_secs(10),
        };
        let thresholds = Thresholds {
            success: probe.success_threshold.unwrap_or(1).max(1).unsigned_abs(),
            failure: probe.failure_threshold.unwrap_or(3).max(1).unsigned_abs(),
        };
        let mut state = Verdict::new(thresholds, self.known);
        tokio::time::sleep(initial).await;
        // What an exec costs is not known, so it keeps to its pace.
        let may_hurry = self.kind != ProbeKind::Liveness && probe.exec.is_none();
        let mut early = Backoff::new(EARLY, period);
        let mut counted_at = Instant::now();
        loop {
            let outcome = self.ask(&container, probe, seconds(probe.timeout_seconds, 1)).await;
            if may_hurry && state.is_open() && outcome.is_err() {
                let next = counted_at + period;
                let soon = Instant::now() + early.next_delay();
                if soon < next {
                    sleep_until(soon).await;
                    continue;
                }
                sleep_until(next).await;
            }
            counted_at = Instant::now();
            if self.tell(&mut state, &outcome) {
                return;
            }
            if !(may_hurry && state.is_open() && outcome.is_err()) {
                tokio::time::sleep(period).await;
            }
        }
    }

    /// Records an answer. Whether the probe has nothing more to find.
    fn tell(&self, state: &mut Verdict, outcome: &Result<(), String>) -> bool {
        let answer = if outcome.is_ok() { Answer::Success } else { Answer::Failure };
        if let Err(problem) = outcome {
            let message = format!("{} probe failed: {problem}", self.kind.title());
            self.context.warning(&self.pod, Some(&self.container), "Unhealthy", &message);
        }
        crate::metrics::count_probe(self.kind, outcome.is_ok());
        let Some(passed) = state.record(answer) else { return false };
        self.inbox.verdict(&self.container_id, self.kind, passed);
        // A startup probe has one verdict; a container that failed is about to end.
        self.kind == ProbeKind::Startup || (self.kind == ProbeKind::Liveness && !passed)
    }

    async fn ask(
        &self,
        container: &Container,
        probe: &Probe,
        limit: Duration,
    ) -> Result<(), String> {
        if let Some(exec) = &probe.exec {
            let command = exec.command.clone().unwrap_or_default();
            let ran = self.context.runtime.exec(&self.container_id, &command, Some(limit)).await;
            let output = ran.map_err(|error| error.message().to_owned())?;
            return if output.exit_code == 0 { Ok(()) } else { Err(output.output) };
        }
        if let Some(get) = &probe.http_get {
            let request = target::http(get, container, self.address)?;
            return http::probe(&request, limit).await.map(drop);
        }
        if let Some(tcp) = &probe.tcp_socket {
            let address = target::tcp(tcp, container, self.address)?;
            return match timeout(limit, TcpStream::connect(&address)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(format!("dial tcp {address}: {error}")),
                Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
            };
        }
        if let Some(action) = &probe.grpc {
            let address = target::grpc(action, self.address)?;
            let service = action.service.as_deref().unwrap_or_default();
            return grpc::probe(&address, service, limit).await;
        }
        Err("the probe says not what to ask".to_owned())
    }
}
