//! Opens files and never closes them, up to the limit of descriptors and against it.

use std::{
    fs::File,
    time::{Duration, Instant},
};

use nix::errno::Errno;

use super::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct FdLeak;

static INFO: Info = Info {
    name: "fd_leak",
    kind: Kind::Anomaly,
    attack_id: "T1499",
    about: "opens /dev/null 200 to 2000 times a second without closing, until the limit refuses",
    needs: "a limit of descriptors",
    signals: &[Signal::OpenExhausted],
};

const PATH: &str = "/dev/null";

/// Between two looks at what is due.
const PAUSE: Duration = Duration::from_millis(2);

/// Between two tries when nothing is left.
const RETRY: Duration = Duration::from_millis(100);

/// A container without a limit of descriptors is not filled any further.
const HELD_MAX: usize = 4096;

impl Act for FdLeak {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let a_second = ctx.scale(200.0, 2000.0);
        let start = Instant::now();
        let mut held = Vec::new();
        let mut refused = 0u64;
        while !ctx.over() {
            // By the clock: on a busy host a sleep for each would leave most of them out.
            let due = (start.elapsed().as_secs_f64() * a_second) as usize;
            while held.len() < due.min(HELD_MAX) {
                match File::open(PATH) {
                    Ok(file) => held.push(file),
                    Err(error) if error.raw_os_error() == Some(Errno::EMFILE as i32) => {
                        refused += 1;
                        ctx.sleep(RETRY);
                        break;
                    }
                    Err(error) => return Err(ActError::io("open", PATH)(error)),
                }
            }
            ctx.sleep(PAUSE);
        }
        Ok(format!("{} held, {refused} refused", held.len()))
    }
}
