//! Where things are, and how other programs are run: everything xtask does ends in a command.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The workspace's root. Cargo says where the running package lives, which stays right when clones
/// share a target directory; started by hand, the root is searched upwards.
pub fn root() -> Result<PathBuf> {
    let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => std::env::current_dir().context("no current directory")?,
    };
    for dir in start.ancestors() {
        let manifest = dir.join("Cargo.toml");
        if let Ok(text) = std::fs::read_to_string(&manifest)
            && text.contains("[workspace]")
        {
            return Ok(dir.to_path_buf());
        }
    }
    bail!(
        "no workspace above {}: run this inside the repository",
        start.display()
    )
}

/// Cargo's target directory: `CARGO_TARGET_DIR`, or `target` in the repository.
pub fn target_dir() -> Result<PathBuf> {
    let root = root()?;
    Ok(match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root.join(dir),
        None => root.join("target"),
    })
}

/// The cargo that runs us, or the one on the path.
pub fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// A command without the variables cargo adds for the programs it runs: a second tool chain must not
/// pick up the libraries or the wrapper of the first.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let cargo_made = text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_");
        if cargo_made || text == "LD_LIBRARY_PATH" {
            command.env_remove(&name);
        }
    }
    command
}

/// The command's process is told to end when the thread that started it does, however that happens: nothing
/// that was started for a measurement goes on without it.
pub fn ends_with_us(command: &mut Command, signal: libc::c_int) -> &mut Command {
    // SAFETY: prctl is async-signal-safe; nothing else happens between fork and exec.
    unsafe {
        command.pre_exec(move || {
            match libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        })
    }
}

/// Runs it to its end; its output goes where ours goes, results to stderr so that stdout stays ours.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    command.stdout(std::io::stderr());
    let status = command
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// Runs it to its end without output; on failure the error holds what it said.
pub fn run_quietly(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// What it printed on stdout. Its stderr is part of the error when it fails, dropped otherwise.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let out = command
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !out.status.success() {
        let stdout = String::from_utf8_lossy(&out.stdout);
        let stderr = String::from_utf8_lossy(&out.stderr);
        bail!("`{shown}` ended with {}:\n{stdout}{stderr}", out.status);
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The command as one would type it, without its environment.
fn show(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

/// The first of these programs that exists: a bare name is looked up on the path and in the system's
/// directories for administration, which an ordinary user's path may lack.
pub fn find_program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    dirs.extend(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    for name in names {
        if name.contains('/') {
            if Path::new(name).is_file() {
                return Some(PathBuf::from(name));
            }
            continue;
        }
        if let Some(found) = dirs
            .iter()
            .map(|dir| dir.join(name))
            .find(|file| file.is_file())
        {
            return Some(found);
        }
    }
    None
}

/// `find_program`, or an error that says which Debian package has it.
pub fn need_program(name: &str, package: &str) -> Result<PathBuf> {
    find_program(&[name])
        .with_context(|| format!("`{name}` is not installed (Debian package {package})"))
}

/// True when we may load probes, start engines and mount: effective user 0.
pub fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// A thread stands for the whole of us: the kernel makes no difference, and the test goes on.
    #[test]
    fn what_was_started_ends_with_who_started_it() {
        let starter = std::thread::spawn(|| {
            let mut sleeper = command("sleep");
            sleeper.arg("600");
            ends_with_us(&mut sleeper, libc::SIGTERM).spawn()
        });
        let mut sleeper = starter
            .join()
            .expect("the starter does not panic")
            .expect("sleep is everywhere");
        let status = sleeper.wait().expect("it is our child");
        assert_eq!(status.signal(), Some(libc::SIGTERM));
    }
}
