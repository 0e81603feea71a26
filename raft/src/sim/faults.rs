//! What goes wrong, and when: each run draws which kinds it has, and then one after the other.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    Mutation,
    dice::Dice,
    network::Weather,
    world::{Host, World},
};
use crate::{
    options::Start,
    types::{Member, Revision},
};

/// Hosts at most.
const HOSTS_MAX: usize = 6;

/// Kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Isolate,
    OneWay,
    Split,
    /// Two hosts see each other only by way of the others.
    Bridge,
    Pause,
    Crash,
    CrashAll,
    Restart,
    Storm,
    Transfer,
    Purge,
    Compact,
    AddMember,
    RemoveMember,
}

const ALL: [Fault; 14] = [
    Fault::Isolate,
    Fault::OneWay,
    Fault::Split,
    Fault::Bridge,
    Fault::Pause,
    Fault::Crash,
    Fault::CrashAll,
    Fault::Restart,
    Fault::Storm,
    Fault::Transfer,
    Fault::Purge,
    Fault::Compact,
    Fault::AddMember,
    Fault::RemoveMember,
];

/// What brings a built-in mistake to light soon.
fn provoking(mutation: Mutation) -> Vec<Fault> {
    match mutation {
        Mutation::LyingSync => vec![Fault::Crash, Fault::CrashAll],
        Mutation::StaleReads => vec![Fault::Isolate, Fault::OneWay, Fault::Storm],
        Mutation::Forgetful => vec![Fault::Storm, Fault::Transfer, Fault::Crash, Fault::Isolate],
    }
}

/// Makes trouble.
pub(super) struct Trouble {
    world: Arc<World>,
    dice: Dice,
    kinds: Vec<Fault>,
    /// How far all of the past has been seen: it may be forgotten.
    seen: Arc<dyn Fn() -> Revision + Send + Sync>,
    under_way: JoinSet<()>,
}

impl Trouble {
    pub(super) fn new(
        world: Arc<World>,
        mut dice: Dice,
        seen: Arc<dyn Fn() -> Revision + Send + Sync>,
    ) -> Trouble {
        // Half of the kinds: what always happens hides what happens seldom.
        let drawn: Vec<Fault> = ALL.into_iter().filter(|_| dice.chance(5_000)).collect();
        let kinds = super::mutation().map_or(drawn, provoking);
        world.trace.line(format_args!("kinds of trouble: {kinds:?}"));
        Trouble { world, dice, kinds, seen, under_way: JoinSet::new() }
    }

    /// Until the end; then everything is healed.
    pub(super) async fn run(mut self, end: Instant) {
        while Instant::now() < end {
            sleep(self.dice.millis(50, 1_200)).await;
            if !self.kinds.is_empty() {
                let fault = self.kinds[self.dice.index(self.kinds.len())];
                self.begin(fault);
            }
        }
        self.world.network.set_weather(Weather::FAIR);
        self.world.network.heal();
        // What is under way brings back what it took away.
        while self.under_way.join_next().await.is_some() {}
        self.world.network.heal();
        self.world.network.set_weather(Weather::FAIR);
        for host in self.world.hosts() {
            match host.life() {
                Some(life) => life.gate.resume(),
                None => {
                    self.world.start(&host);
                }
            }
        }
        self.world.trace.line(format_args!("all is healed"));
    }

    fn begin(&mut self, fault: Fault) {
        let hosts = self.world.hosts();
        let host = hosts[self.dice.index(hosts.len())].clone();
        self.world.trace.line(format_args!("trouble: {fault:?} with {}", host.number));
        let lasts = self.dice.millis(100, 4_000);
        match fault {
            Fault::Isolate | Fault::OneWay | Fault::Split | Fault::Bridge => {
                self.part(fault, &host, &hosts);
                let network = self.world.network.clone();
                self.under_way.spawn(async move {
                    sleep(lasts).await;
                    network.heal();
                });
            }
            Fault::Pause => {
                let Some(life) = host.life() else { return };
                life.gate.pause();
                self.under_way.spawn(async move {
                    sleep(lasts / 2).await;
                    life.gate.resume();
                });
            }
            Fault::Crash => self.crash(&host, lasts / 3),
            Fault::CrashAll => {
                for host in hosts {
                    let back = self.dice.millis(10, 1_000);
                    self.crash(&host, back);
                }
            }
            Fault::Restart => self.restart(host),
            Fault::Storm => self.storm(lasts),
            Fault::Transfer | Fault::Purge | Fault::Compact => self.operate(fault, &host),
            Fault::AddMember => self.add_member(&host, hosts.len()),
            Fault::RemoveMember => self.remove_member(&host, &hosts),
        }
    }

