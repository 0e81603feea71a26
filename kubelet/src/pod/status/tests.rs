//! Text in, text out: what the runtime has and what is planned; the status in words.

use expect_test::{Expect, expect};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState as ApiState, EphemeralContainer, Pod, PodSpec, PodStatus, Probe,
};

use super::*;
use crate::pod::{
    lifecycle::Waiting,
    observed::{ContainerState, ContainerStatus, SandboxStatus},
    spec::ProbeKind,
};

#[derive(Default)]
struct World {
    pod: Pod,
    reported: PodStatus,
    runtime: PodRuntimeStatus,
    memory: PodMemory,
    plan: PodPlan,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

impl World {
    fn read(text: &str) -> World {
        let mut world = World::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            world.line(&words);
        }
        world
    }

    fn line(&mut self, words: &[&str]) {
        let name = words.get(1).copied().unwrap_or_default();
        let spec = self.pod.spec.get_or_insert_with(PodSpec::default);
        let probe = words.contains(&"readiness").then(Probe::default);
        let container = Container {
            name: name.to_owned(),
            image: Some("app".to_owned()),
            readiness_probe: probe,
            restart_policy: words.contains(&"sidecar").then(|| "Always".to_owned()),
            ..Container::default()
        };
        match words[0] {
            "restart" => spec.restart_policy = Some(name.to_owned()),
            "main" => spec.containers.push(container),
            "init" => spec.init_containers.get_or_insert_default().push(container),
            "ephemeral" => {
                let put_in =
                    EphemeralContainer { name: name.to_owned(), ..EphemeralContainer::default() };
                spec.ephemeral_containers.get_or_insert_default().push(put_in);
            }
            "sandbox" => self.runtime.sandboxes.push(SandboxStatus {
                id: "s0".to_owned(),
                attempt: 0,
                created_at: at(1),
                ready: true,
                addresses: vec!["10.42.0.5".parse().unwrap()],
            }),
            "container" => self.container(name, words),
            "ready" => {
                let verdicts = self.memory.verdicts.entry(name.to_owned()).or_default();
                verdicts.by_kind.insert(ProbeKind::Readiness, true);
            }
            "waits" => {
                let reason =
                    if words[2] == "pull" { "ImagePullBackOff" } else { "CrashLoopBackOff" };
                let waiting = Waiting { reason, message: "soon".to_owned() };
                self.plan.waiting.insert(name.to_owned(), waiting);
            }
            "ends" => {
                self.plan.ending = Some(match name {
                    "deadline" => Ending::DeadlineExceeded,
                    "finished" => Ending::Finished,
                    _ => Ending::Deleted,
                });
                self.plan.stopped = true;
            }
            "reported" => self.reported.phase = Some(name.to_owned()),
            other => panic!("unknown line {other}"),
        }
    }

    /// `container NAME/ATTEMPT running|exited [CODE] [REASON]`
    fn container(&mut self, name: &str, words: &[&str]) {
        let (name, attempt) = name.split_once('/').unwrap();
        let running = words[2] == "running";
        self.runtime.containers.push(ContainerStatus {
            id: format!("{name}/{attempt}"),
            name: name.to_owned(),
            sandbox_id: "s0".to_owned(),
            attempt: attempt.parse().unwrap(),
            state: if running { ContainerState::Running } else { ContainerState::Exited },
            created_at: at(10),
            started_at: Some(at(11)),
            finished_at: (!running).then(|| at(20)),
            exit_code: words.get(3).map_or(0, |code| code.parse().unwrap()),
            reason: words.get(4).copied().unwrap_or_default().to_owned(),
            message: String::new(),
            image: "app:v1".to_owned(),
            image_id: "sha256:1".to_owned(),
        });
    }
}

fn state(state: Option<&ApiState>) -> String {
    let Some(state) = state else { return "-".to_owned() };
    if let Some(waiting) = &state.waiting {
        format!("waiting({})", waiting.reason.clone().unwrap_or_default())
    } else if let Some(ended) = &state.terminated {
        format!("terminated({} {})", ended.reason.clone().unwrap_or_default(), ended.exit_code)
    } else {
        "running".to_owned()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "expect! makes a value where it stands")]
