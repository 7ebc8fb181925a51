//! Truncates logs: its own decoys beside the real ones.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
};

use nix::unistd::truncate;

use super::{Act, ActError, Ctx, Info, Kind, Signal};
use crate::image::LOGS;

pub struct LogWipe;

static INFO: Info = Info {
    name: "log_wipe",
    kind: Kind::Anomaly,
    attack_id: "T1070.002",
    about: "truncates decoy logs below /var/log, 0.5 to 10 a second",
    needs: "a writable /var/log",
    signals: &[Signal::LogTruncate],
};

/// Names that a log of the normal work does not have.
const NAMES: [&str; 5] = ["secure", "messages", "audit.log", "wtmp", "lastlog"];

impl Act for LogWipe {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let pause = ctx.pause(0.5, 10.0);
        let mut decoys: Vec<PathBuf> = Vec::new();
        for name in NAMES {
            let path = PathBuf::from(LOGS).join(name);
            // A file of that name that is there already is somebody's.
            let made = OpenOptions::new().append(true).create_new(true).open(&path);
            match made {
                Ok(mut file) => {
                    ctx.removes(&path);
                    writeln!(file, "app appd[1]: session opened for user app")
                        .map_err(ActError::io("write", path.to_string_lossy()))?;
                    decoys.push(path);
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(ActError::io("create", path.to_string_lossy())(error)),
            }
        }
        if decoys.is_empty() {
            return Err(ActError::NoDecoys { tried: NAMES.len() });
        }
        let mut wiped = 0usize;
        // At least once, however short its time.
        loop {
            let path = &decoys[wiped % decoys.len()];
            let shown = path.to_string_lossy();
            match wiped % 2 {
                0 => truncate(path, 0).map_err(ActError::os("truncate", shown))?,
                _ => fs::write(path, b"").map_err(ActError::io("empty", shown))?,
            }
            wiped += 1;
            ctx.sleep(pause);
            if ctx.over() {
                return Ok(format!("{wiped} truncated"));
            }
        }
    }
}
