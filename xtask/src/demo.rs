//! The five-host demo: builds the product and the lab's driver, and hands over.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{
    environment::{Environment, run as run_command},
    packages, setup,
};

/// The profile of everything that is measured or shown, so that it is built once.
pub(crate) const PROFILE: &str = "release";

/// `cargo xtask demo [--check]`
pub(crate) fn run(environment: &Environment, arguments: &[String]) -> Result<()> {
    if !packages::is_root() {
        bail!("the demo makes hosts out of namespaces, which needs root; run it with sudo");
    }
    setup::run(environment, &[])?;
    build(environment)?;
    let mut command = Command::new(environment.target.join(PROFILE).join("kontiki-demo"));
    command.args(arguments).env("KONTIKI_BIN", product(environment));
    run_command(command.current_dir(&environment.root))
}

/// Builds every binary in the profile that is measured.
pub(crate) fn build(environment: &Environment) -> Result<()> {
    run_command(&mut environment.cargo([
        "build",
        "--workspace",
        "--bins",
        "--locked",
        "--profile",
        PROFILE,
    ]))
}

/// The product's binary in that profile.
pub(crate) fn product(environment: &Environment) -> std::path::PathBuf {
    environment.target.join(PROFILE).join("kontiki")
}
