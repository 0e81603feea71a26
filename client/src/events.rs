//! Telling users what happened to an object: Events, as upstream's recorder writes them.
//!
//! Recording never blocks and never fails for the caller: Events go through a bounded queue to
//! few tasks, by object, so that an object's Events stay in order. Equal Events of one object are counted up instead of written again, and a noisy
//! object is limited ([`BURST`], then one per [`REFILL`]), as client-go's correlator does.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use kontiki_api::{
    Object,
    k8s_openapi::{
        api::core::v1::{Event, EventSource, ObjectReference},
        apimachinery::pkg::apis::meta::v1::Time,
        jiff::Timestamp,
    },
};
use kontiki_base::tasks::{TaskKind, Tasks, render};
use serde_json::json;
use tokio::sync::mpsc;

use crate::{Client, ObjectKey, Patch};

/// Events are written by so many tasks: the store commits what waits together at once.
const WRITERS: usize = 8;
/// Events waiting for one writer; more are dropped, since Events are hints.
const QUEUE_MAX: usize = 500;
/// Events that one writer remembers to count them up.
const KNOWN_MAX: usize = 512;
/// Events an object may have at once.
const BURST: f64 = 25.0;
/// An object earns one more Event in this time.
const REFILL: Duration = Duration::from_secs(300);

/// Normal or Warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are Kubernetes'")]
pub enum EventType {
    Normal,
    Warning,
}

/// The object an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Regarding {
    /// Its apiVersion.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its key; Events of cluster-scoped objects go to `default`.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// A part of it, such as `spec.containers{web}`.
    pub field_path: Option<String>,
}

impl Regarding {
    /// An Event about the whole object.
    pub fn object<T: Object>(object: &T) -> Regarding {
        Regarding {
            api_version: T::api_version(),
            kind: T::KIND.to_owned(),
            key: ObjectKey::of(object),
            uid: object.uid().to_owned(),
            field_path: None,
        }
    }

