//! containerd's event stream: a container's end is known the moment it happens.

use containerd_client::{
    events::{TaskExit, TaskOom},
    services::v1::{SubscribeRequest, events_client::EventsClient},
    types::Envelope,
};
use prost::Message;
use tonic::{Status, Streaming};

use crate::runtime::{NAMESPACE, Runtime};

/// What happened to a container (or to a sandbox, which is a container too).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// Its main process ended.
    Exited {
        /// The container's id.
        container_id: String,
    },
    /// The kernel killed a process of it for memory.
    OutOfMemory {
        /// The container's id.
        container_id: String,
    },
}

impl RuntimeEvent {
    /// The container it happened to.
    pub fn container_id(&self) -> &str {
        match self {
            RuntimeEvent::Exited { container_id } | RuntimeEvent::OutOfMemory { container_id } => {
                container_id
            }
        }
    }

    /// Reads an event. Ends of commands run inside a container are not the container's.
    fn decode(envelope: &Envelope) -> Option<RuntimeEvent> {
        let event = envelope.event.as_ref()?;
        match envelope.topic.as_str() {
            "/tasks/exit" => {
                let exit = TaskExit::decode(event.value.as_slice()).ok()?;
                (exit.id == exit.container_id)
                    .then_some(RuntimeEvent::Exited { container_id: exit.container_id })
            }
            "/tasks/oom" => {
                let oom = TaskOom::decode(event.value.as_slice()).ok()?;
                Some(RuntimeEvent::OutOfMemory { container_id: oom.container_id })
            }
            _ => None,
        }
    }
}

/// A subscription.
pub struct Events(Streaming<Envelope>);

impl Events {
    /// Subscribes; what happens from now on is seen.
    pub async fn subscribe(runtime: &Runtime) -> Result<Events, Status> {
        let topics = ["/tasks/exit", "/tasks/oom"];
        let filters =
            topics.iter().map(|topic| format!("namespace=={NAMESPACE},topic=={topic:?}")).collect();
        let request = SubscribeRequest { filters };
        let stream = EventsClient::new(runtime.channel().clone()).subscribe(request).await?;
        Ok(Events(stream.into_inner()))
    }

    /// The next event; `None` when the stream has ended, because containerd went away.
    pub async fn next(&mut self) -> Option<RuntimeEvent> {
        loop {
            let envelope = self.0.message().await.ok()??;
            if let Some(event) = RuntimeEvent::decode(&envelope) {
                return Some(event);
            }
        }
    }
}
