//! Text in, text out: a pod, what the runtime has, what is remembered; the plan in words.

use expect_test::{Expect, expect};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{
        Container, EphemeralContainer, Lifecycle, LifecycleHandler, Pod, PodSpec, PodStatus, Probe,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::*;
use crate::pod::{
    backoff::CrashBackoff,
    observed::{ContainerState, ContainerStatus, SandboxStatus},
    spec::ProbeKind,
};

const NOW: i64 = 1_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

#[derive(Default)]
struct World {
    pod: Pod,
    runtime: PodRuntimeStatus,
    memory: PodMemory,
}

/// `key=value` words of a line.
fn value<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

fn number(words: &[&str], key: &str) -> Option<i64> {
    value(words, key).map(|value| value.parse().unwrap())
}

impl World {
    fn read(text: &str) -> World {
        let mut world = World::default();
        world.memory.volumes = Volumes::Ready;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            world.line(words[0], words.get(1).copied().unwrap_or_default(), &words);
        }
        world.runtime.sort();
        world
    }

    fn line(&mut self, kind: &str, name: &str, words: &[&str]) {
        let spec = self.pod.spec.get_or_insert_with(PodSpec::default);
        match kind {
            "pod" => self.pod_line(words),
            "main" => spec.containers.push(container(name, words)),
            "init" => spec.init_containers.get_or_insert_default().push(container(name, words)),
            "ephemeral" => {
                spec.ephemeral_containers.get_or_insert_default().push(EphemeralContainer {
                    name: name.to_owned(),
                    target_container_name: value(words, "target").map(str::to_owned),
                    ..EphemeralContainer::default()
                });
            }
            "sandbox" => self.runtime.sandboxes.push(SandboxStatus {
                id: name.to_owned(),
                attempt: u32::try_from(self.runtime.sandboxes.len()).unwrap(),
                created_at: at(NOW - 500 + i64::try_from(self.runtime.sandboxes.len()).unwrap()),
                ready: words.contains(&"ready"),
                addresses: Vec::new(),
            }),
            "container" => self.container_line(name, words),
            "backoff" => {
                let delay = Duration::from_secs(number(words, "delay").unwrap().unsigned_abs());
                let started_at = at(NOW - number(words, "started").unwrap());
                self.memory.backoffs.insert(name.to_owned(), CrashBackoff { delay, started_at });
            }
            "failure" => {
                let at = at(NOW - number(words, "ago").unwrap());
                let failure = Failure {
                    reason: "ErrImagePull",
                    message: "no such host".to_owned(),
                    at,
                    delay: Duration::from_secs(10),
                };
                self.memory.failures.insert(name.to_owned(), failure);
            }
            "failed-probe" => self.verdict(name, words, false),
            "passed-probe" => self.verdict(name, words, true),
            "starting" => {
                self.memory.in_flight.insert(Operation::Start(name.to_owned()));
            }
            "stopping-sandbox" => {
                self.memory.in_flight.insert(Operation::StopSandbox(name.to_owned()));
            }
            "volumes" => self.memory.volumes = Volumes::Pending,
            "torn-down" => self.memory.torn_down = true,
            other => panic!("unknown line {other}"),
        }
    }

    fn pod_line(&mut self, words: &[&str]) {
        let spec = self.pod.spec.get_or_insert_default();
        spec.restart_policy = value(words, "restart").map(str::to_owned);
        spec.active_deadline_seconds = number(words, "deadline");
        let metadata = &mut self.pod.metadata;
        metadata.name = Some("web".to_owned());
        metadata.namespace = Some("default".to_owned());
        metadata.uid = Some("u1".to_owned());
        if let Some(grace) = number(words, "deleted") {
            metadata.deletion_timestamp = Some(Time(at(NOW)));
            metadata.deletion_grace_period_seconds = Some(grace);
        }
        let started = number(words, "started").map(|ago| Time(at(NOW - ago)));
        self.pod.status = Some(PodStatus {
            phase: value(words, "phase").map(str::to_owned),
            start_time: started,
            ..PodStatus::default()
        });
        self.memory.removed = words.contains(&"removed");
        self.memory.stopping_since = number(words, "stopping").map(|ago| at(NOW - ago));
    }

    /// `container NAME/ATTEMPT SANDBOX running|exited|created [code=N] [ago=SECONDS]`
    fn container_line(&mut self, name: &str, words: &[&str]) {
        let (name, attempt) = name.split_once('/').unwrap();
        let finished = number(words, "ago").map(|ago| at(NOW - ago));
        let attempt: u32 = attempt.parse().unwrap();
        self.runtime.containers.push(ContainerStatus {
            id: format!("{name}/{attempt}"),
            name: name.to_owned(),
            sandbox_id: words[2].to_owned(),
            attempt,
            state: match words[3] {
                "running" => ContainerState::Running,
                "exited" => ContainerState::Exited,
                "created" => ContainerState::Created,
                other => panic!("unknown state {other}"),
            },
            created_at: at(NOW - 400 + i64::from(attempt)),
            started_at: None,
            finished_at: finished,
            exit_code: number(words, "code").map_or(0, |code| code.try_into().unwrap()),
            reason: String::new(),
            message: String::new(),
            image: String::new(),
            image_id: String::new(),
        });
    }

    fn verdict(&mut self, id: &str, words: &[&str], passed: bool) {
        let kind = match words[2] {
            "liveness" => ProbeKind::Liveness,
            "startup" => ProbeKind::Startup,
            _ => ProbeKind::Readiness,
        };
        self.memory.verdicts.entry(id.to_owned()).or_default().by_kind.insert(kind, passed);
    }
}

