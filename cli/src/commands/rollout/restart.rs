//! `kontiki rollout restart`: a new revision that differs only in when it was made.

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde_json::json;

use super::On;

pub(super) async fn run(on: &On) -> Result<()> {
    let found = on.find().await?;
    if found.is_paused() {
        bail!("can't restart paused deployment \"{}\" (run rollout resume first)", found.name);
    }
    let now = format!("{:.0}", Timestamp::now());
    let annotations = json!({ "kubectl.kubernetes.io/restartedAt": now });
    let patch = json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } });
    found.patch("merge", &patch).await?;
    found.say("restarted")
}
