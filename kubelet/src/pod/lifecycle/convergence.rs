//! Plans applied to a fake runtime reach what the pod asks for, whatever happened on the way, and
//! break no promise meanwhile. Every run follows from its seed.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{Container, Pod, PodSpec},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::*;
use crate::pod::{
    backoff::CrashBackoff,
    observed::{ContainerState, ContainerStatus, SandboxStatus},
    spec::PodExt,
};

/// Steps of trouble, and steps within which everything must be well again.
const TROUBLE: usize = 60;
const RECOVERY: usize = 300;

struct World {
    seed: u64,
    pod: Pod,
    runtime: PodRuntimeStatus,
    memory: PodMemory,
    now: Timestamp,
    made: usize,
}

impl World {
    fn new(seed: u64) -> World {
        let container = |name: &str, restart: Option<&str>| Container {
            name: name.to_owned(),
            restart_policy: restart.map(str::to_owned),
            ..Container::default()
        };
        let policy = ["Always", "OnFailure"][usize::try_from(seed % 2).unwrap()];
        let spec = PodSpec {
            init_containers: Some(vec![
                container("setup", None),
                container("proxy", Some("Always")),
                container("migrate", None),
            ]),
            containers: vec![container("web", None), container("log", None)],
            restart_policy: Some(policy.to_owned()),
            ..PodSpec::default()
        };
        World {
            seed,
            pod: Pod { spec: Some(spec), ..Pod::default() },
            runtime: PodRuntimeStatus::default(),
            memory: PodMemory::default(),
            now: Timestamp::from_second(1_000_000).unwrap(),
            made: 0,
        }
    }

