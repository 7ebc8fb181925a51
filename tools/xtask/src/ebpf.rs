//! Builds the probes: Rust sources → BPF object with type information → `recorder-ebpf/prebuilt/`.
//!
//! The target `bpfel-unknown-none` needs the library's sources and unstable cargo flags. Three tool
//! chains can do it, tried in this order: the one that runs us when it has its sources, the
//! distribution's (Debian's rustc-web with rust-web-src), a rustup nightly with rust-src. The object
//! holds no path of the machine that built it, and no DWARF: only code, maps and BTF.

#[path = "../../../recorder-ebpf/tests/source_hash/mod.rs"]
mod source_hash;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::repo;

const TARGET: &str = "bpfel-unknown-none";
/// zstd's strongest but its "ultra" ones: an eighth of the object is left.
const LEVEL: i32 = 19;

#[derive(clap::Args)]
pub struct Args {
    /// Build, compare with the object in the repository, change nothing; fails when that one is stale
    #[arg(long)]
    check: bool,
}

/// A compiler that can build `core` for the target.
struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    library: PathBuf,
}

pub fn main(args: &Args) -> Result<()> {
    let root = repo::root()?;
    let package = root.join("recorder-ebpf");
    let object = build(&root)?;
    let bytes = std::fs::read(&object).with_context(|| format!("{}", object.display()))?;
    refuse_machine_paths(&bytes)?;

    let prebuilt = package.join("prebuilt/recorder.bpf.o.zst");
    let hash_file = package.join("prebuilt/SOURCE.b3");
    let sources = source_hash::source_hash(&package).context("hashing the probe sources")?;
    let hashes = format!("{sources}\n{}\n", blake3::hash(&bytes).to_hex());
    if args.check {
        let stored = std::fs::read_to_string(&hash_file).unwrap_or_default();
        if stored.lines().next() != Some(&sources) {
            bail!("{} is stale: run `cargo xtask ebpf`", prebuilt.display());
        }
        if stored != hashes {
            // Another compiler gives other bytes: not wrong, and the kernel tests judge what was built here.
            eprintln!(
                "the object built here differs from the one in the repository (same sources)"
            );
        }
    } else {
        let dir = package.join("prebuilt");
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let packed = zstd::encode_all(&bytes[..], LEVEL).context("compressing the object")?;
        std::fs::write(&prebuilt, packed)
            .with_context(|| format!("cannot write {}", prebuilt.display()))?;
        std::fs::write(&hash_file, hashes)
            .with_context(|| format!("cannot write {}", hash_file.display()))?;
    }
    eprintln!("{} bytes", bytes.len());
    println!("{}", object.display());
    Ok(())
}

/// The object, built from the sources as they are, below the target directory.
pub fn build(root: &Path) -> Result<PathBuf> {
    if repo::find_program(&["bpf-linker"]).is_none() {
        bail!(
            "bpf-linker is not installed: it needs LLVM 22 (Debian's llvm-22-dev, libpolly-22-dev); \
             .ci/run has the command that installs it"
        );
    }
    let toolchain = toolchain()?;
    // A directory of its own: another compiler must not invalidate what the host's compiler built.
    let target_dir = repo::target_dir()?.join("ebpf");
    let flags = rust_flags(root, &toolchain)?;

    let mut cargo = repo::command(&toolchain.cargo);
    cargo
        .current_dir(root)
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .args([
            "build",
            "--quiet",
            "--package",
            "recorder-ebpf",
            "--bin",
            "recorder",
        ])
        .args([
            "--features",
            "probes",
            "--release",
            "--target",
            TARGET,
            "-Zbuild-std=core",
        ])
        // The release profile of the workspace is made for programs that run on the host.
        .args([
            "--config",
            "profile.release.strip=false",
            "--config",
            "profile.release.lto=false",
        ])
        .args(["--config", "profile.release.debug=2"]);
    repo::run(&mut cargo).context("building the probes")?;

    let built = target_dir.join(TARGET).join("release/recorder");
    let object = target_dir.join("recorder.bpf.o");
    let objcopy = objcopy(&toolchain)?;
    repo::run_quietly(
        repo::command(objcopy)
            .arg("--strip-debug")
            .arg(&built)
            .arg(&object),
    )?;
    Ok(object)
}

