//! Fills the scratch directory to its size limit, over and over.

use std::{
    fs::File,
    io::{ErrorKind, Seek, Write},
    time::Duration,
};

use super::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct DiskFill;

static INFO: Info = Info {
    name: "disk_fill",
    kind: Kind::Anomaly,
    attack_id: "T1499",
    about: "writes 2 to 20 MiB a second to the scratch directory until it is full, and again",
    needs: "a writable directory with a size limit",
    signals: &[Signal::WriteRate],
};

const BLOCK: [u8; 4096] = [0x5a; 4096];

/// How long it stays full, until it is emptied and filled anew.
const HELD: Duration = Duration::from_secs(1);

/// A directory without a limit is not filled any further.
const BYTES_MAX: u64 = 256 << 20;

impl Act for DiskFill {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let path = ctx.directory()?.join(ctx.word());
        let name = path.to_string_lossy().into_owned();
        let mut file = File::create(&path).map_err(ActError::io("create", &name))?;
        let pause =
            Duration::from_secs_f64(BLOCK.len() as f64 / (ctx.scale(2.0, 20.0) * 1_048_576.0));
        let (mut filled, mut most, mut refused) = (0u64, 0u64, 0u64);
        while !ctx.over() {
            let full = match filled >= BYTES_MAX {
                true => true,
                false => match file.write(&BLOCK) {
                    Ok(bytes) => {
                        filled += bytes as u64;
                        most = most.max(filled);
                        ctx.sleep(pause);
                        false
                    }
                    Err(error)
                        if matches!(
                            error.kind(),
                            ErrorKind::StorageFull | ErrorKind::QuotaExceeded
                        ) =>
                    {
                        refused += 1;
                        true
                    }
                    Err(error) => return Err(ActError::io("write", &name)(error)),
                },
            };
            if full {
                ctx.sleep(HELD);
                file.set_len(0)
                    .and_then(|()| file.rewind())
                    .map_err(ActError::io("empty", &name))?;
                filled = 0;
            }
        }
        Ok(format!("{most} bytes at most, {refused} writes refused"))
    }
}
