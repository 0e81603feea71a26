//! `kontiki recover`: going on after a quorum of servers is lost for ever.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use kontiki_raft::backup::{self, Survivor};

use crate::{
    config::DATA_DIR,
    join::state::{DataFolder, State},
    output::Output,
    render::columns,
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Data folder of the stopped server that goes on
    #[arg(long, env = "KONTIKI_DATA_DIR", value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// Data folders of other stopped servers, or copies of them: the one that knows most is used
    #[arg(long, value_name = "DIR")]
    from: Vec<PathBuf>,
    /// Do it, after having read what it means
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = DataFolder::open(&arguments.data_dir)?;
    let Some(mut state) = folder.state()? else {
        bail!("{} is no data folder of a server", folder.path.display());
    };
    let own = folder.path.join("store");
    let survivors = survey(&own, &arguments.from)?;
    let Some(chosen) = backup::most_advanced(&survivors)?.cloned() else {
        bail!("nothing survived in {}", own.display());
    };
    report(&survivors, &chosen)?;
    if !arguments.yes {
        bail!(
            "nothing was changed; make sure that the other servers stay away for ever, and run \
             this again with --yes"
        );
    }
    let (reborn, kept) = backup::recover(&chosen, &own, &state.node_name)?;
    forget_the_others(&mut state, &folder)?;
    if let Some(kept) = kept {
        Output.note(&format!(
            "What was here before is kept in {}; remove it once all is well.",
            kept.display()
        ));
    }
    Output.line(&format!(
        "recovered as generation {} of cluster {:016x}: member {} goes on alone at revision {}; \
         start it with `kontiki server --data-dir {}`, then let the others join anew with empty \
         data folders",
        reborn.generation,
        reborn.cluster,
        reborn.member,
        reborn.revision,
        folder.path.display()
    ))
}

/// Looks at all folders. One that cannot be used is passed over if others can.
fn survey(own: &Path, from: &[PathBuf]) -> Result<Vec<Survivor>> {
    let stores = [own.to_path_buf()].into_iter().chain(from.iter().map(|folder| {
        let store = folder.join("store");
        if store.is_dir() { store } else { folder.clone() }
    }));
    let mut survivors = Vec::new();
    let mut problem = None;
    for store in stores {
        match backup::survey(&store) {
            Ok(survivor) => survivors.push(survivor),
            Err(error) => {
                Output.note(&format!("passed over: {error}"));
                problem = Some(error);
            }
        }
    }
    match problem {
        Some(error) if survivors.is_empty() => Err(error).context("nothing survived"),
        _ => Ok(survivors),
    }
}

/// Says what is known, and what nobody can know.
fn report(survivors: &[Survivor], chosen: &Survivor) -> Result<()> {
    let header = ["STORE", "MEMBER", "GENERATION", "TERM", "LAST ENTRY", "COMMITTED", "REVISION"];
    let mut lines = vec![header.map(str::to_owned).to_vec()];
    for survivor in survivors {
        lines.push(vec![
            survivor.store.display().to_string(),
            survivor.member.to_string(),
            survivor.generation.to_string(),
            survivor.last_term.to_string(),
            survivor.last_index.to_string(),
            survivor.committed.to_string(),
            survivor.revision.to_string(),
        ]);
    }
    Output.data(&columns(&lines))?;
    let lost: Vec<String> = chosen
        .members
        .iter()
        .filter(|member| survivors.iter().all(|survivor| survivor.member != member.id))
        .map(|member| format!("{} ({})", member.name, member.id))
        .collect();
    let tail = chosen.last_index.saturating_sub(chosen.committed);
    Output.note(&format!(
        "The store in {} knows most. All of its log is used, up to entry {} of term {}: {tail} \
         entries behind {} were not known to be committed, and may be writes that were never \
         acknowledged.",
        chosen.store.display(),
        chosen.last_index,
        chosen.last_term,
        chosen.committed,
    ));
    if !lost.is_empty() {
        Output.note(&format!(
            "Writes that only {} knew of are lost: whatever they acknowledged behind entry {}.",
            lost.join(" and "),
            chosen.last_index
        ));
    }
    Ok(())
}

/// The servers of before are no members any more: nothing is to be asked of them.
fn forget_the_others(state: &mut State, folder: &DataFolder) -> Result<()> {
    state.servers.clear();
    folder.remember(state)
}