fn container(name: &str, words: &[&str]) -> Container {
    let probe = |kind: &str| words.contains(&kind).then(Probe::default);
    Container {
        name: name.to_owned(),
        image: Some("example/app".to_owned()),
        restart_policy: words.contains(&"sidecar").then(|| "Always".to_owned()),
        startup_probe: probe("startup"),
        liveness_probe: probe("liveness"),
        lifecycle: words.contains(&"hook").then(|| Lifecycle {
            post_start: Some(LifecycleHandler::default()),
            pre_stop: None,
            stop_signal: None,
        }),
        ..Container::default()
    }
}

fn describe(plan: &PodPlan) -> String {
    let mut out = String::new();
    for step in &plan.steps {
        let line = match step {
            Step::PrepareVolumes => "prepare volumes".to_owned(),
            Step::CreateSandbox { attempt } => format!("create sandbox {attempt}"),
            Step::StopSandbox { id } => format!("stop sandbox {id}"),
            Step::Start(Start { name, attempt, replaces, target }) => {
                let instead = replaces.as_ref().map(|id| format!(" instead of {id}"));
                let target = target.as_ref().map(|id| format!(" looking at {id}"));
                let (instead, target) = (instead.unwrap_or_default(), target.unwrap_or_default());
                format!("start {name}/{attempt}{instead}{target}")
            }
            Step::Kill { id, grace, reason, .. } => {
                format!("kill {id} within {} s: {reason:?}", grace.as_secs())
            }
            Step::Collect { containers, sandboxes } => {
                format!("collect {containers:?} {sandboxes:?}")
            }
            Step::TearDown => "tear down".to_owned(),
        };
        out.push_str(&line);
        out.push('\n');
    }
    for (name, waiting) in &plan.waiting {
        out.push_str(&format!("{name} waits: {} {}\n", waiting.reason, waiting.message));
    }
    if let Some(time) = plan.recheck_at {
        let wait: SignedDuration = time.duration_since(at(NOW));
        out.push_str(&format!("look again in {} s\n", wait.as_secs()));
    }
    if let Some(ending) = plan.ending {
        let state = if plan.gone {
            "gone"
        } else if plan.stopped {
            "stopped"
        } else {
            "stopping"
        };
        out.push_str(&format!("{ending:?}: {state}\n"));
    }
    out
}

#[expect(clippy::needless_pass_by_value, reason = "expect! makes a value where it stands")]
fn check(world: &str, expected: Expect) {
    let world = World::read(world);
    let plan = plan(Observed {
        pod: &world.pod,
        runtime: &world.runtime,
        memory: &world.memory,
        now: at(NOW),
    });
    expected.assert_eq(&describe(&plan));
}

