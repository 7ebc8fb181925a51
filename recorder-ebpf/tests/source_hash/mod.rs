//! The hash that ties `prebuilt/recorder.bpf.o.zst` to the sources it was built from. `cargo xtask ebpf`
//! writes it, `prebuilt_is_fresh` compares it; both compile this one file.

use std::io::{Error, Result};
use std::path::{Path, PathBuf};

/// BLAKE3, as hexadecimal text, over `Cargo.toml` and every `src/**/*.rs` of the package, sorted by
/// path; each file as its path, a NUL, its length (8 bytes, little endian) and its bytes.
pub fn source_hash(package: &Path) -> Result<String> {
    let mut files = vec![PathBuf::from("Cargo.toml")];
    rust_files(package, Path::new("src"), &mut files)?;
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in files {
        let bytes = std::fs::read(package.join(&file))
            .map_err(|e| Error::new(e.kind(), format!("{}: {e}", file.display())))?;
        hasher.update(file.as_os_str().as_encoded_bytes());
        hasher.update(&[0]);
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(&bytes);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn rust_files(package: &Path, dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(package.join(dir))? {
        let entry = entry?;
        let path = dir.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            rust_files(package, &path, files)?;
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