fn check(text: &str, expected: Expect) {
    let world = World::read(text);
    let node_addresses = ["10.99.0.11".parse().unwrap()];
    let status = status(Facts {
        pod: &world.pod,
        reported: &world.reported,
        runtime: &world.runtime,
        memory: &world.memory,
        plan: &world.plan,
        node_addresses: &node_addresses,
        now: at(1000),
    });
    let mut out = status.phase.unwrap_or_default();
    out.push_str(&status.reason.map(|reason| format!(" {reason}")).unwrap_or_default());
    out.push_str(&status.pod_ip.map(|ip| format!(" {ip}")).unwrap_or_default());
    let holds: Vec<String> = status
        .conditions
        .iter()
        .flatten()
        .map(|c| {
            format!(
                "{}{}{}",
                c.type_,
                if c.status == "True" { "+" } else { "-" },
                c.reason.clone().unwrap_or_default()
            )
        })
        .collect();
    out.push_str(&format!("\n{}\n", holds.join(" ")));
    let init = status.init_container_statuses.unwrap_or_default();
    let declared = init.iter().chain(status.container_statuses.iter().flatten());
    for c in declared.chain(status.ephemeral_container_statuses.iter().flatten()) {
        out.push_str(&format!(
            "{}: {}, before {}, restarts {}{}{}\n",
            c.name,
            state(c.state.as_ref()),
            state(c.last_state.as_ref()),
            c.restart_count,
            if c.ready { ", ready" } else { "" },
            if c.started == Some(true) { ", started" } else { "" },
        ));
    }
    expected.assert_eq(&out);
}

