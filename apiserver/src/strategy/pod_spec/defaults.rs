//! The defaults of a pod's spec, on the JSON value.

use serde_json::{Value, json};

use crate::strategy::value::{child, child_or_new, default, items, set, text, unset};

/// 0644, as Kubernetes writes file modes.
const FILE_MODE: i64 = 0o644;
/// How long projected tokens live by default.
const TOKEN_SECONDS: i64 = 60 * 60;

/// Sets the defaults of a pod's spec, in a pod or a template.
pub(in crate::strategy) fn set_defaults(spec: &mut Value) {
    default(spec, "restartPolicy", "Always");
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "schedulerName", "default-scheduler");
    default(spec, "terminationGracePeriodSeconds", 30);
    // A negative period always meant the shortest.
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        set(spec, "terminationGracePeriodSeconds", 1);
    }
    child_or_new(spec, "securityContext");
    service_account(spec);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(spec, list) {
            one_container(container);
        }
    }
    for volume in items(spec, "volumes") {
        one_volume(volume);
    }
    for constraint in items(spec, "topologySpreadConstraints") {
        default(constraint, "whenUnsatisfiable", "DoNotSchedule");
    }
}

/// The two names of the same field follow each other.
fn service_account(spec: &mut Value) {
    let name = text(spec, "serviceAccountName").to_owned();
    let old_name = text(spec, "serviceAccount").to_owned();
    if !name.is_empty() {
        set(spec, "serviceAccount", name);
    } else if !old_name.is_empty() {
        set(spec, "serviceAccountName", old_name);
    } else {
        unset(spec, "serviceAccount");
        unset(spec, "serviceAccountName");
    }
}

fn one_container(container: &mut Value) {
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    let policy = pull_policy(text(container, "image"));
    default(container, "imagePullPolicy", policy);
    child_or_new(container, "resources");
    for port in items(container, "ports") {
        default(port, "protocol", "TCP");
    }
    for variable in items(container, "env") {
        if let Some(source) = child(variable, "valueFrom") {
            field_reference(source);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = child(container, probe) {
            default(probe, "timeoutSeconds", 1);
            default(probe, "periodSeconds", 10);
            default(probe, "successThreshold", 1);
            default(probe, "failureThreshold", 3);
            zero_means_default(probe);
            handler(probe);
        }
    }
    if let Some(lifecycle) = child(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = child(lifecycle, hook) {
                handler(hook);
            }
        }
    }
}

/// These counts cannot be told from unset when they are zero.
fn zero_means_default(probe: &mut Value) {
    let defaults = [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ];
    for (field, to) in defaults {
        if probe[field] == 0 {
            set(probe, field, to);
        }
    }
}

/// `Always` for a moving tag, `IfNotPresent` for a fixed one or a digest.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    match last.rsplit_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn handler(handler: &mut Value) {
    if let Some(get) = child(handler, "httpGet") {
        default(get, "path", "/");
        default(get, "scheme", "HTTP");
    }
    if let Some(grpc) = child(handler, "grpc") {
        default(grpc, "service", "");
    }
}

fn field_reference(source: &mut Value) {
    if let Some(reference) = child(source, "fieldRef") {
        default(reference, "apiVersion", "v1");
    }
    if let Some(reference) = child(source, "resourceFieldRef") {
        default(reference, "divisor", "0");
    }
}

fn one_volume(volume: &mut Value) {
    if volume.as_object().is_some_and(|volume| volume.keys().all(|key| key == "name")) {
        set(volume, "emptyDir", json!({}));
    }
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(source) = child(volume, source) {
            default(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(path) = child(volume, "hostPath") {
        default(path, "type", "");
    }
    if let Some(downward) = child(volume, "downwardAPI") {
        for item in items(downward, "items") {
            field_reference(item);
        }
    }
    if let Some(projected) = child(volume, "projected") {
        for source in items(projected, "sources") {
            if let Some(token) = child(source, "serviceAccountToken") {
                default(token, "expirationSeconds", TOKEN_SECONDS);
            }
            if let Some(downward) = child(source, "downwardAPI") {
                for item in items(downward, "items") {
                    field_reference(item);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::pull_policy;

    #[test]
    fn images_with_a_fixed_name_are_pulled_once() {
        let cases = [
            ("web", "Always"),
            ("web:latest", "Always"),
            ("registry:5000/web", "Always"),
            ("web:1", "IfNotPresent"),
            ("registry:5000/web:1.2", "IfNotPresent"),
            ("web@sha256:00", "IfNotPresent"),
        ];
        for (image, expected) in cases {
            assert_eq!(pull_policy(image), expected, "{image}");
        }
    }
}
