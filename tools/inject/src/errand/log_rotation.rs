//! Turns logs: some are renamed and begun anew, some are copied and truncated in place.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
    time::Duration,
};

use crate::{
    act::{Act, ActError, Ctx, Info, Kind, Signal},
    image::LOGS,
};

pub struct LogRotation;

static INFO: Info = Info {
    name: "log_rotation",
    kind: Kind::HardNegative,
    attack_id: "",
    about: "rotates its own logs, by renaming and by copying and truncating, every 0.5 to 5 s",
    needs: "a writable /var/log",
    signals: &[Signal::LogTruncate],
};

const KEPT: u32 = 3;
const LINES: u32 = 50;

impl Act for LogRotation {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let pause = Duration::from_secs_f64(ctx.scale(5.0, 0.5));
        let base = ctx.word();
        let log = |number: u32| PathBuf::from(format!("{LOGS}/{base}.log.{number}"));
        for number in 0..=KEPT {
            ctx.removes(log(number));
        }
        let mut turns = 0u32;
        // At least once, however short its time.
        loop {
            let current = log(0);
            let shown = current.to_string_lossy().into_owned();
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&current)
                .map_err(ActError::io("open", &shown))?;
            for line in 0..LINES {
                writeln!(file, "turn {turns} line {line}")
                    .map_err(ActError::io("write", &shown))?;
            }
            for number in (1..KEPT).rev() {
                // The first turns have less to move.
                let _ = fs::rename(log(number), log(number + 1));
            }
            match turns % 2 {
                0 => {
                    fs::copy(&current, log(1)).map_err(ActError::io("copy", &shown))?;
                    nix::unistd::truncate(&current, 0).map_err(ActError::os("truncate", &shown))?;
                }
                _ => fs::rename(&current, log(1)).map_err(ActError::io("rename", &shown))?,
            }
            turns += 1;
            ctx.sleep(pause);
            if ctx.over() {
                return Ok(format!("{turns} turns"));
            }
        }
    }
}
