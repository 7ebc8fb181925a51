//! Reads the image's decoy secrets. What is read is counted and dropped.

use std::{fs, io::ErrorKind, time::Duration};

use rand::seq::SliceRandom;

use super::{Act, ActError, Ctx, Info, Kind, Signal};
use crate::image::DECOYS;

pub struct CredRead;

static INFO: Info = Info {
    name: "cred_read",
    kind: Kind::Anomaly,
    attack_id: "T1003.008 T1552.001",
    about: "reads decoy shadow, keys, tokens and cloud credentials, 1 to 10 a second",
    needs: "the decoys of the image",
    signals: &[Signal::SensitiveOpen],
};

impl Act for CredRead {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let pause = Duration::from_secs_f64(1.0 / ctx.scale(0.5, 10.0));
        let mut decoys = DECOYS.to_vec();
        let (mut reads, mut bytes, mut absent) = (0u64, 0u64, 0u64);
        while !ctx.over() {
            decoys.shuffle(&mut ctx.rng);
            for (path, _) in &decoys {
                if ctx.over() {
                    break;
                }
                match fs::read(path) {
                    Ok(content) => {
                        reads += 1;
                        bytes += content.len() as u64;
                    }
                    Err(error) if error.kind() == ErrorKind::NotFound => absent += 1,
                    Err(error) => return Err(ActError::io("read", *path)(error)),
                }
                ctx.sleep(pause);
            }
        }
        if reads == 0 {
            return Err(ActError::NoDecoys {
                tried: decoys.len(),
            });
        }
        Ok(format!("{reads} reads, {bytes} bytes, {absent} absent"))
    }
}
