//! Stopping a container: its pre-stop hook, its signal, its time, the kill.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Outcome, Subject, hooks, kill_message};
use crate::pod::{lifecycle::KillReason, spec::PodExt};

/// After a hook that used the whole grace period, a container still gets this.
const MINIMUM_GRACE: Duration = Duration::from_secs(2);

pub(super) async fn kill(
    subject: &Subject,
    id: &str,
    name: &str,
    grace: Duration,
    reason: KillReason,
) -> Outcome {
    let Subject { context, pod, .. } = subject;
    context.event(pod, Some(name), "Killing", &kill_message(name, reason));
    let started = Instant::now();
    let container = pod.container(name);
    let container = container.as_deref();
    let hook = container
        .and_then(|container| container.lifecycle.as_ref())
        .and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    if let (Some(hook), Some(container)) = (hook, container)
        && !grace.is_zero()
    {
        let problem = match timeout(grace, hooks::run(subject, container, id, hook)).await {
            Ok(Ok(())) => None,
            Ok(Err(problem)) => Some(problem),
            Err(_) => Some("it did not end within the grace period".to_owned()),
        };
        if let Some(problem) = problem {
            let message = format!("PreStopHook failed: {problem}");
            context.warning(pod, Some(name), "FailedPreStopHook", &message);
        }
    }
    let left = grace.saturating_sub(started.elapsed()).max(MINIMUM_GRACE.min(grace));
    match context.runtime.stop_container(id, left).await {
        Ok(()) => Outcome::Done,
        Err(error) => {
            Outcome::Failed { reason: "FailedKillPod", message: error.message().to_owned() }
        }
    }
}
