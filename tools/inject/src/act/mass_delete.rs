//! Removes a tree of files of its own, over and over.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct MassDelete;

static INFO: Info = Info {
    name: "mass_delete",
    kind: Kind::Anomaly,
    attack_id: "T1485",
    about: "unlinks 20 to 400 of its own files a second",
    needs: "a writable directory",
    signals: &[Signal::UnlinkRate],
};

const DIRECTORIES: usize = 8;
const FILES: usize = 25;

impl Act for MassDelete {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let directory = ctx.directory()?;
        let pause = ctx.pause(20.0, 400.0);
        let mut tree: Vec<PathBuf> = Vec::new();
        let mut removed = 0u64;
        while !ctx.over() {
            let Some(path) = tree.pop() else {
                tree = plant(&directory)?;
                continue;
            };
            let result = match path.is_dir() {
                true => fs::remove_dir(&path),
                false => fs::remove_file(&path),
            };
            result.map_err(ActError::io("remove", path.to_string_lossy()))?;
            removed += 1;
            ctx.sleep(pause);
        }
        Ok(format!("{removed} removed"))
    }
}

/// Directories before what is in them: taken from the end, they are empty when their turn comes.
fn plant(directory: &Path) -> Result<Vec<PathBuf>, ActError> {
    let mut tree = Vec::new();
    for branch in 0..DIRECTORIES {
        let branch = directory.join(format!("d{branch}"));
        fs::create_dir(&branch).map_err(ActError::io("make", branch.to_string_lossy()))?;
        tree.push(branch.clone());
        for file in 0..FILES {
            let path = branch.join(format!("f{file}"));
            fs::write(&path, b"seed\n").map_err(ActError::io("write", path.to_string_lossy()))?;
            tree.push(path);
        }
    }
    Ok(tree)
}
