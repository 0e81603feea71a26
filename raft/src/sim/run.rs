//! One run: a cluster comes up, lives through its seed's trouble, heals, and is judged.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    Mutation, check,
    clients::{Client, Watcher, all_keys},
    dice::Dice,
    entropy,
    faults::Trouble,
    gate::DiskTimes,
    runtime,
    world::{Host, World},
};
use crate::{
    Store,
    error::Error,
    options::Start,
    types::{KeyRange, RangeRequest, Revision},
};

/// What a run is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) mutation: Option<Mutation>,
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) fingerprint: String,
    pub(super) trace: String,
    pub(super) violations: Vec<String>,
    /// What was simulated, in numbers.
    pub(super) summary: String,
}

/// How long members may take to find together.
const TOGETHER_WITHIN: Duration = Duration::from_secs(30);
/// Every member must serve so soon after the trouble has ended.
const HEALED_WITHIN: Duration = Duration::from_secs(30);

/// Simulates on a thread of its own: nothing random may have been drawn on it.
pub(super) fn simulate(plan: Plan) -> Report {
    let run = move || {
        entropy::determine(plan.seed);
        runtime::enter(plan.mutation);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime needs nothing but memory");
        runtime.block_on(live(plan))
    };
    let thread = std::thread::Builder::new().name(format!("seed {}", plan.seed)).spawn(run);
    let panicked = |_| Report {
        fingerprint: String::new(),
        trace: String::new(),
        violations: vec!["the simulation panicked".to_owned()],
        summary: String::new(),
    };
    thread.expect("a thread").join().unwrap_or_else(panicked)
}

async fn live(plan: Plan) -> Report {
    let mut dice = Dice::new(plan.seed);
    let disk_times = DiskTimes { stalls: dice.below(100), ..DiskTimes::default() };
    let world = Arc::new(World::new(&mut dice, disk_times));
    let size = if dice.chance(3_000) { 5 } else { 3 };
    if let Err(reason) = timeout(TOGETHER_WITHIN, come_up(&world, size)).await {
        world.history.violation(format!("the members do not find together: {reason}"));
        return report(&world, Vec::new(), Revision(1));
    }
    world.trace.line(format_args!("{size} members vote"));
    let last = trouble(&world, &mut dice).await;
    let violations = match timeout(HEALED_WITHIN, last).await {
        Ok(Ok(())) => Vec::new(),
        Ok(Err(violation)) => vec![violation],
        Err(_) => vec![format!("the cluster has not healed within {HEALED_WITHIN:?}")],
    };
    let hosts = world.hosts();
    let revisions = hosts.iter().filter_map(|host| Some(host.store()?.1.revision()));
    let last = revisions.max().unwrap_or_default();
    report(&world, violations, last)
}

/// Starts the members and waits until all of them vote.
async fn come_up(world: &Arc<World>, size: usize) {
    let first = world.add_host(Start::Bootstrap);
    world.start(&first);
    let (gate, store) = first.opened().await;
    for _ in 1..size {
        let host = world.add_host(Start::Join);
        world.start(&host);
        let (_, joined) = host.opened().await;
        let (member, store) = (host.member(&joined), store.clone());
        let added = gate.start(async move { store.add_member(member).await }).await;
        world.trace.line(format_args!("host {} joins: {added:?}", host.number));
    }
    while store.members().iter().filter(|member| member.voter).count() < size {
        sleep(Duration::from_millis(20)).await;
    }
}

