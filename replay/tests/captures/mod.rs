//! The shared captures, and what their manifest says about them.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

pub struct SharedCapture {
    /// Below the captures' folder.
    pub name: String,
    pub path: PathBuf,
    #[allow(dead_code, reason = "not every test program counts events")]
    pub events: u64,
    /// Process records, where the manifest counts them.
    #[allow(dead_code, reason = "not every test program compares processes")]
    pub processes: Option<u64>,
}

/// Every capture of the manifest; none, with a word about it, where the folder is absent.
pub fn captures() -> Vec<SharedCapture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/scap");
    let Ok(manifest) = std::fs::read_to_string(folder.join("MANIFEST.md")) else {
        assert!(
            std::env::var_os("TRAILCAM_NO_SKIP").is_none(),
            "{} is absent",
            folder.display()
        );
        eprintln!("SKIPPED: no captures at {}", folder.display());
        return Vec::new();
    };
    let rows = manifest.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = *cells.get(1)?;
        name.ends_with(".scap").then(|| SharedCapture {
            name: name.to_owned(),
            path: folder.join(name),
            events: cells[8].split(' ').next().unwrap().parse().unwrap(),
            processes: cells[7].parse().ok(),
        })
    });
    let captures: Vec<_> = rows.collect();
    assert_eq!(captures.len(), 27);
    captures
}

/// A capture's bytes, unpacked.
#[allow(dead_code, reason = "not every test program unpacks")]
pub fn read_content(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes;
    }
    let mut content = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..])
        .read_to_end(&mut content)
        .unwrap();
    content
}
