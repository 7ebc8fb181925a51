//! A nightly job: a shell, a few programs, a report.

use std::{fs, time::Duration};

use super::run;
use crate::{
    act::{Act, ActError, Ctx, Info, Kind, Signal},
    image::{COMPACT, SHELL, TABLES},
};

pub struct CronJob;

static INFO: Info = Info {
    name: "cron_job",
    kind: Kind::HardNegative,
    attack_id: "",
    about: "a shell and a program for each table, then a report, every 1 to 10 s",
    needs: "programs of the image",
    signals: &[Signal::ExecRate],
};

impl Act for CronJob {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let pause = Duration::from_secs_f64(ctx.scale(10.0, 1.0));
        let report = ctx.directory()?.join("report.txt");
        let mut jobs = 0u64;
        // At least once, however short its time.
        loop {
            run(SHELL, &["-c", "echo nightly; ls /srv/data"])?;
            for table in 0..TABLES {
                run(COMPACT, &[&table.to_string()])?;
            }
            fs::write(&report, format!("job {jobs}\n"))
                .map_err(ActError::io("write", report.to_string_lossy()))?;
            jobs += 1;
            ctx.sleep(pause);
            if ctx.over() {
                return Ok(format!("{jobs} jobs"));
            }
        }
    }
}