    fn part(&mut self, fault: Fault, host: &Host, hosts: &[Arc<Host>]) {
        let network = &self.world.network;
        let split: Vec<bool> = hosts.iter().map(|_| self.dice.chance(5_000)).collect();
        let other = self.dice.index(hosts.len());
        for a in 0..hosts.len() {
            for b in 0..hosts.len() {
                let blocked = match fault {
                    Fault::Isolate => a == host.number || b == host.number,
                    Fault::OneWay => a == host.number,
                    Fault::Split => split[a] != split[b],
                    _ => (a.min(b), a.max(b)) == (host.number.min(other), host.number.max(other)),
                };
                if a != b && blocked {
                    network.block(a, b);
                }
            }
        }
    }

    fn crash(&mut self, host: &Arc<Host>, back: Duration) {
        if host.life().is_none() {
            return;
        }
        self.world.crash(host);
        let (world, host) = (self.world.clone(), host.clone());
        self.under_way.spawn(async move {
            sleep(back).await;
            if host.life().is_none() {
                let _ = world.start(&host).await;
            }
        });
    }

    fn restart(&mut self, host: Arc<Host>) {
        let world = self.world.clone();
        self.under_way.spawn(async move {
            world.shut_down(&host).await;
            if host.life().is_none() {
                let _ = world.start(&host).await;
            }
        });
    }

    fn storm(&mut self, lasts: Duration) {
        let network = self.world.network.clone();
        network.set_weather(Weather {
            least: Duration::from_micros(50),
            most: self.dice.millis(1, 40),
            breaks: self.dice.below(300),
            stragglers: self.dice.below(100),
        });
        self.under_way.spawn(async move {
            sleep(lasts).await;
            network.set_weather(Weather::FAIR);
        });
    }

    fn operate(&mut self, fault: Fault, host: &Host) {
        let Some((gate, store)) = host.store() else { return };
        let floor = Revision((self.seen)().0.saturating_sub(self.dice.below(40)));
        let world = self.world.clone();
        let number = world.history.begin(
            usize::MAX,
            host.number,
            super::action::Action::Compact { revision: floor },
        );
        let task = gate.start(async move {
            match fault {
                Fault::Transfer => store.transfer_leadership().await,
                Fault::Purge => store.snapshot_and_purge().await,
                _ => store.compact(floor).await,
            }
        });
        self.under_way.spawn(async move {
            let done = timeout(Duration::from_secs(5), task).await;
            world.trace.line(format_args!("operation {number}: {done:?}"));
        });
    }

    fn add_member(&mut self, host: &Host, hosts: usize) {
        if hosts >= HOSTS_MAX {
            return;
        }
        let Some((gate, store)) = host.store() else { return };
        let joiner = self.world.add_host(Start::Join);
        let world = self.world.clone();
        self.under_way.spawn(async move {
            let _ = world.start(&joiner).await;
            let Some((_, joined)) = joiner.store() else { return };
            let member = joiner.member(&joined);
            let task = gate.start(async move { store.add_member(member).await });
            let done = timeout(Duration::from_secs(12), task).await;
            world.trace.line(format_args!("host {} added: {done:?}", joiner.number));
        });
    }

    fn remove_member(&mut self, host: &Host, hosts: &[Arc<Host>]) {
        let Some((gate, store)) = host.store() else { return };
        let members: Vec<Member> = store.members();
        if members.iter().filter(|member| member.voter).count() <= 3 {
            return;
        }
        let gone = members[self.dice.index(members.len())].clone();
        // Without everybody up, who remains may be too few.
        if hosts.iter().any(|host| host.store().is_none()) {
            return;
        }
        let world = self.world.clone();
        self.under_way.spawn(async move {
            let task = gate.start(async move { store.remove_member(gone.id).await });
            let done = timeout(Duration::from_secs(12), task).await;
            world.trace.line(format_args!("{} removed: {done:?}", gone.name));
        });
    }
}
