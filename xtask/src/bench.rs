//! The load generators: builds them and the product in one profile, and hands over.

use std::process::Command;

use anyhow::Result;

use crate::{
    demo,
    environment::{Environment, run as run_command},
    setup,
};

/// `cargo xtask bench [ARGUMENTS...]`
pub(crate) fn run(environment: &Environment, arguments: &[String]) -> Result<()> {
    setup::run(environment, &[])?;
    demo::build(environment)?;
    let mut command = Command::new(environment.target.join(demo::PROFILE).join("kontiki-bench"));
    command.args(arguments).env("KONTIKI_BIN", demo::product(environment));
    run_command(command.current_dir(&environment.root))
}