#[test]
fn a_pod_becomes_ready_step_by_step() {
    check(
        "main web readiness\ninit setup",
        expect![[r#"
        Pending
        PodReadyToStartContainers- Initialized-ContainersNotInitialized Ready-ContainersNotReady ContainersReady-ContainersNotReady PodScheduled+
        setup: waiting(PodInitializing), before -, restarts 0
        web: waiting(PodInitializing), before -, restarts 0
    "#]],
    );
    check(
        "main web readiness\nsandbox",
        expect![[r#"
        Pending 10.42.0.5
        PodReadyToStartContainers+ Initialized+ Ready-ContainersNotReady ContainersReady-ContainersNotReady PodScheduled+
        web: waiting(ContainerCreating), before -, restarts 0
    "#]],
    );
    check(
        "main web readiness\nsandbox\ncontainer web/0 running",
        expect![[r#"
        Running 10.42.0.5
        PodReadyToStartContainers+ Initialized+ Ready-ContainersNotReady ContainersReady-ContainersNotReady PodScheduled+
        web: running, before -, restarts 0, started
    "#]],
    );
    check(
        "main web readiness\nsandbox\ncontainer web/0 running\nready web/0",
        expect![[r#"
        Running 10.42.0.5
        PodReadyToStartContainers+ Initialized+ Ready+ ContainersReady+ PodScheduled+
        web: running, before -, restarts 0, ready, started
    "#]],
    );
}

#[test]
fn a_crash_is_remembered() {
    check(
        "main web\nsandbox\ncontainer web/1 running\ncontainer web/0 exited 137 OOMKilled",
        expect![[r#"
            Running 10.42.0.5
            PodReadyToStartContainers+ Initialized+ Ready+ ContainersReady+ PodScheduled+
            web: running, before terminated(OOMKilled 137), restarts 1, ready, started
        "#]],
    );
    check(
        "main web\nsandbox\ncontainer web/1 exited 1\nwaits web crash",
        expect![[r#"
        Running 10.42.0.5
        PodReadyToStartContainers+ Initialized+ Ready-ContainersNotReady ContainersReady-ContainersNotReady PodScheduled+
        web: waiting(CrashLoopBackOff), before terminated(Error 1), restarts 1
    "#]],
    );
}

#[test]
fn an_image_that_does_not_come_keeps_the_pod_pending() {
    check(
        "main web\nsandbox\nwaits web pull",
        expect![[r#"
        Pending 10.42.0.5
        PodReadyToStartContainers+ Initialized+ Ready-ContainersNotReady ContainersReady-ContainersNotReady PodScheduled+
        web: waiting(ImagePullBackOff), before -, restarts 0
    "#]],
    );
}

#[test]
fn init_containers_come_first() {
    check(
        "init setup\nmain web\nsandbox\ncontainer setup/0 running",
        expect![[r#"
        Pending 10.42.0.5
        PodReadyToStartContainers+ Initialized-ContainersNotInitialized Ready-ContainersNotReady ContainersReady-ContainersNotReady PodScheduled+
        setup: running, before -, restarts 0, started
        web: waiting(PodInitializing), before -, restarts 0
    "#]],
    );
    check(
        "init setup\nmain web\nsandbox\ncontainer setup/0 exited 0\ncontainer web/0 running",
        expect![[r#"
            Running 10.42.0.5
            PodReadyToStartContainers+ Initialized+ Ready+ ContainersReady+ PodScheduled+
            setup: terminated(Completed 0), before -, restarts 0, ready
            web: running, before -, restarts 0, ready, started
        "#]],
    );
    check(
        "restart Never\ninit setup\nmain web\nsandbox\ncontainer setup/0 exited 2",
        expect![[r#"
            Failed 10.42.0.5
            PodReadyToStartContainers+ Initialized-ContainersNotInitialized Ready-PodFailed ContainersReady-PodFailed PodScheduled+
            setup: terminated(Error 2), before -, restarts 0
            web: waiting(PodInitializing), before -, restarts 0
        "#]],
    );
    check(
        "init proxy sidecar\nmain web\nsandbox\ncontainer proxy/0 running\ncontainer web/0 running",
        expect![[r#"
            Running 10.42.0.5
            PodReadyToStartContainers+ Initialized+ Ready+ ContainersReady+ PodScheduled+
            proxy: running, before -, restarts 0, ready, started
            web: running, before -, restarts 0, ready, started
        "#]],
    );
}

#[test]
fn jobs_succeed_or_fail() {
    check(
        "restart OnFailure\nmain job\nsandbox\ncontainer job/0 exited 0\nends finished",
        expect![[r#"
            Succeeded 10.42.0.5
            PodReadyToStartContainers+ Initialized+PodCompleted Ready-PodCompleted ContainersReady-PodCompleted PodScheduled+
            job: terminated(Completed 0), before -, restarts 0
        "#]],
    );
    check(
        "restart Never\nmain job\nmain other\nsandbox\ncontainer job/0 exited 1\ncontainer other/0 exited 0\nends finished",
        expect![[r#"
            Failed 10.42.0.5
            PodReadyToStartContainers+ Initialized+ Ready-PodFailed ContainersReady-PodFailed PodScheduled+
            job: terminated(Error 1), before -, restarts 0
            other: terminated(Completed 0), before -, restarts 0
        "#]],
    );
}

#[test]
fn a_stopped_pod_is_done() {
    check(
        "main web\nsandbox\ncontainer web/0 exited 0\nends deleted",
        expect![[r#"
        Succeeded 10.42.0.5
        PodReadyToStartContainers+ Initialized+PodCompleted Ready-PodCompleted ContainersReady-PodCompleted PodScheduled+
        web: terminated(Completed 0), before -, restarts 0
    "#]],
    );
    check(
        "main web\nsandbox\ncontainer web/0 exited 137\nends deleted",
        expect![[r#"
        Failed 10.42.0.5
        PodReadyToStartContainers+ Initialized+ Ready-PodFailed ContainersReady-PodFailed PodScheduled+
        web: terminated(Error 137), before -, restarts 0
    "#]],
    );
    check(
        "main web\nsandbox\ncontainer web/0 exited 137\nends deadline",
        expect![[r#"
        Failed DeadlineExceeded 10.42.0.5
        PodReadyToStartContainers+ Initialized+ Ready-PodFailed ContainersReady-PodFailed PodScheduled+
        web: terminated(Error 137), before -, restarts 0
    "#]],
    );
    check(
        "main web\nreported Failed\nends finished",
        expect![[r#"
        Failed
        PodReadyToStartContainers- Initialized+ Ready-PodFailed ContainersReady-PodFailed PodScheduled+
        web: waiting(ContainerCreating), before -, restarts 0
    "#]],
    );
}

#[test]
fn ephemeral_containers_are_shown_and_count_for_nothing() {
    check(
        "restart Never\nmain web\nephemeral shell\nsandbox\ncontainer web/0 running\n\
         container shell/0 exited 3",
        expect![[r#"
            Running 10.42.0.5
            PodReadyToStartContainers+ Initialized+ Ready+ ContainersReady+ PodScheduled+
            web: running, before -, restarts 0, ready, started
            shell: terminated(Error 3), before -, restarts 0
        "#]],
    );
}
