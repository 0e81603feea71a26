//! The state of an object's owners.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::FOREGROUND;
use crate::world::{Entry, Kind, World};

/// An object's owners by what they mean for it.
pub(super) struct Owners {
    /// Whether one is there to stay.
    pub solid: bool,
    /// Uids of those that are gone.
    pub dangling: Vec<String>,
    /// Uids of those that wait for their dependents to go first.
    pub waiting: Vec<String>,
    /// Those that are in another namespace than the dependent.
    pub elsewhere: Vec<OwnerReference>,
    /// Whether a dependent without namespace names an owner that must have one.
    pub impossible: bool,
}

impl Owners {
    /// Sorts the owners; or says which kinds must be seen up to which revision first.
    pub(super) fn observe(world: &World, entry: &Entry) -> Result<Owners, Vec<(Kind, u64)>> {
        let mut owners = Owners {
            solid: false,
            dangling: Vec::new(),
            waiting: Vec::new(),
            elsewhere: Vec::new(),
            impossible: false,
        };
        let mut awaits = Vec::new();
        let revision: u64 = entry.resource_version.parse().unwrap_or(0);
        for owner in &entry.owners {
            let Some(kind) = Kind::from_reference(&owner.api_version, &owner.kind) else {
                owners.solid = true;
                continue;
            };
            if kind.namespaced() && entry.key.namespace.is_empty() {
                owners.impossible = true;
                owners.elsewhere.push(owner.clone());
                continue;
            }
            let found = world.graph.by_uid(&owner.uid);
            if found.is_some_and(|found| {
                found.kind == kind
                    && kind.namespaced()
                    && found.key.namespace != entry.key.namespace
            }) {
                owners.elsewhere.push(owner.clone());
            }
            match find(world, entry, owner, kind) {
                Some(found) if found.deleting && found.has_finalizer(FOREGROUND) => {
                    // Without blockOwnerDeletion the owner does not wait for this one, but it
                    // goes all the same.
                    owners.waiting.push(owner.uid.clone());
                }
                Some(_) => owners.solid = true,
                None if world.passed(kind) < revision => awaits.push((kind, revision)),
                None => owners.dangling.push(owner.uid.clone()),
            }
        }
        if awaits.is_empty() { Ok(owners) } else { Err(awaits) }
    }
}

/// The owner, if it is where a dependent may refer to: cluster-wide or in its own namespace.
fn find<'a>(
    world: &'a World,
    entry: &Entry,
    owner: &OwnerReference,
    kind: Kind,
) -> Option<&'a Entry> {
    world.graph.by_uid(&owner.uid).filter(|found| {
        found.kind == kind
            && found.key.name == owner.name
            && (!kind.namespaced() || found.key.namespace == entry.key.namespace)
    })
}
