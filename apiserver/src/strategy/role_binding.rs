//! RoleBindings and ClusterRoleBindings: who has which role, in a namespace or anywhere.

use std::marker::PhantomData;

use kontiki_api::{
    Object,
    field::Errors,
    k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject},
    names,
};
use serde_json::Value;

use super::{
    check::{self, Check},
    rbac,
};
use crate::registry::Strategy;

/// A kind of binding.
pub(super) trait Binding: Object {
    /// The kinds of roles that it may refer to.
    const ROLES: &'static [&'static str];

    fn role(&self) -> &RoleRef;

    fn subjects(&self) -> Option<&[Subject]>;
}

impl Binding for RoleBinding {
    const ROLES: &'static [&'static str] = &["Role", "ClusterRole"];

    fn role(&self) -> &RoleRef {
        &self.role_ref
    }

    fn subjects(&self) -> Option<&[Subject]> {
        self.subjects.as_deref()
    }
}

impl Binding for ClusterRoleBinding {
    const ROLES: &'static [&'static str] = &["ClusterRole"];

    fn role(&self) -> &RoleRef {
        &self.role_ref
    }

    fn subjects(&self) -> Option<&[Subject]> {
        self.subjects.as_deref()
    }
}

/// The strategy of a kind of binding.
pub(super) struct Bindings<B>(PhantomData<fn() -> B>);

impl<B> Bindings<B> {
    pub(super) const fn new() -> Bindings<B> {
        Bindings(PhantomData)
    }
}

impl<B: Binding> Strategy for Bindings<B> {
    fn set_defaults(&self, object: &mut Value) {
        rbac::default_binding(object);
    }

    fn validate(&self, object: &Value) -> Errors {
        check::typed(object, validate::<B>)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        check::typed_pair(object, old, |new: &B, old: &B, check| {
            validate(new, check);
            rbac::role_stays(check, new.role(), old.role());
        })
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        check::name_with(names::path_segment, name, prefix)
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn validate<B: Binding>(binding: &B, check: &mut Check) {
    rbac::binding(check, binding.role(), binding.subjects(), B::ROLES);
}
