//! Encrypts its own seed files in place and renames them, as ransomware does with somebody's.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rand::{Rng, RngCore};

use super::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct MassEncrypt;

static INFO: Info = Info {
    name: "mass_encrypt",
    kind: Kind::Anomaly,
    attack_id: "T1486",
    about: "reads, encrypts, rewrites and renames 5 to 100 of its own files a second",
    needs: "a writable directory",
    signals: &[Signal::RenameRate, Signal::OpenRate],
};

const FILES: usize = 60;
const FILE_BYTES: std::ops::Range<usize> = 512..16_384;

impl Act for MassEncrypt {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let directory = ctx.directory()?;
        let pause = ctx.pause(5.0, 100.0);
        let (mut files, mut bytes) = (0u64, 0u64);
        let mut plain: Vec<PathBuf> = Vec::new();
        while !ctx.over() {
            let Some(path) = plain.pop() else {
                plain = seed(ctx, &directory)?;
                continue;
            };
            bytes += encrypt(ctx, &path)?;
            files += 1;
            ctx.sleep(pause);
        }
        Ok(format!("{files} files, {bytes} bytes encrypted"))
    }
}

/// New files in place of the encrypted ones.
fn seed(ctx: &mut Ctx, directory: &Path) -> Result<Vec<PathBuf>, ActError> {
    let shown = || directory.to_string_lossy().into_owned();
    for entry in fs::read_dir(directory).map_err(ActError::io("list", shown()))? {
        let path = entry.map_err(ActError::io("list", shown()))?.path();
        fs::remove_file(&path).map_err(ActError::io("remove", path.to_string_lossy()))?;
    }
    (0..FILES)
        .map(|number| {
            let path = directory.join(format!("{}{number}.doc", ctx.word()));
            let mut content = vec![0; ctx.rng.random_range(FILE_BYTES)];
            for (place, byte) in content.iter_mut().enumerate() {
                *byte = b'a' + (place % 26) as u8;
            }
            fs::write(&path, content).map_err(ActError::io("write", path.to_string_lossy()))?;
            Ok(path)
        })
        .collect()
}

fn encrypt(ctx: &mut Ctx, path: &Path) -> Result<u64, ActError> {
    let name = path.to_string_lossy();
    let mut content = fs::read(path).map_err(ActError::io("read", name.as_ref()))?;
    let mut key = [0; 32];
    ctx.rng.fill_bytes(&mut key);
    let mut stream = vec![0; content.len()];
    blake3::Hasher::new_keyed(&key)
        .finalize_xof()
        .fill(&mut stream);
    for (byte, pad) in content.iter_mut().zip(stream) {
        *byte ^= pad;
    }
    fs::write(path, &content).map_err(ActError::io("write", name.as_ref()))?;
    fs::rename(path, path.with_extension("doc.locked"))
        .map_err(ActError::io("rename", name.as_ref()))?;
    Ok(content.len() as u64)
}
