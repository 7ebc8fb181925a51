//! Builds something in steps, each a short process, as an image or a project is built.

use std::fs;

use super::run;
use crate::{
    act::{Act, ActError, Ctx, Info, Kind, Signal},
    image::{COMPACT, SHELL, TABLES},
};

pub struct ImageBuild;

static INFO: Info = Info {
    name: "image_build",
    kind: Kind::HardNegative,
    attack_id: "",
    about: "steps of short processes, 3 to 30 a second, each leaving a layer",
    needs: "programs of the image",
    signals: &[Signal::ExecRate, Signal::ForkRate],
};

/// Layers kept: the file system is small.
const LAYERS: u64 = 16;

impl Act for ImageBuild {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let pause = ctx.pause(3.0, 30.0);
        let directory = ctx.directory()?;
        let mut steps = 0u64;
        while !ctx.over() {
            match steps % 2 {
                0 => run(SHELL, &["-c", "echo step; ls /srv; cat /etc/os-release"])?,
                _ => run(COMPACT, &[&(steps % u64::from(TABLES)).to_string()])?,
            }
            let layer = directory.join(format!("layer{}", steps % LAYERS));
            fs::write(&layer, [steps as u8; 8192])
                .map_err(ActError::io("write", layer.to_string_lossy()))?;
            steps += 1;
            ctx.sleep(pause);
        }
        Ok(format!("{steps} steps"))
    }
}
