//! What a pod's specification means, with its defaults. Pure.

use std::{borrow::Cow, time::Duration};

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec, Probe};
use kontiki_api::Object;

/// When containers are started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Whenever they end.
    Always,
    /// When they end with an error.
    OnFailure,
    /// Never.
    Never,
}

/// The grace period of a pod that names none.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(30);

static NO_SPEC: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);

/// Shorthands on a pod.
pub trait PodExt {
    /// Its specification; an empty one if it has none.
    fn pod_spec(&self) -> &PodSpec;
    /// Init containers in order.
    fn init_containers(&self) -> &[Container];
    /// The containers that were put into it while it runs, to look around.
    fn ephemeral_containers(&self) -> &[EphemeralContainer];
    /// A container, init container or ephemeral container by name.
    fn container(&self, name: &str) -> Option<Cow<'_, Container>>;
    /// The pod's restart policy.
    fn restart_policy(&self) -> RestartPolicy;
    /// The restart policy of one container: sidecars always restart.
    fn container_restart_policy(&self, container: &Container) -> RestartPolicy;
    /// Whether the pod uses the node's network.
    fn is_host_network(&self) -> bool;
    /// The phase last reported.
    fn phase(&self) -> &str;
    /// How long its containers have to end.
    fn grace(&self) -> Duration;
    /// `NAME_NAMESPACE(UID)`, as upstream's messages have it.
    fn log_name(&self) -> String;
    /// Whether this is a static pod's image in the API.
    fn is_mirror(&self) -> bool;
    /// Whether it comes from this node, not from the API.
    fn is_static(&self) -> bool;
}

impl PodExt for Pod {
    fn pod_spec(&self) -> &PodSpec {
        self.spec.as_ref().unwrap_or(&NO_SPEC)
    }

    fn init_containers(&self) -> &[Container] {
        self.pod_spec().init_containers.as_deref().unwrap_or_default()
    }

    fn ephemeral_containers(&self) -> &[EphemeralContainer] {
        self.pod_spec().ephemeral_containers.as_deref().unwrap_or_default()
    }

    fn container(&self, name: &str) -> Option<Cow<'_, Container>> {
        let mut declared = self.init_containers().iter().chain(&self.pod_spec().containers);
        if let Some(container) = declared.find(|container| container.name == name) {
            return Some(Cow::Borrowed(container));
        }
        let mut put_in = self.ephemeral_containers().iter();
        put_in.find(|container| container.name == name).map(as_container).map(Cow::Owned)
    }

    fn restart_policy(&self) -> RestartPolicy {
        match self.pod_spec().restart_policy.as_deref() {
            Some("OnFailure") => RestartPolicy::OnFailure,
            Some("Never") => RestartPolicy::Never,
            _ => RestartPolicy::Always,
        }
    }

    fn container_restart_policy(&self, container: &Container) -> RestartPolicy {
        if is_sidecar(container) {
            return RestartPolicy::Always;
        }
        let is_init = self.init_containers().iter().any(|init| init.name == container.name);
        if self.ephemeral_containers().iter().any(|put_in| put_in.name == container.name) {
            return RestartPolicy::Never;
        }
        match self.restart_policy() {
            RestartPolicy::Always if is_init => RestartPolicy::OnFailure,
            policy => policy,
        }
    }

    fn is_host_network(&self) -> bool {
        self.pod_spec().host_network == Some(true)
    }

    fn phase(&self) -> &str {
        self.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
    }

    fn grace(&self) -> Duration {
        let seconds = self
            .metadata
            .deletion_grace_period_seconds
            .or(self.pod_spec().termination_grace_period_seconds);
        seconds.map_or(DEFAULT_GRACE, seconds_or_zero)
    }

    fn log_name(&self) -> String {
        format!("{}_{}({})", self.name(), self.namespace(), self.uid())
    }

    fn is_mirror(&self) -> bool {
        mirror_of(self).is_some()
    }

    fn is_static(&self) -> bool {
        annotation(self, crate::pod::labels::CONFIG_SOURCE).is_some_and(|source| source != "api")
    }
}

/// An annotation's value.
pub fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The uid of the static pod that a mirror pod stands for.
pub fn mirror_of(pod: &Pod) -> Option<&str> {
    annotation(pod, crate::pod::labels::CONFIG_MIRROR)
}

/// Whether an init container runs beside the others for the pod's whole life.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// An ephemeral container as one like the others. What it may not have (ports, probes, hooks,
/// resources), it has not.
pub fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let one = ephemeral.clone();
    Container {
        name: one.name,
        image: one.image,
        image_pull_policy: one.image_pull_policy,
        command: one.command,
        args: one.args,
        working_dir: one.working_dir,
        env: one.env,
        env_from: one.env_from,
        volume_mounts: one.volume_mounts,
        volume_devices: one.volume_devices,
        security_context: one.security_context,
        stdin: one.stdin,
        stdin_once: one.stdin_once,
        tty: one.tty,
        termination_message_path: one.termination_message_path,
        termination_message_policy: one.termination_message_policy,
        ..Container::default()
    }
}

/// A number of seconds of the API, where nothing negative makes sense.
pub fn seconds_or_zero(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// The three kinds of probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// Has it started? Until then the others are not asked.
    Startup,
    /// Should it be restarted?
    Liveness,
    /// May it get requests?
    Readiness,
}

impl ProbeKind {
    /// All kinds.
    pub const ALL: [ProbeKind; 3] = [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness];

    /// The probe of this kind that a container has.
    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            ProbeKind::Startup => container.startup_probe.as_ref(),
            ProbeKind::Liveness => container.liveness_probe.as_ref(),
            ProbeKind::Readiness => container.readiness_probe.as_ref(),
        }
    }

    /// Its name in messages.
    pub fn title(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
        }
    }

    /// Its name in metrics and other messages.
    pub fn lower(self) -> &'static str {
        match self {
            ProbeKind::Startup => "startup",
            ProbeKind::Liveness => "liveness",
            ProbeKind::Readiness => "readiness",
        }
    }
}
