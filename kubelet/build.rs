//! Builds the programs of the built-in images: static, with nothing but the standard library.

use std::{env, path::PathBuf, process::Command};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let rustc = env::var_os("RUSTC").expect("cargo sets RUSTC");
    let target = env::var("TARGET").expect("cargo sets TARGET");
    println!("cargo::rerun-if-changed=build.rs");
    for program in ["pause", "demo-web"] {
        let source = format!("images/{program}.rs");
        println!("cargo::rerun-if-changed={source}");
        let status = Command::new(&rustc)
            .args(["--edition", "2024", "--crate-type", "bin", "--target", &target])
            .args(["-C", "opt-level=s", "-C", "panic=abort", "-C", "strip=symbols"])
            .args(["-C", "target-feature=+crt-static", "-C", "lto=fat", "-C", "codegen-units=1"])
            .arg("-o")
            .arg(out.join(program))
            .arg(&source)
            .status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => panic!("{source} does not build: {status}"),
            Err(error) => panic!("cannot run {}: {error}", rustc.display()),
        }
    }
}
