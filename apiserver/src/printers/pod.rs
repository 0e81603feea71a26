//! Pods: the STATUS column says in one word what matters most about a pod.

use jiff::Timestamp;
use kontiki_api::meta;
use serde_json::Value;

use super::{Printer, age, age_of, column, wide};

pub(super) const PRINTER: Printer = Printer {
    columns: &[
        column("Name"),
        column("Ready"),
        column("Status"),
        column("Restarts"),
        column("Age"),
        wide("IP"),
        wide("Node"),
        wide("Nominated Node"),
        wide("Readiness Gates"),
    ],
    cells,
};

fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let seen = look(pod);
    let or_none = |text: Option<&str>| -> Value {
        text.filter(|text| !text.is_empty()).unwrap_or("<none>").into()
    };
    vec![
        meta::name(pod).into(),
        format!("{}/{}", seen.ready, seen.total).into(),
        seen.status.into(),
        restarts(seen.restarts, seen.last_restart, now).into(),
        age_of(pod, now),
        or_none(pod["status"]["podIPs"][0]["ip"].as_str().or(pod["status"]["podIP"].as_str())),
        or_none(pod["spec"]["nodeName"].as_str()),
        or_none(pod["status"]["nominatedNodeName"].as_str()),
        gates(pod),
    ]
}

/// What the columns need to know of a pod.
struct Seen<'a> {
    ready: usize,
    total: usize,
    status: String,
    restarts: i64,
    last_restart: Option<&'a str>,
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn look(pod: &Value) -> Seen<'_> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let phase = status["phase"].as_str().unwrap_or_default();
    let reason = status["reason"].as_str().filter(|reason| !reason.is_empty());
    let mut seen = Seen {
        ready: 0,
        total: list(spec, "containers").len(),
        status: reason.unwrap_or(phase).to_owned(),
        restarts: 0,
        last_restart: None,
    };
    let gated = list(status, "conditions").iter().any(|condition| {
        condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated"
    });
    if gated {
        "SchedulingGated".clone_into(&mut seen.status);
    }
    let initializing = initial(pod, &mut seen);
    if !initializing || initialized(status) {
        regular(status, &mut seen);
    }
    if meta::is_deleting(pod) {
        if status["reason"] == "NodeLost" {
            "Unknown".clone_into(&mut seen.status);
        } else if !matches!(phase, "Succeeded" | "Failed") {
            "Terminating".clone_into(&mut seen.status);
        }
    }
    seen
}

fn initialized(status: &Value) -> bool {
    list(status, "conditions")
        .iter()
        .any(|condition| condition["type"] == "Initialized" && condition["status"] == "True")
}

/// When a container last ended.
fn ended(container: &Value) -> Option<&str> {
    container["lastState"]["terminated"]["finishedAt"].as_str()
}

/// Looks at the init containers; true if the pod is not past them.
fn initial<'a>(pod: &'a Value, seen: &mut Seen<'a>) -> bool {
    let containers = list(&pod["spec"], "initContainers");
    let sidecar = |name: &Value| {
        containers.iter().any(|one| one["name"] == *name && one["restartPolicy"] == "Always")
    };
    seen.total += containers.iter().filter(|one| one["restartPolicy"] == "Always").count();
    let mut sidecar_restarts = (0, None);
    let mut waiting = None;
    for (index, container) in list(&pod["status"], "initContainerStatuses").iter().enumerate() {
        let count = container["restartCount"].as_i64().unwrap_or_default();
        seen.restarts += count;
        seen.last_restart = seen.last_restart.max(ended(container));
        let keeps_running = sidecar(&container["name"]);
        if keeps_running {
            sidecar_restarts.0 += count;
            sidecar_restarts.1 = sidecar_restarts.1.max(ended(container));
        }
        let terminated = &container["state"]["terminated"];
        if terminated.is_object() && terminated["exitCode"].as_i64().unwrap_or_default() == 0 {
            continue;
        }
        if keeps_running && container["started"] == true {
            if container["ready"] == true {
                seen.ready += 1;
            }
            continue;
        }
        if waiting.is_none() {
            waiting = Some(initial_status(container, index, containers.len()));
            break;
        }
    }
    match waiting {
        Some(status) => {
            seen.status = status;
            true
        }
        None => {
            // Once they are done, only those that keep running count.
            (seen.restarts, seen.last_restart) = sidecar_restarts;
            false
        }
    }
}

fn initial_status(container: &Value, index: usize, total: usize) -> String {
    let (terminated, waiting) = (&container["state"]["terminated"], &container["state"]["waiting"]);
    let reason = |state: &Value| state["reason"].as_str().unwrap_or_default().to_owned();
    if terminated.is_object() {
        return match reason(terminated) {
            reason if reason.is_empty() => format!("Init:{}", exit(terminated)),
            reason => format!("Init:{reason}"),
        };
    }
    match reason(waiting) {
        reason if !reason.is_empty() && reason != "PodInitializing" => format!("Init:{reason}"),
        _ => format!("Init:{index}/{total}"),
    }
}

fn exit(terminated: &Value) -> String {
    match terminated["signal"].as_i64().filter(|signal| *signal != 0) {
        Some(signal) => format!("Signal:{signal}"),
        None => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or_default()),
    }
}

/// Looks at the containers of a pod that is past its init containers.
fn regular<'a>(status: &'a Value, seen: &mut Seen<'a>) {
    let mut runs = false;
    for container in list(status, "containerStatuses").iter().rev() {
        seen.restarts += container["restartCount"].as_i64().unwrap_or_default();
        seen.last_restart = seen.last_restart.max(ended(container));
        let state = &container["state"];
        let reason = |state: &Value| {
            state["reason"].as_str().filter(|reason| !reason.is_empty()).map(str::to_owned)
        };
        if let Some(reason) = reason(&state["waiting"]) {
            seen.status = reason;
        } else if state["terminated"].is_object() {
            seen.status =
                reason(&state["terminated"]).unwrap_or_else(|| exit(&state["terminated"]));
        } else if state["running"].is_object() && container["ready"] == true {
            runs = true;
            seen.ready += 1;
        }
    }
    // One container is done, another still runs: that is not completed.
    if seen.status == "Completed" && runs {
        let ready = list(status, "conditions")
            .iter()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        seen.status = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

fn restarts(count: i64, last: Option<&str>, now: Timestamp) -> String {
    match last {
        Some(last) if count > 0 => format!("{count} ({} ago)", age(last, now)),
        _ => count.to_string(),
    }
}

fn gates(pod: &Value) -> Value {
    let gates = list(&pod["spec"], "readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let conditions = list(&pod["status"], "conditions");
    let open = gates.iter().filter(|gate| {
        conditions.iter().any(|condition| {
            condition["type"] == gate["conditionType"] && condition["status"] == "True"
        })
    });
    format!("{}/{}", open.count(), gates.len()).into()
}
