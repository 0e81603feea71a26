//! Everything that must hold before a merge, cheapest first; and the verb that repairs.

use anyhow::Result;

use crate::{
    environment::{Environment, run as run_command, say},
    setup, testing, tidy,
};

/// `cargo xtask ci`: never writes to the clone.
pub(crate) fn run(environment: &Environment, _arguments: &[String]) -> Result<()> {
    run_command(&mut environment.cargo(["fmt", "--all", "--check"]))?;
    tidy::run(environment, &[])?;
    setup::run(environment, &[])?;
    run_command(&mut environment.cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "--deny",
        "warnings",
    ]))?;
    testing::run_tests(environment, &[])?;
    run_command(
        environment
            .cargo(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"])
            // Private items are documented here too, so that links to them lead somewhere.
            .env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private_intra_doc_links"),
    )?;
    licences(environment)?;
    say("ci: everything holds");
    Ok(())
}

/// cargo-deny needs no network for licences, bans and sources.
fn licences(environment: &Environment) -> Result<()> {
    if !environment.has_cargo_command("deny") {
        say("cargo-deny is not installed: licences and sources are not checked here");
        return Ok(());
    }
    run_command(&mut environment.cargo(["deny", "--offline", "check", "licenses", "sources"]))
}

/// `cargo xtask fix`: the verb that writes.
pub(crate) fn fix(environment: &Environment, _arguments: &[String]) -> Result<()> {
    setup::run(environment, &[])?;
    run_command(&mut environment.cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--fix",
        "--allow-dirty",
        "--allow-staged",
    ]))?;
    run_command(&mut environment.cargo(["fmt", "--all"]))
}
