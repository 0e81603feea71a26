//! Labels and annotations on sandboxes and containers, as every node tool expects them.

/// Pod's name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Pod's uid.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Container's name.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// How often the container was restarted before.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Where the container writes its termination message.
pub const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Whether the log's end may stand for the termination message.
pub const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// The pod's grace period, for those who stop it when its object is gone.
pub const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Where a pod comes from.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// On a mirror pod: hash of the static pod it stands for.
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
/// On a static pod: hash of its manifest.
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