    /// A number below `limit`, from the seed.
    fn draw(&mut self, limit: u64) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % limit
    }

    fn exit(&mut self, index: usize, code: i32) {
        let container = &mut self.runtime.containers[index];
        container.state = ContainerState::Exited;
        container.exit_code = code;
        container.finished_at = Some(self.now);
    }

    /// Init containers that run come to their end; sometimes with an error.
    fn let_init_containers_end(&mut self, may_fail: bool) {
        for index in 0..self.runtime.containers.len() {
            let c = &self.runtime.containers[index];
            if c.is_running() && matches!(c.name.as_str(), "setup" | "migrate") {
                let code = i32::from(may_fail && self.draw(3) == 0);
                self.exit(index, code);
            }
        }
    }

    fn trouble(&mut self) {
        let running: Vec<usize> = (0..self.runtime.containers.len())
            .filter(|i| self.runtime.containers[*i].is_running())
            .collect();
        match self.draw(6) {
            0 | 1 if !running.is_empty() => {
                let chosen = usize::try_from(self.draw(running.len() as u64)).unwrap();
                self.exit(running[chosen], 1);
            }
            2 => {
                for index in running {
                    self.exit(index, 255);
                }
                for sandbox in &mut self.runtime.sandboxes {
                    sandbox.ready = false;
                }
            }
            _ => {}
        }
    }

    /// Plans once and does what is planned.
    fn step(&mut self) -> PodPlan {
        let plan = plan(Observed {
            pod: &self.pod,
            runtime: &self.runtime,
            memory: &self.memory,
            now: self.now,
        });
        for step in plan.steps.clone() {
            self.perform(step);
        }
        self.check();
        let next = self.now.checked_add(SignedDuration::from_secs(1)).unwrap();
        let recheck = plan.recheck_at.filter(|_| plan.steps.is_empty());
        self.now = recheck.map_or(next, |recheck| recheck.max(next));
        plan
    }

    fn perform(&mut self, step: Step) {
        self.made += 1;
        match step {
            Step::PrepareVolumes => self.memory.volumes = Volumes::Ready,
            Step::CreateSandbox { attempt } => {
                let id = format!("s{attempt}");
                let (created_at, addresses) = (self.now, Vec::new());
                let sandbox = SandboxStatus { id, attempt, created_at, ready: true, addresses };
                self.runtime.sandboxes.push(sandbox);
            }
            Step::StopSandbox { id } => {
                let sandbox = self.runtime.sandboxes.iter_mut().find(|s| s.id == id).unwrap();
                sandbox.ready = false;
            }
            Step::Start(start) => self.start(&start.name, start.attempt),
            Step::Kill { id, .. } => {
                let index = self.runtime.containers.iter().position(|c| c.id == id).unwrap();
                self.exit(index, 137);
            }
            Step::Collect { containers, sandboxes } => {
                self.runtime.containers.retain(|c| !containers.contains(&c.id));
                self.runtime.sandboxes.retain(|s| !sandboxes.contains(&s.id));
            }
            Step::TearDown => {
                self.runtime = PodRuntimeStatus::default();
                self.memory.torn_down = true;
            }
        }
        self.runtime.sort();
    }

    fn start(&mut self, name: &str, attempt: u32) {
        let sandbox_id = self.runtime.ready_sandbox().expect("only in a sandbox").id.clone();
        if let Some(last) = self.runtime.latest(name).filter(|last| last.is_exited()) {
            let before = self.memory.backoffs.get(name).copied();
            let finished = last.finished_at.unwrap();
            let backoff = CrashBackoff::after_start(before, finished, self.now);
            self.memory.backoffs.insert(name.to_owned(), backoff);
        }
        self.runtime.containers.push(ContainerStatus {
            id: format!("{name}/{attempt}"),
            name: name.to_owned(),
            sandbox_id,
            attempt,
            state: ContainerState::Running,
            created_at: self.now.checked_add(SignedDuration::from_nanos(self.made as i64)).unwrap(),
            started_at: Some(self.now),
            finished_at: None,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            image: String::new(),
            image_id: String::new(),
        });
    }

    /// What holds at every moment.
    fn check(&self) {
        let running: Vec<&ContainerStatus> = self.runtime.alive().collect();
        for (i, one) in running.iter().enumerate() {
            assert!(running[i + 1..].iter().all(|two| two.name != one.name), "two of {}", one.name);
        }
        let ids: std::collections::BTreeSet<&String> =
            self.runtime.containers.iter().map(|c| &c.id).collect();
        assert_eq!(ids.len(), self.runtime.containers.len(), "a number is used once");
        for container in self.pod.pod_spec().containers.iter() {
            let Some(latest) = self.runtime.latest(&container.name) else { continue };
            for init in ["setup", "migrate"] {
                let done = self.runtime.latest_in(&latest.sandbox_id, init);
                assert!(done.is_none_or(ContainerStatus::succeeded), "{init} before the others");
            }
        }
        assert!(self.runtime.containers.len() <= 3 * 5, "dead containers are collected");
    }

    fn all_run(&self) -> bool {
        let runs = |name: &str| self.runtime.latest(name).is_some_and(ContainerStatus::is_running);
        ["web", "log", "proxy"].iter().all(|name| runs(name))
    }
}

#[test]
fn plans_converge_after_any_trouble() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        for _ in 0..TROUBLE {
            world.step();
            world.let_init_containers_end(true);
            world.trouble();
        }
        let mut quiet = 0;
        let settled = (0..RECOVERY).any(|_| {
            let plan = world.step();
            world.let_init_containers_end(false);
            quiet = if plan.steps.is_empty() && world.all_run() { quiet + 1 } else { 0 };
            quiet == 3
        });
        assert!(settled, "seed {seed} does not settle: {:#?}", world.runtime);

        world.pod.metadata.deletion_timestamp = Some(Time(world.now));
        world.pod.metadata.deletion_grace_period_seconds = Some(30);
        let gone = (0..20).any(|_| world.step().gone);
        assert!(gone, "seed {seed} does not go: {:#?}", world.runtime);
        assert!(world.runtime.containers.is_empty() && world.runtime.sandboxes.is_empty());
    }
}
