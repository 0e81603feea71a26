//! What to do next for one pod. Pure: no clock, no socket, equal inputs give equal plans.
//!
//! A plan is made whenever something changed: the pod, the runtime, a probe's verdict, an ended
//! operation, a time that has come. It names the operations that may start now; those that are
//! under way are known from [`PodMemory::in_flight`] and not asked for again, except a stop of a
//! container, which may be asked for again with less patience. A plan also says what containers
//! wait for, because `kubectl get pods` shows exactly that.

mod collect;
mod containers;
#[cfg(test)]
mod convergence;
mod ephemeral;
mod init;
mod sandbox;
mod termination;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::pod::{
    memory::{Failure, Operation, PodMemory, Volumes},
    observed::PodRuntimeStatus,
};

pub use termination::{Ending, ending};

/// What to do next, and what the rest waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodPlan {
    /// Operations that may start now.
    pub steps: Vec<Step>,
    /// What containers wait for, by name.
    pub waiting: BTreeMap<String, Waiting>,
    /// Look again then, even if nothing happened.
    pub recheck_at: Option<Timestamp>,
    /// Why the pod ends, if it does.
    pub ending: Option<Ending>,
    /// No container is left running.
    pub stopped: bool,
    /// Nothing of the pod is left on this node.
    pub gone: bool,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make folders and volumes.
    PrepareVolumes,
    /// Make a sandbox; older ones are stopped first.
    CreateSandbox {
        /// Its number.
        attempt: u32,
    },
    /// Stop a sandbox.
    StopSandbox {
        /// Its id.
        id: String,
    },
    /// Pull, make and start a container.
    Start(Start),
    /// Stop a container: hook, signal, time, kill.
    Kill {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
        /// How long it has.
        grace: Duration,
        /// Why.
        reason: KillReason,
    },
    /// Remove dead containers and empty sandboxes.
    Collect {
        /// Containers by id.
        containers: Vec<String>,
        /// Sandboxes by id.
        sandboxes: Vec<String>,
    },
    /// Remove everything of a stopped pod.
    TearDown,
}

impl Step {
    /// The operation that this step starts.
    pub fn operation(&self) -> Operation {
        match self {
            Step::PrepareVolumes => Operation::PrepareVolumes,
            Step::CreateSandbox { .. } => Operation::CreateSandbox,
            Step::StopSandbox { id } => Operation::StopSandbox(id.clone()),
            Step::Start(start) => Operation::Start(start.name.clone()),
            Step::Kill { id, .. } => Operation::Kill(id.clone()),
            Step::Collect { .. } => Operation::Collect,
            Step::TearDown => Operation::TearDown,
        }
    }
}

/// Which container is started, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Its name.
    pub name: String,
    /// Its number.
    pub attempt: u32,
    /// A half-made one of the same number, to be removed first.
    pub replaces: Option<String>,
    /// The container whose processes it sees, by id.
    pub target: Option<String>,
}

/// Why a container is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillReason {
    /// The pod ends.
    PodEnds,
    /// Its sandbox is no more.
    SandboxChanged,
    /// Its liveness probe failed.
    Liveness,
    /// Its startup probe failed.
    Startup,
}

/// Why a container does not run yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Upstream's reason.
    pub reason: &'static str,
    /// Details, may be empty.
    pub message: String,
}

/// Everything a plan is made from.
#[derive(Clone, Copy)]
pub struct Observed<'a> {
    /// The pod as last seen.
    pub pod: &'a Pod,
    /// What the runtime has of it.
    pub runtime: &'a PodRuntimeStatus,
    /// What its worker remembers.
    pub memory: &'a PodMemory,
    /// The time.
    pub now: Timestamp,
}

/// Decides what to do next for one pod.
pub fn plan(observed: Observed<'_>) -> PodPlan {
    let Observed { pod, runtime, memory, .. } = observed;
    let mut plan = PodPlan::default();
    if let Some(ending) = ending(observed) {
        termination::plan(observed, ending, &mut plan);
        return plan;
    }
    plan.recheck(termination::deadline(pod));
    if memory.volumes != Volumes::Ready {
        prepare_volumes(observed, &mut plan);
    } else if let Some(ready) = runtime.ready_sandbox() {
        if init::plan(observed, ready, &mut plan) {
            containers::plan(observed, ready, &mut plan);
        }
        ephemeral::plan(observed, &mut plan);
        collect::plan(observed, &mut plan);
    } else {
        sandbox::plan(observed, &mut plan);
    }
    plan
}

fn prepare_volumes(observed: Observed<'_>, plan: &mut PodPlan) {
    if let Volumes::Failed(failure) = &observed.memory.volumes
        && plan.waits_for(failure, observed.now)
    {
        return;
    }
    plan.start(observed.memory, Step::PrepareVolumes);
}

impl PodPlan {
    /// Looks again at `time`, or earlier.
    fn recheck(&mut self, time: Option<Timestamp>) {
        self.recheck_at = match (self.recheck_at, time) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    /// Starts a step unless it is under way.
    fn start(&mut self, memory: &PodMemory, step: Step) {
        if !memory.is_in_flight(&step.operation()) {
            self.steps.push(step);
        }
    }

    /// Whether a failure's next try is still to come; then the plan looks again when it is.
    fn waits_for(&mut self, failure: &Failure, now: Timestamp) -> bool {
        let retry_at = failure.retry_at();
        if retry_at <= now {
            return false;
        }
        self.recheck(Some(retry_at));
        if failure.stale_at() > now {
            self.recheck(Some(failure.stale_at()));
        }
        true
    }

    fn wait(&mut self, name: &str, reason: &'static str, message: String) {
        self.waiting.insert(name.to_owned(), Waiting { reason, message });
    }
}
