//! What /proc/PID says of a running process beyond who it is: the same as an exec event does.
//!
//! What cannot be read stays unknown. Whether the file is on an overlay's upper layer is not in /proc.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use trace_format::{Details, Known, Namespaces, context::SnapshotDetails, event::ExecFlags};

use super::processes::{Groups, file};
use crate::details::wall_ns;

/// A number in text.
const NUMBER_MAX: u64 = 32;

/// Of the process whose directory is `dir`; `status` is that file's text.
pub fn read(dir: &Path, status: &str, groups: Groups) -> SnapshotDetails {
    let value = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    // One id for each pid namespace from the reader's on; the last is the process's own.
    let inmost =
        |name: &str| -> Option<u32> { value(name)?.split_whitespace().last()?.parse().ok() };
    let capabilities = |name: &str| u64::from_str_radix(value(name)?.trim(), 16).ok();
    let mut known = Known::GROUPS | Known::TTY;
    let mut set = |bit: u32, there: bool| known |= if there { bit } else { 0 };
    let login = file(&dir.join("loginuid"), NUMBER_MAX)
        .and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok());
    set(Known::LOGIN, login.is_some());
    let [effective, permitted, inheritable] = ["CapEff:", "CapPrm:", "CapInh:"].map(capabilities);
    set(
        Known::CAPABILITIES,
        effective.is_some() && permitted.is_some() && inheritable.is_some(),
    );
    let exe = fs::metadata(dir.join("exe")).ok();
    set(Known::FILE_TIMES, exe.is_some());
    let mut flags = 0;
    if exe.as_ref().is_some_and(|exe| exe.nlink() == 0) {
        let is_memfd = fs::read_link(dir.join("exe"))
            .is_ok_and(|path| path.as_os_str().as_encoded_bytes().starts_with(b"/memfd:"));
        flags |= if is_memfd {
            ExecFlags::MEMFD
        } else {
            ExecFlags::DELETED
        };
    }
    let exe = exe.as_ref();
    let namespace = |name: &str| namespace(&dir.join("ns").join(name)).unwrap_or(0);
    SnapshotDetails {
        process: Details {
            known: Known(known),
            sid: groups.sid,
            pgid: groups.pgid,
            ns_sid: inmost("NSsid:").unwrap_or(0),
            ns_pgid: inmost("NSpgid:").unwrap_or(0),
            tty: groups.tty,
            login_uid: login.unwrap_or(0),
            cap_effective: effective.unwrap_or(0),
            cap_permitted: permitted.unwrap_or(0),
            cap_inheritable: inheritable.unwrap_or(0),
            namespaces: Namespaces {
                cgroup: namespace("cgroup"),
                ipc: namespace("ipc"),
                mnt: namespace("mnt"),
                net: namespace("net"),
                pid: namespace("pid"),
                user: namespace("user"),
                uts: namespace("uts"),
            },
            ns_start_ns: 0,
            exe_ctime_ns: exe.map_or(0, |exe| wall_ns(exe.ctime(), exe.ctime_nsec())),
            exe_mtime_ns: exe.map_or(0, |exe| wall_ns(exe.mtime(), exe.mtime_nsec())),
        },
        dev: exe.map_or(0, MetadataExt::dev),
        ino: exe.map_or(0, MetadataExt::ino),
        flags: ExecFlags(flags),
    }
}

/// The number in `mnt:[4026531841]`.
fn namespace(link: &Path) -> Option<u32> {
    let target = fs::read_link(link).ok()?;
    let (_, number) = target.to_str()?.split_once('[')?;
    number.strip_suffix(']')?.parse().ok()
}
