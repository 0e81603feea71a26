//! What is in the table now, and the shortest transaction to what should be.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write,
    net::IpAddr,
};

use kontiki_client::ObjectKey;

use super::{
    names::{Chain, Group, Key, Map, Value},
    structure::{Built, Networks, TABLE, frame},
};
use crate::plan::{
    Audience, Backend, Endpoint, Family, Frontend, Protocol, Route, Slots, SlotsPolicy,
};

/// An element's place in the table.
type Place = (Map, Key);

/// Elements on one line of a transaction; longer lines only make parsing harder to follow.
const ELEMENTS_PER_COMMAND: usize = 500;

/// A flow that the kernel would keep sending where it must not go any more. Only UDP has such: a
/// TCP connection ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// What the client sends to.
    pub frontend: Frontend,
    /// The endpoint it was sent on to; `None` for flows from before there was any.
    pub endpoint: Option<Endpoint>,
}

/// A transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// For `nft -f -`; empty if there is nothing to do.
    pub text: String,
    /// To be forgotten by the kernel once the transaction is in.
    pub stale_flows: BTreeSet<Flow>,
}

/// The table as this process believes the kernel has it.
#[derive(Debug)]
pub struct Table {
    networks: Networks,
    built: Built,
    is_fresh: bool,
    services: HashMap<ObjectKey, Vec<Placed>>,
    elements: HashMap<Place, Owned>,
    addresses: BTreeSet<Place>,
}

/// An element's value, and the service it is there for.
#[derive(Clone, Debug)]
struct Owned {
    owner: ObjectKey,
    value: Value,
}

/// Elements to take out and to put in; a new value for an element is both.
#[derive(Debug, Default)]
struct Difference {
    out: BTreeMap<Map, Vec<Key>>,
    into: BTreeMap<Map, Vec<(Key, Value)>>,
}

/// A route with its endpoints in their slots.
#[derive(Clone, Debug)]
struct Placed {
    route: Route,
    slots: Slots,
}

impl Table {
    /// A table that is not in the kernel yet: its first change replaces whatever is there.
    pub fn new(networks: Networks) -> Table {
        Table {
            networks,
            built: Built::default(),
            is_fresh: true,
            services: HashMap::new(),
            elements: HashMap::new(),
            addresses: BTreeSet::new(),
        }
    }

    /// Takes over the new routes of some services (none: the service is gone) and the addresses of
    /// the node's own endpoints and of all nodes, and says what to tell the kernel.
    pub fn change(
        &mut self,
        services: impl IntoIterator<Item = (ObjectKey, Vec<Route>)>,
        hairpins: &[IpAddr],
        nodes: &[IpAddr],
    ) -> Changes {
        let mut changes = Changes::default();
        let mut difference = Difference::default();
        self.change_services(services, &mut difference, &mut changes.stale_flows);
        let hairpins = hairpins.iter().map(|a| (Map::Hairpin(Family::of(*a)), Key::Itself(*a)));
        let nodes = nodes.iter().map(|a| (Map::Nodes(Family::of(*a)), Key::Address(*a)));
        let wanted: BTreeSet<Place> = hairpins.chain(nodes).collect();
        for (map, key) in self.addresses.difference(&wanted) {
            difference.out.entry(*map).or_default().push(*key);
        }
        for (map, key) in wanted.difference(&self.addresses) {
            difference.into.entry(*map).or_default().push((*key, Value::Member));
        }
        self.addresses = wanted;
        changes.text = self.text(&difference);
        changes
    }

    fn change_services(
        &mut self,
        services: impl IntoIterator<Item = (ObjectKey, Vec<Route>)>,
        difference: &mut Difference,
        stale: &mut BTreeSet<Flow>,
    ) {
        let mut wanted: BTreeMap<Place, Owned> = BTreeMap::new();
        let mut released: BTreeSet<Place> = BTreeSet::new();
        let mut claims: Vec<(Place, Owned)> = Vec::new();
        for (key, routes) in services {
            let before = self.services.remove(&key).unwrap_or_default();
            let after = place(routes, &before);
            stale.extend(stale_flows(&before, &after));
            let own = |place: &Place| self.elements.get(place).is_some_and(|e| e.owner == key);
            released.extend(elements(&before).map(|(place, _)| place).filter(own));
            for (place, value) in elements(&after) {
                let owned = Owned { owner: key.clone(), value };
                if own(&place) {
                    wanted.insert(place, owned);
                } else {
                    claims.push((place, owned));
                }
            }
            if !after.is_empty() {
                self.services.insert(key, after);
            }
        }
        // Two services may claim one external address: it stays with the first until that lets go.
        for (place, owned) in claims {
            if released.contains(&place) || !self.elements.contains_key(&place) {
                wanted.entry(place).or_insert(owned);
            }
        }
        for place in released.into_iter().filter(|place| !wanted.contains_key(place)) {
            self.elements.remove(&place);
            difference.out.entry(place.0).or_default().push(place.1);
        }
        for (place, owned) in wanted {
            let (map, key, value) = (place.0, place.1, owned.value);
            let known = self.elements.insert(place, owned).map(|known| known.value);
            if known == Some(value) {
                continue;
            }
            if known.is_some() {
                difference.out.entry(map).or_default().push(key);
            }
            difference.into.entry(map).or_default().push((key, value));
        }
    }