/// Clients, watchers and trouble, for a while. What is returned waits for the healing.
async fn trouble(
    world: &Arc<World>,
    dice: &mut Dice,
) -> impl Future<Output = Result<(), String>> + use<> {
    let end = Instant::now() + dice.millis(1_500, 4_500);
    let mut watchers = JoinSet::new();
    let mut progress: Vec<watch::Receiver<Revision>> = Vec::new();
    for number in 0..4 {
        let range = if number < 2 { all_keys() } else { KeyRange::prefix(format!("key-{number}")) };
        let watcher = Watcher::new(world.clone(), number, dice.fork(), range);
        progress.push(watcher.next());
        watchers.spawn(watcher.run());
    }
    let whole = progress[..2].to_vec();
    let seen = Arc::new(move || {
        let least = whole.iter().map(|next| *next.borrow()).min().unwrap_or_default();
        Revision(least.0.saturating_sub(1))
    });
    let mut clients = JoinSet::new();
    let pause_most = dice.millis(20, 200);
    for number in 0..6 {
        let client = Client::new(world.clone(), number, dice.fork());
        clients.spawn(client.run(end, pause_most));
    }
    Trouble::new(world.clone(), dice.fork(), seen).run(end).await;
    while clients.join_next().await.is_some() {}
    let world = world.clone();
    async move {
        let last = settle(&world).await?;
        for mut next in progress {
            // A watcher never ends by itself.
            let _ = next.wait_for(|next| *next > last).await;
        }
        watchers.shutdown().await;
        world.note_failures();
        Ok(())
    }
}

/// Waits until all members serve, and compares what they hold.
async fn settle(world: &Arc<World>) -> Result<Revision, String> {
    let members = loop {
        let members = listed(world).await;
        if let Some(members) = members {
            break members;
        }
        sleep(Duration::from_millis(50)).await;
    };
    // Leases that end meanwhile move the revision: until all are the same, once.
    loop {
        let mut held = Vec::new();
        for host in &members {
            let (gate, store) = host.opened().await;
            let read = gate.start(async move { fingerprint(&store).await }).await;
            match read {
                Ok(Ok(fingerprint)) => held.push(fingerprint),
                other => world.trace.line(format_args!("host {}: {other:?}", host.number)),
            }
        }
        let equal_revisions =
            held.len() == members.len() && held.windows(2).all(|pair| pair[0].0 == pair[1].0);
        if equal_revisions && let Some((revision, _)) = held.first().copied() {
            world.trace.line(format_args!("members hold {held:?}"));
            return if held.windows(2).all(|pair| pair[0] == pair[1]) {
                Ok(revision)
            } else {
                Err(format!("the members differ: {held:?}"))
            };
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn fingerprint(store: &Store) -> Result<(Revision, u64), Error> {
    store.range(RangeRequest::new(KeyRange::key("none"))).await?;
    store.hash(None).await
}

/// The hosts of the members that the cluster has, once somebody knows.
async fn listed(world: &Arc<World>) -> Option<Vec<Arc<Host>>> {
    for host in world.hosts() {
        let Some((gate, store)) = host.store() else { continue };
        let asked = store.clone();
        let read = gate.start(async move { asked.read_index().await });
        if let Ok(Ok(Ok(_))) = timeout(Duration::from_secs(6), read).await {
            let members = store.members();
            let hosts = world.hosts();
            let listed = hosts.into_iter().filter(|host| {
                let id = host.store().map(|(_, store)| store.id());
                members.iter().any(|member| Some(member.id) == id)
            });
            let listed: Vec<Arc<Host>> = listed.collect();
            return (listed.len() == members.len()).then_some(listed);
        }
    }
    None
}

fn report(world: &World, mut violations: Vec<String>, last: Revision) -> Report {
    let recorded = world.history.recorded();
    if violations.is_empty() {
        violations = check::judge(&recorded, last);
    } else {
        violations.extend(recorded.violations.iter().cloned());
    }
    let simulated = world.trace.now();
    world.trace.line(format_args!("ends at revision {last}: {violations:?}"));
    Report {
        fingerprint: world.trace.fingerprint(),
        trace: world.trace.text(),
        summary: format!(
            "{simulated:?}, {} actions, revision {last}, {} hosts",
            recorded.records.len(),
            world.hosts().len()
        ),
        violations,
    }
}
