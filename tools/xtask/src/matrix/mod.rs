//! The kernels Trailcam promises to run on, each booted for real: every probe loads, and a program whose
//! acts are known is recorded exactly.

mod guest;
mod kernels;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::repo;

#[derive(clap::Args)]
pub struct Args {
    /// Kernel series to boot
    #[arg(long, value_delimiter = ',', default_value = "5.10,6.1,6.12")]
    kernels: Vec<String>,
}

/// Where fetched kernels stay: `TRAILCAM_KERNEL_CACHE`, or beside the target directory, which a clean
/// build empties.
fn cache() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("TRAILCAM_KERNEL_CACHE") {
        return Ok(PathBuf::from(dir));
    }
    let target = repo::target_dir()?;
    Ok(target
        .parent()
        .context("the target directory has a parent")?
        .join("kernels"))
}

pub fn main(args: &Args) -> Result<()> {
    let work = repo::target_dir()?.join("matrix");
    std::fs::create_dir_all(&work)?;
    let cache = cache()?;
    let programs = repo::target_dir()?.join("debug");
    let known = programs.join("known-sequence");
    let payload = guest::Payload {
        programs: vec![&known],
        files: vec![],
        script: "known-sequence --threads 2 > /out/known.json; ls /sys/kernel/btf; cat /proc/mounts; dd if=/dev/urandom of=/out/blob bs=1024 count=300; md5sum /out/blob > /out/sum",
    };
    let initramfs = guest::initramfs(&payload, &work)?;
    for series in &args.kernels {
        let kernel = kernels::fetch(series, &cache)?;
        let out = guest::boot(&kernel, &initramfs, &work)?;
        eprintln!("{} {}", kernel.package, out.display());
    }
    Ok(())
}
