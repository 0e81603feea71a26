//! The component: informers always, plans while this member leads.

use std::sync::Arc;

use jiff::Timestamp;
use kontiki_base::tasks::{TaskKind, Tasks};
use kontiki_client::{Client, EventRecorder, FenceReceiver, Leadership, Turn, store::Progress};
use parking_lot::RwLock;

use crate::{
    Options, controller,
    runtime::{
        feed::Feed,
        metrics,
        worker::{self, Caches, Loop, Shared},
    },
    world::World,
};

/// The name of the Lease that tells who acts, as upstream's.
const LEASE: &str = "kube-controller-manager";

/// All controllers of one process.
pub struct Service {
    options: Options,
    client: Client,
    leadership: FenceReceiver,
}

impl Service {
    /// Controllers that act through `client` while `leadership` tells a fence.
    pub fn new(options: Options, client: Client, leadership: FenceReceiver) -> Service {
        Service { options, client, leadership }
    }

    /// Runs until the tasks are stopped. Informers are started at once, so that the picture is
    /// warm when the turn comes.
    pub async fn run(self, tasks: Tasks) {
        if let Some(name) = self.options.unknown_controller() {
            tracing::warn!("there is no controller {name:?}; the name is ignored");
        }
        let loops: Vec<Arc<Loop>> = controller::builtin(&self.options)
            .into_iter()
            .map(|controller| Arc::new(Loop::new(controller)))
            .collect();
        let loops = Arc::new(loops);
        let world = Arc::new(RwLock::new(World::default()));
        let mut feed = Feed {
            world: world.clone(),
            loops: loops.clone(),
            client: self.client.clone(),
            tasks: tasks.clone(),
            caches: Caches::new(),
        };
        feed.start();
        let shared = Arc::new(Shared { world, caches: Arc::new(feed.caches) });
        metrics::set_leading(false);
        let mut leadership = Leadership::new(self.client, self.leadership, LEASE, &tasks);
        loop {
            let caches: Vec<&dyn Progress> = shared.caches.values().map(|cache| &**cache).collect();
            let Some(turn) = leadership.next_turn(&caches).await else { return };
            metrics::set_leading(true);
            act(&turn, &loops, &shared, &tasks).await;
            metrics::set_leading(false);
        }
    }
}

/// Acts until the turn is over.
async fn act(turn: &Turn, loops: &[Arc<Loop>], shared: &Arc<Shared>, tasks: &Tasks) {
    tracing::info!("controllers act under {}", turn.fence);
    shared.world.write().leading_since = Timestamp::now();
    let workers = tasks.child();
    {
        let world = shared.world.read();
        for one in loops {
            one.restart(&world);
        }
    }
    for one in loops {
        let source = one.controller.event_source();
        let recorder = EventRecorder::start(turn.client.clone(), source, "", &workers);
        for _ in 0..one.controller.workers() {
            let work =
                worker::work(one.clone(), shared.clone(), turn.client.clone(), recorder.clone());
            let over = turn.over.clone();
            workers.spawn_infallible(TaskKind::logged("controller"), async move {
                tokio::select! { biased;
                    () = over.cancelled() => {}
                    () = work => {}
                }
            });
        }
    }
    turn.over.cancelled().await;
    for one in loops {
        one.queue.close();
    }
    workers.stop().await;
    tracing::info!("controllers no longer act under {}", turn.fence);
}

#[cfg(test)]
mod tests;
