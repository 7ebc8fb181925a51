//! Names of dumps: `{n}` counts, `{time}` is the wall clock's UTC time.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use trace_format::civil::{DAY_SECONDS, civil_of_days};

/// Dumps of one name: whoever has that many has other troubles.
const NUMBERS_MAX: u32 = 100_000;

/// What dumps are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = Path::new(text);
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(format!("{text:?} names no file; write flight-{{n}}.zst"));
        };
        if path.is_dir() {
            return Err(format!(
                "{text:?} is a directory; write {}",
                path.join("flight-{n}.zst").display()
            ));
        }
        if name.contains("{n}") {
            return Ok(Pattern(text.to_owned()));
        }
        // Without a number the second dump would find the first in its way.
        let (stem, extension) = match name.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
            _ => (name, String::new()),
        };
        let numbered = path.with_file_name(format!("{stem}-{{n}}{extension}"));
        Ok(Pattern(numbered.to_string_lossy().into_owned()))
    }
}

impl Pattern {
    /// The first name of the pattern that nothing has.
    pub fn free(&self, wall_ns: u64) -> Result<PathBuf, String> {
        let named = self.0.replace("{time}", &utc(wall_ns / 1_000_000_000));
        (0..NUMBERS_MAX)
            .map(|number| PathBuf::from(named.replace("{n}", &format!("{number:04}"))))
            .find(|path| path.symlink_metadata().is_err())
            .ok_or_else(|| format!("{named}: all {NUMBERS_MAX} names are taken"))
    }
}

/// `20261123T024500Z`.
fn utc(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let (year, month, day) = civil_of_days(seconds.div_euclid(DAY_SECONDS));
    let second = seconds.rem_euclid(DAY_SECONDS);
    format!(
        "{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_have_names_of_their_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.zst");
        let pattern: Pattern = path.to_str().unwrap().parse().unwrap();
        let first = pattern.free(0).unwrap();
        assert_eq!(first, directory.path().join("a-0000.zst"));
        std::fs::write(first, b"").unwrap();
        assert_eq!(
            pattern.free(0).unwrap(),
            directory.path().join("a-0001.zst")
        );
        let pattern: Pattern = "/x/{time}.{n}".parse().unwrap();
        let free = pattern.free(1_795_401_900_000_000_000).unwrap();
        assert_eq!(free, Path::new("/x/20261123T024500Z.0000"));
        for bad in ["", "/", directory.path().to_str().unwrap()] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn dates_are_right_at_the_ends_of_months_and_years() {
        for (seconds, expected) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (1_767_225_599, "20251231T235959Z"),
        ] {
            assert_eq!(utc(seconds), expected);
        }
    }
}
