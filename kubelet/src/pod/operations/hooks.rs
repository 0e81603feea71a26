//! Post-start and pre-stop hooks.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use super::Subject;
use crate::{
    pod::spec::seconds_or_zero,
    probes::{http, target},
};

/// An HTTP hook that does not answer has failed after this.
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs a hook to its end. The error is a message for the Event.
pub(super) async fn run(
    subject: &Subject,
    container: &Container,
    id: &str,
    hook: &LifecycleHandler,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let output = subject.context.runtime.exec(id, &command, None).await;
        let output = output.map_err(|error| error.message().to_owned())?;
        return match output.exit_code {
            0 => Ok(()),
            code => Err(format!("command {command:?} exited with {code}: {}", output.output)),
        };
    }
    if let Some(get) = &hook.http_get {
        let address = subject.sandbox.as_ref().and_then(|sandbox| sandbox.addresses.first());
        let address = address.or(subject.context.options.node_addresses.first());
        let address = address.copied().ok_or("the pod has no address")?;
        let request = target::http(get, container, address)?;
        // As upstream, it is enough that somebody answers.
        return http::ask(&request, HTTP_TIMEOUT).await.map(drop);
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(seconds_or_zero(sleep.seconds)).await;
    }
    Ok(())
}
