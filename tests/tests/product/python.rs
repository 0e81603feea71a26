//! The Python client's own flows. They stand in `python/flows.py`; what they need is installed by
//! `cargo xtask setup`.

use std::{path::Path, process::Command};

use anyhow::Result;
use kontiki_tests::{
    command::{python, run},
    server::Server,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_works() -> Result<()> {
    let Some(python) = python() else { return Ok(()) };
    let mut server = Server::new("one")?;
    server.start_ready().await?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/flows.py");
    let mut command = Command::new(python);
    command.arg(script).arg("api").env("KUBECONFIG", server.kubeconfig());
    let told = run(command, None)?.success()?;
    assert_eq!(told.trim(), "all is well");
    Ok(())
}
