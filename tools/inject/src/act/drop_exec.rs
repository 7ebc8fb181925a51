//! Writes a program that the image does not hold, makes it executable, runs it and removes it.

use std::{
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    process::{Command, Stdio},
    time::Duration,
};

use super::{Act, ActError, Ctx, Info, Kind, Signal};
use crate::image::SCRATCH;

pub struct DropExec;

static INFO: Info = Info {
    name: "drop_exec",
    kind: Kind::Anomaly,
    attack_id: "T1105",
    about: "writes a new binary to a writable directory, chmods and runs it, every 0.5 to 5 s",
    needs: "a writable directory without noexec",
    signals: &[Signal::ExecNewFile, Signal::WriteThenExec],
};

impl Act for DropExec {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        const OWN: &str = "/proc/self/exe";
        let program = fs::read(OWN).map_err(ActError::io("read", OWN))?;
        let pause = Duration::from_secs_f64(ctx.scale(5.0, 0.5));
        let mut runs = 0u64;
        // At least once, however short its time.
        loop {
            let path = format!("{SCRATCH}/{}", ctx.word());
            let result = drop_and_run(&path, &program);
            // Also after a failure: a full scratch directory must not stay full.
            let removed = fs::remove_file(&path);
            result?;
            removed.map_err(ActError::io("remove", &path))?;
            runs += 1;
            ctx.sleep(pause);
            if ctx.over() {
                return Ok(format!(
                    "{runs} programs of {} bytes dropped and run",
                    program.len()
                ));
            }
        }
    }
}

fn drop_and_run(path: &str, program: &[u8]) -> Result<(), ActError> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(ActError::io("create", path))?;
    file.write_all(program)
        .map_err(ActError::io("write", path))?;
    drop(file);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .map_err(ActError::io("chmod", path))?;
    // A name that the program does not know makes it the stray of `inside::stray`.
    let status = Command::new(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(ActError::io("run", path))?;
    match status.success() {
        true => Ok(()),
        false => Err(ActError::io("run", path)(std::io::Error::other(
            status.to_string(),
        ))),
    }
}
