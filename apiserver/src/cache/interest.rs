//! Who is woken by which change.
//!
//! A watcher that selects one object, one namespace, or one value of a field or label is entered
//! under that, and wakes only for changes of objects that have it or had it: a thousand kubelets,
//! each watching the pods of its node, cost a change of a pod what one does. That it is woken is
//! no promise: the watcher still looks at what changed with all of its selection.
//!
//! Who sleeps while others' changes pass does not fall behind: its place is where the first change
//! that concerns it stands, and until there is one, wherever the window ends.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use kontiki_api::catalogue;
use tokio::sync::Notify;

use super::{event::Event, object::Object};

/// What a watcher wants to be woken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Every change.
    All,
    /// Changes in a namespace.
    Namespace(String),
    /// Changes of the object of a key.
    Key(String),
    /// Changes of objects of a name, wherever they are.
    Name(String),
    /// Changes of objects with a value of a selectable field.
    Field(catalogue::Name, String),
    /// Changes of objects with a value of a label.
    Label(String, String),
}

/// Nothing is waiting.
const NONE: u64 = u64::MAX;

/// A watcher as the cache knows it. Its place is written under the lock of the cache's state.
#[derive(Debug)]
pub struct Signal {
    /// Number of the first change that concerns it and that it has not taken.
    place: AtomicU64,
    wake: Notify,
}

impl Signal {
    pub(super) fn new(place: u64) -> Signal {
        Signal { place: AtomicU64::new(place), wake: Notify::new() }
    }

    /// Where to go on, if there is anything.
    pub(super) fn take(&self) -> Option<u64> {
        let place = self.place.swap(NONE, Ordering::Relaxed);
        (place != NONE).then_some(place)
    }

    /// There is more from here on.
    pub(super) fn put_back(&self, place: u64) {
        self.place.store(place, Ordering::Relaxed);
    }

    /// The window no longer has what it waits for, whatever that is.
    fn cut(&self) {
        self.place.store(0, Ordering::Relaxed);
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

type Signals = Vec<Arc<Signal>>;
type ByText = HashMap<Box<str>, Signals>;

/// The watchers of one resource, by what they want.
#[derive(Debug, Default)]
pub struct Interests {
    all: Signals,
    namespaces: ByText,
    keys: ByText,
    names: ByText,
    fields: Vec<(catalogue::Name, ByText)>,
    labels: HashMap<Box<str>, ByText>,
}

fn table<'a>(tables: &'a mut Vec<(catalogue::Name, ByText)>, field: &str) -> &'a mut ByText {
    let at = tables.iter().position(|(known, _)| known == field).unwrap_or_else(|| {
        tables.push((field.to_owned().into(), ByText::new()));
        tables.len() - 1
    });
    &mut tables[at].1
}

impl Interests {
    /// Enters a watcher.
    pub fn enter(&mut self, interest: &Interest, signal: Arc<Signal>) {
        let (table, text) = match interest {
            Interest::All => return self.all.push(signal),
            Interest::Namespace(text) => (&mut self.namespaces, text),
            Interest::Key(text) => (&mut self.keys, text),
            Interest::Name(text) => (&mut self.names, text),
            Interest::Field(field, text) => (table(&mut self.fields, field), text),
            Interest::Label(key, text) => {
                (self.labels.entry(key.as_str().into()).or_default(), text)
            }
        };
        table.entry(text.as_str().into()).or_default().push(signal);
    }

    /// Strikes a watcher off.
    pub fn leave(&mut self, interest: &Interest, signal: &Arc<Signal>) {
        let strike = |table: &mut ByText, text: &str| {
            if let Some(signals) = table.get_mut(text) {
                remove(signals, signal);
                if signals.is_empty() {
                    table.remove(text);
                }
            }
        };
        match interest {
            Interest::All => remove(&mut self.all, signal),
            Interest::Namespace(text) => strike(&mut self.namespaces, text),
            Interest::Key(text) => strike(&mut self.keys, text),
            Interest::Name(text) => strike(&mut self.names, text),
            Interest::Field(field, text) => strike(table(&mut self.fields, field), text),
            Interest::Label(key, text) => {
                if let Some(table) = self.labels.get_mut(key.as_str()) {
                    strike(table, text);
                    if table.is_empty() {
                        self.labels.remove(key.as_str());
                    }
                }
            }
        }
    }

    /// Notes for all whom a change concerns that it is there, under its number; adds to `woken`
    /// those who were not to be woken already.
    pub fn note(&self, event: &Event, number: u64, woken: &mut Signals) {
        let mut tell = |signals: &Signals| {
            for signal in signals {
                let waits = signal.place.load(Ordering::Relaxed) == NONE;
                if waits {
                    signal.place.store(number, Ordering::Relaxed);
                    woken.push(signal.clone());
                }
            }
        };
        let find = |table: &ByText, text: &str, tell: &mut dyn FnMut(&Signals)| {
            if !table.is_empty()
                && let Some(signals) = table.get(text)
            {
                tell(signals);
            }
        };
        tell(&self.all);
        find(&self.namespaces, event.object.namespace(), &mut tell);
        find(&self.keys, &event.object.key, &mut tell);
        find(&self.names, event.object.name(), &mut tell);
        let both = [Some(&event.object), event.previous.as_ref()];
        for object in both.into_iter().flatten() {
            for (field, table) in &self.fields {
                find(table, object.field(field).unwrap_or_default(), &mut tell);
            }
            self.labels_of(object, |signals| tell(signals));
        }
    }

