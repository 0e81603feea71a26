//! `kontiki completions SHELL`.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The shell to write for
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut script = Vec::new();
    let mut command = super::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "kontiki", &mut script);
    Output.data(&String::from_utf8_lossy(&script))
}
