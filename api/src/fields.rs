//! Sets of fields, and objects seen as trees of fields that somebody may own.
//!
//! Server-side apply needs three things of a schema: which values are one field however large
//! they are (atomic lists and structs), which list items are told apart by keys or by themselves,
//! and which keys have defaults. With these an object is a tree whose places have paths
//! (`.spec.containers[name="a"].image`), and ownership is a [`Set`] of paths per manager.
//!
//! ```text
//! element, set    paths, sets of them, and their algebra
//! encoding        a set as FieldsV1, the form that managedFields carry
//! place           what the schema says about one place
//! collect         the fields of an object;    check    whether an object is made as the schema says
//! compare         what was added, modified, removed between two objects
//! merge, remove   an object with another's fields on top; an object without some fields
//! ```
//!
//! The meaning of every operation is that of upstream's structured merge diff, because sets are
//! stored, shown and compared by clients. Nothing here knows a kind.

mod check;
mod collect;
mod compare;
mod element;
mod encoding;
mod merge;
mod place;
mod remove;
mod set;

pub use check::check;
pub use collect::collect;
pub use compare::{Diff, appeared, compare};
pub use element::{Element, Path};
pub use encoding::{decode, encode, holds_all, holds_any, well_formed};
pub use merge::merge;
pub use place::Place;
pub use remove::{remove, with_named_fields};
pub use set::Set;

#[cfg(test)]
mod tests;
