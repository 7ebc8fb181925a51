//! `--config rec.toml`: options of the command line, written down.
//!
//! A key is the long name of an option; a list repeats it; `true` sets a flag. Keys at the top are for
//! every command that has such an option, keys in `[capture]`, `[flight]`, `[live]` and `[top]` for that
//! command alone. What stands on the command line wins over the file, lists included. A mistake is named
//! with its key, its value and its line, also where another command than the present one would read it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, error::ErrorKind};
use toml_edit::{Document, Item, Table, Value};

use crate::cli::Cli;

/// Commands that read a configuration.
const COMMANDS: &[&str] = &["capture", "flight", "live", "top"];
/// A file of options has a screenful of lines; more is another file.
const BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}:{line}: {what}", path.display())]
    Wrong {
        path: PathBuf,
        line: usize,
        what: String,
    },
}

/// What the command line and the file it names say together. Errors of the command line end the program.
pub fn parse(args: Vec<OsString>) -> Result<Cli, Error> {
    let command = Cli::command().args_override_self(true);
    let mut matches = command.clone().get_matches_from(&args);
    if let Some((name, given)) = matches.subcommand()
        && COMMANDS.contains(&name)
        && let Ok(Some(path)) = given.try_get_one::<PathBuf>("config")
    {
        let options = read(path)?;
        let added = arguments(&options, name, given);
        matches = command.get_matches_from(args.iter().chain(&added));
    }
    Ok(Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()))
}

/// Reads a file and checks every line of it.
pub fn check(path: &Path) -> Result<usize, Error> {
    read(path).map(|options| options.len())
}

/// A line of the file.
struct Written {
    /// `None`: for every command that has the option.
    command: Option<&'static str>,
    key: String,
    /// As arguments, one for each value.
    arguments: Vec<OsString>,
}

/// The options that `name` takes from the file: those that the command line does not give.
fn arguments(options: &[Written], name: &str, given: &ArgMatches) -> Vec<OsString> {
    let command = Cli::command();
    let Some(command) = command.find_subcommand(name) else {
        return Vec::new();
    };
    options
        .iter()
        .filter(|option| option.command.is_none_or(|only| only == name))
        // What the command's own section says counts, not what the top says.
        .filter(|option| {
            option.command.is_some()
                || !options
                    .iter()
                    .any(|other| other.command == Some(name) && other.key == option.key)
        })
        .filter(|option| {
            argument(command, &option.key).is_some_and(|argument| {
                given.value_source(argument.get_id().as_str())
                    != Some(clap::parser::ValueSource::CommandLine)
            })
        })
        .flat_map(|option| option.arguments.clone())
        .collect()
}

fn argument<'a>(command: &'a clap::Command, key: &str) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|argument| argument.get_long() == Some(key))
        .filter(|_| key != "config" && key != "help")
}

fn read(path: &Path) -> Result<Vec<Written>, Error> {
    let text = std::fs::metadata(path)
        .and_then(|meta| match meta.len() > BYTES_MAX {
            true => Err(std::io::Error::other("it is larger than 1 MiB")),
            false => std::fs::read_to_string(path),
        })
        .map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
    let file = File { path, text: &text };
    let document: Document<&str> = Document::parse(text.as_str())
        .map_err(|error| file.wrong(error.span(), error.message().to_owned()))?;
    let mut options = Vec::new();
    file.table(document.as_table(), None, &mut options)?;
    Ok(options)
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn wrong(&self, span: Option<std::ops::Range<usize>>, what: String) -> Error {
        let at = span.map_or(0, |span| span.start).min(self.text.len());
        Error::Wrong {
            path: self.path.to_owned(),
            line: self.text.as_bytes()[..at]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                + 1,
            what,
        }
    }

    fn table(
        &self,
        table: &Table,
        command: Option<&'static str>,
        options: &mut Vec<Written>,
    ) -> Result<(), Error> {
        for (key, item) in table {
            let span = table.key(key).and_then(|key| key.span());
            match item {
                Item::Table(inner) if command.is_none() => {
                    let Some(name) = COMMANDS.iter().find(|name| **name == key) else {
                        return Err(self.wrong(
                            inner.span(),
                            format!(
                                "there is no section [{key}]; there are [{}]",
                                COMMANDS.join("], [")
                            ),
                        ));
                    };
                    self.table(inner, Some(name), options)?;
                }
                Item::Value(value) => {
                    let arguments = self.option(command, key, value, span)?;
                    options.push(Written {
                        command,
                        key: key.to_owned(),
                        arguments,
                    });
                }
                _ => {
                    return Err(self.wrong(span, format!("{key} is a table; write {key} = value")));
                }
            }
        }
        Ok(())
    }

    /// The arguments of a line, each tried on the commands that it is for.
    fn option(
        &self,
        command: Option<&'static str>,
        key: &str,
        value: &Value,
        span: Option<std::ops::Range<usize>>,
    ) -> Result<Vec<OsString>, Error> {
        let all = Cli::command();
        let commands: Vec<&str> = match &command {
            Some(name) => vec![name],
            None => COMMANDS.to_vec(),
        };
        let found: Vec<(&str, &Arg)> = commands
            .iter()
            .filter_map(|name| Some((*name, argument(all.find_subcommand(name)?, key)?)))
            .collect();
        let Some((_, first)) = found.first() else {
            return Err(self.wrong(
                span,
                match command {
                    Some(name) => format!("{key}: rec {name} has no option --{key}"),
                    None => format!("{key}: no recording command has an option --{key}"),
                },
            ));
        };
        let is_flag = matches!(first.get_action(), ArgAction::SetTrue);
        let values: Vec<&Value> = match value {
            Value::Array(list) => list.iter().collect(),
            one => vec![one],
        };
        let mut arguments = Vec::with_capacity(values.len());
        for value in values {
            let at = value.span().or_else(|| span.clone());
            let text = match value {
                Value::Boolean(set) if is_flag => {
                    if *set.value() {
                        arguments.push(OsString::from(format!("--{key}")));
                    }
                    continue;
                }
                _ if is_flag => {
                    return Err(
                        self.wrong(at, format!("{key} = {}: write true or false", shown(value)))
                    );
                }
                Value::String(text) => text.value().clone(),
                Value::Integer(number) => number.value().to_string(),
                _ => {
                    return Err(self.wrong(
                        at,
                        format!("{key} = {}: write a text, a number or a list", shown(value)),
                    ));
                }
            };
            let argument = OsString::from(format!("--{key}={text}"));
            for (name, _) in &found {
                if let Some(what) = refused(name, &argument) {
                    return Err(self.wrong(at, format!("{key} = {}: {what}", shown(value))));
                }
            }
            arguments.push(argument);
        }
        Ok(arguments)
    }
}

