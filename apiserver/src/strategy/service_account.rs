//! ServiceAccounts: identities of pods.

use kontiki_api::names;

use super::check;
use crate::registry::Strategy;

/// The strategy of `serviceaccounts`.
pub(super) struct ServiceAccounts;

impl Strategy for ServiceAccounts {
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        check::name_with(names::dns1123_subdomain, name, prefix)
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}
