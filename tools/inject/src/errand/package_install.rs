//! Unpacks a package: many files written, synced and renamed into place, then its set-up programs.

use std::{
    fs::{self, File},
    io::Write,
};

use super::run;
use crate::{
    act::{Act, ActError, Ctx, Info, Kind, Signal},
    image::{COMPACT, SHELL},
};

pub struct PackageInstall;

static INFO: Info = Info {
    name: "package_install",
    kind: Kind::HardNegative,
    attack_id: "",
    about: "unpacks a package of 20 to 100 files, renames them into place, runs its set-up",
    needs: "programs of the image",
    signals: &[Signal::RenameRate],
};

const FILE_BYTES: usize = 4096;

/// Between two packages.
const PACKAGES_A_SECOND: (f64, f64) = (0.2, 1.0);

impl Act for PackageInstall {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let files = ctx.scale(20.0, 100.0).round() as usize;
        let pause = ctx.pause(PACKAGES_A_SECOND.0, PACKAGES_A_SECOND.1);
        let mut packages = 0u64;
        // At least once, however short its time.
        loop {
            let root = ctx.directory()?;
            for number in 0..files {
                let path = root.join(format!("lib{number}.so"));
                let new = root.join(format!("lib{number}.so.dpkg-new"));
                let shown = new.to_string_lossy().into_owned();
                let mut file = File::create(&new).map_err(ActError::io("create", &shown))?;
                file.write_all(&[number as u8; FILE_BYTES])
                    .and_then(|()| file.sync_all())
                    .map_err(ActError::io("write", &shown))?;
                fs::rename(&new, path).map_err(ActError::io("rename", &shown))?;
            }
            run(SHELL, &["-c", "echo setting up; id"])?;
            run(COMPACT, &["0"])?;
            ctx.tidy();
            packages += 1;
            ctx.sleep(pause);
            if ctx.over() {
                return Ok(format!("{packages} packages of {files} files"));
            }
        }
    }
}
