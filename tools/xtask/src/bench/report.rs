//! docs/benchmarks.md: hand-written text around sections that a run replaces.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::repo;

/// Replaces the text between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`.
pub fn write_section(file: &Path, name: &str, section: &str) -> Result<()> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let Some(text) = replace_section(&text, name, section) else {
        bail!("{} has no section `<!-- bench:{name} -->`", file.display());
    };
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn replace_section(text: &str, name: &str, section: &str) -> Option<String> {
    let (open, close) = (
        format!("<!-- bench:{name} -->"),
        format!("<!-- /bench:{name} -->"),
    );
    let begin = text.find(&open)? + open.len();
    let end = begin + text[begin..].find(&close)?;
    Some(format!(
        "{}\n{}\n{}",
        &text[..begin],
        section.trim_end(),
        &text[end..]
    ))
}

/// One line: when and on what. Without the host's name.
pub fn machine() -> Result<String> {
    let date = repo::output(repo::command("date").args(["--utc", "+%Y-%m-%d"]))?;
    let kernel = repo::output(repo::command("uname").arg("-r"))?;
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, model)| model);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let gib = memory
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<f64>()
                .ok()
        })
        .map_or(0.0, |kilobytes| kilobytes / (1024.0 * 1024.0));
    Ok(format!(
        "{}: Linux {}, {cpus} × {model}, {gib:.0} GiB.",
        date.trim(),
        kernel.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_the_rest_stays() {
        let text = "a\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nb\n";
        let new = replace_section(text, "x", "new\n").expect("the section is there");
        assert_eq!(new, "a\n<!-- bench:x -->\nnew\n<!-- /bench:x -->\nb\n");
        assert_eq!(replace_section(&new, "x", "new\n"), Some(new.clone()));
        assert_eq!(replace_section(text, "y", "new"), None);
    }
}
