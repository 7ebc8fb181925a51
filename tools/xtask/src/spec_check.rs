//! Compares SPEC.md with the code: every table of it, as `cargo test -p trace-format --test spec` does.

#[path = "../../../format-spec/tests/support/forge.rs"]
pub mod forge;
#[path = "../../../format-spec/tests/support/sample.rs"]
mod sample;
#[path = "../../../format-spec/tests/support/spec.rs"]
mod spec;
#[path = "../../../format-spec/tests/support/spec_types.rs"]
mod spec_types;

use anyhow::{Context, Result, bail};

use crate::repo;

pub fn main() -> Result<()> {
    let path = repo::root()?.join("format-spec/SPEC.md");
    let page = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let (problems, tables) = spec::compare(&page);
    for problem in &problems {
        println!("{problem}");
    }
    if !problems.is_empty() {
        bail!(
            "{} and the code differ in {} places",
            path.display(),
            problems.len()
        );
    }
    println!(
        "{tables} tables of {} are what the code does",
        path.display()
    );
    Ok(())
}
