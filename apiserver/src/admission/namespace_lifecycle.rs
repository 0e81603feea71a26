//! Nothing is created in a namespace that does not exist or is on its way out; some namespaces
//! stay for ever.

use async_trait::async_trait;
use kontiki_api::{Status, meta, status::Cause};
use memchr::memmem;

use super::{Attempt, Operation, Step};
use crate::core::Core;

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-public", "kube-system"];

pub(super) struct NamespaceLifecycle;

#[async_trait]
impl Step for NamespaceLifecycle {
    async fn mutate(&self, core: &Core, attempt: &mut Attempt<'_>) -> Result<(), Status> {
        if attempt.operation != Operation::Create || attempt.namespace.is_empty() {
            return Ok(());
        }
        let namespace = attempt.namespace;
        let found = core.find("", "namespaces", "", namespace).await?;
        let Some(found) = found else {
            return Err(Status::not_found("", "namespaces", namespace));
        };
        // Every create comes by here, and nearly no namespace is on its way out.
        let mentioned = |mark: &[u8]| memmem::find(&found.json, mark).is_some();
        if !mentioned(b"\"deletionTimestamp\"") && !mentioned(b"\"Terminating\"") {
            return Ok(());
        }
        let object = found.value();
        if !meta::is_deleting(&object) && object["status"]["phase"] != "Terminating" {
            return Ok(());
        }
        let mut status = attempt.forbidden(&format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        ));
        let cause = Cause {
            reason: "NamespaceTerminating".to_owned(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        };
        status.details.get_or_insert_default().causes.push(cause);
        Err(status)
    }

    async fn validate(&self, _: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
        if attempt.is(Operation::Delete, "", "namespaces") && IMMORTAL.contains(&attempt.name) {
            return Err(attempt.forbidden("this namespace may not be deleted"));
        }
        Ok(())
    }
}
