//! What the runtime has of one pod.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use k8s_cri::v1 as cri;

use crate::pod::labels;

/// How a container ends that is killed.
const KILLED: i32 = 137;
/// The reason of one that was killed for its memory, as upstream has it.
const OUT_OF_MEMORY: &str = "OOMKilled";

/// Everything the runtime has of one pod, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRuntimeStatus {
    /// Sandboxes.
    pub sandboxes: Vec<SandboxStatus>,
    /// Containers, dead ones too.
    pub containers: Vec<ContainerStatus>,
}

/// A sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxStatus {
    /// The runtime's id.
    pub id: String,
    /// Which try of the pod it is.
    pub attempt: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether its pause process runs and its network stands.
    pub ready: bool,
    /// Its addresses; none on the host's network.
    pub addresses: Vec<IpAddr>,
}

/// State of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Running.
    Running,
    /// Ended.
    Exited,
    /// The runtime lost track of it.
    Unknown,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    /// The runtime's id.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    /// The sandbox it is in.
    pub sandbox_id: String,
    /// How many of its name came before.
    pub attempt: u32,
    /// Its state.
    pub state: ContainerState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Its exit code, once ended.
    pub exit_code: i32,
    /// The runtime's reason (`Completed`, `Error`, `OOMKilled`).
    pub reason: String,
    /// The runtime's or, once ended, the container's own message.
    pub message: String,
    /// The image as the pod names it.
    pub image: String,
    /// The image by digest.
    pub image_id: String,
}

impl PodRuntimeStatus {
    /// The sandbox that the pod lives in: the newest, if it is ready.
    pub fn ready_sandbox(&self) -> Option<&SandboxStatus> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    /// The newest container of a name.
    pub fn latest(&self, name: &str) -> Option<&ContainerStatus> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The newest container of a name in one sandbox.
    pub fn latest_in(&self, sandbox: &str, name: &str) -> Option<&ContainerStatus> {
        self.containers.iter().find(|c| c.name == name && c.sandbox_id == sandbox)
    }

    /// The second newest container of a name.
    pub fn previous(&self, name: &str) -> Option<&ContainerStatus> {
        self.containers.iter().filter(|container| container.name == name).nth(1)
    }

    /// Containers with a process, or about to have one.
    pub fn alive(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.containers.iter().filter(|container| container.is_alive())
    }

    /// Brings everything into the promised order.
    pub fn sort(&mut self) {
        self.sandboxes.sort_by_key(|s| std::cmp::Reverse((s.created_at, s.attempt)));
        self.containers.sort_by_key(|c| std::cmp::Reverse((c.created_at, c.attempt)));
    }
}

impl ContainerStatus {
    /// Running.
    pub fn is_running(&self) -> bool {
        self.state == ContainerState::Running
    }

    /// Ended.
    pub fn is_exited(&self) -> bool {
        self.state == ContainerState::Exited
    }

    /// Whether there is something to stop.
    pub fn is_alive(&self) -> bool {
        matches!(self.state, ContainerState::Running | ContainerState::Unknown)
    }

    /// Ended well.
    pub fn succeeded(&self) -> bool {
        self.is_exited() && self.exit_code == 0
    }

    /// The kernel says that it killed a process of the container: if the container ended by that, that
    /// is why, though the runtime may not have heard of it.
    pub fn was_out_of_memory(&mut self) {
        if self.is_exited() && self.exit_code == KILLED {
            OUT_OF_MEMORY.clone_into(&mut self.reason);
        }
    }

    /// Whether the runtime will say nothing else of it any more. One that was killed may have been
    /// killed for its memory: containerd hears of that apart from its end, and sometimes later.
    pub fn is_settled(&self, now: Timestamp) -> bool {
        const LATE_NEWS: SignedDuration = SignedDuration::from_secs(5);
        let ended = self.finished_at.unwrap_or(self.created_at);
        self.is_exited()
            && (self.exit_code != KILLED
                || self.reason == OUT_OF_MEMORY
                || now.duration_since(ended) > LATE_NEWS)
    }

    /// Reads what CRI says.
    pub fn from_cri(status: &cri::ContainerStatus, sandbox_id: &str) -> ContainerStatus {
        let metadata = status.metadata.clone().unwrap_or_default();
        let image = status.image.clone().unwrap_or_default();
        ContainerStatus {
            id: status.id.clone(),
            name: status.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or(metadata.name),
            sandbox_id: sandbox_id.to_owned(),
            attempt: metadata.attempt,
            state: match status.state() {
                cri::ContainerState::ContainerCreated => ContainerState::Created,
                cri::ContainerState::ContainerRunning => ContainerState::Running,
                cri::ContainerState::ContainerExited => ContainerState::Exited,
                cri::ContainerState::ContainerUnknown => ContainerState::Unknown,
            },
            created_at: timestamp(status.created_at).unwrap_or_default(),
            started_at: timestamp(status.started_at),
            finished_at: timestamp(status.finished_at),
            exit_code: status.exit_code,
            // A killed child of a command run inside makes containerd say OOMKilled of a container
            // that still runs.
            reason: if status.state() == cri::ContainerState::ContainerExited {
                status.reason.clone()
            } else {
                String::new()
            },
            message: status.message.clone(),
            image: if image.user_specified_image.is_empty() {
                image.image
            } else {
                image.user_specified_image
            },
            image_id: status.image_ref.clone(),
        }
    }
}

/// CRI's nanoseconds since the epoch; 0 means never.
pub fn timestamp(nanoseconds: i64) -> Option<Timestamp> {
    (nanoseconds > 0).then(|| Timestamp::from_nanosecond(i128::from(nanoseconds)).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_killed_may_yet_turn_out_to_have_used_too_much_memory() {
        let check = |exit_code: i32, reason: &str, seconds: i64, expected: bool| {
            let cri = cri::ContainerStatus {
                state: cri::ContainerState::ContainerExited.into(),
                finished_at: 1_000_000_000,
                exit_code,
                reason: reason.to_owned(),
                ..cri::ContainerStatus::default()
            };
            let status = ContainerStatus::from_cri(&cri, "s0");
            let now = Timestamp::from_second(1 + seconds).unwrap();
            assert_eq!(status.is_settled(now), expected, "{exit_code} {reason} after {seconds} s");
        };
        check(0, "Completed", 0, true);
        check(1, "Error", 0, true);
        check(137, "Error", 0, false);
        check(137, "Error", 60, true);
        check(137, "OOMKilled", 0, true);
    }

    #[test]
    fn the_kernels_word_is_why_a_killed_container_ended() {
        for (state, exit_code, expected) in [
            (cri::ContainerState::ContainerExited, 137, "OOMKilled"),
            // A child was killed, and the container ended by itself, or did not end.
            (cri::ContainerState::ContainerExited, 1, "Error"),
            (cri::ContainerState::ContainerRunning, 0, ""),
        ] {
            let cri = cri::ContainerStatus {
                state: state.into(),
                exit_code,
                reason: "Error".to_owned(),
                ..cri::ContainerStatus::default()
            };
            let mut status = ContainerStatus::from_cri(&cri, "s0");
            status.was_out_of_memory();
            assert_eq!(status.reason, expected, "{state:?} {exit_code}");
        }
    }
}
