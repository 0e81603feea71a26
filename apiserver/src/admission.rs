//! Admission: steps that may change or refuse an object before it is written, in one ordered table.

mod default_toleration_seconds;
mod namespace_lifecycle;
mod node_restriction;
mod priority;
mod rbac_escalation;
mod service_account;
mod taint_nodes_by_condition;

use async_trait::async_trait;
use kontiki_api::Status;
use serde_json::Value;

use crate::{cache::Resource, core::Core, verbs::stored::Writer};

/// What is attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Operation {
    Create,
    Update,
    Delete,
}

/// An attempt to write an object.
pub struct Attempt<'a> {
    /// What is attempted.
    pub operation: Operation,
    /// With which resource.
    pub resource: &'a Resource,
    /// Through which subresource; empty if none.
    pub subresource: &'a str,
    /// In which namespace.
    pub namespace: &'a str,
    /// Under which name.
    pub name: &'a str,
    /// The object as it would be written; null for a deletion.
    pub object: &'a mut Value,
    /// The object as it is.
    pub old: Option<&'a Value>,
    /// On whose behalf.
    pub writer: &'a Writer,
}

impl Attempt<'_> {
    /// Whether it is about this resource itself.
    pub fn is(&self, operation: Operation, group: &str, resource: &str) -> bool {
        self.operation == operation
            && self.subresource.is_empty()
            && self.resource.row.group == group
            && self.resource.row.resource == resource
    }

    /// A refusal.
    pub fn forbidden(&self, why: &str) -> Status {
        let row = &self.resource.row;
        Status::forbidden(&row.group, &row.resource, self.name, why)
    }
}

/// One step.
#[async_trait]
pub trait Step: Send + Sync {
    /// May change the object.
    async fn mutate(&self, core: &Core, attempt: &mut Attempt<'_>) -> Result<(), Status> {
        let _ = (core, attempt);
        Ok(())
    }

    /// May refuse it.
    async fn validate(&self, core: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
        let _ = (core, attempt);
        Ok(())
    }
}

/// The steps in upstream's order. Webhooks and policies will stand at the end.
static STEPS: &[&dyn Step] = &[
    &namespace_lifecycle::NamespaceLifecycle,
    &node_restriction::NodeRestriction,
    &rbac_escalation::RbacEscalation,
    &service_account::ServiceAccount,
    &taint_nodes_by_condition::TaintNodesByCondition,
    &priority::Priority,
    &default_toleration_seconds::DefaultTolerationSeconds,
];

/// Lets every step change the object.
pub async fn mutate(core: &Core, attempt: &mut Attempt<'_>) -> Result<(), Status> {
    for step in STEPS {
        step.mutate(core, attempt).await?;
    }
    Ok(())
}

/// Lets every step refuse the object.
pub async fn validate(core: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
    for step in STEPS {
        step.validate(core, attempt).await?;
    }
    Ok(())
}
