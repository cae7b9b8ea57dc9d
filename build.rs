//! Tells the program which compiler made it, for `gateway_build_info`. Packages set `GATEWAY_COMMIT` besides.

use std::env;
use std::process::Command;

fn main() {
    let version = env::var_os("RUSTC").and_then(|rustc| Command::new(rustc).arg("--version").output().ok());
    let text = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let number = text.split(' ').nth(1).unwrap_or("unknown");
    println!("cargo::rustc-env=GATEWAY_RUSTC={number}");
    println!("cargo::rerun-if-changed=build.rs"); // cargo runs it again by itself when the compiler changes
    println!("cargo::rerun-if-env-changed=GATEWAY_COMMIT");
}
