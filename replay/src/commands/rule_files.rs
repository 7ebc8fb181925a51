//! The rules that a command works with: the shipped ones and files, and which of them are on.

use anyhow::Context;
use replay::rules::{Priority, RuleSet, SHIPPED};
use std::{fs, path::PathBuf};

use crate::{Global, Usage};

/// Rule files larger than this are a mistake: Falco's whole stock set is 64 KiB.
const RULE_FILE_BYTES_MAX: u64 = 16 << 20;

/// Which files.
#[derive(clap::Args, Clone, Debug)]
pub struct RuleFiles {
    /// Rule file in Falco's language, beside or over the shipped rules; may be repeated
    #[arg(long, value_name = "FILE")]
    pub rules: Vec<PathBuf>,
    /// Leave the shipped rules out
    #[arg(long)]
    pub no_default_rules: bool,
}

/// Which of their rules.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Selection {
    /// Only rules of this name (* stands for any text); may be repeated
    #[arg(long, value_name = "NAME")]
    pub rule: Vec<String>,
    /// Only rules with this tag, and those of --rule; may be repeated
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Not the rules of this name (* stands for any text); may be repeated
    #[arg(long, value_name = "NAME")]
    pub disable: Vec<String>,
    /// Not the rules with this tag; may be repeated
    #[arg(long, value_name = "TAG")]
    pub disable_tag: Vec<String>,
    /// Only rules at least this severe (debug … emergency)
    #[arg(long, value_name = "PRIORITY")]
    pub min_priority: Option<Priority>,
    /// Of an event's matching rules only the first, as Falco does by default
    #[arg(long)]
    pub first_match: bool,
}

/// Names and texts of rule files, in order.
pub struct Texts(Vec<(String, String)>);

impl Texts {
    /// The shipped rules come first: a later file may change what earlier ones define.
    pub fn read(files: &RuleFiles) -> anyhow::Result<Texts> {
        let mut texts = Texts(Vec::new());
        if !files.no_default_rules {
            texts.0.push((SHIPPED.0.to_owned(), SHIPPED.1.to_owned()));
        }
        for path in &files.rules {
            texts.0.push(read(path)?);
        }
        Ok(texts)
    }

    /// Only these files.
    pub fn of(paths: &[PathBuf]) -> anyhow::Result<Texts> {
        Ok(Texts(paths.iter().map(read).collect::<Result<_, _>>()?))
    }

    pub fn named(&self) -> Vec<(&str, &str)> {
        let texts = self.0.iter();
        texts.map(|(name, text)| (&name[..], &text[..])).collect()
    }
}

/// A text file of rules or cases, with its name.
pub fn read(path: &PathBuf) -> anyhow::Result<(String, String)> {
    let name = path.display().to_string();
    let size = fs::metadata(path)
        .with_context(|| format!("cannot read the file {name}"))?
        .len();
    if size > RULE_FILE_BYTES_MAX {
        anyhow::bail!("the file {name} has {size} bytes, the limit is {RULE_FILE_BYTES_MAX}");
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the file {name}"))?;
    Ok((name, text))
}

/// The rules of these files, loaded and switched; warnings about the caller's own files are printed.
pub fn load(files: &RuleFiles, selection: &Selection, global: Global) -> anyhow::Result<RuleSet> {
    let texts = Texts::read(files)?;
    let (mut rules, warnings) =
        RuleSet::load(&texts.named()).map_err(|error| Usage(error.to_string()))?;
    if !global.quiet {
        for warning in warnings.iter().filter(|one| one.file != SHIPPED.0) {
            eprintln!("replay: {warning}");
        }
    }
    selection.apply(&mut rules)?;
    Ok(rules)
}

impl Selection {
    fn apply(&self, rules: &mut RuleSet) -> anyhow::Result<()> {
        let nothing = |count: usize, what: String| match count {
            0 => Err(Usage(format!("{what}: see `replay rules list`"))),
            _ => Ok(()),
        };
        if !self.rule.is_empty() || !self.tag.is_empty() {
            rules.switch_named("*", false);
        }
        for name in &self.rule {
            let count = rules.switch_named(name, true);
            nothing(count, format!("--rule {name}: no rule has that name"))?;
        }
        for tag in &self.tag {
            let count = rules.switch_tagged(tag, true);
            nothing(count, format!("--tag {tag}: no rule has that tag"))?;
        }
        for name in &self.disable {
            let count = rules.switch_named(name, false);
            nothing(count, format!("--disable {name}: no rule has that name"))?;
        }
        for tag in &self.disable_tag {
            let count = rules.switch_tagged(tag, false);
            nothing(count, format!("--disable-tag {tag}: no rule has that tag"))?;
        }
        if let Some(priority) = self.min_priority {
            rules.minimum(priority);
        }
        rules.first_match(self.first_match);
        Ok(())
    }
}
