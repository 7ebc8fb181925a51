//! Small writes, each of which waits for the disk.

use std::{fs::File, os::unix::fs::FileExt};

use super::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct IoStorm;

static INFO: Info = Info {
    name: "io_storm",
    kind: Kind::Anomaly,
    attack_id: "T1499",
    about: "writes 4 KiB and calls fsync, 50 to 1000 times a second",
    needs: "a writable directory",
    signals: &[Signal::FsyncRate, Signal::WriteRate],
};

const BLOCK: [u8; 4096] = [0xa5; 4096];

/// Written over and over: 1 MiB.
const BLOCKS: u64 = 256;

impl Act for IoStorm {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let path = ctx.directory()?.join(ctx.word());
        let name = path.to_string_lossy().into_owned();
        let file = File::create(&path).map_err(ActError::io("create", &name))?;
        let pause = ctx.pause(50.0, 1000.0);
        let mut rounds = 0u64;
        while !ctx.over() {
            file.write_all_at(&BLOCK, rounds % BLOCKS * BLOCK.len() as u64)
                .map_err(ActError::io("write", &name))?;
            file.sync_all().map_err(ActError::io("sync", &name))?;
            rounds += 1;
            ctx.sleep(pause);
        }
        Ok(format!("{rounds} writes and syncs"))
    }
}
