//! A database's checkpoint: many dirty pages written and synced at once.

use std::{fs::File, os::unix::fs::FileExt, time::Duration};

use crate::act::{Act, ActError, Ctx, Info, Kind};

pub struct DbCheckpoint;

static INFO: Info = Info {
    name: "db_checkpoint",
    kind: Kind::HardNegative,
    attack_id: "",
    about: "writes 50 to 300 pages with a sync after every eighth, every 1 to 10 s",
    needs: "a writable directory",
    // A database that works beside it syncs as often.
    signals: &[],
};

const PAGE: [u8; 4096] = [0x77; 4096];
const PAGES: u64 = 512;
const SYNC_EVERY: u64 = 8;

impl Act for DbCheckpoint {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let path = ctx.directory()?.join("table.db");
        let shown = path.to_string_lossy().into_owned();
        let file = File::create(&path).map_err(ActError::io("create", &shown))?;
        let dirty = ctx.scale(50.0, 300.0).round() as u64;
        let pause = Duration::from_secs_f64(ctx.scale(10.0, 1.0));
        let mut checkpoints = 0u64;
        // At least once, however short its time.
        loop {
            for page in 0..dirty {
                let offset = page * 7 % PAGES * PAGE.len() as u64;
                file.write_all_at(&PAGE, offset)
                    .map_err(ActError::io("write", &shown))?;
                if page % SYNC_EVERY == 0 {
                    file.sync_data().map_err(ActError::io("sync", &shown))?;
                }
            }
            checkpoints += 1;
            ctx.sleep(pause);
            if ctx.over() {
                return Ok(format!("{checkpoints} checkpoints of {dirty} pages"));
            }
        }
    }
}
