//! Probes and lifecycle hooks.

use kontiki_api::{
    field::{Error, Path},
    k8s_openapi::{
        api::core::v1::{
            Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
        },
        apimachinery::pkg::util::intstr::IntOrString,
    },
    names,
};

use crate::strategy::check::Check;

/// Checks the probes and hooks of a container that keeps running.
pub(super) fn of_container(check: &mut Check, at: &Path, container: &Container) {
    if let Some(lifecycle) = &container.lifecycle {
        let at = at.child("lifecycle");
        for (field, hook) in
            [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)]
        {
            if let Some(hook) = hook {
                one_hook(check, &at.child(field), hook);
            }
        }
    }
    let probes = [
        ("livenessProbe", &container.liveness_probe, true),
        ("readinessProbe", &container.readiness_probe, false),
        ("startupProbe", &container.startup_probe, true),
    ];
    for (field, probe, kills) in probes {
        if let Some(probe) = probe {
            one_probe(check, &at.child(field), probe, kills);
        }
    }
}

fn one_probe(check: &mut Check, at: &Path, probe: &Probe, kills: bool) {
    let handlers = Handlers {
        exec: probe.exec.as_ref(),
        http: probe.http_get.as_ref(),
        tcp: probe.tcp_socket.as_ref(),
        grpc: probe.grpc.as_ref().map(|grpc| grpc.port),
        sleep: None,
    };
    handlers.validate(check, at);
    check.not_negative(&at.child("initialDelaySeconds"), probe.initial_delay_seconds);
    check.not_negative(&at.child("timeoutSeconds"), probe.timeout_seconds);
    check.not_negative(&at.child("periodSeconds"), probe.period_seconds);
    check.not_negative(&at.child("successThreshold"), probe.success_threshold);
    check.not_negative(&at.child("failureThreshold"), probe.failure_threshold);
    if let Some(seconds) = probe.termination_grace_period_seconds {
        let at = at.child("terminationGracePeriodSeconds");
        if !kills {
            check.invalid(&at, seconds, "must not be set for readinessProbes");
        } else if seconds <= 0 {
            check.invalid(&at, seconds, "must be greater than 0");
        }
    }
    if kills && probe.success_threshold.is_some_and(|threshold| threshold != 1) {
        let threshold = probe.success_threshold.unwrap_or_default();
        check.invalid(&at.child("successThreshold"), threshold, "must be 1");
    }
}

fn one_hook(check: &mut Check, at: &Path, hook: &LifecycleHandler) {
    let handlers = Handlers {
        exec: hook.exec.as_ref(),
        http: hook.http_get.as_ref(),
        tcp: hook.tcp_socket.as_ref(),
        grpc: None,
        sleep: hook.sleep.as_ref().map(|sleep| sleep.seconds),
    };
    handlers.validate(check, at);
}

/// The ways of asking a container something, of which exactly one is chosen.
struct Handlers<'a> {
    exec: Option<&'a ExecAction>,
    http: Option<&'a HTTPGetAction>,
    tcp: Option<&'a TCPSocketAction>,
    grpc: Option<i32>,
    sleep: Option<i64>,
}

impl Handlers<'_> {
    fn validate(&self, check: &mut Check, at: &Path) {
        let mut chosen = Vec::new();
        if let Some(exec) = self.exec {
            chosen.push("exec");
            if exec.command.as_ref().is_none_or(Vec::is_empty) {
                check.required(&at.child("exec").child("command"), "");
            }
        }
        if let Some(http) = self.http {
            chosen.push("httpGet");
            http_get(check, &at.child("httpGet"), http);
        }
        if let Some(tcp) = self.tcp {
            chosen.push("tcpSocket");
            port(check, &at.child("tcpSocket").child("port"), &tcp.port);
        }
        if let Some(number) = self.grpc {
            chosen.push("grpc");
            check.port(&at.child("grpc").child("port"), number);
        }
        if let Some(seconds) = self.sleep {
            chosen.push("sleep");
            check.not_negative(&at.child("sleep").child("seconds"), Some(seconds));
        }
        if chosen.is_empty() {
            check.required(at, "must specify a handler type");
        }
        for extra in chosen.iter().skip(1) {
            let detail = "may not specify more than 1 handler type";
            check.forbidden(&at.child(extra), detail);
        }
    }
}

fn http_get(check: &mut Check, at: &Path, get: &HTTPGetAction) {
    if get.path.as_deref().unwrap_or_default().is_empty() {
        check.required(&at.child("path"), "");
    }
    port(check, &at.child("port"), &get.port);
    let scheme = get.scheme.as_deref().unwrap_or_default();
    check.one_of(&at.child("scheme"), scheme, &["HTTP", "HTTPS"]);
    for header in get.http_headers.iter().flatten() {
        let known = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        if header.name.is_empty() || !header.name.bytes().all(known) {
            let detail = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. \
                          'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
            check.push(Error::invalid(&at.child("httpHeaders"), header.name.as_str(), detail));
        }
    }
}

/// Checks a port that is given by number or by name.
pub(super) fn port(check: &mut Check, at: &Path, port: &IntOrString) {
    match port {
        IntOrString::Int(number) => check.port(at, *number),
        IntOrString::String(name) => {
            check.errors.invalid_each(at, name, names::port_name(name));
        }
    }
}
