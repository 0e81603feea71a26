//! An object with the fields of another on top.
//!
//! Lists whose items are told apart are merged item by item. Their order: items that only the
//! object has stay where they are in front of what followed them; the items of the configuration
//! come in its order.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    element::Element,
    place::{Atom, Entries, Items, Place},
};

/// Merges a configuration into an object.
pub fn merge(place: Place<'_>, live: &Value, config: &Value) -> Value {
    walk(place, live, config)
}

fn walk(place: Place<'_>, live: &Value, config: &Value) -> Value {
    let deciding = if config.is_null() { live } else { config };
    match (place.atom(deciding), live, config) {
        // A null sets no entry of a map or item of a list, so all of them stay.
        (Atom::Map(_), Value::Object(map), Value::Null) if !map.is_empty() => live.clone(),
        (Atom::List(_), Value::Array(list), Value::Null) if !list.is_empty() => live.clone(),
        (Atom::Map(entries), Value::Object(live), Value::Object(config)) => {
            if live.is_empty() && config.is_empty() {
                return Value::Object(Map::new());
            }
            Value::Object(maps(entries, live, config))
        }
        (Atom::List(items), Value::Array(live), Value::Array(config)) => {
            if live.is_empty() && config.is_empty() {
                return Value::Array(Vec::new());
            }
            Value::Array(Lists::new(items, live, config).merge())
        }
        _ => config.clone(),
    }
}

fn maps(
    entries: Entries<'_>,
    live: &Map<String, Value>,
    config: &Map<String, Value>,
) -> Map<String, Value> {
    let mut merged = live.clone();
    for (key, value) in config {
        match merged.get_mut(key) {
            Some(known) => *known = walk(entries.place(key), known, value),
            None => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    merged
}

struct Lists<'a> {
    items: Items<'a>,
    live: Vec<(Element, &'a Value)>,
    config: Vec<(Element, &'a Value)>,
    /// Where an item of the live list is; none if there are several of it.
    live_at: BTreeMap<Element, Option<usize>>,
    in_config: BTreeSet<Element>,
}

impl<'a> Lists<'a> {
    fn new(items: Items<'a>, live: &'a [Value], config: &'a [Value]) -> Lists<'a> {
        let keyed = |list: &'a [Value]| -> Vec<(Element, &'a Value)> {
            list.iter().filter_map(|item| Some((items.element(item).ok()?, item))).collect()
        };
        let (live, config) = (keyed(live), keyed(config));
        let mut live_at = BTreeMap::new();
        for (at, (element, _)) in live.iter().enumerate() {
            let entry = live_at.entry(element.clone());
            entry.and_modify(|at| *at = None).or_insert(Some(at));
        }
        let in_config = config.iter().map(|(element, _)| element.clone()).collect();
        Lists { items, live, config, live_at, in_config }
    }

    /// The live item that an item of the configuration merges into; none if it is there twice.
    fn counterpart(&self, element: &Element) -> Option<&'a Value> {
        let at = self.live_at.get(element).copied().flatten()?;
        Some(self.live[at].1)
    }

    fn in_config(&self, element: &Element) -> bool {
        self.in_config.contains(element)
    }

    fn in_live(&self, element: &Element) -> bool {
        self.live_at.contains_key(element)
    }

    fn merged(&self, (element, item): &(Element, &Value)) -> Value {
        match self.counterpart(element) {
            Some(live) => walk(self.items.place(), live, item),
            None => (*item).clone(),
        }
    }

    /// Walks both lists at once. `shared` are the items that both have, in the configuration's
    /// order; the first of them is the one that both walks are heading for.
    fn merge(&self) -> Vec<Value> {
        let mut out = Vec::with_capacity(self.live.len().max(self.config.len()));
        let shared = self.config.iter().map(|(element, _)| element);
        let mut shared = shared.filter(|element| self.in_live(element)).peekable();
        let mut taken: BTreeSet<&Element> = BTreeSet::new();
        let (mut ours, mut theirs) = (0, 0);
        while ours < self.live.len() || theirs < self.config.len() {
            if let (Some((element, _)), Some(config)) =
                (self.live.get(ours), self.config.get(theirs))
            {
                if *element == config.0 {
                    taken.insert(element);
                    out.push(self.merged(config));
                    ours += 1;
                    theirs += 1;
                    shared.next();
                    continue;
                }
                let awaited = shared.peek();
                if self.in_config(element) && awaited.is_some_and(|awaited| *awaited != element) {
                    // Shared, but not the one that comes next: the configuration places it.
                    ours += 1;
                    continue;
                }
            }
            if let Some((element, item)) = self.live.get(ours) {
                if !self.in_config(element) {
                    out.push((*item).clone());
                    ours += 1;
                    continue;
                }
                if taken.contains(element) {
                    ours += 1;
                }
            }
            if let Some(config) = self.config.get(theirs) {
                taken.insert(&config.0);
                out.push(self.merged(config));
                theirs += 1;
                if shared.peek().is_some_and(|awaited| **awaited == config.0) {
                    shared.next();
                }
            }
        }
        out
    }
}
