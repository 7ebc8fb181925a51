//! Tries to be started again by itself: a cron entry and a preloaded library, both empty.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use super::{Act, ActError, Ctx, Info, Kind, Signal};
use crate::image::SPOOL;

pub struct Persistence;

static INFO: Info = Info {
    name: "persistence",
    kind: Kind::Anomaly,
    attack_id: "T1053.003 T1574.006",
    about: "writes a cron entry and tries to write /etc/ld.so.preload, 0.2 to 4 times a second",
    needs: "nothing; a read-only root refuses the second",
    signals: &[Signal::PersistenceWrite],
};

/// Comments only: nothing is ever started by it.
const ENTRY: &[u8] = b"# */5 * * * * root /bin/true\n";

impl Act for Persistence {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let pause = ctx.pause(0.2, 4.0);
        let places = [
            PathBuf::from(SPOOL).join(ctx.word()),
            PathBuf::from("/etc/cron.d").join(ctx.word()),
            PathBuf::from("/etc/ld.so.preload"),
        ];
        let (mut written, mut refused) = (0u64, 0u64);
        // At least once, however short its time.
        loop {
            for place in &places {
                match plant(place) {
                    Ok(()) => {
                        written += 1;
                        fs::remove_file(place)
                            .map_err(ActError::io("remove", place.to_string_lossy()))?;
                    }
                    Err(_) => refused += 1,
                }
            }
            ctx.sleep(pause);
            if ctx.over() {
                return Ok(format!("{written} written, {refused} refused"));
            }
        }
    }
}

/// Never over a file that is there.
fn plant(place: &Path) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(place)?;
    // The loader takes every word as a library's path: there must be none.
    match place.ends_with("ld.so.preload") {
        true => Ok(()),
        false => file.write_all(ENTRY),
    }
}
