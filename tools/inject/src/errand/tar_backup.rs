//! Packs the service's files into an archive, checks it, and drops it.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{
    act::{Act, ActError, Ctx, Info, Kind},
    image::{self, Entry, Node},
};

pub struct TarBackup;

static INFO: Info = Info {
    name: "tar_backup",
    kind: Kind::HardNegative,
    attack_id: "",
    about: "packs /srv into an archive, syncs and verifies it, every 0.5 to 5 s",
    needs: "a writable directory",
    // Its few files do not stand out beside every workload.
    signals: &[],
};

const RECORD_BYTES: usize = 512;

const FROM: [&str; 2] = ["/srv/www", "/srv/data"];

impl Act for TarBackup {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let pause = std::time::Duration::from_secs_f64(ctx.scale(5.0, 0.5));
        let path = ctx.directory()?.join("backup.tar");
        let shown = path.to_string_lossy().into_owned();
        let (mut archives, mut bytes) = (0u64, 0u64);
        // At least once, however short its time.
        loop {
            let mut entries = Vec::new();
            for directory in FROM {
                collect(Path::new(directory), &mut entries)?;
            }
            let archive = image::tar(&entries);
            write(&path, &archive).map_err(ActError::io("write", &shown))?;
            let back = fs::read(&path).map_err(ActError::io("read", &shown))?;
            if blake3::hash(&back) != blake3::hash(&archive) {
                return Err(ActError::io("verify", &shown)(std::io::Error::other(
                    "it reads back differently",
                )));
            }
            archives += 1;
            bytes += archive.len() as u64;
            ctx.sleep(pause);
            if ctx.over() {
                return Ok(format!("{archives} archives, {bytes} bytes"));
            }
        }
    }
}

/// Record by record, as to a tape.
fn write(path: &Path, archive: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    for record in archive.chunks(RECORD_BYTES) {
        file.write_all(record)?;
    }
    file.sync_all()
}

fn collect(directory: &Path, entries: &mut Vec<Entry>) -> Result<(), ActError> {
    let shown = directory.to_string_lossy();
    let listed = fs::read_dir(directory).map_err(ActError::io("list", shown.as_ref()))?;
    let mut paths: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths.into_iter().filter(|path| path.is_file()) {
        let content = fs::read(&path).map_err(ActError::io("read", path.to_string_lossy()))?;
        entries.push(Entry {
            path: path.to_string_lossy().into_owned(),
            mode: 0o644,
            node: Node::File(content),
        });
    }
    Ok(())
}
