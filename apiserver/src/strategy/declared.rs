//! A strategy as one row of functions, for kinds that need no more of the hooks than these.

use kontiki_api::{field::Errors, names};
use serde_json::{Value, json};

use super::{
    check::{self, Check, NameRule},
    place::Place,
    value,
};
use crate::registry::{Claim, Context, OPEN_METADATA, Strategy, restore};

/// What is special about a kind. Everything left out is nothing special.
pub(super) struct Declared {
    /// The form of its names.
    pub(super) name: NameRule,
    /// Sets defaults.
    pub(super) defaults: fn(&mut Value),
    /// Brings a new object into its first state; its status is cleared already.
    pub(super) create: fn(&mut Value, &Context<'_>),
    /// Undoes what an update may not change; its status is restored already.
    pub(super) update: fn(&mut Value, &Value),
    /// Checks an object.
    pub(super) check: fn(&mut Check, &Place<'_>),
    /// Checks what may not change, given the new object and the old one.
    pub(super) check_update: fn(&mut Check, &Place<'_>, &Place<'_>),
    /// Checks an update of the status, given the new object and the old one.
    pub(super) check_status: fn(&mut Check, &Place<'_>, &Place<'_>),
    /// Whether the status is the business of `/status` alone.
    pub(super) has_status: bool,
    /// What of the metadata may be written together with it.
    pub(super) status_metadata: &'static [&'static str],
    /// Whether changes of what is wanted are counted.
    pub(super) has_generation: bool,
    /// Whether an update creates what is missing.
    pub(super) creates_on_update: bool,
    /// Whether a write may leave out the resourceVersion.
    pub(super) unconditional: bool,
    /// What it holds that nobody else may hold.
    pub(super) claims: fn(&Value) -> Vec<Claim>,
    /// What to warn of, of an object and what it was before.
    pub(super) warnings: fn(&Place<'_>, Option<&Value>) -> Vec<String>,
}

/// Nothing special.
pub(super) const PLAIN: Declared = Declared {
    name: names::dns1123_subdomain,
    defaults: |_| {},
    create: |_, _| {},
    update: |_, _| {},
    check: |_, _| {},
    check_update: |_, _, _| {},
    check_status: |_, _, _| {},
    has_status: false,
    status_metadata: OPEN_METADATA,
    has_generation: false,
    creates_on_update: false,
    unconditional: true,
    claims: |_| Vec::new(),
    warnings: |_, _| Vec::new(),
};

/// A spec that is wanted, and a status that says what is.
pub(super) const WANTED: Declared = Declared { has_status: true, has_generation: true, ..PLAIN };

impl Strategy for Declared {
    fn set_defaults(&self, object: &mut Value) {
        (self.defaults)(object);
    }

    fn prepare_for_create(&self, object: &mut Value, context: &Context<'_>) {
        if self.has_status {
            value::set(object, "status", json!({}));
        }
        (self.create)(object, context);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, _: &Context<'_>) {
        if self.has_status {
            restore(object, old, "status");
        }
        (self.update)(object, old);
    }

    fn status_metadata(&self) -> &'static [&'static str] {
        self.status_metadata
    }

    fn validate(&self, object: &Value) -> Errors {
        let mut check = Check::default();
        (self.check)(&mut check, &Place::root(object));
        check.errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        let mut check = Check::default();
        let new = Place::root(object);
        (self.check)(&mut check, &new);
        (self.check_update)(&mut check, &new, &Place::root(old));
        check.errors
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> Errors {
        let mut check = Check::default();
        (self.check_status)(&mut check, &Place::root(object), &Place::root(old));
        check.errors
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        check::name_with(self.name, name, prefix)
    }

    fn claims(&self, object: &Value) -> Vec<Claim> {
        (self.claims)(object)
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        (self.warnings)(&Place::root(object), old)
    }

    fn has_generation(&self) -> bool {
        self.has_generation
    }

    fn allow_create_on_update(&self) -> bool {
        self.creates_on_update
    }

    fn allow_unconditional_update(&self) -> bool {
        self.unconditional
    }
}
