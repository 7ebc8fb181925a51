//! Takes memory and never gives it back, up to a share of the container's limit.

use std::{hint, time::Duration};

use super::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct MemLeak;

static INFO: Info = Info {
    name: "mem_leak",
    kind: Kind::Anomaly,
    attack_id: "T1499",
    about: "touches 1 to 8 MiB more a second, up to 80 % of the memory limit with the normal work",
    needs: "a memory limit",
    signals: &[Signal::MemoryGrowth],
};

const STEP: usize = 256 << 10;

/// What the normal work may need beside it.
const NORMAL_BYTES: u64 = 24 << 20;

impl Act for MemLeak {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let most = (ctx.surroundings.memory_bytes / 5 * 4)
            .saturating_sub(NORMAL_BYTES)
            .max(STEP as u64);
        let pause = Duration::from_secs_f64(STEP as f64 / (ctx.scale(1.0, 8.0) * 1_048_576.0));
        let mut leaked: Vec<Vec<u8>> = Vec::new();
        while !ctx.over() {
            if ((leaked.len() + 1) * STEP) as u64 <= most {
                // Not zeros: such pages are only reserved, not touched.
                leaked.push(vec![1; STEP]);
                hint::black_box(leaked.last());
            }
            ctx.sleep(pause);
        }
        Ok(format!("{} bytes held", leaked.len() * STEP))
    }
}
