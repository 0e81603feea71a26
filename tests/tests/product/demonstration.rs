//! The main job, end to end: five hosts, a Deployment behind a Service, and everything that may
//! break breaks. What has to hold is in the demonstration itself; here it has to hold.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use kontiki_tests::command::kontiki_binary;

#[test]
fn the_demonstration_holds() -> Result<()> {
    let product = kontiki_binary()?;
    let demonstration = product.with_file_name("kontiki-demo");
    ensure!(demonstration.exists(), "{} is not built", demonstration.display());
    let output = Command::new(&demonstration)
        .arg("--check")
        .env("KONTIKI_BIN", &product)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", demonstration.display()))?;
    let account = String::from_utf8_lossy(&output.stderr);
    let line = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}\n{account}\n{line}", output.status);
    let figures: serde_json::Value = serde_json::from_str(line.trim())
        .with_context(|| format!("the last line is not JSON: {line}"))?;
    let expected = [
        ("control_nodes", 3.into()),
        ("workers", 2.into()),
        ("requests_failed_leader_kill", 0.into()),
        ("requests_failed_rollout", 0.into()),
        ("rejoin_hash_equal", true.into()),
        ("failures", serde_json::json!([])),
    ];
    for (name, value) in expected {
        ensure!(figures[name] == value, "{name} is {} in {line}", figures[name]);
    }
    Ok(())
}
