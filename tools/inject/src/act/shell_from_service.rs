//! A server's worker starts a shell, as after a command injection.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rand::Rng;

use super::{Act, ActError, Ctx, Info, Kind, Signal};
use crate::image::SERVER;

pub struct ShellFromService;

static INFO: Info = Info {
    name: "shell_from_service",
    kind: Kind::Anomaly,
    attack_id: "T1059.004",
    about: "a worker of the web server runs a few commands in a shell, every 0.5 to 5 s",
    needs: "server and shell of the image",
    signals: &[Signal::ShellExec, Signal::NewEdge],
};

impl Act for ShellFromService {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        if !Path::new(SERVER).exists() {
            return Err(ActError::Missing { what: "web server" });
        }
        let pause = Duration::from_secs_f64(ctx.scale(5.0, 0.5));
        let mut shells = 0u64;
        // At least once, however short its time.
        loop {
            let seed = ctx.rng.random_range(0..1000u32);
            let status = Command::new(SERVER)
                .args(["pool", &seed.to_string()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .map_err(ActError::io("run", SERVER))?;
            if !status.success() {
                return Err(ActError::io("run", SERVER)(std::io::Error::other(
                    status.to_string(),
                )));
            }
            shells += 1;
            ctx.sleep(pause);
            if ctx.over() {
                return Ok(format!("{shells} shells"));
            }
        }
    }
}
