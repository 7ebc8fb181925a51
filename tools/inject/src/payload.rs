//! Finds the static program that containers are made of.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// Beside `inject`, under these names.
const SIBLINGS: [&str; 2] = ["workload", "inject-payload"];

/// The program's path and bytes.
pub struct Payload {
    pub path: PathBuf,
    pub program: Vec<u8>,
}

pub fn find(told: Option<&Path>) -> Result<Payload> {
    if let Some(path) = told {
        return load(path);
    }
    let own = std::env::current_exe().context("cannot tell where the own program is")?;
    let directory = own.parent().unwrap_or(Path::new("/"));
    // Tests run from target/debug/deps.
    let places = [Some(directory), directory.parent()];
    for place in places.into_iter().flatten() {
        for name in SIBLINGS {
            if place.join(name).is_file() {
                return load(&place.join(name));
            }
        }
    }
    bail!(
        "no `workload` beside {own:?}: build it (cargo build -p inject) or name it with --payload"
    )
}

fn load(path: &Path) -> Result<Payload> {
    let path = path
        .canonicalize()
        .with_context(|| format!("no payload at {path:?}"))?;
    let program = fs::read(&path).with_context(|| format!("cannot read {path:?}"))?;
    match needs_interpreter(&program) {
        Some(false) => Ok(Payload { path, program }),
        Some(true) => bail!(
            "{path:?} is dynamically linked, but a container holds nothing else: build it statically, for example with \
             RUSTFLAGS='-C target-feature=+crt-static' cargo build -p inject --bin workload --target x86_64-unknown-linux-gnu"
        ),
        None => bail!("{path:?} is not a 64-bit ELF program"),
    }
}

/// Whether an ELF file asks for a dynamic linker (a PT_INTERP program header); `None`: not such a file.
fn needs_interpreter(program: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    let u16_at = |at: usize| {
        Some(u16::from_le_bytes(
            program.get(at..at + 2)?.try_into().ok()?,
        ))
    };
    // ELF64, little-endian: e_phoff at 32, e_phentsize at 54, e_phnum at 56.
    if program.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let table = usize::try_from(u64::from_le_bytes(program.get(32..40)?.try_into().ok()?)).ok()?;
    let (size, count) = (usize::from(u16_at(54)?), usize::from(u16_at(56)?));
    for header in 0..count {
        let at = table.checked_add(header * size)?;
        let kind = program.get(at..at.checked_add(4)?)?;
        if u32::from_le_bytes(kind.try_into().ok()?) == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_needs_a_linker_is_refused_with_the_way_out() {
        let own = std::env::current_exe().unwrap();
        if needs_interpreter(&fs::read(&own).unwrap()) != Some(true) {
            println!("skipped: the test program itself is static");
            return;
        }
        let error = find(Some(&own)).err().unwrap().to_string();
        assert!(
            error.contains("dynamically linked") && error.contains("crt-static"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        for content in [&b""[..], b"#!/bin/sh\n", b"\x7fELF\x02\x01", &[0xff; 64]] {
            fs::write(&path, content).unwrap();
            assert!(find(Some(&path)).is_err());
        }
        let error = format!(
            "{:#}",
            find(Some(&directory.path().join("none"))).err().unwrap()
        );
        assert!(error.contains("no payload at"), "{error}");
    }
}
