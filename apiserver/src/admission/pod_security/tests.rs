#![expect(
    clippy::needless_pass_by_value,
    reason = "tables of literals read better without borrows"
)]

use serde_json::json;

use super::*;

fn policy(labels: Value) -> Policy {
    let (policy, errors) = Policy::of(&json!({"metadata": {"labels": labels}}));
    assert!(errors.is_empty(), "{}", errors.aggregate());
    policy
}

fn enforced(level: &str, version: &str) -> LevelVersion {
    policy(json!({
        "pod-security.kubernetes.io/enforce": level,
        "pod-security.kubernetes.io/enforce-version": version,
    }))
    .enforce
}

/// What a level says of a pod's spec.
#[track_caller]
fn check(policy: LevelVersion, spec: Value, expected: &str) {
    let metadata = json!({"annotations": spec["annotations"].clone()});
    let found = evaluate(policy, Pod { metadata: &metadata, spec: &spec });
    assert_eq!(detail(&found), expected);
}

fn container(context: Value) -> Value {
    json!({"containers": [{"name": "c", "securityContext": context}]})
}

#[test]
fn the_baseline_keeps_a_pod_to_itself() {
    let baseline = enforced("baseline", "latest");
    check(baseline, container(json!({})), "");
    let cases = [
        (
            json!({"hostNetwork": true, "hostIPC": true}),
            "host namespaces (hostNetwork=true, hostIPC=true)",
        ),
        (
            json!({"volumes": [{"name": "a", "hostPath": {}}, {"name": "b", "hostPath": {}}]}),
            "hostPath volumes (volumes \"a\", \"b\")",
        ),
        (
            json!({"containers": [{"name": "c", "ports": [{"hostPort": 80}]}]}),
            "hostPort (container \"c\" uses hostPort 80)",
        ),
        (
            container(json!({"privileged": true})),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            container(json!({"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}})),
            "non-default capabilities (container \"c\" must not include \"NET_ADMIN\" in \
             securityContext.capabilities.add)",
        ),
        (
            container(json!({"procMount": "Unmasked"})),
            "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            container(json!({"seLinuxOptions": {"type": "x", "user": "u"}})),
            "seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: type \
             \"x\"; user may not be set)",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \
             \"Unconfined\")",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}]}}),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
            "forbidden AppArmor profile (pod must not set AppArmor profile type to \
             \"Unconfined\")",
        ),
        (
            json!({"containers": [{"name": "c", "livenessProbe": {"httpGet": {"host": "h"}}}]}),
            "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"h\")",
        ),
        (
            json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
    ];
    for (spec, expected) in cases {
        check(baseline, spec, expected);
    }
}

#[test]
fn restricted_pods_harden_themselves() {
    let restricted = enforced("restricted", "latest");
    check(
        restricted,
        json!({"containers": [{"name": "c"}]}),
        "allowPrivilegeEscalation != false (container \"c\" must set \
         securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \
         \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod \
         or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or \
         container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
         \"Localhost\")",
    );
    let hardened = json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"},
    });
    check(restricted, container(hardened.clone()), "");
    let mut volumes = container(hardened.clone());
    volumes["volumes"] = json!([{"name": "v", "hostPath": {}}, {"name": "s", "secret": {}}]);
    check(
        restricted,
        volumes,
        "restricted volume types (volume \"v\" uses restricted volume type \"hostPath\")",
    );
    let mut root = hardened;
    root["runAsUser"] = 0.into();
    check(restricted, container(root), "runAsUser=0 (container \"c\" must not set runAsUser=0)");
    let mut windows = container(json!({"runAsNonRoot": true}));
    windows["os"] = json!({"name": "windows"});
    check(restricted, windows, "");
}

#[test]
fn the_version_says_which_rules_hold() {
    let sysctl = json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}});
    check(enforced("baseline", "v1.31"), sysctl.clone(), "forbidden sysctls (net.ipv4.tcp_rmem)");
    check(enforced("baseline", "v1.32"), sysctl, "");
    let bare = json!({"containers": [{"name": "c"}], "securityContext": {"runAsNonRoot": true}});
    check(enforced("restricted", "v1.7"), bare.clone(), "");
    check(
        enforced("restricted", "v1.8"),
        bare,
        "allowPrivilegeEscalation != false (container \"c\" must set \
         securityContext.allowPrivilegeEscalation=false)",
    );
    let annotated = json!({
        "containers": [{"name": "c"}],
        "annotations": {"container.seccomp.security.alpha.kubernetes.io/c": "unconfined"},
    });
    check(
        enforced("baseline", "v1.18"),
        annotated,
        "seccompProfile (forbidden annotation \
         container.seccomp.security.alpha.kubernetes.io/c=\"unconfined\")",
    );
}

#[test]
fn warnings_follow_enforcement_unless_told_otherwise() {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    assert_eq!(policy(labels).warn.level, Level::Restricted);
    let labels = json!({
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/warn": "privileged",
    });
    assert_eq!(policy(labels).warn.level, Level::Privileged);
}

#[test]
fn labels_that_cannot_be_read_enforce_the_strictest() {
    let labels = json!({
        "pod-security.kubernetes.io/enforce": "x", "pod-security.kubernetes.io/audit": "y",
        "pod-security.kubernetes.io/warn-version": "v1.04",
    });
    let (policy, errors) = Policy::of(&json!({"metadata": {"labels": labels}}));
    assert_eq!(policy.enforce.level, Level::Restricted);
    assert_eq!(policy.audit.level, Level::Privileged);
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"x\": must be \
             one of privileged, baseline, restricted",
            "metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: \"y\": must be one \
             of privileged, baseline, restricted",
            "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"v1.04\": \
             must be \"latest\" or \"v1.x\"",
        ]
    );
}

#[test]
fn a_refusal_names_the_level_and_a_template_is_only_warned_of() {
    let labels = json!({
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/enforce-version": "v1.36",
        "pod-security.kubernetes.io/audit": "baseline",
    });
    let spec = json!({"hostPID": true});
    let pod = Pod { metadata: &Value::Null, spec: &spec };
    let verdict = judge(policy(labels.clone()), pod, true);
    assert_eq!(
        verdict.refusal.as_deref(),
        Some("violates PodSecurity \"baseline:v1.36\": host namespaces (hostPID=true)")
    );
    assert_eq!(verdict.warning, None);
    let verdict = judge(policy(labels), pod, false);
    assert_eq!(verdict.refusal, None);
    assert_eq!(
        verdict.warning.as_deref(),
        Some("would violate PodSecurity \"baseline:v1.36\": host namespaces (hostPID=true)")
    );
    assert_eq!(
        verdict.audit.as_deref(),
        Some("would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)")
    );
}

#[test]
fn only_what_the_checks_look_at_matters_in_an_update() {
    let pod = |image: &str| json!({"spec": {"containers": [{"name": "c", "image": image}]}});
    assert!(!matters(&pod("a"), &pod("a")));
    assert!(matters(&pod("b"), &pod("a")));
    let mut debugged = pod("a");
    debugged["spec"]["ephemeralContainers"] = json!([{"name": "d", "image": "x"}]);
    assert!(matters(&debugged, &pod("a")));
}
