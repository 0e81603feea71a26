//! Pure Kubernetes vocabulary: no I/O, no clock, no threads.
//!
//! What every room must say alike is said here once: which resources exist ([`catalogue`]), what
//! their fields are ([`schema`]), how they are selected ([`selector`]), measured ([`quantity`],
//! [`quota`]), named ([`names`]) and changed ([`patch`]), and how a refusal reads ([`field`],
//! [`status`]). Who owns which of their fields is worked out by [`fields`] and [`ownership`].
//! [`typed`] turns objects into Rust structs, and [`slim`] pods into small ones; [`meta`] works on
//! the JSON value where a struct would cost more than it gives.

pub mod account_token;
pub mod catalogue;
pub mod field;
pub mod fields;
pub mod meta;
pub mod names;
pub mod ownership;
pub mod patch;
pub mod quantity;
pub mod quota;
pub mod schema;
pub mod selector;
pub mod slim;
pub mod status;
pub mod typed;

pub use catalogue::Catalogue;
pub use k8s_openapi;
pub use status::Status;
pub use typed::Object;

/// The Kubernetes version whose API this is, and whose behaviour is the specification.
pub const KUBERNETES_VERSION: &str = "v1.36.2";

/// What servers and nodes say they run: the Kubernetes version, then ours.
pub const GIT_VERSION: &str = concat!("v1.36.2+kontiki-", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    #[test]
    fn both_versions_name_the_same_kubernetes() {
        let rest = super::GIT_VERSION.strip_prefix(super::KUBERNETES_VERSION);
        assert!(rest.is_some_and(|ours| ours.starts_with("+kontiki-")));
    }
}
