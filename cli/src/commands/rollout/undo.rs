//! `kontiki rollout undo`: the template of an older revision becomes the current one.

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::{On, replica_sets, revision, template};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    on: On,
    /// The revision to go back to; the one before the current if it is 0
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    to_revision: u64,
}

pub(super) async fn run(arguments: &Arguments) -> Result<()> {
    let found = arguments.on.find().await?;
    if found.is_paused() {
        bail!(
            "you cannot rollback a paused deployment; resume it first with `kontiki rollout \
             resume deployment/{}`",
            found.name
        );
    }
    let sets = replica_sets(&found).await?;
    let (number, set) = choose(&sets, revision(&found.object), arguments.to_revision)?;
    let template = template(set);
    if template == found.object["spec"]["template"] {
        return found.say(&format!(
            "skipped rollback (current template already matches revision {number})"
        ));
    }
    let version = &found.object["metadata"]["resourceVersion"];
    let patch = json!([
        { "op": "test", "path": "/metadata/resourceVersion", "value": version },
        { "op": "replace", "path": "/spec/template", "value": template },
    ]);
    found.patch("json", &patch).await?;
    found.say("rolled back")
}

/// The wanted revision, or the latest before the current one.
fn choose(sets: &[(u64, Value)], current: u64, wanted: u64) -> Result<(u64, &Value)> {
    let found = match wanted {
        0 => sets.iter().rev().find(|(revision, _)| *revision < current),
        _ => sets.iter().find(|(revision, _)| *revision == wanted),
    };
    let (revision, set) = found.with_context(|| match wanted {
        0 => "no rollout history found".to_owned(),
        _ => format!("unable to find specified revision {wanted} in history"),
    })?;
    Ok((*revision, set))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undo_means_the_revision_before_unless_one_is_named() {
        let sets: Vec<(u64, Value)> = [1, 3, 4].map(|revision| (revision, json!(null))).to_vec();
        let chosen = |wanted| choose(&sets, 4, wanted).map(|(revision, _)| revision).ok();
        assert_eq!(chosen(0), Some(3));
        assert_eq!(chosen(1), Some(1));
        assert_eq!(chosen(2), None);
        assert!(choose(&sets[..1], 1, 0).is_err());
    }
}