#[test]
fn a_new_pod_gets_volumes_then_a_sandbox_then_containers() {
    check(
        "
        pod restart=Always
        main web
        volumes pending
        ",
        expect![[r#"
            prepare volumes
        "#]],
    );
    check(
        "
        pod restart=Always
        main web
        ",
        expect![[r#"
            create sandbox 0
        "#]],
    );
    check(
        "
        pod restart=Always
        main web
        main log
        sandbox s0 ready
        ",
        expect![[r#"
            start web/0
            start log/0
        "#]],
    );
    check(
        "
        pod restart=Always
        main web
        main log
        sandbox s0 ready
        container log/0 s0 running
        starting web
        ",
        expect![[r#""#]],
    );
}

#[test]
fn a_crash_restarts_at_once_then_backs_off() {
    check(
        "
        pod restart=Always
        main web
        sandbox s0 ready
        container web/0 s0 exited code=1 ago=1
        ",
        expect![[r#"
            start web/1
        "#]],
    );
    check(
        "
        pod restart=Always
        main web
        sandbox s0 ready
        container web/1 s0 exited code=1 ago=4
        container web/0 s0 exited code=1 ago=9
        backoff web delay=10 started=8
        ",
        expect![[r#"
            web waits: CrashLoopBackOff back-off 10s restarting failed container=web pod=web_default(u1)
            look again in 6 s
        "#]],
    );
}

#[test]
fn init_containers_run_in_order() {
    let pod = "
        pod restart=Always
        init first
        init second
        main web
        sandbox s0 ready
        ";
    check(
        pod,
        expect![[r#"
            start first/0
        "#]],
    );
    check(&format!("{pod}\ncontainer first/0 s0 running"), expect![[r#""#]]);
    check(
        &format!("{pod}\ncontainer first/0 s0 exited code=0 ago=1"),
        expect![[r#"
            start second/0
        "#]],
    );
    check(
        &format!("{pod}\ncontainer first/0 s0 exited code=3 ago=1"),
        expect![[r#"
            start first/1
        "#]],
    );
    check(
        &format!(
            "{pod}\ncontainer first/0 s0 exited ago=9\ncontainer second/0 s0 exited code=0 ago=1"
        ),
        expect![[r#"
            start web/0
        "#]],
    );
}

#[test]
fn a_sidecar_starts_in_its_place_and_is_kept_running() {
    let pod = "
        pod restart=Never
        init proxy sidecar startup
        init migrate
        main job
        sandbox s0 ready
        ";
    check(&format!("{pod}\ncontainer proxy/0 s0 running"), expect![[r#""#]]);
    check(
        &format!("{pod}\ncontainer proxy/0 s0 running\npassed-probe proxy/0 startup"),
        expect![[r#"
            start migrate/0
        "#]],
    );
    check(
        &format!(
            "{pod}\ncontainer proxy/0 s0 exited code=1 ago=1\ncontainer migrate/0 s0 exited ago=9\ncontainer job/0 s0 running"
        ),
        expect![[r#"
            start proxy/1
        "#]],
    );
}

#[test]
fn a_sidecar_stops_after_the_others_with_what_is_left_of_the_grace() {
    let pod = "
        pod restart=Always deleted=30 stopping=12
        init proxy sidecar
        init cache sidecar
        main web
        sandbox s0 ready
        container proxy/0 s0 running
        container cache/0 s0 running
        ";
    check(
        &format!("{pod}\ncontainer web/0 s0 running"),
        expect![[r#"
            kill web/0 within 30 s: PodEnds
            Deleted: stopping
        "#]],
    );
    check(
        &format!("{pod}\ncontainer web/0 s0 exited code=0 ago=1"),
        expect![[r#"
            kill cache/0 within 18 s: PodEnds
            Deleted: stopping
        "#]],
    );
}

#[test]
fn a_deleted_pod_is_torn_down_once_its_containers_have_ended() {
    check(
        "
        pod restart=Always deleted=30
        main web
        sandbox s0 ready
        container web/0 s0 exited code=0 ago=1
        ",
        expect![[r#"
            tear down
            Deleted: stopped
        "#]],
    );
    check(
        "
        pod restart=Always deleted=30
        main web
        torn-down
        ",
        expect![[r#"
            Deleted: gone
        "#]],
    );
}

#[test]
fn a_pod_deleted_while_a_container_starts_waits_for_the_start() {
    check(
        "
        pod restart=Always deleted=30
        main web
        sandbox s0 ready
        starting web
        ",
        expect![[r#"
            Deleted: stopping
        "#]],
    );
}

#[test]
fn a_forced_deletion_leaves_a_second() {
    check(
        "
        pod restart=Always removed deleted=0
        main web
        sandbox s0 ready
        container web/0 s0 running
        ",
        expect![[r#"
            kill web/0 within 1 s: PodEnds
            Removed: stopping
        "#]],
    );
}

#[test]
fn a_job_that_is_done_loses_its_sandbox_and_keeps_its_container() {
    check(
        "
        pod restart=OnFailure
        main job
        sandbox s0 ready
        container job/0 s0 exited code=0 ago=1
        ",
        expect![[r#"
            stop sandbox s0
            Finished: stopped
        "#]],
    );
    check(
        "
        pod restart=Never
        main job
        main other
        sandbox s0 ready
        container job/0 s0 exited code=1 ago=1
        container other/0 s0 running
        ",
        expect![[r#""#]],
    );
    check(
        "
        pod restart=Never
        init setup
        main job
        sandbox s0 ready
        container setup/0 s0 exited code=1 ago=1
        ",
        expect![[r#"
            stop sandbox s0
            Finished: stopped
        "#]],
    );
}

#[test]
fn what_has_finished_stays_so_while_its_sandbox_is_stopped() {
    for containers in [
        "init setup\ncontainer setup/0 s0 exited code=1 ago=1",
        "container job/0 s0 exited code=1 ago=1",
    ] {
        for sandbox in ["ready", "notready"] {
            check(
                &format!(
                    "
                    pod restart=Never
                    main job
                    {containers}
                    sandbox s0 {sandbox}
                    stopping-sandbox s0
                    "
                ),
                expect![[r#"
                    Finished: stopping
                "#]],
            );
        }
    }
}

#[test]
fn a_post_start_hook_holds_back_what_is_declared_later() {
    let pod = "
        pod restart=Always
        main proxy hook
        main web liveness
        main log
        sandbox s0 ready
        ";
    check(
        pod,
        expect![[r#"
            start proxy/0
        "#]],
    );
    check(&format!("{pod}\ncontainer proxy/0 s0 running\nstarting proxy"), expect![""]);
    check(
        &format!("{pod}\ncontainer proxy/0 s0 running"),
        expect![[r#"
            start web/0
            start log/0
        "#]],
    );
    // Those that run are looked after meanwhile, and back-off holds back only its own.
    check(
        &format!(
            "{pod}
            container web/0 s0 running
            failed-probe web/0 liveness
            container proxy/0 s0 running
            starting proxy"
        ),
        expect![[r#"
            kill web/0 within 30 s: Liveness
        "#]],
    );
    check(
        &format!(
            "{pod}
            container proxy/0 s0 exited code=1 ago=4
            backoff proxy delay=10 started=8
            "
        ),
        expect![[r#"
            start web/0
            start log/0
            proxy waits: CrashLoopBackOff back-off 10s restarting failed container=proxy pod=web_default(u1)
            look again in 6 s
        "#]],
    );
    let sidecar = "
        pod restart=Always
        init proxy sidecar hook
        main web
        sandbox s0 ready
        container proxy/0 s0 running
        ";
    check(&format!("{sidecar}\nstarting proxy"), expect![""]);
    check(
        sidecar,
        expect![[r#"
            start web/0
        "#]],
    );
}

#[test]
fn a_pod_past_its_deadline_stops() {
    check(
        "
        pod restart=Always deadline=60 started=61
        main web
        sandbox s0 ready
        container web/0 s0 running
        ",
        expect![[r#"
            kill web/0 within 30 s: PodEnds
            DeadlineExceeded: stopping
        "#]],
    );
    check(
        "
        pod restart=Always deadline=60 started=20
        main web
        sandbox s0 ready
        container web/0 s0 running
        ",
        expect![[r#"
            look again in 40 s
        "#]],
    );
}

#[test]
fn failed_probes_stop_the_container() {
    let pod = "
        pod restart=Always
        main web liveness startup
        sandbox s0 ready
        container web/0 s0 running
        ";
    check(
        &format!("{pod}\nfailed-probe web/0 liveness"),
        expect![[r#"
            kill web/0 within 30 s: Liveness
        "#]],
    );
    check(
        &format!("{pod}\nfailed-probe web/0 startup"),
        expect![[r#"
            kill web/0 within 30 s: Startup
        "#]],
    );
}

#[test]
fn a_lost_sandbox_is_replaced_and_counts_as_a_restart() {
    check(
        "
        pod restart=Always
        main web
        sandbox s0 notready
        container web/0 s0 exited code=255 ago=3
        ",
        expect![[r#"
            create sandbox 1
        "#]],
    );
    check(
        "
        pod restart=Always
        main web
        sandbox s0 notready
        sandbox s1 ready
        container web/0 s0 exited code=255 ago=3
        ",
        expect![[r#"
            start web/1
        "#]],
    );
    check(
        "
        pod restart=Always
        main web
        sandbox s0 notready
        container web/0 s0 running
        ",
        expect![[r#"
            kill web/0 within 30 s: SandboxChanged
        "#]],
    );
}

#[test]
fn a_failed_pull_is_shown_as_itself_then_as_its_back_off() {
    let pod = "
        pod restart=Always
        main web
        sandbox s0 ready
        ";
    check(
        &format!("{pod}\nfailure web ago=1"),
        expect![[r#"
            web waits: ErrImagePull no such host
            look again in 1 s
        "#]],
    );
    check(
        &format!("{pod}\nfailure web ago=3"),
        expect![[r#"
            web waits: ImagePullBackOff Back-off pulling image "example/app": ErrImagePull: no such host
            look again in 7 s
        "#]],
    );
    check(
        &format!("{pod}\nfailure web ago=10"),
        expect![[r#"
            start web/0
        "#]],
    );
}

#[test]
fn a_half_made_container_is_made_anew() {
    check(
        "
        pod restart=Always
        main web
        sandbox s0 ready
        container web/2 s0 created
        ",
        expect![[r#"
            start web/2 instead of web/2
        "#]],
    );
}

#[test]
fn old_dead_containers_and_empty_sandboxes_are_collected() {
    check(
        "
        pod restart=Always
        main web
        sandbox s0 notready
        sandbox s1 ready
        container web/0 s0 exited code=1 ago=300
        container web/1 s1 exited code=1 ago=200
        container web/2 s1 running
        ",
        expect![[r#"
            collect ["web/0"] ["s0"]
        "#]],
    );
}

#[test]
fn ephemeral_containers_start_once_whatever_the_others_do() {
    let before = "
        pod restart=Always
        init setup
        main web
        ephemeral shell
        sandbox s0 ready
        container setup/0 s0 running
    ";
    check(
        before,
        expect![[r#"
        start shell/0
    "#]],
    );
    let beside = |container: &str| {
        format!(
            "
            pod restart=Always
            main web
            ephemeral shell target=web
            sandbox s0 ready
            container web/0 s0 running
            {container}
        "
        )
    };
    check(
        &beside(""),
        expect![[r#"
        start shell/0 looking at web/0
    "#]],
    );
    check(
        &beside("container shell/0 s0 created"),
        expect![[r#"
        start shell/0 instead of shell/0 looking at web/0
    "#]],
    );
    check(&beside("container shell/0 s0 running"), expect![""]);
    check(&beside("container shell/0 s0 exited code=1 ago=5"), expect![""]);
}

#[test]
fn a_pod_ends_without_asking_its_ephemeral_containers() {
    check(
        "
        pod restart=Never
        main job
        ephemeral shell
        sandbox s0 ready
        container job/0 s0 exited code=0 ago=1
        container shell/0 s0 running
        ",
        expect![[r#"
            kill shell/0 within 30 s: PodEnds
            Finished: stopping
        "#]],
    );
}
