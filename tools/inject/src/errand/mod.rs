//! Errands: work that is out of the ordinary and still normal, the hard negatives. A detector must
//! stay quiet.
//!
//! An errand is an [`Act`](crate::act::Act) of another kind: it takes the same start path as an
//! anomaly. Two are done to a container instead of in it: see [`FromOutside`].

mod cron_job;
mod db_checkpoint;
mod image_build;
mod jvm_start;
mod load_test;
mod log_rotation;
mod outside;
mod package_install;
mod tar_backup;

pub use cron_job::CronJob;
pub use db_checkpoint::DbCheckpoint;
pub use image_build::ImageBuild;
pub use jvm_start::JvmStart;
pub use load_test::LoadTest;
pub use log_rotation::LogRotation;
pub use outside::{ContainerRestart, FromOutside, ImageDeploy};
pub use package_install::PackageInstall;
pub use tar_backup::TarBackup;

use std::process::{Command, Stdio};

use crate::act::ActError;

/// Runs one of the image's programs to its end, quietly.
fn run(program: &'static str, args: &[&str]) -> Result<(), ActError> {
    let status = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(ActError::io("run", program))?;
    match status.success() {
        true => Ok(()),
        false => Err(ActError::io("run", program)(std::io::Error::other(
            status.to_string(),
        ))),
    }
}
