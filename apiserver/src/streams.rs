//! Connections that left HTTP behind: counted, bounded, and ended with the server.
//!
//! Whoever switches protocols with a client hands the rest of the conversation over to
//! [`Streams::run`]. The request is answered by then; the conversation goes on as a task of its own
//! until one side ends it, nothing is said for [`IDLE_MAX`] (a kubelet has the same limit, which ends
//! what is translated here), or the server stops.

pub mod readout;
pub mod spdy;
mod talk;
pub mod translate;
pub mod tunnel;
pub mod websocket;

use std::{future::Future, sync::Arc, time::Duration};

use kontiki_api::Status;
use kontiki_base::tasks::{TaskKind, Tasks};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{exchange::Exchange, metrics};

const STREAM: TaskKind = TaskKind::logged("stream");
/// Conversations at once; more are refused. Each holds two sockets and two small buffers.
const STREAMS_MAX: usize = 4_000;
/// A conversation in which nothing is said for so long is over: the kubelet's own limit.
pub const IDLE_MAX: Duration = Duration::from_secs(4 * 3600);

/// The conversations of one server.
pub struct Streams {
    tasks: Tasks,
    room: Arc<Semaphore>,
}

/// The right to one conversation, counted as a long-running request while it is held.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    labels: [String; 7],
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::LONG_RUNNING.with_label_values(&self.labels).dec();
    }
}

impl Streams {
    /// None yet.
    pub fn new(tasks: &Tasks) -> Streams {
        Streams { tasks: tasks.child(), room: Arc::new(Semaphore::new(STREAMS_MAX)) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        STREAMS_MAX - self.room.available_permits()
    }

    /// Makes room for one more.
    pub fn place(&self, exchange: &Exchange) -> Result<Place, Status> {
        let permit = self.room.clone().try_acquire_owned().map_err(|_| {
            Status::too_many_requests("Too many requests, please try again later.", 1)
        })?;
        let info = &exchange.info;
        let labels = [
            exchange.parts.method.as_str(),
            &info.group,
            &info.version,
            &info.resource,
            &info.subresource,
            info.scope(),
            "apiserver",
        ]
        .map(str::to_owned);
        metrics::LONG_RUNNING.with_label_values(&labels).inc();
        Ok(Place { _permit: permit, labels })
    }

    /// Carries a conversation on.
    pub fn run(&self, place: Place, conversation: impl Future<Output = ()> + Send + 'static) {
        let stop = self.tasks.shutdown();
        self.tasks.spawn_infallible(STREAM, async move {
            let _place = place;
            tokio::select! { biased;
                () = stop.cancelled() => {}
                () = conversation => {}
            }
        });
    }
}
