//! Debian's own kernels, fetched with apt into a cache of ours. The system's package lists, sources and
//! installed packages stay untouched, and no root is needed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::repo;

/// Which Debian release ships a kernel series as its own.
const SUITES: [(&str, &str); 3] = [
    ("5.10", "bullseye"),
    ("6.1", "bookworm"),
    ("6.12", "trixie"),
];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MIRROR: &str = "http://deb.debian.org";
/// The newest kernel of the release, with the drivers virtual machines have.
const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel image that can be booted.
pub struct Kernel {
    /// As asked for: `5.10`.
    pub series: String,
    /// As Debian names it: `linux-image-5.10.0-46-cloud-amd64`.
    pub package: String,
    pub image: PathBuf,
}

/// From the cache, or fetched into it. The package's name is written last: with it the entry is whole.
pub fn fetch(series: &str, cache: &Path) -> Result<Kernel> {
    let Some((_, suite)) = SUITES.iter().find(|(known, _)| *known == series) else {
        let known: Vec<&str> = SUITES.iter().map(|(series, _)| *series).collect();
        bail!(
            "no source for kernel {series}: known are {}",
            known.join(", ")
        );
    };
    let dir = cache.join(series);
    let (image, name) = (dir.join("vmlinuz"), dir.join("package"));
    if let Ok(package) = fs::read_to_string(&name)
        && image.is_file()
    {
        let package = package.trim().to_owned();
        return Ok(Kernel {
            series: series.to_owned(),
            package,
            image,
        });
    }
    eprintln!("kernel {series}: fetching from Debian {suite}");
    let package = download(series, suite, &dir)
        .with_context(|| format!("fetching kernel {series} from Debian {suite}"))?;
    fs::write(&name, &package)?;
    Ok(Kernel {
        series: series.to_owned(),
        package,
        image,
    })
}

fn download(series: &str, suite: &str, dir: &Path) -> Result<String> {
    if !Path::new(KEYRING).is_file() {
        bail!("{KEYRING} is missing (Debian package debian-archive-keyring)");
    }
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    for below in ["lists/partial", "cache/archives/partial", "deb", "tree"] {
        fs::create_dir_all(dir.join(below))?;
    }
    let source = |path: &str, suite: &str| {
        format!("deb [signed-by={KEYRING} arch=amd64] {MIRROR}/{path} {suite} main\n")
    };
    let main = source("debian", suite);
    let security = source("debian-security", &format!("{suite}-security"));
    let sources = dir.join("sources.list");
    fs::write(&sources, format!("{main}{security}"))?;
    let apt = |program: &str| {
        let mut apt = repo::command(program);
        apt.current_dir(dir.join("deb"))
            .arg(format!("-oDir::Etc::sourcelist={}", sources.display()))
            .arg("-oDir::Etc::sourceparts=-")
            .arg(format!(
                "-oDir::State::lists={}",
                dir.join("lists").display()
            ))
            .arg(format!("-oDir::Cache={}", dir.join("cache").display()))
            // Also as root: the unprivileged download user cannot write here, and need not.
            .arg("-oAPT::Sandbox::User=root")
            .args(["-oAcquire::Languages=none", "-oAcquire::Retries=3"]);
        apt
    };
    if repo::output(apt("apt-get").args(["-qq", "update"])).is_err() {
        // A release that left security support keeps only its main archive.
        fs::write(&sources, &main)?;
        repo::output(apt("apt-get").args(["-qq", "update"]))?;
    }
    let depends = repo::output(apt("apt-cache").args(["depends", META_PACKAGE]))?;
    let package = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with(&format!("linux-image-{series}.")))
        .with_context(|| format!("{META_PACKAGE} depends on no {series} kernel:\n{depends}"))?;
    repo::output(apt("apt-get").args(["-qq", "download", package]))?;

    let archive = only_file(&dir.join("deb"))?;
    let tree = dir.join("tree");
    repo::output(
        repo::command("dpkg-deb")
            .arg("--extract")
            .arg(&archive)
            .arg(&tree),
    )?;
    let boot = tree.join("boot");
    let image = fs::read_dir(&boot)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name()
                .is_some_and(|n| n.as_encoded_bytes().starts_with(b"vmlinuz-"))
        })
        .with_context(|| format!("{} holds no vmlinuz", archive.display()))?;
    fs::rename(image, dir.join("vmlinuz"))?;
    // Modules and lists are some 100 MB that nothing needs again.
    for below in ["lists", "cache", "deb", "tree"] {
        fs::remove_dir_all(dir.join(below))?;
    }
    Ok(package.to_owned())
}

fn only_file(dir: &Path) -> Result<PathBuf> {
    let files: Vec<PathBuf> = fs::read_dir(dir)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    match &files[..] {
        [one] => Ok(one.clone()),
        _ => bail!(
            "{} holds {} files, expected one",
            dir.display(),
            files.len()
        ),
    }
}
