//! Pure Kubernetes vocabulary: no I/O, no clock, no threads.
//!
//! What every room must say alike is said here once: which resources exist ([`catalogue`]), what
//! their fields are ([`schema`]), how they are selected ([`selector`]), measured ([`quantity`]),
//! named ([`names`]) and changed ([`patch`]), and how a refusal reads ([`field`], [`status`]).
//! [`typed`] turns objects into Rust structs; [`meta`] works on the JSON value where a struct
//! would cost more than it gives.

pub mod catalogue;
pub mod field;
pub mod meta;
pub mod names;
pub mod patch;
pub mod quantity;
pub mod schema;
pub mod selector;
pub mod status;
pub mod typed;

pub use catalogue::Catalogue;
pub use k8s_openapi;
pub use status::Status;
pub use typed::Object;
