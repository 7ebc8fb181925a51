//! Texts of /proc and of cgroups: read at once, into memory that is used again.

use std::{fs::File, os::unix::fs::FileExt, path::Path};

/// No text here is longer: a thousand disks take 100 KiB in /proc/diskstats.
const TEXT_MAX: usize = 256 << 10;
/// Room for the texts of a cgroup, each of which comes with one read.
const ROOM: usize = 16 << 10;

/// Room for one text at a time.
#[derive(Default)]
pub struct Text(Vec<u8>);

impl Text {
    /// The text of a file of a cgroup: the kernel makes it whole for one read.
    pub fn of_cgroup(&mut self, file: &File) -> Option<&str> {
        self.room(ROOM);
        let len = file.read_at(&mut self.0, 0).ok()?;
        if len == self.0.len() {
            return self.of_file(file);
        }
        std::str::from_utf8(&self.0[..len]).ok()
    }

    /// The text of a file that comes in pieces; what is beyond [`TEXT_MAX`] is left out.
    pub fn of_file(&mut self, file: &File) -> Option<&str> {
        let mut len = 0;
        loop {
            if len == self.0.len() {
                if len >= TEXT_MAX {
                    break;
                }
                self.room((2 * len).clamp(ROOM, TEXT_MAX));
            }
            match file.read_at(&mut self.0[len..], len as u64).ok()? {
                0 => break,
                more => len += more,
            }
        }
        std::str::from_utf8(&self.0[..len]).ok()
    }

    pub fn of_path(&mut self, path: impl AsRef<Path>) -> Option<&str> {
        self.of_file(&File::open(path).ok()?)
    }

    fn room(&mut self, bytes: usize) {
        if self.0.len() < bytes {
            self.0.resize(bytes, 0);
        }
    }
}

/// The values of a text of "key value" lines, of these keys.
pub fn values<const N: usize>(text: &str, keys: [&str; N]) -> [Option<u64>; N] {
    let mut found = [None; N];
    for line in text.lines() {
        let Some((key, rest)) = line.split_once([' ', ':']) else {
            continue;
        };
        if let Some(place) = keys.iter().position(|wanted| *wanted == key) {
            found[place] = rest
                .split_whitespace()
                .next()
                .and_then(|value| value.parse().ok());
        }
    }
    found
}

/// Stall times in ns of a text of pressure: `some` and `full`.
///
/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=1234`, in µs (Documentation/accounting/psi.rst).
pub fn stalls(text: &str) -> (Option<u64>, Option<u64>) {
    let of = |which: &str| -> Option<u64> {
        let line = text.lines().find(|line| line.starts_with(which))?;
        let micros: u64 = line.rsplit_once("total=")?.1.trim().parse().ok()?;
        micros.checked_mul(1_000)
    };
    (of("some "), of("full "))
}

/// How many descriptors may be kept open, `wanted` at most: half of what the process may have, and for
/// that its own limit is raised as far as it may be.
pub fn descriptors(wanted: usize) -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel fills the structure.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 0;
    }
    let needed = 2 * wanted as libc::rlim_t;
    if limit.rlim_cur < needed {
        let raised = libc::rlimit {
            rlim_cur: needed.min(limit.rlim_max),
            ..limit
        };
        // SAFETY: the kernel reads the structure.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0 {
            limit = raised;
        }
    }
    usize::try_from(limit.rlim_cur / 2).map_or(wanted, |half| half.min(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_whole_keys() {
        let text = "anon 4096\nanon_thp 1\nfile 8192\npgfault 7\nMemTotal:  12 kB\nbroken\nbad x\n";
        assert_eq!(
            values(text, ["file", "anon", "MemTotal", "bad", "none"]),
            [Some(8192), Some(4096), Some(12), None, None]
        );
    }

    #[test]
    fn pressure_is_told_in_nanoseconds() {
        let text = "some avg10=1.00 avg60=0.00 avg300=0.00 total=12\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=3\n";
        assert_eq!(stalls(text), (Some(12_000), Some(3_000)));
        // Before 5.13 there is no `full` of the CPU.
        assert_eq!(
            stalls(&text[..text.find("full").unwrap()]),
            (Some(12_000), None)
        );
        assert_eq!(stalls(""), (None, None));
    }

    #[test]
    fn a_text_is_read_whole_and_the_room_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        let mut room = Text::default();
        for len in [0, 5, ROOM - 1, ROOM, ROOM + 1, TEXT_MAX - 1, TEXT_MAX, 3] {
            std::fs::write(&path, "x".repeat(len)).unwrap();
            let file = File::open(&path).unwrap();
            assert_eq!(room.of_file(&file).unwrap().len(), len);
            assert_eq!(room.of_cgroup(&file).unwrap().len(), len);
        }
        std::fs::write(&path, "x".repeat(TEXT_MAX + 1)).unwrap();
        assert_eq!(room.of_path(&path).unwrap().len(), TEXT_MAX);
    }
}
