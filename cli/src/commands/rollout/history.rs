//! `kontiki rollout history`.

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

use super::{On, replica_sets, template};
use crate::render::{columns, tree};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    on: On,
    /// Show this revision's pod template
    #[arg(long, value_name = "NUMBER")]
    revision: Option<u64>,
}

pub(super) async fn run(arguments: &Arguments) -> Result<()> {
    let found = arguments.on.find().await?;
    let sets = replica_sets(&found).await?;
    let title = format!("deployment.apps/{}", found.name);
    if let Some(wanted) = arguments.revision {
        let (_, set) = sets
            .iter()
            .find(|(revision, _)| *revision == wanted)
            .with_context(|| format!("unable to find the specified revision {wanted}"))?;
        let template = tree(&template(set), 2);
        return found
            .session
            .output
            .data(&format!("{title} with revision #{wanted}\nPod Template:\n{template}"));
    }
    found.session.output.data(&format!("{title}\n{}", columns(&table(&sets))))
}

fn table(sets: &[(u64, Value)]) -> Vec<Vec<String>> {
    let mut lines = vec![vec!["REVISION".to_owned(), "CHANGE-CAUSE".to_owned()]];
    for (revision, set) in sets {
        let cause = set["metadata"]["annotations"]["kubernetes.io/change-cause"].as_str();
        lines.push(vec![revision.to_string(), cause.unwrap_or("<none>").to_owned()]);
    }
    lines
}
