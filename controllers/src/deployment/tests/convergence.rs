//! From any start, in any order of events, a rollout arrives; and on the way there are never more
//! pods than the surge allows nor, once enough were available, fewer than must be.

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    controller::Controller,
    deployment::DeploymentController,
    replicaset::ReplicaSetController,
    testing::{Fake, age, context, key},
    world::{Key, Kind},
};

/// Far more steps than any rollout here takes.
const STEPS_MAX: usize = 20_000;

struct Budget {
    replicas: i64,
    surge: i64,
    unavailable: i64,
}

#[test]
fn every_rollout_arrives_within_its_budget() {
    for seed in 0..12 {
        run(seed);
    }
}

fn run(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let replicas = random.random_range(1..8);
    let surge = random.random_range(0..4);
    let unavailable =
        if surge == 0 { random.random_range(1..3) } else { random.random_range(0..3) };
    let budget = Budget { replicas, surge, unavailable };
    let mut fake = Fake::new(&format!(
        "
        namespace default
        deployment web replicas={replicas} surge={surge} unavailable={unavailable} template=A
        "
    ));
    settle(&mut fake, &mut random, &budget, seed);
    for image in ["B", "C", "A"] {
        let mut deployment = fake.get(Kind::Deployment, &key("web")).unwrap().clone();
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        let generation = deployment["metadata"]["generation"].as_i64().unwrap();
        deployment["metadata"]["generation"] = json!(generation + 1);
        fake.put(Kind::Deployment, deployment);
        settle(&mut fake, &mut random, &budget, seed);
        let (total, available) = count(&fake);
        let rest =
            crate::testing::render(&DeploymentController.plan(&fake.world, &key("web"), context()));
        assert_eq!((total, available), (replicas, replicas), "seed {seed}: {rest}");
        let images: Vec<Value> = fake
            .list(Kind::Pod)
            .iter()
            .map(|pod| pod["spec"]["containers"][0]["image"].clone())
            .collect();
        assert!(images.iter().all(|other| *other == json!(image)), "seed {seed}: {images:?}");
    }
    let deployment = fake.get(Kind::Deployment, &key("web")).unwrap();
    let conditions = deployment["status"]["conditions"].as_array().unwrap();
    let progressing = conditions.iter().find(|one| one["type"] == "Progressing").unwrap();
    assert_eq!(progressing["reason"], "NewReplicaSetAvailable", "seed {seed}");
    let annotation = &deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
    assert_eq!(*annotation, json!("4"), "seed {seed}: the undo makes a fourth revision");
}

/// Lets controllers and kubelets take turns in random order until nobody has anything to do.
fn settle(fake: &mut Fake, random: &mut StdRng, budget: &Budget, seed: u64) {
    // What was once available must stay so.
    let mut was_available = count(fake).1;
    let mut idle = 0;
    for _ in 0..STEPS_MAX {
        let busy = match random.random_range(0..4) {
            0 => deployments(fake, budget, seed),
            1 => replica_sets(fake, random),
            2 => kubelet_starts(fake, random),
            _ => kubelet_stops(fake, random),
        };
        let (_, available) = count(fake);
        let floor = budget.replicas - budget.unavailable;
        assert!(
            available >= floor.min(was_available),
            "seed {seed}: {available} available, {floor} must be"
        );
        was_available = was_available.max(available);
        idle = if busy { 0 } else { idle + 1 };
        if idle > 150 {
            return;
        }
    }
    panic!("seed {seed}: not settled after {STEPS_MAX} steps");
}

fn deployments(fake: &mut Fake, budget: &Budget, seed: u64) -> bool {
    let plan = DeploymentController.plan(&fake.world, &key("web"), context());
    let busy = !plan.is_idle();
    let wanted = budget.replicas + budget.surge;
    fake.apply(plan, |fake| {
        let total: i64 = fake
            .list(Kind::ReplicaSet)
            .iter()
            .map(|rs| rs["spec"]["replicas"].as_i64().unwrap_or(0))
            .sum();
        assert!(total <= wanted, "seed {seed}: {total} pods asked for, {wanted} are allowed");
    });
    busy
}

fn replica_sets(fake: &mut Fake, random: &mut StdRng) -> bool {
    let keys: Vec<Key> = fake.world.replica_sets.keys().cloned().collect();
    if keys.is_empty() {
        return false;
    }
    let key = &keys[random.random_range(0..keys.len())];
    let plan = ReplicaSetController.plan(&fake.world, key, context());
    let busy = !plan.is_idle();
    fake.apply(plan, |_| {});
    busy
}

fn kubelet_starts(fake: &mut Fake, random: &mut StdRng) -> bool {
    let waiting: Vec<Value> = fake
        .list(Kind::Pod)
        .into_iter()
        .filter(|pod| pod["status"].is_null() && pod["metadata"]["deletionTimestamp"].is_null())
        .collect();
    if waiting.is_empty() {
        return false;
    }
    let mut pod = waiting[random.random_range(0..waiting.len())].clone();
    pod["spec"]["nodeName"] = json!("n1");
    pod["status"] = json!({"phase": "Running", "conditions":
        [{"type": "Ready", "status": "True", "lastTransitionTime": age(60)}]});
    fake.put(Kind::Pod, pod);
    true
}

fn kubelet_stops(fake: &mut Fake, random: &mut StdRng) -> bool {
    let stopping: Vec<Key> = fake
        .list(Kind::Pod)
        .iter()
        .filter(|pod| !pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| key(pod["metadata"]["name"].as_str().unwrap()))
        .collect();
    if stopping.is_empty() {
        return false;
    }
    fake.remove(Kind::Pod, &stopping[random.random_range(0..stopping.len())]);
    true
}

/// Pods there are, and those available.
fn count(fake: &Fake) -> (i64, i64) {
    let pods = fake.list(Kind::Pod);
    let alive = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let available = alive.filter(|pod| pod["status"]["phase"] == "Running").count();
    (i64::try_from(pods.len()).unwrap(), i64::try_from(available).unwrap())
}
