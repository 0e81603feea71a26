//! An Ingress that names no class gets the default one.

use async_trait::async_trait;
use kontiki_api::{Status, meta};

use super::{Attempt, Operation, Step, newest_default};
use crate::core::Core;

const GROUP: &str = "networking.k8s.io";

pub(super) struct DefaultIngressClass;

#[async_trait]
impl Step for DefaultIngressClass {
    async fn mutate(&self, core: &Core, attempt: &mut Attempt<'_>) -> Result<(), Status> {
        if !attempt.is(Operation::Create, GROUP, "ingresses")
            || attempt.object["spec"]["ingressClassName"].is_string()
            || meta::annotation(attempt.object, "kubernetes.io/ingress.class").is_some()
        {
            return Ok(());
        }
        let marks = ["ingressclass.kubernetes.io/is-default-class"];
        if let Some(class) = newest_default(core, GROUP, "ingressclasses", &marks)
            && let Some(spec) = attempt.object["spec"].as_object_mut()
        {
            spec.insert("ingressClassName".to_owned(), class.into());
        }
        Ok(())
    }
}