    /// Writes a difference down, preceded by whatever the table lacks for it.
    fn text(&mut self, difference: &Difference) -> String {
        let mut text = String::new();
        if std::mem::take(&mut self.is_fresh) {
            (text, self.built) = frame(&self.networks);
        }
        for (map, entries) in &difference.into {
            self.built.map(&mut text, *map);
            for (_, value) in entries {
                if let Value::Goto(chain) = value {
                    self.built.chain(&mut text, *chain);
                }
            }
        }
        for (map, keys) in &difference.out {
            commands(&mut text, "delete", *map, keys.iter().map(Key::to_string));
        }
        for (map, entries) in &difference.into {
            let spelled = entries.iter().map(|(key, value)| format!("{key}{value}"));
            commands(&mut text, "add", *map, spelled);
        }
        text
    }
}

fn commands(text: &mut String, verb: &str, map: Map, elements: impl Iterator<Item = String>) {
    let elements: Vec<String> = elements.collect();
    for some in elements.chunks(ELEMENTS_PER_COMMAND) {
        let _ = writeln!(text, "{verb} element {TABLE} {map} {{ {} }}", some.join(", "));
    }
}

/// Puts endpoints into slots, those they had before if they had any.
fn place(routes: Vec<Route>, before: &[Placed]) -> Vec<Placed> {
    let place = |route: Route| {
        let same =
            |p: &&Placed| p.route.frontend == route.frontend && p.route.audience == route.audience;
        let known = before.iter().find(same).map(|placed| &placed.slots);
        let slots = match &route.backend {
            Backend::Endpoints { endpoints, affinity, .. } => {
                let policy =
                    if affinity.is_some() { SlotsPolicy::Sticky } else { SlotsPolicy::Compact };
                known.cloned().unwrap_or_default().assign(endpoints, policy)
            }
            Backend::Reject | Backend::Drop => {
                known.cloned().unwrap_or_default().assign(&[], SlotsPolicy::Sticky)
            }
        };
        Placed { route, slots }
    };
    routes.into_iter().map(place).collect()
}

/// The elements of a service.
fn elements(routes: &[Placed]) -> impl Iterator<Item = (Place, Value)> {
    routes.iter().flat_map(|Placed { route, slots }| {
        let group = Group::of(route.frontend, route.audience);
        let key = Key::Frontend(route.frontend);
        let mut elements = Vec::new();
        let mut put = |map, value| elements.push(((map, key), value));
        match &route.backend {
            Backend::Reject => put(Map::Refusal(group), Value::Goto(Chain::Reject)),
            Backend::Drop => put(Map::Refusal(group), Value::Goto(Chain::Drop)),
            Backend::Endpoints { masquerade, affinity, .. } => {
                let (masquerade, span) = (*masquerade, slots.span());
                let chain = match affinity {
                    None => Chain::Pick { group, masquerade, count: span },
                    Some(_) => Chain::Sticky { group, masquerade, span },
                };
                put(Map::Dispatch(group), Value::Goto(chain));
                for (slot, endpoint) in slots.iter() {
                    put(Map::Endpoint(group, slot), Value::Endpoint(endpoint));
                    if let Some(timeout) = affinity {
                        let timeout = timeout.as_secs();
                        let chain = Chain::StickySlot { group, timeout, slot };
                        put(Map::Occupied(group, slot), Value::Goto(chain));
                    }
                }
            }
        }
        elements
    })
}

/// UDP flows to endpoints that are gone, and those refused or lost before there were endpoints.
fn stale_flows(before: &[Placed], after: &[Placed]) -> Vec<Flow> {
    let endpoints = |routes: &[Placed], frontend: Frontend| -> BTreeSet<Endpoint> {
        let same = routes.iter().filter(|placed| placed.route.frontend == frontend);
        same.flat_map(|placed| placed.slots.iter().map(|(_, endpoint)| endpoint)).collect()
    };
    let all =
        before.iter().chain(after).map(|placed| (placed.route.frontend, placed.route.audience));
    let udp = all.filter(|(frontend, audience)| {
        frontend.protocol() == Protocol::Udp && *audience == Audience::Everyone
    });
    let frontends: BTreeSet<Frontend> = udp.map(|(frontend, _)| frontend).collect();
    let mut flows = Vec::new();
    for frontend in frontends {
        let (had, has) = (endpoints(before, frontend), endpoints(after, frontend));
        if had.is_empty() && !has.is_empty() {
            flows.push(Flow { frontend, endpoint: None });
        }
        flows.extend(had.difference(&has).map(|gone| Flow { frontend, endpoint: Some(*gone) }));
    }
    flows
}

#[cfg(test)]
mod tests;
