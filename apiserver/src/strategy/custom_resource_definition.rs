//! CustomResourceDefinitions: read by clients that look for a kind; there are none yet.

use kontiki_api::names;

use super::check;
use crate::registry::Strategy;

/// The strategy of `customresourcedefinitions`.
pub(super) struct CustomResourceDefinitions;

impl Strategy for CustomResourceDefinitions {
    fn status_metadata(&self) -> &'static [&'static str] {
        &[]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        check::name_with(names::dns1123_subdomain, name, prefix)
    }
}
