//! Pods: settings of the kernel, and what may change while gates hold them.

use super::*;

#[test]
fn settings_of_the_kernel() {
    let with = |spec: Value| {
        let mut all = json!({"containers": [{"name": "a", "image": "x"}]});
        kontiki_api::patch::merge(&mut all, &spec);
        pod(&all)
    };
    let settings = |names: &[&str]| {
        let list: Vec<Value> =
            names.iter().map(|name| json!({"name": name, "value": "1"})).collect();
        json!({ "sysctls": list })
    };
    let good = ["kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net/ipv4/conf/a-b", "a"];
    check("pods", with(json!({"securityContext": settings(&good)})), "");
    let wrong = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    check(
        "pods",
        with(json!({"securityContext": settings(&["foo-", "bar..", "a", "a"])})),
        &format!(
            "[spec.securityContext.sysctls[0].name: Invalid value: \"foo-\": {wrong}, \
             spec.securityContext.sysctls[1].name: Invalid value: \"bar..\": {wrong}, \
             spec.securityContext.sysctls[3].name: Duplicate value: \"a\"]"
        ),
    );
    check(
        "pods",
        with(json!({
            "hostNetwork": true, "hostIPC": true,
            "securityContext": settings(&["net.core.somaxconn", "kernel.sem", "kernel.other"]),
        })),
        "[spec.securityContext.sysctls[0].name: Invalid value: \"net.core.somaxconn\": may not be specified when 'hostNetwork' is true, \
         spec.securityContext.sysctls[1].name: Invalid value: \"kernel.sem\": may not be specified when 'hostIPC' is true]",
    );
}

#[test]
fn gated_pods_may_be_steered_to_fewer_nodes() {
    let with = |rest: Value| {
        let mut all = json!({
            "containers": [{"name": "a", "image": "x"}],
            "schedulingGates": [{"name": "example.com/g"}],
        });
        kontiki_api::patch::merge(&mut all, &rest);
        pod(&all)
    };
    let selector = |selector: Value| with(json!({ "nodeSelector": selector }));
    check_update("pods", selector(json!({"a": "1"})), selector(json!({"a": "1", "b": "2"})), "");
    check_update("pods", with(json!({})), selector(json!({"a": "1"})), "");
    check_update(
        "pods",
        selector(json!({"a": "1"})),
        selector(json!({"a": "2"})),
        "spec.nodeSelector: Invalid value: {\"a\":\"2\"}: only additions are allowed to spec.nodeSelector (no mutations or deletions)",
    );
    let rule = |key: &str| json!({"key": key, "operator": "Exists"});
    let nodes = |terms: Value| {
        with(json!({"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms},
        }}}))
    };
    let term = |keys: &[&str]| json!({"matchExpressions": keys.iter().map(|key| rule(key)).collect::<Vec<_>>()});
    check_update("pods", with(json!({})), nodes(json!([term(&["a"])])), "");
    check_update("pods", nodes(json!([term(&["a"])])), nodes(json!([term(&["a", "b"])])), "");
    let path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    check_update(
        "pods",
        nodes(json!([term(&["a"])])),
        nodes(json!([term(&["b"])])),
        &format!(
            "{path}[0]: Invalid value: {}: only additions are allowed (no mutations or deletions)",
            term(&["b"])
        ),
    );
    check_update(
        "pods",
        nodes(json!([term(&["a"])])),
        nodes(json!([term(&["a"]), term(&["b"])])),
        &format!(
            "{path}: Invalid value: {}: no additions/deletions to non-empty NodeSelectorTerms list are allowed",
            json!([term(&["a"]), term(&["b"])])
        ),
    );
}
