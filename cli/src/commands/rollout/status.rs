//! `kontiki rollout status`: follows a rollout until it is complete or has failed.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use super::{Found, On};
use crate::{config::parse_duration, session::Accept};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    on: On,
    /// Tell how it stands now, and do not wait
    #[arg(long, default_value = "true", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    watch: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

/// How a rollout stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    Going(String),
    Complete,
    Failed,
}

pub(super) async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let found = arguments.on.find().await?;
    let followed = follow(&found, arguments.watch);
    match arguments.timeout {
        Some(limit) => tokio::time::timeout(limit, followed)
            .await
            .context("timed out waiting for the condition")??,
        None => followed.await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn follow(found: &Found, watch: bool) -> Result<()> {
    let mut told = String::new();
    if tell(found, &found.object, &mut told)? || !watch {
        return Ok(());
    }
    let (collection, _) = found.uri.rsplit_once('/').context("a path without a collection")?;
    let selector = format!("fieldSelector=metadata.name%3D{}", found.name);
    loop {
        let list = found.session.get(&format!("{collection}?{selector}"), Accept::Json).await?;
        match list["items"].get(0) {
            Some(object) => {
                if tell(found, object, &mut told)? {
                    return Ok(());
                }
            }
            None => bail!("deployment \"{}\" was deleted", found.name),
        }
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or("0");
        let uri = format!("{collection}?watch=true&resourceVersion={revision}&{selector}");
        let mut lines = found.session.lines(&uri, Accept::Json).await?;
        while let Ok(Some(line)) = lines.next().await {
            let event: Value = serde_json::from_slice(&line).context("a watch event")?;
            match event["type"].as_str() {
                Some("DELETED") => bail!("deployment \"{}\" was deleted", found.name),
                Some("ADDED" | "MODIFIED") if tell(found, &event["object"], &mut told)? => {
                    return Ok(());
                }
                Some("ERROR") => break,
                _ => {}
            }
        }
    }
}

/// Says how it stands, if that is news; `true` when it is over.
fn tell(found: &Found, object: &Value, told: &mut String) -> Result<bool> {
    let name = &found.name;
    let text = match progress(object) {
        Progress::Complete => format!("deployment \"{name}\" successfully rolled out"),
        Progress::Failed => bail!("deployment \"{name}\" exceeded its progress deadline"),
        Progress::Going(what) => {
            format!("Waiting for deployment \"{name}\" rollout to finish: {what}...")
        }
    };
    if *told != text {
        found.session.output.line(&text)?;
        *told = text;
    }
    Ok(progress(object) == Progress::Complete)
}

fn progress(object: &Value) -> Progress {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    if number(&metadata["generation"]) > number(&status["observedGeneration"]) {
        return Progress::Going("the new specification has not been observed yet".to_owned());
    }
    let conditions = status["conditions"].as_array();
    let stuck = |condition: &Value| {
        condition["type"] == "Progressing" && condition["reason"] == "ProgressDeadlineExceeded"
    };
    if conditions.into_iter().flatten().any(stuck) {
        return Progress::Failed;
    }
    let wanted = spec["replicas"].as_u64().unwrap_or(1);
    let (updated, all, available) = (
        number(&status["updatedReplicas"]),
        number(&status["replicas"]),
        number(&status["availableReplicas"]),
    );
    match () {
        () if updated < wanted => {
            Progress::Going(format!("{updated} out of {wanted} new replicas have been updated"))
        }
        () if all > updated => {
            Progress::Going(format!("{} old replicas are pending termination", all - updated))
        }
        () if available < updated => {
            Progress::Going(format!("{available} of {updated} updated replicas are available"))
        }
        () => Progress::Complete,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(generation: u64, status: &Value, expected: &str) {
        let object = json!({
            "metadata": {"generation": generation}, "spec": {"replicas": 3}, "status": status,
        });
        let progress = match progress(&object) {
            Progress::Going(what) => what,
            Progress::Complete => "complete".to_owned(),
            Progress::Failed => "failed".to_owned(),
        };
        assert_eq!(progress, expected);
    }

    #[test]
    fn a_rollout_passes_through_its_stages() {
        let status = |updated: u64, all: u64, available: u64| {
            json!({"observedGeneration": 2, "updatedReplicas": updated, "replicas": all,
                   "availableReplicas": available})
        };
        check(3, &status(3, 3, 3), "the new specification has not been observed yet");
        check(2, &status(1, 4, 3), "1 out of 3 new replicas have been updated");
        check(2, &status(3, 4, 3), "1 old replicas are pending termination");
        check(2, &status(3, 3, 2), "2 of 3 updated replicas are available");
        check(2, &status(3, 3, 3), "complete");
        let stuck = json!({"observedGeneration": 2, "conditions": [
            {"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]});
        check(2, &stuck, "failed");
    }
}