fn shown(value: &Value) -> String {
    value.to_string().trim().to_owned()
}

/// What the command line's own parser has against a value. What it needs beside it is seen later.
fn refused(command: &str, argument: &OsString) -> Option<String> {
    let args = [OsString::from("rec"), command.into(), argument.clone()];
    let error = Cli::command().try_get_matches_from(args).err()?;
    let matters = matches!(
        error.kind(),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::TooManyValues
    );
    if !matters {
        return None;
    }
    // "error: invalid value 'x' for '--keep <TIME>': why", then lines about usage.
    let text = error.render().to_string();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let text = lines.join(" ");
    let why = text.split_once(">': ").map(|(_, why)| why.to_owned());
    Some(why.unwrap_or_else(|| text.trim_start_matches("error: ").to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rec.toml");
        std::fs::write(&path, text).unwrap();
        (directory, path)
    }

    fn wrong(text: &str) -> String {
        let (_directory, path) = written(text);
        let error = check(&path).unwrap_err().to_string();
        error.rsplit_once("rec.toml:").unwrap().1.to_owned()
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_sections_over_the_top() {
        let (_directory, path) = written(
            "profile = \"full\"\ncontainer = [\"a\", \"b\"]\nduration = \"5m\"\n\
             redact = ['secret-\\d+']\n[capture]\nduration = \"2m\"\nforce = true\n\
             [flight]\nkeep = \"7m\"\nmemory = true\n",
        );
        let parsed = |args: &[&str]| {
            let config = format!("--config={}", path.display());
            let mut all = vec!["rec", args[0], &config];
            all.extend(&args[1..]);
            parse(all.into_iter().map(OsString::from).collect()).unwrap()
        };
        let Command::Capture(capture) = parsed(&["capture"]).command else {
            panic!("a capture");
        };
        assert_eq!(capture.duration.unwrap().as_secs(), 120);
        assert!(capture.force);
        assert_eq!(
            capture.what.filter.filter().text(),
            "--container a --container b"
        );
        assert_eq!(capture.what.profile.unwrap().name(), "full");
        assert_eq!(capture.what.redact.len(), 1);
        let args = ["capture", "--profile=light", "--container", "c"];
        let Command::Capture(capture) = parsed(&args).command else {
            panic!("a capture");
        };
        assert_eq!(capture.what.profile.unwrap().name(), "light");
        assert_eq!(capture.what.filter.filter().text(), "--container c");
        let Command::Flight(flight) = parsed(&["flight", "--post=1s"]).command else {
            panic!("a flight recorder");
        };
        assert_eq!((flight.keep.as_secs(), flight.memory), (420, true));
        assert_eq!(flight.duration.unwrap().as_secs(), 300);
        assert_eq!(check(&path).unwrap(), 8);
    }

    #[test]
    fn a_mistake_is_named_with_key_value_and_line() {
        let said = wrong("profile = \"full\"\n\nkeep = \"10x\"\n");
        assert!(said.starts_with("3: keep = \"10x\": "), "{said}");
        assert!(said.contains("write 30s, 10m or 2h"), "{said}");
        let said = wrong("[capture]\nkeep = \"1m\"\n");
        assert_eq!(said, "2: keep: rec capture has no option --keep");
        let said = wrong("# nothing\nspeed = 3\n");
        assert_eq!(said, "2: speed: no recording command has an option --speed");
        let said = wrong("profile = \"most\"\n");
        assert!(
            said.starts_with("1: profile = \"most\": ") && said.contains("standard"),
            "{said}"
        );
        let said = wrong("redact = [\n 'a',\n '(',\n]\n");
        assert!(said.starts_with("3: redact = \"(\": "), "{said}");
        let said = wrong("[capture]\nforce = \"yes\"\n");
        assert_eq!(said, "2: force = \"yes\": write true or false");
        let said = wrong("uid = [0, \"nobody-of-that-name\"]\n");
        assert!(
            said.starts_with("1: uid = \"nobody-of-that-name\": "),
            "{said}"
        );
        let said = wrong("exclude = [\n  \"web\",\n  \"port=53\",\n]\n");
        assert!(
            said.starts_with("3: exclude = \"port=53\": ") && said.contains("address"),
            "{said}"
        );
        let said = wrong("[record]\nforce = true\n");
        assert!(
            said.starts_with("1: there is no section [record]"),
            "{said}"
        );
        let said = wrong("profile = \"full\nx = 1\n");
        assert!(said.starts_with("1: "), "{said}");
    }
}