    /// An Event about a part of the object.
    pub fn field<T: Object>(object: &T, field_path: &str) -> Regarding {
        Regarding { field_path: Some(field_path.to_owned()), ..Regarding::object(object) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Occurrence {
    regarding: Regarding,
    kind: EventType,
    reason: String,
    message: String,
}

/// Records Events of one component. Cheap to clone.
#[derive(Clone)]
pub struct EventRecorder {
    queues: Arc<[mpsc::Sender<Occurrence>]>,
}

impl EventRecorder {
    /// A recorder for a component (`kubelet`) on a host (empty if it does not matter).
    pub fn start(client: Client, component: &str, host: &str, tasks: &Tasks) -> EventRecorder {
        let source = EventSource {
            component: Some(component.to_owned()),
            host: Some(host.to_owned()).filter(|h| !h.is_empty()),
        };
        let queues = std::iter::repeat_n(client, WRITERS).map(|client| {
            let (queue, receiver) = mpsc::channel(QUEUE_MAX);
            let mut writer = Writer {
                client,
                source: source.clone(),
                known: Known::default(),
                limits: Limits::default(),
            };
            let shutdown = tasks.shutdown();
            tasks.spawn_infallible(TaskKind::logged("event recorder"), async move {
                tokio::select! { biased;
                    () = shutdown.cancelled() => {}
                    () = writer.run(receiver) => {}
                }
            });
            queue
        });
        EventRecorder { queues: queues.collect() }
    }

    /// Records one Event. Never blocks; dropped when too many wait.
    pub fn record(&self, regarding: Regarding, kind: EventType, reason: &str, message: &str) {
        let occurrence =
            Occurrence { regarding, kind, reason: reason.to_owned(), message: message.to_owned() };
        let mut hasher = DefaultHasher::new();
        occurrence.regarding.key.hash(&mut hasher);
        let writer = usize::try_from(hasher.finish() % WRITERS as u64).unwrap_or_default();
        if self.queues[writer].try_send(occurrence).is_err() {
            tracing::debug!(reason, "Event dropped: {QUEUE_MAX} are waiting to be written");
        }
    }
}

struct Writer {
    client: Client,
    source: EventSource,
    known: Known,
    limits: Limits,
}

impl Writer {
    async fn run(&mut self, mut receiver: mpsc::Receiver<Occurrence>) {
        while let Some(occurrence) = receiver.recv().await {
            let now = Timestamp::now();
            if !self.limits.allow(&occurrence.regarding, now) {
                continue;
            }
            self.write(occurrence, now).await;
        }
    }

    async fn write(&mut self, occurrence: Occurrence, now: Timestamp) {
        if let Some((key, count)) = self.known.count_up(&occurrence) {
            let patch = json!({ "count": count, "lastTimestamp": now.to_string() });
            match self.client.patch::<Event>(&key, Patch::Merge(patch)).await {
                Ok(_) => return,
                // It expired meanwhile: write a new one.
                Err(error) if error.is_not_found() => {}
                Err(error) => return dropped(&occurrence, &error),
            }
        }
        let event = self.event(&occurrence, now);
        match self.client.create(&event).await {
            Ok(written) => self.known.insert(occurrence, ObjectKey::of(&written.object)),
            // Nothing can be created in a namespace that is going away: as expected.
            Err(error) if error.is_forbidden() || error.is_not_found() => {}
            Err(error) => dropped(&occurrence, &error),
        }
    }

    fn event(&self, occurrence: &Occurrence, now: Timestamp) -> Event {
        let regarding = &occurrence.regarding;
        let namespace = match regarding.key.namespace.as_str() {
            "" => "default".to_owned(),
            namespace => namespace.to_owned(),
        };
        let mut event = Event::default();
        let nanoseconds = u64::try_from(now.as_nanosecond()).unwrap_or_default();
        event.metadata.name = Some(format!("{}.{nanoseconds:x}", regarding.key.name));
        event.metadata.namespace = Some(namespace);
        event.involved_object = ObjectReference {
            api_version: Some(regarding.api_version.clone()),
            kind: Some(regarding.kind.clone()),
            name: Some(regarding.key.name.clone()),
            namespace: Some(regarding.key.namespace.clone()).filter(|n| !n.is_empty()),
            uid: Some(regarding.uid.clone()),
            field_path: regarding.field_path.clone(),
            resource_version: None,
        };
        event.type_ = Some(format!("{:?}", occurrence.kind));
        event.reason = Some(occurrence.reason.clone());
        event.message = Some(occurrence.message.clone());
        event.count = Some(1);
        event.first_timestamp = Some(Time(now));
        event.last_timestamp = Some(Time(now));
        event.source = Some(self.source.clone());
        event.reporting_component = self.source.component.clone();
        event.reporting_instance = self.source.host.clone();
        event
    }
}

fn dropped(occurrence: &Occurrence, error: &crate::Error) {
    tracing::debug!(
        reason = occurrence.reason,
        object = %occurrence.regarding.key,
        "Event not written: {}",
        render(error)
    );
}

/// Events already written, oldest first out.
#[derive(Default)]
struct Known {
    events: HashMap<Occurrence, (ObjectKey, i32)>,
    order: VecDeque<Occurrence>,
}

impl Known {
    fn count_up(&mut self, occurrence: &Occurrence) -> Option<(ObjectKey, i32)> {
        let (key, count) = self.events.get_mut(occurrence)?;
        *count += 1;
        Some((key.clone(), *count))
    }

    fn insert(&mut self, occurrence: Occurrence, key: ObjectKey) {
        if self.events.insert(occurrence.clone(), (key, 1)).is_none() {
            self.order.push_back(occurrence);
        }
        if self.order.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.events.remove(&oldest);
        }
    }
}

/// A token bucket per object.
#[derive(Default)]
struct Limits {
    buckets: HashMap<ObjectKey, (f64, Timestamp)>,
}

impl Limits {
    fn allow(&mut self, regarding: &Regarding, now: Timestamp) -> bool {
        if self.buckets.len() > KNOWN_MAX {
            // A bucket that has filled up again says nothing.
            self.buckets.retain(|_, (tokens, since)| refilled(*tokens, *since, now) < BURST);
        }
        let bucket = self.buckets.entry(regarding.key.clone()).or_insert((BURST, now));
        let tokens = refilled(bucket.0, bucket.1, now);
        let allowed = tokens >= 1.0;
        *bucket = (if allowed { tokens - 1.0 } else { tokens }, now);
        allowed
    }
}

fn refilled(tokens: f64, since: Timestamp, now: Timestamp) -> f64 {
    let seconds = now.duration_since(since).as_secs_f64().max(0.0);
    (tokens + seconds / REFILL.as_secs_f64()).min(BURST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occurrence(message: &str) -> Occurrence {
        Occurrence {
            regarding: Regarding {
                api_version: "v1".to_owned(),
                kind: "Pod".to_owned(),
                key: ObjectKey::new("a", "web"),
                uid: "1".to_owned(),
                field_path: None,
            },
            kind: EventType::Normal,
            reason: "Pulled".to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn equal_events_are_counted_up() {
        let mut known = Known::default();
        assert_eq!(known.count_up(&occurrence("x")), None);
        known.insert(occurrence("x"), ObjectKey::new("a", "web.1"));
        assert_eq!(known.count_up(&occurrence("x")).unwrap().1, 2);
        assert_eq!(known.count_up(&occurrence("x")).unwrap().1, 3);
        assert_eq!(known.count_up(&occurrence("y")), None);
    }

    #[test]
    fn a_noisy_object_is_limited_and_earns_its_right_back() {
        let mut limits = Limits::default();
        let start = Timestamp::from_second(0).unwrap();
        let regarding = occurrence("x").regarding;
        let allowed = (0..100).filter(|_| limits.allow(&regarding, start)).count();
        assert_eq!(allowed, 25);
        let later = Timestamp::from_second(300).unwrap();
        assert!(limits.allow(&regarding, later));
        assert!(!limits.allow(&regarding, later));
    }
}
