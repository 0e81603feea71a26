//! The store's load generator starts three members and gets every kind of row out of them.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};
use kontiki_tests::command::{kontiki_binary, run};

/// What one turn told, by the row's name.
fn figure(line: &serde_json::Value, name: &str) -> f64 {
    line[name].as_f64().unwrap_or_default()
}

#[test]
fn the_stores_generator_measures_three_members() -> Result<()> {
    let kontiki = kontiki_binary()?;
    let beside = kontiki.parent().context("a binary lies in a folder")?;
    let folder = tempfile::tempdir_in(beside)?;
    let rows = ["get-lin", "range", "watch-3", "txn", "lease", "mixed", "put-256b-64"];
    let mut command = Command::new(beside.join("kontiki-bench"));
    command.args(["store", "compare", "--turns=1", "--seconds=0.2", "--kontiki"]);
    command.arg(&kontiki).arg("--dir").arg(folder.path()).args(rows);
    let finished = run(command, None)?;
    let turns: Vec<serde_json::Value> =
        finished.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let table = finished.success()?;
    for row in rows {
        let turn = turns.iter().find(|t| t["row"].as_str().is_some_and(|r| r.starts_with(row)));
        let turn = turn.with_context(|| format!("no turn of {row}"))?;
        assert!(figure(turn, "per_s") > 0.0 && turn["errors"] == 0, "{turn}");
        // Ten milliseconds are the finest that the kernel tells of CPU time, and reads sync nothing.
        assert!(figure(turn, "p99_ms") > 0.0, "{turn}");
        assert!(table.contains(&format!("| {row}")), "{table}");
    }
    let put = turns.iter().find(|turn| turn["row"] == "put-256b-64").context("puts")?;
    // Each of three members syncs a batch once: far less than three times for one of many puts.
    let fsyncs = figure(put, "fsyncs_per_op");
    assert!(fsyncs > 0.0 && fsyncs < 3.0, "{put}");
    assert_eq!(left_behind(folder.path())?, 0, "members' folders go with them");
    Ok(())
}

fn left_behind(folder: &Path) -> Result<usize> {
    Ok(std::fs::read_dir(folder)?.count())
}
