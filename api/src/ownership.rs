//! Who owns which fields of an object: `metadata.managedFields`.
//!
//! Every writer becomes the owner of what it sets. An *update* (any write but an apply) owns what
//! it changed; whoever owned that before no longer does. An *apply* owns everything its
//! configuration names, shares what others have set to the same value, may not change what others
//! own unless it is forced, and removes what it owned before and no longer names, if no other
//! applier does.
//!
//! ```text
//! entries     managedFields <-> managers with their sets
//! update      what a write does to everybody's sets
//! apply       a configuration on top of an object, or the conflicts that forbid it
//! scale       the same objects seen through their Scale
//! ```
//!
//! All of it is pure, works on JSON values by schema, and follows upstream's field manager to the
//! letter where clients see it.

mod apply;
mod conflict;
mod entries;
mod scale;
mod update;

use serde_json::Value;

use crate::{
    fields::{Place, Set},
    schema::{Schema, TypeId},
};

pub use apply::{Configuration, Refusal, apply};
pub use conflict::Conflict;
pub use entries::{Entry, Fields, Id, Managed, Operation};
pub use scale::{SCALE_VERSION, Scaling, to_parent, to_scale};
pub use update::{manager_of_user_agent, settle_times, update};

/// The longest name of a manager, in bytes.
pub const MANAGER_BYTES_MAX: usize = 128;

/// Which fields a write through some endpoint can come to own: what the endpoint resets anyway is
/// not the writer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owned<'a> {
    /// All but these, and what is below them.
    Without(&'a [&'a [&'a str]]),
    /// Only these, and what is below them.
    Only(&'a [&'a [&'a str]]),
}

impl Owned<'_> {
    fn keep(self, set: &Set) -> Set {
        match self {
            Owned::Without([]) => set.clone(),
            Owned::Without(paths) => set.without(&Set::of_names(paths)),
            Owned::Only(paths) => set.within(&Set::of_names(paths)),
        }
    }

    fn restrict(self, set: &mut Set) {
        match self {
            Owned::Without(paths) => paths.iter().for_each(|path| set.cut(path)),
            Owned::Only(_) => *set = self.keep(set),
        }
    }
}

/// Where a write happens.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The types.
    pub schema: &'a Schema,
    /// The object's type.
    pub type_id: TypeId,
    /// As in the object.
    pub api_version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// What can be owned there.
    pub owned: Owned<'a>,
    /// The other versions in which the same object is served: their managers name its fields
    /// otherwise.
    pub convert: Convert,
}

/// An object in another version of its kind: (object, from, to). `None` if there is none.
pub type Convert = fn(&Value, &str, &str) -> Option<Value>;

/// For kinds of one version.
pub fn no_conversion(_: &Value, _: &str, _: &str) -> Option<Value> {
    None
}

impl<'a> Scope<'a> {
    fn place(&self) -> Place<'a> {
        Place::root(self.schema, self.type_id)
    }

    /// The place of the object in another version.
    fn place_in(&self, api_version: &str) -> Option<Place<'a>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let type_id = self.schema.kind(group, version, self.kind)?;
        Some(Place::root(self.schema, type_id))
    }
}

#[cfg(test)]
mod tests;
