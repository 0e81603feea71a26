//! Builds the lab's init: the one process that a lab host starts with.
//!
//! It is compiled by the same rustc as everything else, statically and on its own, so that the
//! library carries it and works from any program that links it: a test, xtask, the chaos suite.

use std::{env, path::PathBuf, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=init/init.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("lab-init");
    let rustc = env::var_os("RUSTC").expect("cargo sets RUSTC");
    let status = Command::new(rustc)
        .args(["--edition=2024", "--crate-type=bin", "--crate-name=lab_init", "-Copt-level=s"])
        .args(["-Cpanic=abort", "-Cstrip=symbols", "-Ctarget-feature=+crt-static"])
        .arg("-o")
        .arg(&out)
        .arg("init/init.rs")
        .status()
        .expect("rustc starts");
    assert!(status.success(), "rustc could not build the lab's init");
}
