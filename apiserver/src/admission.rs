//! Admission: steps that may change or refuse an object before it is written, in one ordered table.

mod certificates;
mod chain;
mod default_ingress_class;
mod default_toleration_seconds;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod optional;
mod pod_security;
mod priority;
mod rbac_escalation;
mod runtime_class;
mod service_account;
mod storage;
mod taint_nodes_by_condition;

pub use chain::{Chain, PluginError};

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

/// Lets every step change the object.
pub async fn mutate(core: &Core, attempt: &mut Attempt<'_>) -> Result<(), Status> {
    for step in core.admission.steps() {
        step.mutate(core, attempt).await?;
    }
    Ok(())
}

/// Lets every step refuse the object.
pub async fn validate(core: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
    for step in core.admission.steps() {
        step.validate(core, attempt).await?;
    }
    Ok(())
}

/// The default among the objects of a cluster-wide resource: the youngest that one of these
/// annotations marks, or the first by name of the youngest.
fn newest_default(core: &Core, group: &str, resource: &str, marks: &[&str]) -> Option<String> {
    let objects = core.in_namespace(group, resource, "");
    let marked = objects.iter().map(|object| object.value()).filter(|object| {
        marks.iter().any(|mark| kontiki_api::meta::annotation(object, mark) == Some("true"))
    });
    let born = |object: &Value| kontiki_api::meta::text(object, "creationTimestamp").to_owned();
    let name = |object: &Value| kontiki_api::meta::name(object).to_owned();
    marked
        .map(|object| (std::cmp::Reverse(born(&object)), name(&object)))
        .min()
        .map(|(_, name)| name)
}
