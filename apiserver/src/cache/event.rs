//! One change of one object, encoded at most once for all who watch it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use kontiki_raft::types::Revision;

use super::object::Object;

/// What a watcher is told about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum EventType {
    Added,
    Modified,
    Deleted,
}

impl EventType {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            EventType::Added => "ADDED",
            EventType::Modified => "MODIFIED",
            EventType::Deleted => "DELETED",
        }
    }
}

/// A change.
#[derive(Debug)]
pub struct Event {
    /// The revision that made it.
    pub revision: Revision,
    /// The object after the change; for a deletion as it was last, at the deletion's revision.
    pub object: Arc<Object>,
    /// The object before the change; `None` if it was created.
    pub previous: Option<Arc<Object>>,
    /// Whether the object is gone.
    pub deleted: bool,
    /// The previous object at this event's revision: what a watcher gets that selected the object
    /// before and does not any more.
    departed: OnceLock<Arc<Object>>,
    lines: [OnceLock<Bytes>; 3],
}

impl Event {
    /// A created or changed object.
    pub fn put(object: Arc<Object>, previous: Option<Arc<Object>>) -> Event {
        Event {
            revision: object.revision,
            object,
            previous,
            deleted: false,
            departed: OnceLock::new(),
            lines: Default::default(),
        }
    }

    /// A deleted object.
    pub fn delete(previous: Arc<Object>, revision: Revision) -> Event {
        Event {
            revision,
            object: Arc::new(previous.at_revision(revision)),
            previous: Some(previous),
            deleted: true,
            departed: OnceLock::new(),
            lines: Default::default(),
        }
    }

    /// What a watcher with this selection is told, if anything.
    pub fn seen_by(&self, selects: impl Fn(&Object) -> bool) -> Option<EventType> {
        let before = self.previous.as_deref().is_some_and(&selects);
        let after = !self.deleted && selects(&self.object);
        match (before, after) {
            (false, true) => Some(EventType::Added),
            (true, true) => Some(EventType::Modified),
            (true, false) => Some(EventType::Deleted),
            (false, false) => None,
        }
    }

    /// The object that a watcher is sent for `kind`.
    pub fn object_for(&self, kind: EventType) -> &Arc<Object> {
        match (kind, &self.previous) {
            (EventType::Deleted, Some(previous)) if !self.deleted => {
                self.departed.get_or_init(|| Arc::new(previous.at_revision(self.revision)))
            }
            _ => &self.object,
        }
    }

    /// The line of a JSON watch stream, encoded on first use.
    pub fn line(&self, kind: EventType) -> Bytes {
        self.lines[kind as usize]
            .get_or_init(|| line(kind.name(), &self.object_for(kind).json))
            .clone()
    }
}

/// One line of a watch stream.
pub fn line(kind: &str, object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + kind.len() + 26);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_sees_objects_come_and_go() {
        let old = Arc::new(Object::for_tests("a/x", 1));
        let new = Arc::new(Object::for_tests("a/x", 2));
        let created = Event::put(Arc::clone(&old), None);
        let changed = Event::put(Arc::clone(&new), Some(old));
        let deleted = Event::delete(new, Revision(3));
        let all = |_: &Object| true;
        let only_old = |object: &Object| object.revision == Revision(1);
        let only_new = |object: &Object| object.revision == Revision(2);
        assert_eq!(created.seen_by(all), Some(EventType::Added));
        assert_eq!(changed.seen_by(all), Some(EventType::Modified));
        assert_eq!(deleted.seen_by(all), Some(EventType::Deleted));
        assert_eq!(changed.seen_by(only_old), Some(EventType::Deleted));
        assert_eq!(changed.seen_by(only_new), Some(EventType::Added));
        assert_eq!(deleted.seen_by(only_old), None);
        assert_eq!(changed.object_for(EventType::Deleted).revision, Revision(2));
        assert_eq!(
            changed.line(EventType::Deleted),
            "{\"type\":\"DELETED\",\"object\":{\"metadata\":{\"resourceVersion\":\"2\",\"name\":\"x\"}}}\n"
        );
    }
}