fn toolchain() -> Result<Toolchain> {
    let mut candidates = vec![(repo::cargo(), PathBuf::from("rustc"))];
    candidates.push(("/usr/bin/cargo".into(), "/usr/bin/rustc".into()));
    let nightly = repo::command("rustup")
        .args(["which", "--toolchain", "nightly", "cargo"])
        .output();
    if let Ok(out) = nightly
        && out.status.success()
    {
        let cargo = PathBuf::from(String::from_utf8_lossy(&out.stdout).trim());
        let rustc = cargo.with_file_name("rustc");
        candidates.push((cargo, rustc));
    }
    for (cargo, rustc) in candidates {
        let Ok(sysroot) = repo::output(repo::command(&rustc).args(["--print", "sysroot"])) else {
            continue;
        };
        let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust");
        if library.join("library/core/src/lib.rs").is_file() {
            return Ok(Toolchain {
                cargo,
                rustc,
                library,
            });
        }
    }
    bail!(
        "no Rust compiler with its library's sources: install Debian's rustc-web, cargo-web and \
         rust-web-src, or `rustup toolchain install nightly --component rust-src`"
    )
}

/// Type information for the kernel, and neutral names for every place sources come from.
fn rust_flags(root: &Path, toolchain: &Toolchain) -> Result<Vec<String>> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let home = home.context("neither CARGO_HOME nor HOME is set")?;
    let mut flags = vec!["-Cdebuginfo=2".to_owned(), "-Clink-arg=--btf".to_owned()];
    let mut remap = |from: &Path, to: &str| {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    };
    // The compiler takes the last prefix that matches: from wide to narrow.
    remap(&home, "/cargo");
    if let Ok(registries) = std::fs::read_dir(home.join("registry/src")) {
        for registry in registries.flatten() {
            remap(&registry.path(), "/crates");
        }
    }
    remap(&toolchain.library, "/rust");
    if let Ok(library) = toolchain.library.canonicalize() {
        remap(&library, "/rust");
    }
    remap(root, "/trailcam");
    Ok(flags)
}

/// LLVM's objcopy: by its plain name, by version, or the one that ships with the compiler.
fn objcopy(toolchain: &Toolchain) -> Result<PathBuf> {
    const NEWEST_LLVM: u32 = 30;
    const OLDEST_LLVM: u32 = 16;
    let names = (OLDEST_LLVM..=NEWEST_LLVM)
        .rev()
        .map(|version| format!("llvm-objcopy-{version}"));
    let names: Vec<String> = std::iter::once("llvm-objcopy".to_owned())
        .chain(names)
        .collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    let library_dir =
        repo::output(repo::command(&toolchain.rustc).args(["--print", "target-libdir"]))?;
    let bundled = Path::new(library_dir.trim())
        .with_file_name("bin")
        .join("rust-objcopy");
    let bundled = bundled.to_string_lossy();
    names.push(&bundled);
    repo::find_program(&names)
        .context("llvm-objcopy is not installed (Debian package llvm, or rustup's llvm-tools)")
}

/// A path of the building machine in the object would differ on the next one, and says more about
/// the builder than anybody should read.
fn refuse_machine_paths(object: &[u8]) -> Result<()> {
    let home = std::env::var("HOME").unwrap_or_default();
    let root = repo::root()?;
    for place in [
        home.as_str(),
        &root.to_string_lossy(),
        "/.cargo/",
        "/.rustup/",
        "/rustlib/",
    ] {
        // "/" as HOME or as root says nothing.
        if place.len() > 1
            && object
                .windows(place.len())
                .any(|window| window == place.as_bytes())
        {
            bail!("the object contains the path `{place}` of this machine: extend the remapping");
        }
    }
    Ok(())
}
