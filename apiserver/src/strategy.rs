//! What is special about each resource: one file per strategy, and the table that finds it.

use crate::registry::Strategy;

/// A resource without anything special.
struct Plain;

impl Strategy for Plain {
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        let name =
            if prefix { kontiki_api::names::mask_trailing_dash(name) } else { name.to_owned() };
        kontiki_api::names::dns1123_subdomain(&name)
    }
}

/// The strategy of a resource.
pub fn of(group: &str, resource: &str) -> &'static dyn Strategy {
    let _ = (group, resource);
    &Plain
}
