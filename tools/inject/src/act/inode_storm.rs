//! Creates and removes empty files.

use std::fs::{self, File};

use super::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct InodeStorm;

static INFO: Info = Info {
    name: "inode_storm",
    kind: Kind::Anomaly,
    attack_id: "T1499",
    about: "creates and unlinks empty files, 50 to 1000 a second, up to 200 at a time",
    needs: "a writable directory with an inode limit",
    signals: &[Signal::OpenRate, Signal::UnlinkRate],
};

impl Act for InodeStorm {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let directory = ctx.directory()?;
        let held = ctx.scale(10.0, 200.0).round() as u64;
        let pause = ctx.pause(50.0, 1000.0);
        let path = |number: u64| directory.join(number.to_string());
        let mut made = 0;
        while !ctx.over() {
            let new = path(made);
            File::create(&new).map_err(ActError::io("create", new.to_string_lossy()))?;
            made += 1;
            if let Some(old) = made.checked_sub(held) {
                let old = path(old);
                fs::remove_file(&old).map_err(ActError::io("remove", old.to_string_lossy()))?;
            }
            ctx.sleep(pause);
        }
        Ok(format!("{made} files made, {held} held"))
    }
}
