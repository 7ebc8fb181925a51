//! Links `workload` statically with a plain `cargo build`, without touching how anything else is linked.
//!
//! The container image is this one program, so it must need no library. Rust's own way
//! (`-C target-feature=+crt-static`) is a flag for the whole build: it would compile every
//! dependency a second time. Linker arguments, however, can be given for one binary. rustc asks for
//! the C library as a shared one (`-Wl,-Bdynamic … -lgcc_s -lc`), so a directory in front of the
//! search path answers each of those names with a one-line linker script that names the static
//! archive. Where the C library has no static archive, `workload` is linked as usual and `inject`
//! says at run time what is missing.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What rustc's standard library asks the linker for on linux-gnu.
const LIBRARIES: [&str; 6] = ["c", "m", "rt", "pthread", "util", "dl"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let var = |name: &str| env::var(name).unwrap_or_default();
    let gnu_linux = var("CARGO_CFG_TARGET_OS") == "linux" && var("CARGO_CFG_TARGET_ENV") == "gnu";
    let static_anyway = var("CARGO_CFG_TARGET_FEATURE")
        .split(',')
        .any(|feature| feature == "crt-static");
    // A cross build would need the target's compiler: it can use crt-static instead.
    if !gnu_linux || static_anyway || var("HOST") != var("TARGET") {
        return;
    }
    let scripts = PathBuf::from(var("OUT_DIR")).join("static");
    let linker = env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".into());
    match write_scripts(&scripts, &linker) {
        Ok(()) => {
            for argument in ["-static-pie", &format!("-L{}", scripts.display()), "-Wl,-s"] {
                println!("cargo::rustc-link-arg-bin=workload={argument}");
            }
        }
        Err(reason) => println!(
            "cargo::warning=workload is not linked statically ({reason}): `inject run` will refuse it. \
             Install the C library's static archive (Debian: libc6-dev, Fedora: glibc-static) and build again"
        ),
    }
}

fn write_scripts(scripts: &Path, linker: &str) -> Result<(), String> {
    fs::create_dir_all(scripts).map_err(|error| format!("cannot create {scripts:?}: {error}"))?;
    let mut all = vec![("gcc_s", "INPUT(-lgcc_eh)\n".to_owned())];
    for library in LIBRARIES {
        let path = archive(linker, library)?;
        all.push((library, format!("INPUT({})\n", path.display())));
    }
    archive(linker, "gcc_eh")?;
    for (library, script) in all {
        let path = scripts.join(format!("lib{library}.a"));
        fs::write(&path, script).map_err(|error| format!("cannot write {path:?}: {error}"))?;
    }
    Ok(())
}

/// Where the compiler driver finds a static archive; it echoes the bare name when it does not.
fn archive(linker: &str, library: &str) -> Result<PathBuf, String> {
    let name = format!("lib{library}.a");
    let output = Command::new(linker)
        .arg(format!("-print-file-name={name}"))
        .output()
        .map_err(|error| format!("cannot run {linker}: {error}"))?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    match path.is_absolute() && path.exists() {
        true => Ok(path),
        false => Err(format!("{linker} knows no {name}")),
    }
}