    fn labels_of(&self, object: &Object, mut tell: impl FnMut(&Signals)) {
        if self.labels.is_empty() {
            return;
        }
        for (key, value) in object.labels.iter() {
            let found = self.labels.get(key).and_then(|table| table.get(value));
            found.into_iter().for_each(&mut tell);
        }
    }

    #[cfg(test)]
    pub(super) fn summary(&self) -> String {
        let Interests { all, namespaces, keys, names, fields, labels } = self;
        let fields: usize = fields.iter().map(|(_, table)| table.len()).sum();
        format!("{all:?} {namespaces:?} {keys:?} {names:?} {fields} {labels:?}")
    }

    /// Ends everybody's place: what they have seen is no longer what there is.
    pub fn cut(&self) -> Signals {
        let tables = [&self.namespaces, &self.keys, &self.names].into_iter();
        let tables = tables.chain(self.fields.iter().map(|(_, table)| table));
        let tables = tables.chain(self.labels.values());
        let signals = tables.flat_map(HashMap::values).chain([&self.all]).flatten();
        signals.inspect(|signal| signal.cut()).cloned().collect()
    }
}

fn remove(signals: &mut Signals, signal: &Arc<Signal>) {
    if let Some(at) = signals.iter().position(|one| Arc::ptr_eq(one, signal)) {
        signals.swap_remove(at);
    }
}

#[cfg(test)]
mod tests {
    use kontiki_raft::types::Revision;

    use super::{super::resource::ResourceCache, *};

    fn object(key: &str, revision: u64, node: &str, app: &str) -> Object {
        Object::pod_for_tests(key, revision, node, Some(("app", app)))
    }

    #[tokio::test]
    async fn only_whom_a_change_concerns_is_woken() {
        let cache = ResourceCache::default();
        cache.reset(Vec::new(), Revision(1));
        let start = cache.snapshot(Revision(1)).cursor;
        let text = str::to_owned;
        let interests = [
            Interest::All,
            Interest::Namespace(text("a")),
            Interest::Key(text("a/x")),
            Interest::Name(text("x")),
            Interest::Field("spec.nodeName".into(), text("n1")),
            Interest::Label(text("app"), text("web")),
        ];
        let mut watchers: Vec<_> =
            interests.iter().map(|interest| cache.follow(interest.clone(), start)).collect();
        for watcher in &mut watchers {
            assert_eq!(watcher.take(10).unwrap().len(), 0);
        }
        let mut check = |change: Option<Object>, expected: [usize; 6], what: &str| {
            match change {
                Some(object) => cache.put(object),
                None => cache.delete("a/x", Revision(9)),
            }
            let seen: Vec<usize> =
                watchers.iter_mut().map(|watcher| watcher.take(10).unwrap().len()).collect();
            assert_eq!(seen, expected, "{what}");
        };
        check(Some(object("a/x", 2, "", "web")), [1, 1, 1, 1, 0, 1], "created");
        check(Some(object("a/x", 3, "n1", "web")), [1, 1, 1, 1, 1, 1], "bound");
        check(Some(object("a/x", 4, "n2", "web")), [1, 1, 1, 1, 1, 1], "it has left the node");
        check(Some(object("a/x", 5, "n2", "db")), [1, 1, 1, 1, 0, 1], "it has left the service");
        check(Some(object("b/x", 6, "n2", "db")), [1, 0, 0, 1, 0, 0], "another namespace");
        check(Some(object("a/y", 7, "n1", "web")), [1, 1, 0, 0, 1, 1], "another name");
        check(None, [1, 1, 1, 1, 0, 0], "deleted");
        drop(watchers);
        let state = cache.interests_for_tests();
        assert_eq!(state, "[] {} {} {} 0 {}");
    }

    #[tokio::test]
    async fn who_sleeps_through_others_changes_does_not_fall_behind() {
        let cache = ResourceCache::default();
        cache.reset(Vec::new(), Revision(1));
        let start = cache.snapshot(Revision(1)).cursor;
        let on = |node: &str| Interest::Field("spec.nodeName".into(), node.to_owned());
        let (mut quiet, mut busy) = (cache.follow(on("n1"), start), cache.follow(on("n2"), start));
        assert!(quiet.take(10).unwrap().is_empty() && busy.take(10).unwrap().is_empty());
        for revision in 2..10_000 {
            cache.put(object("a/x", revision, "n2", "web"));
        }
        assert!(busy.take(10).is_err());
        assert!(quiet.take(10).unwrap().is_empty());
        cache.put(object("a/y", 10_000, "n1", "web"));
        quiet.woken().await;
        assert_eq!(quiet.take(10).unwrap()[0].revision, Revision(10_000));
        // A reset cuts everybody.
        cache.reset(Vec::new(), Revision(20_000));
        quiet.woken().await;
        assert!(quiet.take(10).is_err());
    }

    #[tokio::test]
    async fn what_is_left_over_is_taken_next() {
        let cache = ResourceCache::default();
        cache.reset(Vec::new(), Revision(1));
        let mut watcher = cache.follow(Interest::All, cache.snapshot(Revision(1)).cursor);
        for revision in 2..7 {
            cache.put(object("a/x", revision, "", ""));
        }
        let sizes: Vec<usize> = (0..4).map(|_| watcher.take(2).unwrap().len()).collect();
        assert_eq!(sizes, [2, 2, 1, 0]);
    }
}
