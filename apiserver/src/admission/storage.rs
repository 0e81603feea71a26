//! What claims and volumes get and may become: a default class, a finalizer that keeps them while
//! they are used, and a larger size where the class allows it.

use async_trait::async_trait;
use kontiki_api::{Status, meta, quantity::Quantity};
use serde_json::{Value, json};

use super::{Attempt, Operation, Step, newest_default};
use crate::core::Core;

const GROUP: &str = "storage.k8s.io";
const CLAIMS: &str = "persistentvolumeclaims";

/// A claim that names no class gets the default one.
pub(super) struct DefaultStorageClass;

#[async_trait]
impl Step for DefaultStorageClass {
    async fn mutate(&self, core: &Core, attempt: &mut Attempt<'_>) -> Result<(), Status> {
        const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
        const DEFAULT: [&str; 2] = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ];
        if !attempt.is(Operation::Create, "", CLAIMS)
            || attempt.object["spec"]["storageClassName"].is_string()
            || meta::annotation(attempt.object, CLASS).is_some()
        {
            return Ok(());
        }
        if let Some(class) = newest_default(core, GROUP, "storageclasses", &DEFAULT)
            && let Some(spec) = attempt.object["spec"].as_object_mut()
        {
            spec.insert("storageClassName".to_owned(), class.into());
        }
        Ok(())
    }
}

/// Claims, volumes and volume attributes stay as long as they are used.
pub(super) struct StorageObjectInUseProtection;

#[async_trait]
impl Step for StorageObjectInUseProtection {
    async fn mutate(&self, _: &Core, attempt: &mut Attempt<'_>) -> Result<(), Status> {
        let row = &attempt.resource.row;
        let finalizer = match (row.group.as_ref(), row.resource.as_ref()) {
            ("", CLAIMS) => "kubernetes.io/pvc-protection",
            ("", "persistentvolumes") => "kubernetes.io/pv-protection",
            (GROUP, "volumeattributesclasses") => "kubernetes.io/vac-protection",
            _ => return Ok(()),
        };
        let creates = attempt.operation == Operation::Create && attempt.subresource.is_empty();
        if !creates || meta::finalizers(attempt.object).contains(&finalizer) {
            return Ok(());
        }
        let all =
            meta::metadata_mut(attempt.object).entry("finalizers").or_insert_with(|| json!([]));
        if let Some(all) = all.as_array_mut() {
            all.push(finalizer.into());
        }
        Ok(())
    }
}

/// A claim grows only if it is bound and its class allows it.
pub(super) struct PersistentVolumeClaimResize;

#[async_trait]
impl Step for PersistentVolumeClaimResize {
    async fn validate(&self, core: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
        let Some(old) = attempt.old.filter(|_| attempt.is(Operation::Update, "", CLAIMS)) else {
            return Ok(());
        };
        if size(attempt.object) <= size(old) {
            return Ok(());
        }
        if old["status"]["phase"] != "Bound" {
            return Err(attempt.forbidden("Only bound persistent volume claims can be expanded"));
        }
        let class = attempt.object["spec"]["storageClassName"].as_str().unwrap_or_default();
        let class = core.look_up(GROUP, "storageclasses", "", class);
        if class.is_some_and(|class| class.value()["allowVolumeExpansion"] == true) {
            return Ok(());
        }
        Err(attempt.forbidden(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions \
             the pvc must support resize",
        ))
    }
}

fn size(claim: &Value) -> Quantity {
    let size = claim["spec"]["resources"]["requests"]["storage"].as_str();
    size.and_then(|size| Quantity::parse(size).ok()).unwrap_or_default()
}
